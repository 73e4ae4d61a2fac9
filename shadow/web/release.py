"""The pages of a release: what waits for whom, what stands for and against it, the confirmation of a decision, what is
live and how it came to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qsl

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi import Query as Parameter
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from scorer.deployments.records import CANDIDATE, LIVE, LONGEST_COMMENT, PREVIOUS, STANDS, Approval, Suggestion
from scorer.deployments.signatures import SEQ
from scorer.deployments.slots import LedgerLine
from scorer.errors import BrokerError, UserError
from scorer.people import NOT_VERIFIED, PersonRole, Who, may
from scorer.pipeline.card_number import masked
from shadow.comparison.totals import ALL
from shadow.release.automatic import intention, rules_of
from shadow.release.comments import comment, require_waiting
from shadow.release.deciding import Action, Settled, Wish, why_not_over_http
from shadow.release.history import history, instant
from shadow.release.lapse import unsettled
from shadow.release.look import judged_slots, present_run
from shadow.release.status import Status, WatchSeen
from shadow.release.streak import streaks
from shadow.release.telling import duration, printable, told_of
from shadow.release.wording import minute
from shadow.serve.decider import Decider
from shadow.serve.service import TOO_OLD, Serve
from shadow.web.auth import UNKNOWN, People, decider_of, who_of, why_not
from shadow.web.deciding import carried_out, refuse_if_signed, said_of
from shadow.web.differences import POLICY
from shadow.web.explore import over_time
from shadow.web.gate import SLOT
from shadow.web.heat import heat
from shadow.web.history import page_of, present_status
from shadow.web.over_time import over_days
from shadow.web.problems import problem
from shadow.web.rendering import TEMPLATES
from shadow.web.static_files import static

#: Entries of the history on the page.
ON_A_PAGE = 20
#: Checks without evidence whose reasons are shown unasked.
FEW = 6
#: Lines of what stands against a suggestion.
AGAINST = 6
#: A form says from where it is sent, which without this a browser would hide.
_HEADERS = {"content-security-policy": POLICY, "referrer-policy": "same-origin"}
_SLOT = Annotated[str | None, Parameter(pattern=SLOT)]
_DONE = {
    "released": "Done: the candidate is live.",
    "rejected": "Done: the suggestion is rejected. The candidate stays in the shadow.",
    "rolled_back": "Done: the model before is live again.",
    "waits": "Your approval is on record. Nothing is changed until a second person approves it, too.",
    "again": "You have done this already; nothing is changed by asking again.",
    "late": "Done, and on the ledger. Not every scorer decides by it yet: see their logs, and scorer_live_epoch.",
    "commented": "Your comment is on record.",
}


Model = TypeVar("Model", bound=BaseModel)


class Form(BaseModel):
    """What the form of a decision sends, and the address of its confirmation says. Empty fields are left out."""

    model_config = ConfigDict(extra="forbid")

    action: Action
    slot: str = Field(CANDIDATE, pattern=SLOT)
    suggestion: str | None = Field(None, pattern=SEQ)
    live_epoch: int | None = Field(None, ge=0, le=2**31)
    threshold: float | None = Field(None, ge=0, le=1, allow_inf_nan=False)
    reason: str = Field("", max_length=LONGEST_COMMENT)

    @model_validator(mode="after")
    def _names_what_was_seen(self) -> Form:
        if (self.live_epoch if self.action == "rollback" else self.suggestion) is None:
            raise ValueError("open /release and decide there: this does not say what you have seen")
        return self

    def wish(self, judged: float | None) -> Wish:
        """judged: the threshold that was. Another one makes it a forced release."""
        edited = self.threshold if self.threshold != judged else None
        return Wish(self.action, self.reason, self.slot, self.suggestion, edited, edited is not None, self.live_epoch)


class Said(BaseModel):
    """What the form of a comment sends."""

    model_config = ConfigDict(extra="forbid")

    suggestion: str = Field(pattern=SEQ)
    text: str = Field(max_length=LONGEST_COMMENT)


def _from(model: type[Model], pairs: list[tuple[str, str]]) -> Model:
    """A form. Raises RequestValidationError."""
    try:
        return model.model_validate({name: value for name, value in pairs if value != ""})
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from None


async def _sent(model: type[Model], request: Request) -> Model:
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
        raise HTTPException(422, "content-type: expected that of a form")
    body = (await request.body()).decode(errors="replace")
    return _from(model, parse_qsl(body, keep_blank_values=True, max_num_fields=20))


def rendered(template: str, code: int = 200, **given: Any) -> HTMLResponse:
    """A page in the frame of the explorer."""
    text = TEMPLATES.get_template(template).render(static=static, **given)
    return HTMLResponse(text, code, headers=_HEADERS)


def router(serve: Serve, people: People, decider: Decider, readers: list[Any], turn: list[Any]) -> APIRouter:
    """`/release`, and the two forms behind it. people: who asks; readers: who may; turn: for what reads much."""
    pages = APIRouter(dependencies=readers, include_in_schema=False)
    whoever = Depends(who_of(people))
    releaser = Depends(decider_of(people, typed=True))
    reviewer = Depends(decider_of(people, typed=True, least="reviewer"))

    @pages.get("/release", dependencies=turn)
    async def release(
        slot: _SLOT = None,
        done: Annotated[str | None, Parameter(max_length=20)] = None,
        who: Who | None = whoever,
    ) -> HTMLResponse:
        return rendered("release.html.j2", **await _release(serve, people, slot, who), done=_DONE.get(str(done)))

    @pages.get("/release/decide")
    async def confirm(request: Request, who: Who | None = whoever) -> HTMLResponse:
        form = _from(Form, request.query_params.multi_items())
        return rendered("decide.html.j2", **_confirmed(serve, people, form, who))

    @pages.post("/release/decide")
    async def decide(request: Request, who: Who = releaser) -> Response:
        form = await _sent(Form, request)
        try:
            said = form.model_copy(update={"reason": said_of(form.reason, "reason")})
            settled = await carried_out(serve, decider, said.wish(_judged(serve, form)), who)
        except HTTPException as error:
            if "text/html" not in request.headers.get("accept", ""):
                return problem(error.status_code, str(error.detail))
            told = _confirmed(serve, people, form, who)
            return rendered("decide.html.j2", error.status_code, **{**told, "refused": printable(str(error.detail))})
        return RedirectResponse(f"/release?done={_told_by(settled)}", 303)

    @pages.post("/release/comment")
    async def commented(request: Request, who: Who = reviewer) -> Response:
        said = await _sent(Said, request)
        refuse_if_signed(serve.settings, f"shadow comment {said.suggestion} TEXT")
        text = said_of(said.text, "text")
        try:
            require_waiting(serve.deployments, said.suggestion)
            line = await comment(serve.settings, said.suggestion, text, who)
        except BrokerError as error:
            raise HTTPException(503, str(error)) from None
        except UserError as error:
            raise HTTPException(409, str(error)) from None
        await serve.until(line.seq)
        return RedirectResponse("/release?done=commented", 303)

    return pages


def _told_by(settled: Settled) -> str:
    """Which of the sentences tells what came of a decision."""
    if settled.is_repeated and settled.state != "waits":
        return "again"
    return "late" if settled.arrival is not None and settled.arrival.late else settled.state


def _why_not(serve: Serve, people: People, who: Who | None, command: str) -> str | None:
    """Why whoever reads cannot decide here; None if they can. command: that does it elsewhere."""
    signed = why_not_over_http(serve.settings, command)
    if signed is not None:
        return f"{signed[0].upper()}{signed[1:]}."
    if not people.are_known:
        return f"Names are not verified here: {UNKNOWN}."
    if who is None:
        return "You are not known: sign in with your own token as the password. A releaser may decide."
    why = why_not(who.name, who.role, "releaser")
    return None if why is None else f"{why}."


def _may(who: Who | None, least: PersonRole) -> bool:
    return who is not None and who.role is not None and may(who.role, least)


def _judged(serve: Serve, form: Form) -> float | None:
    """The threshold of the suggestion that somebody has seen; None if it is settled."""
    known = serve.deployments.decided.suggestions.get(str(form.suggestion))
    return None if known is None else known[0].target.threshold


async def _release(serve: Serve, people: People, slot: str | None, who: Who | None) -> dict[str, Any]:
    """What the page is given."""
    deployments, now = serve.deployments, datetime.now(UTC)
    status = await present_status(serve)
    standing = [line for line in deployments.open_suggestions(now) if isinstance(line.entry, Suggestion)]
    firsts = [line for line in deployments.open_approvals(now) if isinstance(line.entry, Approval)]
    slots = judged_slots(deployments, serve.settings)
    if slot is not None and slot not in slots:
        there = f"there is one in {', '.join(slots)}" if slots else "there is none"
        raise HTTPException(404, f"slot {slot}: holds no candidate; {there}")
    suggested = [getattr(line.entry, "slot", None) for line in standing]
    chosen = slot or next((one for one in suggested if one in slots), next(iter(slots), None))
    refused = _why_not(serve, people, who, "shadow approve --reason …")
    live, previous = deployments.slot(LIVE), deployments.slot(PREVIOUS)
    rows, earlier = page_of(history(deployments), ON_A_PAGE, 0)
    return {
        "slot": chosen,
        "here": "release",
        "headline": _headline(status, len(standing), len(firsts)),
        "trouble": status.trouble,
        "who": who,
        "why_not": refused,
        "may_comment": _may(who, "reviewer") and why_not_over_http(serve.settings, "") is None,
        "most": LONGEST_COMMENT,
        "live": _live(status),
        "kill": live.override,
        "suggestions": [_suggestion(serve, line, now) for line in standing],
        "firsts": [_first(line, standing, who, now) for line in firsts],
        "candidates": [(name, name == chosen, _verdict(serve, name)) for name in slots],
        **await _evidence(serve, chosen),
        "watch": _watch(status.watch),
        "can_go_back": previous.digest is not None,
        "back_to": f"bundle {str(previous.digest)[:12]}" + _at(previous.threshold),
        "epoch": live.epoch,
        "automation": _automation(serve),
        "rows": [[printable(told) for told in told_of(row)] for row in reversed(rows)],
        "earlier": earlier,
        "few": FEW,
    }


def _headline(status: Status, standing: int, firsts: int) -> str:
    if firsts:
        return f"{'An approval waits' if firsts == 1 else f'{firsts} approvals wait'} for a second person"
    if standing:
        return "A suggestion waits for a person" if standing == 1 else f"{standing} suggestions wait for a person"
    return "Nothing waits for a person"


def _live(status: Status) -> str:
    live, row = status.slots.get(LIVE), status.live
    if live is None or live.digest is None:
        return "No model is live."
    told = f"Bundle {live.digest[:12]}{_at(live.threshold)} is live"
    if row is None:
        return f"{told}."
    named = " and ".join(row.approved_by) + (f" ({NOT_VERIFIED})" if row.is_unverified else "")
    kind = "forced" if row.is_forced else row.kind.replace("_", " ")
    return printable(f"{told} since {minute(row.at)}, {kind} by {named}: {row.reason}.")


def _at(threshold: float | None) -> str:
    return "" if threshold is None else f" at threshold {threshold:g}"


def _suggestion(serve: Serve, line: LedgerLine, now: datetime) -> dict[str, Any]:
    made, deployments = line.entry, serve.deployments
    assert isinstance(made, Suggestion)  # noqa: S101
    told = made.evidence.get("judgement")
    judged: dict[str, Any] = told if isinstance(told, dict) else {}
    compared = made.evidence.get("compared")
    against = _against([one for one in judged.get("findings") or () if isinstance(one, dict)])
    is_back = made.action == "rollback"
    return {
        "seq": line.seq,
        "slot": made.slot,
        "is_back": is_back,
        "title": "Put the model before back" if is_back else f"Put the candidate of slot {made.slot} live",
        "what": f"bundle {str(made.target.digest)[:12]}{_at(made.target.threshold)}",
        "threshold": "" if made.target.threshold is None else f"{made.target.threshold:g}",
        "made": minute(made.at),
        "left": _left(made.at, now),
        "made_by": printable(made.made_by or ""),
        "kind": made.change,
        "stands_for": [
            *([_plainly(str(judged["reason"]))] if judged.get("reason") else []),
            *([f"{compared:,} transactions were compared"] if isinstance(compared, int) else []),
        ],
        "against": against[:AGAINST],
        "more_against": max(0, len(against) - AGAINST),
        "dossier": made.dossier,
        "comments": [(one.by, minute(one.at), printable(one.text)) for one in deployments.comments(line.seq)],
        "soon": intention(deployments, line.seq, serve.settings),
        "epoch": deployments.slot(LIVE).epoch,
    }


def _plainly(reason: str) -> str:
    """The reason of a verdict without the verdict, which the page has in words."""
    said = printable(reason.partition(": ")[2] or reason)
    return said[:1].upper() + said[1:]


def _against(findings: Sequence[Mapping[str, Any]]) -> list[str]:
    """What did not pass, one line each; what is excused together for each segment."""
    excused: dict[str, list[str]] = {}
    found = []
    for one in findings:
        if one.get("verdict") == "pass":
            continue
        if one.get("excused"):
            excused.setdefault(str(one.get("segment")), []).append(str(one.get("reason")))
        else:
            criterion = str(one.get("criterion")).replace("_", " ").capitalize()
            found.append(f"{criterion} in {one.get('segment')}: {one.get('reason')}")
    for segment, reasons in excused.items():
        many = "1 check lacks" if len(reasons) == 1 else f"{len(reasons)} checks lack"
        found.append(f"{segment}: {many} evidence, which is excused ({reasons[0]})")
    return [printable(one) for one in found]


def _left(at: str, now: datetime) -> str:
    made = instant(at)
    return "" if made is None else duration(max(0.0, (made + STANDS - now).total_seconds()))


def _first(line: LedgerLine, standing: Sequence[LedgerLine], who: Who | None, now: datetime) -> dict[str, Any]:
    """A first approval. standing: the suggestions that wait."""
    first = line.entry
    assert isinstance(first, Approval)  # noqa: S101
    target = first.slots.get(LIVE)
    is_own = who is not None and who.name == first.by
    return {
        "seq": line.seq,
        "by": printable(first.by),
        "at": minute(first.at),
        "left": _left(first.at, now),
        "reason": printable(first.reason),
        "why": printable("; ".join(first.why)),
        "what": "" if target is None else f"bundle {str(target.digest)[:12]}{_at(target.threshold)}",
        "is_own": is_own,
        "again": [] if is_own else _again(first, standing),
    }


def _again(first: Approval, standing: Sequence[LedgerLine]) -> list[tuple[str, str]]:
    """What the confirmation of the same decision is asked for; nothing if that cannot be made on the page."""
    target = first.slots.get(LIVE)
    if first.cause == "rollback":
        return [("action", "rollback"), ("live_epoch", str(first.expects.get(LIVE)))]
    for line in standing if first.cause == "approve" and target is not None else ():
        made = line.entry
        if not isinstance(made, Suggestion) or target is None or made.target.digest != target.digest:
            continue
        if all(first.expects.get(name) == epoch for name, epoch in made.expects.items()):
            edited = [] if target.threshold == made.target.threshold else [("threshold", repr(target.threshold))]
            return [("action", "approve"), ("slot", made.slot), ("suggestion", line.seq), *edited]
    return []


def _verdict(serve: Serve, slot: str) -> str:
    seen = serve.looks.get(slot)
    return "not judged yet" if seen is None else printable(seen.judgement.reason)


async def _evidence(serve: Serve, slot: str | None) -> dict[str, Any]:
    """What is known of the chosen candidate."""
    seen = None if slot is None else serve.looks.get(slot)
    if slot is None or seen is None:
        return {"chart": None, "heat": None, "compared": 0, "clean": None, "reason": ""}
    run, judgement = present_run(serve.deployments, slot), seen.judgement
    limits = serve.release.limits(ALL)
    days = [] if run is None else await over_time(serve, slot, run, ALL, "day")
    clean = f"{judgement.covered_hours:,} of {judgement.needed_hours:,} clean event hours"
    return {
        "chart": over_days(days, limits.maximum_more_blocks, limits.maximum_fewer_blocks),
        "heat": heat(judgement.findings, serve.release.segments.names),
        "compared": seen.candidate.compared,
        "clean": clean,
        "reason": printable(judgement.reason),
    }


def _watch(seen: WatchSeen | None) -> dict[str, Any] | None:
    if seen is None:
        return None
    until = "" if seen.until is None else f", until {minute(seen.until.isoformat())}"
    return {
        "told": f"{seen.days:.1f} days since the release{until}: {printable(seen.reason)}.",
        "is_harm": seen.is_harm,
    }


def _automation(serve: Serve) -> list[tuple[str, str]]:
    rules = rules_of(serve.settings)
    found: list[tuple[str, str]] = []
    for kind, one in streaks(serve.deployments, rules).items():
        missing = one.missing(rules)
        told = "on" if one.is_on else "off; " + (missing or "earned: an admin may switch it on by `shadow automate`")
        found.append((kind, printable(told)))
    return found


def _confirmed(serve: Serve, people: People, form: Form, who: Who | None) -> dict[str, Any]:
    """What the page of a confirmation is given."""
    deployments = serve.deployments
    live, previous = deployments.slot(LIVE), deployments.slot(PREVIOUS)
    judged = _judged(serve, form)
    found = unsettled(deployments, form.slot)
    gone = (
        form.live_epoch != live.epoch or previous.digest is None
        if form.action == "rollback"
        else found is None or found[0] != form.suggestion
    )
    edited = form.threshold is not None and form.threshold != judged
    now = f"bundle {str(live.digest)[:12]}{_at(live.threshold)}"
    changes: list[tuple[str, str, str]] = []
    if form.action == "rollback":
        changes = [
            (LIVE, now, f"bundle {str(previous.digest)[:12]}{_at(previous.threshold)}"),
            (form.slot, "", "the model that is live now, if this slot is empty"),
        ]
    elif form.action == "approve" and found is not None:
        target = found[1].target
        at = form.threshold if edited else target.threshold
        changes = [
            (LIVE, now, f"bundle {str(target.digest)[:12]}{_at(at)}"),
            (PREVIOUS, "", "the model that is live now; the watch compares it for "
                           f"{serve.settings.watch_days:g} days"),
            (form.slot, f"bundle {str(target.digest)[:12]}", "empty"),
        ]  # fmt: skip
    titles = {
        "approve": "Accept this suggestion?",
        "reject": "Reject this suggestion?",
        "rollback": "Put the model before back?",
    }
    return {
        "slot": form.slot if form.slot in deployments.slots else None,
        "here": "release",
        "title": titles[form.action],
        "form": form,
        "reason": masked(form.reason),
        "threshold": "" if form.threshold is None else f"{form.threshold:g}",
        "gone": gone,
        "changes": changes,
        "edited": edited,
        "judged": "" if judged is None else f"{judged:g}",
        "kill": live.override,
        "needs_two": _needs_two(serve, form, edited),
        "why_not": _why_not(serve, people, who, form.wish(judged).command),
        "who": who,
        "most": LONGEST_COMMENT,
        "seconds": f"{serve.settings.promote_seconds:g}",
        "refused": None,
        "trouble": serve.trouble or (TOO_OLD if serve.is_late else None),
    }


def _needs_two(serve: Serve, form: Form, edited: bool) -> str | None:
    """What to say of a second person."""
    if not serve.settings.four_eyes or form.action == "reject":
        return None
    if edited:
        return "A second releaser has to approve this, too, as it is a forced release."
    return (
        "A second releaser may have to approve this, too: if you trained or deployed it, or the criteria have changed."
    )
