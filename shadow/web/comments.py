"""Comments on suggestions over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException
from pydantic import BaseModel, ConfigDict, Field

from scorer.deployments.records import LONGEST_COMMENT
from scorer.deployments.signatures import SEQ
from scorer.errors import BrokerError, UserError
from scorer.people import Who
from scorer.pipeline.transaction import Name
from shadow.release.comments import comment, require_waiting, told_json
from shadow.serve.service import Serve
from shadow.web.auth import People, operator_of, signed
from shadow.web.deciding import SIGNED, refuse_if_signed, said_of
from shadow.web.gate import REFUSALS
from shadow.web.review import WRITES


class Said(BaseModel):
    """What a person says of a suggestion. by: who that is; may be left out by a person who is known."""

    model_config = ConfigDict(extra="forbid")

    suggestion: Annotated[str, Field(pattern=SEQ)]
    text: Annotated[str, Field(min_length=1, max_length=LONGEST_COMMENT)]
    by: Name | None = None


def router(serve: Serve, people: People) -> APIRouter:
    """`POST /api/suggestions/comment`. people: who asks."""
    api = APIRouter(prefix="/api/suggestions", responses=REFUSALS)
    operator = Depends(operator_of(serve.settings, people))

    @api.post("/comment", responses={**WRITES, **SIGNED, 404: {"description": "no such suggestion waits"}})
    async def commented(said: Said, who: Who | None = operator) -> dict[str, str]:
        """Comment on a suggestion that waits."""
        name = signed(who, said.by)
        refuse_if_signed(serve.settings, f"shadow comment {said.suggestion} TEXT")
        said_of(said.text, "text")
        try:
            require_waiting(serve.deployments, said.suggestion)
            line = await comment(serve.settings, said.suggestion, said.text, who or Who.called(name))
        except BrokerError as error:
            raise HTTPException(503, str(error)) from None
        except UserError as error:
            raise HTTPException(404, str(error)) from None
        return told_json(line)

    return api
