"""The explorer over HTTP: samples, facets, drivers, what-if, tallies over time, and files. Nothing here writes."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import numpy as np
import orjson
from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi import Query as Parameter
from fastapi.responses import StreamingResponse

from scorer.deployments.records import CANDIDATE
from scorer.errors import UserError
from scorer.pipeline.card_number import masked
from scorer.pipeline.instants import HOUR_MS
from shadow.comparison.bins import Counts
from shadow.comparison.case import by_transaction
from shadow.comparison.outcome import Outcome
from shadow.comparison.query import Query
from shadow.comparison.sample import Sample
from shadow.comparison.totals import ALL, LATE, Run, SegmentTotals
from shadow.exploration.cursor import BadCursorError
from shadow.exploration.drivers import drivers
from shadow.exploration.facets import facets
from shadow.exploration.page import page
from shadow.exploration.rows import COLUMNS, csv_lines, row
from shadow.exploration.table import DAY, DIRECTION, HOUR, LABEL, LABELS, OF_SEGMENTS, TOP_FEATURE, UnknownFieldError
from shadow.exploration.thresholds import by_histogram, by_samples
from shadow.exploration.words import reason, verdict
from shadow.labels.label import OPEN
from shadow.release.named import require_segment
from shadow.serve.desk import Opened, unknown
from shadow.serve.parquet import ParquetRows
from shadow.serve.service import Serve
from shadow.store.labels import LabelStore
from shadow.web.answers import answer, tagged
from shadow.web.asked import (
    EXAMPLE_ESTIMATE,
    EXAMPLE_HEAD,
    Asking,
    OfDrivers,
    OfExport,
    OfFacets,
    OfPage,
    OfWhatIf,
    Scope,
    head,
)
from shadow.web.gate import FORBIDDEN, REFUSALS, Slot
from shadow.web.reading import Reader, reading, shown

#: Rows of a file that are in memory at once, and transactions of a card that are shown beside one.
TOGETHER, OF_CARD = 200, 50
MEDIA = {"csv": "text/csv; charset=utf-8", "jsonl": "application/x-ndjson", "parquet": "application/vnd.apache.parquet"}
#: Of an export, in the OpenAPI document.
_FILE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "the file",
        "content": {kind.partition(";")[0]: {"schema": {"type": "string"}} for kind in MEDIA.values()},
    },
    501: {"description": "Parquet needs pyarrow on the server"},
}
_SAMPLE: dict[str, Any] = {
    "transaction_id": "t-1",
    "card_id": "c-9",
    "occurred_at": "2026-01-21T10:00:00.000Z",
    "outcome": "candidate_only",
    "amount_minor": 4210,
    "gap": 0.31,
    "released": False,
    "inclusion_probability": 0.4,
}
_NUMBER = {"value": 812.0, "low": 804.0, "high": 821.0}

RunName = Annotated[
    str | None,
    Parameter(pattern=r"^L[0-9]{1,9}-C[0-9]{1,9}$", description="run; the slot's current one if missing"),
]


def router(asking: Asking, readers: list[Any], turn: list[Any]) -> APIRouter:
    """`/api/samples`, `/api/facets`, `/api/drivers`, `/api/what-if`, `/api/tallies`, `/api/export`.

    readers: who may ask. turn: for what reads much.
    """
    serve = asking.serve
    api = APIRouter(prefix="/api", dependencies=readers, responses={**REFUSALS, **FORBIDDEN}, tags=["explorer"])
    whoever = Depends(reading(asking.people))

    def about(opened: Opened) -> dict[str, Any]:
        return head(opened, serve.deployments.minor_per_unit, currency_of(serve))

    @api.get(
        "/samples",
        dependencies=turn,
        responses=answer("the page", {**EXAMPLE_HEAD, "next": "AAAAAMDMWUAAAAAA", "page": [_SAMPLE]}),
    )
    async def samples(request: Request, asked: Annotated[OfPage, Parameter()], reader: Reader = whoever) -> Response:
        """A page of the samples that a question means, and how many transactions of the whole stream that is.

        `next` is the cursor of the next page. A sample stands for 1 / inclusion_probability transactions.
        """
        opened = await asking.open(asked, reader)
        try:
            found = page(
                opened.table, opened.rows, asked, asked.sort, asked.ascending, asked.limit, asked.cursor or None
            )
        except BadCursorError as error:
            raise HTTPException(422, f"cursor: {error}") from None
        told = [shown(sample, reader) async for sample in asking.desk.samples(opened, found.rows)]
        return tagged(request, {**about(opened), "next": found.next, "page": told})

    @api.get(
        "/sample",
        dependencies=turn,
        responses=answer(
            "the sample",
            {
                "sample": _SAMPLE,
                "verdict": "Live allows it, the candidate would block it.",
                "reasons": ["amount is 42.1: the candidate sees more risk in it than live"],
                "label": "waiting",
                "votes": [{"source": "review", "by": "ann", "at": "2026-01-22T09:00:00+00:00", "verdict": "fraud"}],
                "notes": [
                    {"source": "review", "by": "ann", "at": "2026-01-22T09:00:00+00:00", "text": "asked the bank"}
                ],
                "assigned": {"to": "ben", "by": "ann", "at": "2026-01-22T09:00:00+00:00"},
                "same_card": [_SAMPLE],
            },
        ),
    )
    async def sample_of(
        request: Request,
        transaction: Annotated[str, Parameter(min_length=1, max_length=300, description="id of a transaction")],
        slot: Slot = CANDIDATE,
        run: RunName = None,
        reader: Reader = whoever,
    ) -> Response:
        """One sample: who blocks and why, what people said and wrote of it, who is to review it, and what else there
        is of its card."""
        found = await told_of(asking, Scope(slot=slot, run=run, transaction=transaction), reader)
        return tagged(request, found)

    @api.get(
        "/facets",
        dependencies=turn,
        responses=answer(
            "the facets",
            {
                **EXAMPLE_HEAD,
                "facets": [
                    {
                        "field": "segment.country",
                        "values": [{"value": "FR", "count": EXAMPLE_ESTIMATE, "amount": 51234.5}],
                        "more_values": 2,
                        "samples_in_more": 31,
                    }
                ],
                "fields": ["segment.country", "hour", "merchant_id"],
            },
        ),
    )
    async def told_facets(
        request: Request, asked: Annotated[OfFacets, Parameter()], reader: Reader = whoever
    ) -> Response:
        """Where the differences are: the largest values of some fields, as estimates of the whole stream.

        Each facet leaves out the conditions on its own field, so that the alternatives are seen.
        """
        opened = await asking.open(asked, reader)
        table = opened.table
        names = asked.field or [*(OF_SEGMENTS + d for d in table.divisions), DIRECTION, HOUR, DAY, LABEL, TOP_FEATURE]
        try:
            found = facets(table, opened.masks, names, asked.top)
        except UnknownFieldError as error:
            raise HTTPException(404, str(unknown(error))) from None
        unit = serve.deployments.minor_per_unit
        told = [one.to_json(unit) for one in found]
        return tagged(request, {**about(opened), "facets": told, "fields": table.names})

    @api.get(
        "/drivers",
        dependencies=turn,
        responses=answer(
            "the features",
            {
                **EXAMPLE_HEAD,
                "features": [
                    {
                        "feature": "amount",
                        "share": 0.41,
                        "mean_difference": 0.83,
                        "error": 0.05,
                        "largest_in": 0.52,
                        "samples": 312,
                    }
                ],
                "explained": 380,
            },
        ),
    )
    async def told_drivers(
        request: Request, asked: Annotated[OfDrivers, Parameter()], reader: Reader = whoever
    ) -> Response:
        """Which features drive all the differences that a question means, in log-odds of the score."""
        opened = await asking.open(asked, reader)
        found = drivers(opened.table, opened.rows, asked.top).to_json()
        del found["samples"]
        return tagged(request, {**about(opened), **found})

    @api.get(
        "/what-if",
        dependencies=turn,
        responses=answer(
            "what it would do",
            {
                "slot": "candidate",
                "run": "L1-C1",
                "currency": "EUR",
                "threshold": 0.4,
                "transactions": 120000.0,
                "live_blocks": 3600.0,
                "blocks": _NUMBER,
                "candidate_only": _NUMBER,
                "live_only": _NUMBER,
                "candidate_only_amount": _NUMBER,
                "live_only_amount": _NUMBER,
                "source": "histogram",
            },
        ),
    )
    async def what_if(request: Request, asked: Annotated[OfWhatIf, Parameter()], reader: Reader = whoever) -> Response:
        """What the candidate would block with another threshold.

        For all traffic or one segment from the histogram of all scores, exact but for the bin that holds the threshold;
        for any other question from samples, agreements among them, with a 95 % interval.
        """
        opened = await asking.open(asked.model_copy(update={"agreements": True}), reader)
        plain = set(asked.model_fields_set) <= {"threshold", "segment", "slot", "run", "agreements"}
        if plain and len(asked.segment) <= 1:
            totals = await serve.store(asked.slot).totals(opened.run)
            part = totals.segments.get(asked.segment[0] if asked.segment else ALL, SegmentTotals())
            found = by_histogram(part.scores, part.live_blocks, asked.threshold)
        else:
            found = by_samples(opened.table, opened.rows, asked.threshold)
        unit = serve.deployments.minor_per_unit
        named = {"slot": asked.slot, "run": str(opened.run), "currency": currency_of(serve)}
        return tagged(request, {**named, **found.to_json(unit)})

    @api.get(
        "/tallies",
        dependencies=turn,
        responses=answer(
            "the tallies",
            {
                "slot": "candidate",
                "run": "L1-C1",
                "segment": "all",
                "by": "day",
                "currency": "EUR",
                "tallies": [
                    {
                        "start": "2026-01-21T00:00:00+00:00",
                        "both_allow": 5000,
                        "both_block": 120,
                        "live_only": 9,
                        "candidate_only": 14,
                        "live_only_amount": 812.4,
                        "candidate_only_amount": 1200.0,
                        "errors": 0,
                    }
                ],
            },
        ),
    )
    async def tallies(
        request: Request,
        slot: Slot = CANDIDATE,
        run: RunName = None,
        segment: Annotated[str, Parameter(max_length=300, description="segment, such as country=FR")] = ALL,
        by: Annotated[Literal["hour", "day"], Parameter(description="what is added up")] = "day",
    ) -> Response:
        """How many transactions both models decided in which way, hour by hour or day by day. These are exact."""
        chosen = await chosen_run(asking, slot, run)
        try:
            require_segment(serve.release.segments.names, segment)
        except UserError as error:
            raise HTTPException(404, str(error)) from None
        found = await over_time(serve, slot, chosen, segment, by)
        named = {"slot": slot, "run": str(chosen), "segment": segment, "by": by, "currency": currency_of(serve)}
        return tagged(request, {**named, "tallies": found})

    @api.get("/export", dependencies=turn, responses=_FILE)
    async def export(asked: Annotated[OfExport, Parameter()], reader: Reader = whoever) -> Response:
        """The samples that a question means as a file, with the probability and the weight of each."""
        opened = await asking.open(asked, reader)
        found = page(opened.table, opened.rows, asked, asked.sort, asked.ascending, asked.limit, None)
        name = f"{asked.slot}-{opened.run}.{asked.format}"
        headers = {"content-disposition": f'attachment; filename="{name}"', "x-total": str(found.total)}
        rows = _rows(asking, opened, found.rows, reader)
        if asked.format != "parquet":
            return StreamingResponse(_lines(rows, asked.format), media_type=MEDIA[asked.format], headers=headers)
        file = tempfile.TemporaryFile()  # noqa: SIM115 - closed once it was sent
        try:
            writer = ParquetRows(file)
        except UserError as error:
            file.close()
            raise HTTPException(501, str(error)) from None
        async for some in rows:
            writer.write(some)
        writer.close()
        file.seek(0)
        return StreamingResponse(_chunks(file), media_type=MEDIA["parquet"], headers=headers)

    return api


def currency_of(serve: Serve) -> str | None:
    """The code of the reporting currency; None while no feature view names one."""
    currency = serve.deployments.currency
    return None if currency is None else currency.code


async def chosen_run(asking: Asking, slot: str, run: str | None) -> Run:
    """The run that is meant. Raises HTTPException: 404 if it is not there."""
    try:
        return await asking.desk.chosen(asking.serve.deployments, slot, run)
    except UserError as error:
        raise HTTPException(404, str(error)) from None


async def over_time(serve: Serve, slot: str, run: Run, segment: str, by: str) -> list[dict[str, Any]]:
    """Tallies of a segment by event hour or day, oldest first; those dated too far off are left out."""
    unit = serve.deployments.minor_per_unit
    sums: dict[int, tuple[Counts, Counts, int]] = {}
    for hour, part in (await serve.store(slot).hourly(run, segment)).items():
        if hour != LATE:
            start = hour if by == "hour" else hour - hour % 24
            counts, minor, errors = sums.get(start, (np.zeros(4, np.int64), np.zeros(4, np.int64), 0))
            sums[start] = counts + part.counts, minor + part.minor, errors + part.errors
    return [
        {
            "start": _instant(start * HOUR_MS),
            **{outcome.key: int(counts[outcome]) for outcome in Outcome},
            "live_only_amount": round(int(minor[Outcome.LIVE_ONLY]) / unit, 2),
            "candidate_only_amount": round(int(minor[Outcome.CANDIDATE_ONLY]) / unit, 2),
            "errors": errors,
        }
        for start, (counts, minor, errors) in sorted(sums.items())
    ]


async def told_of(asking: Asking, asked: Scope, reader: Reader) -> dict[str, Any]:
    """All there is on one transaction. Raises HTTPException: 404 if no sample has it."""
    serve, transaction = asking.serve, asked.transaction or ""
    run = await chosen_run(asking, asked.slot, asked.run)
    store, unit = serve.samples(asked.slot), serve.deployments.minor_per_unit
    there, _ = await store.page(run, Query(transaction=transaction, agreements=True, limit=1), unit)
    if not there:
        raise HTTPException(
            404,
            f"transaction {masked(transaction)}: run {run} of slot {asked.slot} has no sample of it; samples are "
            f"kept for {serve.settings.sample_days} days, and not of every transaction",
        )
    sample = there[0]
    beside: list[Sample] = []
    if reader.sees_cards:
        query = Query(card=sample.card_id, agreements=True, limit=OF_CARD)
        beside = [one for one in (await store.page(run, query, unit))[0] if one.transaction_id != transaction]
    known = asking.known(asked.slot, str(run)).codes(np.array([sample.hash]))
    return {
        "sample": shown(sample, reader),
        "verdict": verdict(sample),
        "reasons": [reason(part, sample.transaction) for part in sample.why or ()],
        "label": LABELS[int(known[0])],
        **await said_of(serve, asked.slot, transaction),
        "same_card": [shown(one, reader) for one in beside],
    }


async def said_of(serve: Serve, slot: str, transaction: str) -> dict[str, Any]:
    """What people and feeds said of a transaction, and wrote, newest first; and who is to review it."""
    subject, labels = by_transaction(transaction), LabelStore(serve.redis, serve.settings.prefix)
    found = await labels.of([subject])
    notes = (await labels.notes([subject])).get(subject, [])
    assigned = (await labels.assignments(slot)).get(transaction)
    votes = [
        {"source": source, "by": by, "at": _instant(at), "verdict": said}
        for several in found.get(subject, ())
        for source, people in several.items()
        for by, (at, said) in people.items()
        if said != OPEN
    ]
    return {
        "votes": sorted(votes, key=lambda vote: vote["at"], reverse=True),
        "notes": [
            {"source": note.source, "by": note.by, "at": _instant(note.at_ms), "text": note.text} for note in notes
        ],
        "assigned": None
        if assigned is None
        else {"to": assigned.to, "by": assigned.by, "at": _instant(assigned.at_ms)},
    }


def _instant(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")


async def _rows(asking: Asking, opened: Opened, rows: Any, reader: Reader) -> AsyncIterator[Sequence[dict[str, Any]]]:
    """Flat rows of samples, some at a time."""
    unit, table = asking.serve.deployments.minor_per_unit, opened.table
    for start in range(0, len(rows), TOGETHER):
        some = rows[start : start + TOGETHER]
        states = dict(zip(table.entries["hash"][some].tolist(), table.labels[some].tolist(), strict=True))
        yield [
            row(sample, unit, LABELS[states.get(sample.hash, 0)], reader.sees_cards)
            async for sample in asking.desk.samples(opened, some)
        ]


async def _lines(rows: AsyncIterator[Sequence[dict[str, Any]]], kind: str) -> AsyncIterator[bytes]:
    if kind == "csv":
        yield csv_lines(()).encode()
    async for some in rows:
        if kind == "csv":
            yield csv_lines(some, with_head=False).encode()
        else:
            yield b"".join(orjson.dumps({name: one[name] for name in COLUMNS}) + b"\n" for one in some)


async def _chunks(file: Any) -> AsyncIterator[bytes]:
    with file:
        while chunk := file.read(1 << 16):
            yield chunk
