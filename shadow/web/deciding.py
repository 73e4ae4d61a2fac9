"""Approval, rejection and rollback over HTTP: the same rules and the same code as on the command line."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Response
from pydantic import BaseModel, ConfigDict, Field, StrictBool

from scorer.deployments.records import CANDIDATE, LONGEST_COMMENT
from scorer.deployments.signatures import SEQ
from scorer.errors import BrokerError, UserError
from scorer.people import Who
from scorer.pipeline.transaction import Name
from shadow.release.comments import checked
from shadow.release.deciding import Settled, Wish, why_not_over_http
from shadow.release.named import UnknownNameError
from shadow.release.promotion import NotReadyError
from shadow.serve.decider import Decider, TooManyError, UnderWayError
from shadow.serve.service import Serve
from shadow.settings import ShadowSettings
from shadow.store.connection import StoreAwayError
from shadow.web.auth import People, decider_of, signed
from shadow.web.gate import REFUSALS, SLOT
from shadow.web.problems import CONTENT
from shadow.web.review import WRITES

SIGNED: dict[int | str, dict[str, Any]] = {
    409: {"description": "changes must be signed, so it takes the command line", "content": CONTENT}
}
Seq = Annotated[str, Field(pattern=SEQ)]
Reason = Annotated[str, Field(min_length=1, max_length=LONGEST_COMMENT, description="for the record")]
_BY = Field(None, description="name; may be left out, as it is that of the token")
_SUGGESTION = Field(
    None,
    description="ledger key of the suggestion that you have seen: with it nothing is decided of another one, and to "
    "ask again gives the same answer",
)


class Approved(BaseModel):
    """A person's approval of a candidate."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"suggestion": "00000042-9f86d081", "reason": "fewer insults in FR"}},
    )

    reason: Reason
    suggestion: Seq | None = _SUGGESTION
    slot: str = Field(CANDIDATE, pattern=SLOT)
    by: Name | None = _BY
    threshold: float | None = Field(
        None, ge=0, le=1, allow_inf_nan=False, description="of the new live model; one that was not judged needs force"
    )
    force: StrictBool = Field(False, description="a forced release, which stays on record; with `suggestion`, only "
                                                 "while that one stands")  # fmt: skip


class Rejected(BaseModel):
    """A person's rejection of a suggestion."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"suggestion": "00000042-9f86d081", "reason": "not before the holidays"}},
    )

    reason: Reason
    suggestion: Seq | None = _SUGGESTION
    slot: str = Field(CANDIDATE, pattern=SLOT)
    by: Name | None = _BY


class RolledBack(BaseModel):
    """A person's wish to have the model before live again."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"live_epoch": 7, "reason": "complaints from FR"}}
    )

    reason: Reason
    slot: str = Field(CANDIDATE, pattern=SLOT, description="where the model that is replaced goes, if it is empty")
    live_epoch: int | None = Field(
        None, ge=0, le=2**31, description="epoch of live that you have seen: with it nothing is done if it is another"
    )
    by: Name | None = _BY


_EXAMPLE = {
    "state": "released",
    "entry": "00000043-1c2d3e4f",
    "by": "ann",
    "verified": "token",
    "live": {"digest": "9f86d081884c7d65" * 4, "threshold": 0.62, "epoch": 8},
    "told": ["bundle 9f86d081884c: loaded by every scorer (3)", "every scorer decides by it (3)"],
    "late": {},
    "repeated": False,
}


def _answers(example: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    content = {"application/json": {"schema": {"type": "object"}, "example": example}}
    waits = {**example, "state": "waits", "told": ["approved by ann as the first of two (ledger entry …)"]}
    return {
        200: {"description": "it is done, and on the ledger as `entry`", "content": content},
        202: {
            "description": "on the ledger as the first of two approvals; a second person repeats it",
            "content": {"application/json": {"schema": {"type": "object"}, "example": waits}},
        },
        **WRITES,
        404: {"description": "no such slot", "content": CONTENT},
        409: {"description": "what stands against it, or who was first", "content": CONTENT},
        503: {"description": "Kafka, Redis or a scorer is not there, or it is still under way", "content": CONTENT},
    }


def said_of(text: str, field: str) -> str:
    """What somebody says, as it may go on the ledger. Raises HTTPException, 422."""
    try:
        return checked(text, field)
    except UserError as error:
        raise HTTPException(422, str(error)) from None


def refuse_if_signed(settings: ShadowSettings, command: str) -> None:
    """Raises HTTPException, 409, where only what a person's key has signed counts."""
    why = why_not_over_http(settings, command)
    if why is not None:
        raise HTTPException(409, why)


async def carried_out(serve: Serve, decider: Decider, wish: Wish, who: Who) -> Settled:
    """What came of a wish, once it is known here, too. Raises HTTPException: 409 for what stands against it, 404 for a
    slot that is not there, 503 for what is not available."""
    refuse_if_signed(serve.settings, wish.command)
    try:
        settled = await decider.decide(wish, who)
    except UnknownNameError as error:
        raise HTTPException(404, str(error)) from None
    except (BrokerError, StoreAwayError, NotReadyError, TooManyError, UnderWayError) as error:
        raise HTTPException(503, str(error)) from None
    except UserError as error:
        raise HTTPException(409, str(error)) from None
    await serve.until(settled.line.seq)
    return settled


def router(serve: Serve, people: People, decider: Decider) -> APIRouter:
    """`POST /api/suggestions/approve`, `/api/suggestions/reject` and `/api/rollback`. people: who asks."""
    api = APIRouter(prefix="/api", tags=["decisions"], responses=REFUSALS)
    releaser = Depends(decider_of(people))

    async def answered(response: Response, wish: Wish, who: Who) -> dict[str, Any]:
        settled = await carried_out(serve, decider, wish, who)
        response.status_code = 202 if settled.state == "waits" else 200
        return settled.to_json()

    @api.post("/suggestions/approve", responses=_answers(_EXAMPLE))
    async def approved(said: Approved, response: Response, who: Who = releaser) -> dict[str, Any]:
        """Put a candidate live, if the gate promotes it at this moment; or approve it as the first of two."""
        signed(who, said.by)
        wish = Wish("approve", said_of(said.reason, "reason"), said.slot, said.suggestion, said.threshold, said.force)
        return await answered(response, wish, who)

    @api.post("/suggestions/reject", responses=_answers({**_EXAMPLE, "state": "rejected", "told": []}))
    async def rejected(said: Rejected, response: Response, who: Who = releaser) -> dict[str, Any]:
        """Reject the suggestion that waits for a slot; the candidate stays in the shadow."""
        signed(who, said.by)
        wish = Wish("reject", said_of(said.reason, "reason"), said.slot, said.suggestion)
        return await answered(response, wish, who)

    @api.post("/rollback", responses=_answers({**_EXAMPLE, "state": "rolled_back"}))
    async def rolled_back(said: RolledBack, response: Response, who: Who = releaser) -> dict[str, Any]:
        """Put the model in slot `previous` live again."""
        signed(who, said.by)
        wish = Wish("rollback", said_of(said.reason, "reason"), said.slot, live_epoch=said.live_epoch)
        return await answered(response, wish, who)

    return api
