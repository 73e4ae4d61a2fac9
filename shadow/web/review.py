"""The review queue over HTTP. Reading it takes the read token; getting or marking a case takes the operator's."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException
from pydantic import BaseModel, ConfigDict, Field, StrictBool

from scorer.errors import BrokerError, UserError
from scorer.people import Who
from scorer.pipeline.card_number import masked
from scorer.pipeline.transaction import Name
from shadow.intake.reviews import Queue, hand_out, mark, open_queue
from shadow.labels.label import LabelVerdict
from shadow.release.named import UnknownNameError, require_slot
from shadow.serve.service import Serve
from shadow.web.auth import People, operator_of, signed
from shadow.web.gate import REFUSALS, SLOT, Slot

WRITES: dict[int | str, dict[str, Any]] = {
    403: {"description": "nobody may write, or not this person, or not in this name"},
    413: {"description": "the body is too large"},
}


class Marked(BaseModel):
    """A person's answer to a case. by: who that is; may be left out with the token of a person."""

    model_config = ConfigDict(extra="forbid")

    transaction_id: Name
    verdict: LabelVerdict
    by: Name | None = None
    reason: Annotated[str, Field(max_length=500)] | None = None
    slot: str = Field("candidate", pattern=SLOT)


class Wanted(BaseModel):
    """A person's request for cases. by: as in `Marked`."""

    model_config = ConfigDict(extra="forbid")

    by: Name | None = None
    count: int = Field(1, ge=1, le=100)
    slot: str = Field("candidate", pattern=SLOT)
    show_models: StrictBool = False


def _unknown(serve: Serve, slot: str, error: UnknownNameError) -> str:
    """What is not known: the slot, or else what the error says."""
    try:
        require_slot(serve.deployments, slot)
    except UnknownNameError as first:
        return str(first)
    return str(error)


def router(serve: Serve, readers: list[Any], turn: list[Any], people: People) -> APIRouter:
    """`GET /api/review` (progress), `POST /api/review/next` and `POST /api/review/mark`.

    readers: who may read. turn: for what reads much. people: who asks.
    """
    api = APIRouter(prefix="/api/review", tags=["review"], responses=REFUSALS)
    operator = Depends(operator_of(serve.settings, people))

    async def queue_of(slot: str) -> Queue:
        try:
            return await open_queue(serve.redis, serve.deployments, slot, serve.release, serve.settings)
        except UserError as error:
            raise HTTPException(404, str(error)) from None

    @api.get("", dependencies=[*readers, *turn])
    async def progress(slot: Slot = "candidate") -> dict[str, Any]:
        """Where the reviews of each segment stand."""
        return {"slot": slot, **(await queue_of(slot)).progress}

    @api.post("/next", dependencies=turn, responses=WRITES)
    async def following(wanted: Wanted, who: Who | None = operator) -> list[dict[str, Any]]:
        """Hand out the cases that are to be reviewed next."""
        by = signed(who, wanted.by)
        queue = await queue_of(wanted.slot)
        cases = await hand_out(serve.redis, serve.deployments, queue, serve.settings, by, wanted.count)
        if not wanted.show_models:
            for case in cases:
                del case["models"]
        return cases

    @api.post("/mark", responses=WRITES)
    async def marked(said: Marked, who: Who | None = operator) -> dict[str, str]:
        """Record what a person says of a case."""
        by = signed(who, said.by)
        try:
            await mark(serve.redis, serve.settings, said.slot, said.transaction_id, said.verdict, by, said.reason)
        except BrokerError as error:
            raise HTTPException(503, str(error)) from None
        except UnknownNameError as error:
            raise HTTPException(404, masked(_unknown(serve, said.slot, error))) from None
        except UserError as error:
            raise HTTPException(422, str(error)) from None
        return {"transaction_id": said.transaction_id, "verdict": said.verdict, "by": by}

    return api
