"""How things stand, and how they came to, over HTTP. Nothing here writes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, HTTPException, Response
from fastapi import Query as Parameter
from pydantic import AfterValidator

from scorer.errors import UserError
from shadow.comparison.query import Instant, query_ms
from shadow.intake.reviews import verdict_of
from shadow.release.history import Row, chosen, history
from shadow.release.named import require_any_slot
from shadow.release.standing import status_of
from shadow.release.status import Status
from shadow.serve.service import TOO_OLD, Serve
from shadow.web.gate import REFUSALS, SLOT

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
#: The first and the last millisecond that a datetime can name, since 1970.
_FIRST_MS = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MS
_LAST_MS = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MS


def _an_instant(value: str) -> str:
    query_ms(value)
    return value


Time = Annotated[Instant, AfterValidator(_an_instant)]
SlotOrAll = Annotated[str | None, Parameter(pattern=SLOT, description="name of a slot; all if missing")]


def _time(value: str | None) -> datetime | None:
    return None if value is None else _EPOCH + min(max(query_ms(value), _FIRST_MS), _LAST_MS) * _MS


def rows_of(serve: Serve, slot: str | None = None, **bounds: datetime | None) -> list[Row]:
    """Rows of the history. Raises HTTPException for a slot that was never filled."""
    deployments = serve.deployments
    if slot is not None:
        try:
            require_any_slot(deployments, slot)
        except UserError as error:
            raise HTTPException(404, str(error)) from None
    return chosen(history(deployments), slot, **bounds)


def page_of(rows: Sequence[Row], limit: int, skip: int) -> tuple[Sequence[Row], bool]:
    """A page of rows, counted from the newest, and whether there are earlier ones."""
    end = max(0, len(rows) - skip)
    return rows[max(0, end - limit) : end], end > limit


async def present_status(serve: Serve) -> Status:
    """How things stand by the last look of the gate."""
    trouble = serve.trouble or (TOO_OLD if serve.is_late else None)
    looks = {} if trouble else dict(serve.looks)
    deployments, release = serve.deployments, serve.release

    def gathered() -> Status:
        verdicts = {slot: verdict_of(seen, release) for slot, seen in looks.items()}
        seen = None if trouble else serve.release_watch.last
        said = None if trouble else serve.release_watch.complaints
        return status_of(deployments, serve.manifest, verdicts, trouble, serve.settings, seen, said)

    return await asyncio.to_thread(gathered)


def router(serve: Serve, readers: list[Any], turn: list[Any]) -> APIRouter:
    """`/api/status` and `/api/history`. readers: who may ask. turn: for what reads much."""
    api = APIRouter(prefix="/api", dependencies=readers, responses=REFUSALS)

    @api.get("/status", dependencies=turn)
    async def status() -> dict[str, Any]:
        """What is live and how old its data is, what is in each slot, and what waits for whom."""
        return (await present_status(serve)).to_json()

    @api.get("/history", dependencies=turn)
    async def told(
        response: Response,
        slot: SlotOrAll = None,
        since: Annotated[Time | None, Parameter(description="only entries at or after this time")] = None,
        until: Annotated[Time | None, Parameter(description="only entries before this time")] = None,
        at: Annotated[
            Time | None, Parameter(description="only the changes that had put into each slot what it held then")
        ] = None,
        limit: Annotated[int, Parameter(ge=1, le=10_000, description="most entries, the newest ones")] = 1_000,
        skip: Annotated[int, Parameter(ge=0, le=2**31, description="newer entries to leave out")] = 0,
    ) -> list[dict[str, Any]]:
        """Who changed which slot, when and why, what stood for and against it, and for how long it stood, oldest first.

        A header `Link` leads to earlier ones.
        """
        rows = rows_of(serve, slot, since=_time(since), until=_time(until), at=_time(at))
        page, is_more = page_of(rows, limit, skip)
        if is_more:
            asked = {"slot": slot, "since": since, "until": until, "at": at, "limit": limit, "skip": skip + limit}
            query = urlencode({name: value for name, value in asked.items() if value is not None})
            response.headers["Link"] = f'</api/history?{query}>; rel="prev"'
        return [row.to_json() for row in page]

    return api
