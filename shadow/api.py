"""The HTTP interface of `shadow serve`: health, metrics, and JSON over Redis and the last looks of the gate."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi import Query as Parameter
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel
from redis.exceptions import RedisClusterException, RedisError

from scorer.deployments import CANDIDATE, Suggestion
from scorer.errors import UserError
from shadow import metrics
from shadow.findings import Decision
from shadow.gauges import DECISIONS
from shadow.look import look, present_run
from shadow.query import Query, select
from shadow.review_api import bearer, router
from shadow.serving import Serve
from shadow.tally import OUTCOMES, Run, RunTotals


class Asked(Query):
    """A query with whose samples are wanted: of a slot's present run, or of the run that is named."""

    slot: str = CANDIDATE
    run: str | None = None


def totals_json(totals: RunTotals) -> dict[str, Any]:
    """A run's sums for machines."""
    segments = {
        name: {
            key: getattr(part, key).tolist() for key in ("counts", "minor", "pairs", "live_scores", "candidate_scores")
        }
        | {"errors": part.errors}
        for name, part in totals.segments.items()
    }
    plain = {key: value for key, value in asdict(totals).items() if key not in ("segments", "run")}
    return {"run": str(totals.run), **plain, "compared": totals.compared, "outcomes": OUTCOMES, "segments": segments}


def _verdict(serve: Serve, slot: str) -> dict[str, Any]:
    """A slot's last look in flat fields. Raises HTTPException 404 if there is none, 503 if it is too long ago."""
    seen = serve.looks.get(slot)
    if seen is None:
        raise HTTPException(404, f"slot {slot}: the gate has not looked at it; is there a candidate in it?")
    if serve.is_late:
        raise HTTPException(503, serve.trouble or "the gate has not looked for long")
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


def build(serve: Serve) -> FastAPI:
    """The HTTP application."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await serve.start()
        yield
        await serve.stop()

    def allowed(request: Request) -> None:
        token = serve.settings.read_token
        if token is not None and not bearer(request, token):
            raise HTTPException(401, "a read token is needed: Authorization: Bearer …")

    app = FastAPI(title="Shadow scorer", lifespan=lifespan, openapi_url="/api/openapi.json", docs_url="/api/docs")
    guard = [Depends(allowed)]

    @app.exception_handler(RedisError)
    @app.exception_handler(RedisClusterException)
    async def redis_away(request: Request, error: Exception) -> Response:
        return Response(f"redis is away: {error}\n", 503, media_type="text/plain")

    @app.get("/metrics")
    def metrics_page() -> Response:
        return Response(generate_latest(metrics.SERVE_REGISTRY), media_type=CONTENT_TYPE_LATEST)

    @app.get("/livez")
    async def livez() -> Response:
        return Response("ok\n", media_type="text/plain")

    @app.get("/readyz")
    async def readyz() -> Response:
        trouble = serve.trouble or ("the gate has not looked for long" if serve.is_late else None)
        return Response(f"{trouble or 'ok'}\n", 503 if trouble else 200, media_type="text/plain")

    @app.get("/api/slots", dependencies=guard)
    async def slots() -> dict[str, Any]:
        return {name: asdict(slot) for name, slot in sorted(serve.deployments.slots.items())}

    @app.get("/api/ledger", dependencies=guard)
    async def ledger() -> list[dict[str, Any]]:
        return [{"seq": line.seq, "void": line.is_void, **_plain(line.entry)} for line in serve.deployments.ledger]

    @app.get("/api/suggestions", dependencies=guard)
    async def suggestions() -> list[dict[str, Any]]:
        open_ones = serve.deployments.open_suggestions()
        return [{"seq": line.seq, **_plain(line.entry)} for line in open_ones if isinstance(line.entry, Suggestion)]

    @app.get("/api/runs", dependencies=guard)
    async def runs(slot: str = "candidate") -> list[dict[str, Any]]:
        store = serve.store(slot)
        return [totals_json(await store.totals(info.run)) for info in await store.runs()]

    @app.get("/api/progress", dependencies=guard)
    async def progress(slot: str = "candidate") -> list[dict[str, Any]]:
        return [asdict(part) for part in await serve.store(slot).progress()]

    @app.get("/api/gate", dependencies=guard)
    async def gate(slot: str = "candidate") -> dict[str, Any]:
        try:
            seen = await look(serve.redis, serve.deployments, slot, serve.release, serve.settings)
        except UserError as error:
            raise HTTPException(404, str(error)) from None
        control = present_run(serve.deployments, serve.settings.control)
        return {"slot": slot, "control": str(control) if control else None, **seen.judgement.to_json()}

    @app.get("/api/gate/verdict", dependencies=guard)
    async def gate_verdict(slot: str = "candidate") -> dict[str, Any]:
        """The last look in few flat fields, for engines that read one number or word (Argo Rollouts' web provider)."""
        return _verdict(serve, slot)

    @app.api_route("/api/gate/ready", methods=["GET", "POST"], dependencies=guard)
    async def gate_ready(response: Response, slot: str = "candidate") -> dict[str, Any]:
        """200 if the last look promotes, else 412: for engines that go by the status (Flagger's webhooks)."""
        told = _verdict(serve, slot)
        response.status_code = 200 if told["promote"] else 412
        return told

    @app.get("/api/disagreements", dependencies=guard)
    async def disagreements(asked: Annotated[Asked, Parameter()]) -> dict[str, Any]:
        try:
            chosen = Run.parse(asked.run) if asked.run is not None else present_run(serve.deployments, asked.slot)
        except ValueError as error:
            raise HTTPException(422, str(error)) from None
        if chosen is None:
            raise HTTPException(404, f"slot {asked.slot}: is empty; name a run")
        samples = await serve.store(asked.slot).samples(chosen)
        page, total = select(samples, asked, 10.0**serve.settings.minor_digits)
        following = asked.after + len(page)
        return {"run": str(chosen), "total": total, "next": following if following < total else None, "samples": page}

    app.include_router(router(serve, guard))
    return app
