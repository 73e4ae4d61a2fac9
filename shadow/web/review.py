"""The review queue over HTTP: reading it wants the read token, handing out a case or marking it the operator's."""

from __future__ import annotations

from secrets import compare_digest
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Request
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from scorer.errors import UserError
from scorer.events import Name
from shadow.labels import Verdict
from shadow.reviewing import Queue, hand_out, mark, open_queue
from shadow.serving import Serve


class Marked(BaseModel):
    """What somebody says of a transaction."""

    model_config = ConfigDict(extra="forbid")

    transaction_id: Name
    verdict: Verdict
    by: Name
    reason: Annotated[str, Field(max_length=500)] | None = None
    slot: str = "candidate"


class Wanted(BaseModel):
    """Who wants cases, and how many."""

    model_config = ConfigDict(extra="forbid")

    by: Name
    count: int = Field(1, ge=1, le=100)
    slot: str = "candidate"
    show_models: bool = False


def bearer(request: Request, token: SecretStr) -> bool:
    """Whether a request has a token."""
    given = request.headers.get("authorization", "")
    return compare_digest(given.encode(), f"Bearer {token.get_secret_value()}".encode())


def router(serve: Serve, readers: list[Any]) -> APIRouter:
    """`GET /api/review` (where it stands), `POST /api/review/next` and `POST /api/review/mark`."""
    api = APIRouter(prefix="/api/review", tags=["review"])

    def operator(request: Request) -> None:
        token = serve.settings.operator_token
        if token is None:
            raise HTTPException(403, "nothing can be written here; set SHADOW_OPERATOR_TOKEN")
        if not bearer(request, token):
            raise HTTPException(401, "the operator token is needed: Authorization: Bearer …")

    async def queue_of(slot: str) -> Queue:
        try:
            return await open_queue(serve.redis, serve.deployments, slot, serve.release, serve.settings)
        except UserError as error:
            raise HTTPException(404, str(error)) from None

    @api.get("", dependencies=readers)
    async def progress(slot: str = "candidate") -> dict[str, Any]:
        return {"slot": slot, **(await queue_of(slot)).progress}

    @api.post("/next", dependencies=[Depends(operator)])
    async def following(wanted: Wanted) -> list[dict[str, Any]]:
        queue = await queue_of(wanted.slot)
        cases = await hand_out(serve.redis, serve.deployments, queue, serve.settings, wanted.by, wanted.count)
        if not wanted.show_models:
            for case in cases:
                del case["models"]
        return cases

    @api.post("/mark", dependencies=[Depends(operator)])
    async def marked(said: Marked) -> dict[str, str]:
        try:
            await mark(serve.redis, serve.settings, said.slot, said.transaction_id, said.verdict, said.by, said.reason)
        except UserError as error:
            raise HTTPException(503, str(error)) from None
        return {"transaction_id": said.transaction_id, "verdict": said.verdict, "by": said.by}

    return api
