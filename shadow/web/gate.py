"""The gate over HTTP: slots, ledger, suggestions, runs, verdicts and samples. Nothing here writes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, HTTPException, Response
from fastapi import Query as Parameter
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, Field

from scorer.deployments.records import CANDIDATE, Suggestion
from scorer.errors import UserError
from shadow.comparison.outcome import Outcome
from shadow.comparison.query import Query
from shadow.comparison.sample import Sample
from shadow.comparison.totals import Run, RunTotals
from shadow.gate.findings import Decision
from shadow.release.look import look, present_run
from shadow.release.named import require_segment, require_slot
from shadow.serve.gauges import DECISIONS
from shadow.serve.service import TOO_OLD, Serve
from shadow.web.auth import People
from shadow.web.problems import CONTENT
from shadow.web.reading import Reader, reading, shown

#: Names of slots, as `scorer deploy` takes them.
SLOT = r"^[a-z][a-z0-9-]{0,30}$"
#: Samples that go out together.
TOGETHER = 50

#: Statuses that an operation may answer with beside 200, for the OpenAPI document.
REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"description": "the host is asked for by a name that it does not answer to"},
    401: {"description": "the token is missing or wrong"},
    404: {"description": "the slot is empty, or has nothing of what is asked for"},
    414: {"description": "path and query are too long"},
    422: {"description": "what is asked makes no sense", "content": CONTENT},
    431: {"description": "the headers are too long"},
    503: {"description": "Redis is unavailable, the last look is too old, or too many ask at once"},
}
FORBIDDEN: dict[int | str, dict[str, Any]] = {403: {"description": "a viewer asks for a card"}}
NOT_READY: dict[int | str, dict[str, Any]] = {412: {"description": "the last verdict is not promote"}}

Slot = Annotated[str, Parameter(pattern=SLOT, description="name of a slot")]


class Asked(Query):
    """A query for samples of a run of a slot."""

    slot: str = Field(CANDIDATE, pattern=SLOT, description="name of a slot")
    run: str | None = Field(
        None, pattern=r"^L[0-9]{1,9}-C[0-9]{1,9}$", description="run, such as L1-C1; the slot's current one if missing"
    )


def totals_json(totals: RunTotals) -> dict[str, Any]:
    """A run's sums as JSON."""
    segments = {
        name: {
            key: getattr(part, key).tolist() for key in ("counts", "minor", "pairs", "live_scores", "candidate_scores")
        }
        | {"errors": part.errors}
        for name, part in totals.segments.items()
    }
    outcomes = [outcome.key for outcome in Outcome]
    plain = {key: value for key, value in asdict(totals).items() if key not in ("segments", "run")}
    return {"run": str(totals.run), **plain, "compared": totals.compared, "outcomes": outcomes, "segments": segments}


def _verdict(serve: Serve, slot: str) -> dict[str, Any]:
    """The last look at a slot as flat fields. Raises HTTPException: 404 if there is none, 503 if it is too old."""
    seen = serve.looks.get(slot)
    if seen is None:
        raise HTTPException(
            404, f"slot {slot}: not judged; the gate judges slots that hold a candidate: see /api/slots"
        )
    if serve.is_late:
        raise HTTPException(503, serve.trouble or TOO_OLD)
    judgement = seen.judgement
    return {
        "slot": slot,
        "run": judgement.run,
        "decision": judgement.decision,
        "value": DECISIONS[judgement.decision],
        "promote": judgement.decision is Decision.PROMOTE,
        "reject": judgement.decision is Decision.REJECT,
        "clean_ratio": min(1.0, judgement.covered_hours / judgement.needed_hours),
        "criteria": serve.release.digest,
        "reason": judgement.reason,
    }


def _plain(value: BaseModel) -> dict[str, Any]:
    return value.model_dump(mode="json")


async def _listed(head: Mapping[str, Any], samples: AsyncIterator[Sample], reader: Reader) -> AsyncIterator[bytes]:
    """A JSON object that ends with the samples, some at a time: a page of 10,000 has 25 MB."""
    some = [orjson.dumps(head)[:-1] + b',"samples":[']
    n = 0
    async for sample in samples:
        some.append((b"," if n else b"") + orjson.dumps(shown(sample, reader)))
        n += 1
        if len(some) == TOGETHER:
            yield b"".join(some)
            some = []
    yield b"".join([*some, b"]}"])


def router(serve: Serve, people: People, readers: list[Any], turn: list[Any]) -> APIRouter:
    """Routes of slots, ledger, suggestions, runs, progress, gate and disagreements.

    readers: who may ask. turn: for what reads much.
    """
    api = APIRouter(prefix="/api", dependencies=readers, responses=REFUSALS)

    @api.get("/slots")
    async def slots() -> dict[str, Any]:
        """What each slot holds."""
        return {name: asdict(slot) for name, slot in sorted(serve.deployments.slots.items())}

    @api.get("/ledger")
    async def ledger(
        response: Response,
        limit: Annotated[int, Parameter(ge=1, le=10_000, description="most entries, the newest ones")] = 1_000,
        skip: Annotated[int, Parameter(ge=0, le=2**31, description="newer entries to leave out")] = 0,
    ) -> list[dict[str, Any]]:
        """Changes of slots, suggestions and decisions, oldest first. A header `Link` leads to earlier ones."""
        lines = serve.deployments.ledger
        end = max(0, len(lines) - skip)
        if end > limit:
            response.headers["Link"] = f'</api/ledger?limit={limit}&skip={skip + limit}>; rel="prev"'
        some = lines[max(0, end - limit) : end]
        return [{"seq": line.seq, "void": line.is_void, **_plain(line.entry)} for line in some]

    @api.get("/suggestions")
    async def suggestions() -> list[dict[str, Any]]:
        """Suggestions that wait for a person, with what people have said of them."""
        open_ones = serve.deployments.open_suggestions(datetime.now(UTC))
        return [
            {"seq": line.seq, **_plain(line.entry), "comments": list(map(_plain, serve.deployments.comments(line.seq)))}
            for line in open_ones
            if isinstance(line.entry, Suggestion)
        ]

    @api.get("/runs", dependencies=turn)
    async def runs(
        response: Response,
        slot: Slot = CANDIDATE,
        limit: Annotated[int, Parameter(ge=1, le=100, description="most runs, the newest ones")] = 20,
        skip: Annotated[int, Parameter(ge=0, le=2**31, description="newer runs to leave out")] = 0,
    ) -> list[dict[str, Any]]:
        """The sums of a slot's runs, oldest first. A header `Link` leads to earlier ones."""
        store = serve.store(slot)
        infos = await store.runs()
        end = max(0, len(infos) - skip)
        if end > limit:
            response.headers["Link"] = f'</api/runs?slot={slot}&limit={limit}&skip={skip + limit}>; rel="prev"'
        return [totals_json(await store.totals(info.run)) for info in infos[max(0, end - limit) : end]]

    @api.get("/progress", dependencies=turn)
    async def progress(slot: Slot = CANDIDATE) -> list[dict[str, Any]]:
        """How far a slot has read each partition of the decisions."""
        return [asdict(part) for part in await serve.store(slot).progress()]

    @api.get("/gate", dependencies=turn)
    async def gate(slot: Slot = CANDIDATE) -> dict[str, Any]:
        """Judge a slot now: one row for each criterion and segment."""
        try:
            require_slot(serve.deployments, slot)
            seen = await look(serve.redis, serve.deployments, slot, serve.release, serve.settings)
        except UserError as error:
            raise HTTPException(404, str(error)) from None
        control = present_run(serve.deployments, serve.settings.control)
        twin = serve.deployments.twins.get(str(serve.deployments.slot(slot).digest))
        beside = {"control": str(control) if control else None, "twin": None if twin is None else twin.digest}
        return {"slot": slot, **beside, **seen.judgement.to_json()}

    @api.get("/gate/verdict")
    async def gate_verdict(slot: Slot = CANDIDATE) -> dict[str, Any]:
        """The last verdict in a few flat fields, for engines that read one of them (Argo Rollouts' web provider)."""
        return _verdict(serve, slot)

    def ready(response: Response, slot: str) -> dict[str, Any]:
        told = _verdict(serve, slot)
        response.status_code = 200 if told["promote"] else 412
        return told

    @api.get("/gate/ready", responses=NOT_READY)
    async def gate_ready(response: Response, slot: Slot = CANDIDATE) -> dict[str, Any]:
        """200 if the last verdict is promote, else 412: for engines that read the status."""
        return ready(response, slot)

    @api.post("/gate/ready", responses=NOT_READY)
    async def gate_ready_hook(response: Response, slot: Slot = CANDIDATE) -> dict[str, Any]:
        """The same for engines that post (Flagger's webhooks). The body is not read."""
        return ready(response, slot)

    whoever = Depends(reading(people))

    @api.get("/disagreements", dependencies=turn, response_class=JSONResponse, responses=FORBIDDEN)
    async def disagreements(asked: Annotated[Asked, Parameter()], reader: Reader = whoever) -> Response:
        """A page of samples, how many match in all, and what `after` is for the next page."""
        reader.require(asked.card)
        try:
            chosen = Run.parse(asked.run) if asked.run is not None else present_run(serve.deployments, asked.slot)
        except ValueError as error:
            raise HTTPException(422, str(error)) from None
        try:
            require_slot(serve.deployments, asked.slot)
            if chosen == present_run(serve.deployments, asked.slot):  # an earlier run may have had other segments
                require_segment(serve.release.segments.names, asked.segment)
        except UserError as error:
            raise HTTPException(404, str(error)) from None
        if chosen is None:
            raise HTTPException(404, f"slot {asked.slot}: is empty; name a run of it: see /api/runs?slot={asked.slot}")
        store = serve.samples(asked.slot)
        found = await store.find(chosen, asked, serve.deployments.minor_per_unit)
        following = asked.after + len(found.places)
        head = {"run": str(chosen), "total": found.total, "next": following if following < found.total else None}
        return StreamingResponse(_listed(head, store.samples(chosen, found), reader), media_type="application/json")

    return api
