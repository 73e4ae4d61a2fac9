"""Complaints about blocks over HTTP: who counts them feeds them, by event day."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt

from scorer.people import Who
from scorer.pipeline.card_number import masked
from scorer.pipeline.transaction import Name
from shadow.release.complaints_look import reported
from shadow.serve.service import Serve
from shadow.store.complaints import KEPT_DAYS, MOST_REPORTS, ComplaintStore, Kept
from shadow.web.auth import People, operator_of
from shadow.web.gate import REFUSALS
from shadow.web.review import WRITES


class Complaints(BaseModel):
    """A report: so many complaints about transactions of a day that were blocked.

    id: the sender's own name of the report; the same one again counts once. day: of the blocked transactions, in UTC.
    count: 0 says that there were none. segment: of `release.yaml`, if the report is about one. replace: correct the
    report of this id.
    """

    model_config = ConfigDict(extra="forbid")

    id: Name
    day: date
    count: Annotated[StrictInt, Field(ge=0, le=1_000_000)]
    segment: Name | None = None
    replace: StrictBool = False


def router(serve: Serve, readers: list[Any], turn: list[Any], people: People) -> APIRouter:
    """`GET /api/complaints` and `POST /api/complaints`. readers: who may read. people: who asks."""
    api = APIRouter(prefix="/api/complaints", tags=["complaints"], responses=REFUSALS)
    operator = Depends(operator_of(serve.settings, people))

    @api.get("", dependencies=[*readers, *turn])
    async def told(days: Annotated[int, Query(ge=1, le=KEPT_DAYS)] = 28) -> dict[str, Any]:
        """What was reported of the last days, and what that says of the last release."""
        after = _today() + timedelta(days=1)
        found = await reported(serve.redis, serve.settings.prefix, after - timedelta(days=days), after)
        seen = serve.release_watch.complaints
        return {
            "days": [
                {
                    "day": day.isoformat(),
                    "complaints": one.complaints,
                    "reports": one.reports,
                    "segments": dict(sorted(one.segments.items())),
                }
                for day, one in sorted(found.items())
            ],
            "release": None if seen is None else seen.to_json(),
        }

    @api.post("", responses={**WRITES, 409: {"description": "the id is known with another count, or too many reports"}})
    async def counted(said: Complaints, _: Who | None = operator) -> dict[str, str]:
        """Count complaints. Safe to repeat: a report counts once."""
        today = _today()
        if masked(said.id) != said.id:
            raise HTTPException(422, "id: looks like a card number; name the report otherwise")
        if not today - timedelta(days=KEPT_DAYS) < said.day <= today:
            raise HTTPException(422, f"day: is {said.day}; expected one of the last {KEPT_DAYS} days, up to {today}")
        if said.segment is not None and said.segment not in serve.release.segments.names:
            raise HTTPException(422, "segment: release.yaml declares no such segment; leave it out, or see /api/runs")
        store = ComplaintStore(serve.redis, serve.settings.prefix)
        done = await store.add(said.id, said.day, said.count, said.segment, said.replace)
        if done is Kept.DIFFERS:
            raise HTTPException(
                409, f'id: is known on {said.day} with another count or segment; add "replace": true to correct it'
            )
        if done is Kept.TOO_MANY:
            raise HTTPException(409, f"day: {said.day} has {MOST_REPORTS:,} reports, the most; send sums, not each one")
        return {"id": said.id, "day": said.day.isoformat(), "result": done.value}

    return api


def _today() -> date:
    return datetime.now(UTC).date()
