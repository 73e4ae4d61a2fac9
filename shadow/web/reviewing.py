"""The pages on which people review: the next case, marked by one key, and what colleagues decided.

Complete without a script: each mark is a form, and its answer is an address with the next case.
"""

from __future__ import annotations

import time
from datetime import date
from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qsl

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi import Query as Parameter
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from scorer.deployments.records import CANDIDATE
from scorer.errors import BrokerError, UserError
from scorer.people import Who, name_of
from scorer.pipeline.card_number import find, masked
from scorer.pipeline.transaction import LOOKS_LIKE_A_CARD_NUMBER, Name
from shadow.intake.reviews import mark, require_kept
from shadow.labels.label import LabelVerdict
from shadow.release.named import UnknownNameError
from shadow.store.labels import LabelStore
from shadow.web.asked import Asking
from shadow.web.auth import on_our_pages, reader_of
from shadow.web.cases import Reviewer, Said, Wanted, address, of_case, of_done, own_answer, require_colleague
from shadow.web.differences import POLICY
from shadow.web.gate import SLOT, Slot
from shadow.web.reading import Reader, reading
from shadow.web.rendering import TEMPLATES
from shadow.web.static_files import static

#: `same-origin`: else browsers do not say from where a form comes.
_HEADERS = {"content-security-policy": POLICY, "referrer-policy": "same-origin"}
_FORM = "application/x-www-form-urlencoded"
#: Longest note, in characters.
LONGEST_NOTE = 500

Form = TypeVar("Form", bound=BaseModel)
Given = Annotated[str | None, Parameter(max_length=200)]


class Marking(BaseModel):
    """The form of a case. verdict: `note` leaves the answer as it is. before: a mark's undo. open: show it again."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    slot: str = Field(CANDIDATE, pattern=SLOT)
    transaction: Name
    verdict: LabelVerdict | Annotated[str, Field(pattern="^note$")]
    by: Annotated[str, Field(max_length=200)] | None = None
    note: Annotated[str, Field(max_length=LONGEST_NOTE)] | None = None
    again: bool = False


class Assigning(BaseModel):
    """The form by which a case goes to a colleague."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    slot: str = Field(CANDIDATE, pattern=SLOT)
    transaction: Name
    to: Annotated[str, Field(min_length=1, max_length=200)]
    by: Annotated[str, Field(max_length=200)] | None = None


async def _form(request: Request, kind: type[Form]) -> Form:
    """What a form says; empty fields are none. Raises HTTPException or RequestValidationError."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        raise HTTPException(415, f"the body is no form; expected {_FORM}")
    try:
        pairs = parse_qsl((await request.body()).decode(), max_num_fields=20)
    except ValueError:
        raise HTTPException(422, "the form cannot be read") from None
    try:
        return kind.model_validate(dict(pairs))
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from None


def _plain_name(text: str, field: str) -> str:
    """A name that somebody typed. Raises HTTPException: 422."""
    name = name_of(text)
    if name is None:
        raise HTTPException(422, f"{field}: is no name; expected up to 200 printable characters")
    if find(name):
        raise HTTPException(422, f"{field}: {LOOKS_LIKE_A_CARD_NUMBER}")
    return name


def reviewer(who: Who | None, typed: str | None) -> Reviewer:
    """Who reviews: whom the token names, or else whom they typed. Raises HTTPException: 403 for another's name."""
    if who is None:
        return Reviewer(None if not typed else _plain_name(typed, "by"), is_known=False)
    if typed and typed != who.name:
        raise HTTPException(403, f"by: the token is that of {who.name}; leave out `by`")
    return Reviewer(who.name, is_known=True)


def router(asking: Asking, turn: list[Any]) -> APIRouter:
    """`/review`, `/review/done`, and the forms `/review/mark` and `/review/assign`. turn: for what reads much."""
    serve = asking.serve
    pages = APIRouter(include_in_schema=False)
    operator = Depends(on_our_pages(serve.settings, asking.people))
    whoever = Depends(reading(asking.people))
    readers = [Depends(reader_of(serve.settings, asking.people))]

    def signed_by(who: Who | None, typed: str | None) -> tuple[Reviewer, str]:
        found = reviewer(who, typed)
        if found.by is None:
            raise HTTPException(422, "by: is missing; give your name, for the record")
        return found, found.by

    @pages.get("/review", dependencies=turn)
    async def queue(
        slot: Slot = CANDIDATE,
        by: Given = None,
        case: Annotated[str | None, Parameter(min_length=1, max_length=300)] = None,
        last: Annotated[str | None, Parameter(max_length=300)] = None,
        before: Annotated[str | None, Parameter(max_length=20)] = None,
        who: Who | None = operator,
        reader: Reader = whoever,
    ) -> HTMLResponse:
        given = await of_case(asking, slot, reviewer(who, by), reader, case, last, before)
        return _rendered("review.html.j2", longest=LONGEST_NOTE, **given)

    @pages.get("/review/done", dependencies=[*readers, *turn])
    async def done(
        slot: Slot = CANDIDATE,
        by: Given = None,
        name: Given = None,
        label: Annotated[str | None, Parameter(pattern="^(fraud|legit|unsure)?$")] = None,
        day: Annotated[str | None, Parameter(pattern=r"^(\d{4}-\d{2}-\d{2})?$")] = None,
        skip: Annotated[int, Parameter(ge=0, le=2**31)] = 0,
    ) -> HTMLResponse:
        try:
            of_day = date.fromisoformat(day) if day else None
        except ValueError:
            raise HTTPException(422, "day: is no day; expected YYYY-MM-DD") from None
        said: Said | None = label or None  # type: ignore[assignment]
        given = await of_done(asking, slot, Wanted(name or None, said, of_day), skip, by or None)
        return _rendered("done.html.j2", **given)

    @pages.post("/review/mark")
    async def marked(request: Request, who: Who | None = operator) -> RedirectResponse:
        form = await _form(request, Marking)
        one, by = signed_by(who, form.by)
        if form.note is not None and find(form.note):
            raise HTTPException(422, f"note: {LOOKS_LIKE_A_CARD_NUMBER}")
        labels = LabelStore(serve.redis, serve.settings.prefix)
        before = await own_answer(labels, by, form.transaction)
        verdict: Any = (before or "open") if form.verdict == "note" else form.verdict
        if form.verdict == "note" and form.note is None:
            raise HTTPException(422, "note: is empty; write what you have to say of the transaction")
        holder = (await labels.holders(form.slot, [form.transaction]))[0]
        if holder is not None and holder != by and form.verdict not in ("note", "open"):
            raise HTTPException(409, f"{masked(holder)} has this case open; take the next one")
        try:
            await mark(serve.redis, serve.settings, form.slot, form.transaction, verdict, by, form.note)
        except BrokerError as error:
            raise HTTPException(503, str(error)) from None
        except UnknownNameError as error:
            raise HTTPException(404, masked(str(error))) from None
        except UserError as error:
            raise HTTPException(422, str(error)) from None
        typed = None if one.is_known else by
        if form.again or form.verdict == "note":
            return _to(address("/review", slot=form.slot, by=typed, case=form.transaction))
        return _to(address("/review", slot=form.slot, by=typed, last=form.transaction, before=before))

    @pages.post("/review/assign")
    async def assigned(request: Request, who: Who | None = operator) -> RedirectResponse:
        form = await _form(request, Assigning)
        one, by = signed_by(who, form.by)
        to = _plain_name(form.to, "to")
        require_colleague(serve, to)
        try:
            await require_kept(serve.redis, form.slot, serve.settings.prefix, form.transaction)
        except UserError as error:
            raise HTTPException(404, masked(str(error))) from None
        labels = LabelStore(serve.redis, serve.settings.prefix, serve.settings.sample_days)
        holder = (await labels.holders(form.slot, [form.transaction]))[0]
        if holder is not None and holder != by:
            raise HTTPException(409, f"{masked(holder)} has this case open; take the next one")
        await labels.assign(form.slot, form.transaction, to, by, int(time.time() * 1000))
        await labels.release(form.slot, form.transaction)
        return _to(address("/review", slot=form.slot, by=None if one.is_known else by))

    return pages


def _to(where: str) -> RedirectResponse:
    """Have a browser go to an address, so that reloading it marks nothing again."""
    return RedirectResponse(where, 303)


def _rendered(template: str, **given: Any) -> HTMLResponse:
    return HTMLResponse(TEMPLATES.get_template(template).render(static=static, **given), headers=_HEADERS)
