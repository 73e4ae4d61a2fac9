"""What the pages of the review queue are given: one case at a time, and what colleagues decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Literal
from urllib.parse import urlencode

from fastapi import HTTPException

from scorer.errors import UserError
from scorer.people import may, same
from shadow.comparison.case import Case, by_transaction
from shadow.gate.shares import percent
from shadow.intake.reviews import Queue, claimed, decided, open_queue, reopened
from shadow.labels.decided import Decision, tally
from shadow.labels.label import OPEN, REVIEW, Known, State, merge
from shadow.labels.queue import Need
from shadow.release.look import Look, present_run
from shadow.release.named import require_slot
from shadow.release.telling import printable
from shadow.serve.service import Serve
from shadow.store.labels import LabelStore
from shadow.web.asked import Asking, Scope
from shadow.web.explore import currency_of
from shadow.web.reading import Reader
from shadow.web.said import to_transaction
from shadow.web.transaction import of_transaction
from shadow.web.view import View

#: Decisions on a page of the list, and segments of which the review page says where they stand.
ON_A_PAGE, SEGMENTS = 50, 8
#: Verdicts by which the list is filtered.
Said = Literal["fraud", "legit", "unsure"]
#: Verdicts as people say them.
IN_WORDS = {"fraud": "fraud", "legit": "legitimate", "unsure": "unsure", "open": "no answer"}


@dataclass(frozen=True)
class Reviewer:
    """Who reviews. by: None while somebody without a token of their own has not typed a name. is_known: by a token or
    a proxy, so that the name need not be typed."""

    by: str | None
    is_known: bool


def address(path: str, **given: str | None) -> str:
    """An address of ours, without what is None."""
    query = urlencode([(name, value) for name, value in given.items() if value is not None])
    return f"{path}?{query}" if query else path


async def queue_for(serve: Serve, slot: str) -> Queue:
    """The queue of a slot as the gate last saw it, with the reviews that stand now. Raises HTTPException: 404."""
    try:
        require_slot(serve.deployments, slot)
        seen: Look | None = serve.looks.get(slot)
        if seen is not None and seen.candidate.run == present_run(serve.deployments, slot):
            return await reopened(serve.redis, seen, serve.release, serve.settings)
        return await open_queue(serve.redis, serve.deployments, slot, serve.release, serve.settings)
    except UserError as error:
        raise HTTPException(404, str(error)) from None


async def of_case(
    asking: Asking, slot: str, who: Reviewer, reader: Reader, asked: str | None, last: str | None, before: str | None
) -> dict[str, Any]:
    """What the review page is given. asked: a transaction to open instead of the next; last: the one that they marked
    just now, with their answer before."""
    serve = asking.serve
    queue = await queue_for(serve, slot)
    by = who.by
    found = await decided(serve.redis, queue.cases, serve.settings)
    labels = LabelStore(serve.redis, serve.settings.prefix)
    assigned = await labels.assignments(slot)
    told: dict[str, Any] = {
        "slot": slot,
        "here": "review",
        "by": by,
        "is_known": who.is_known,
        "colleagues": colleagues(serve, found, by),
        "waiting": len(queue.turns),
        "settles": settles(queue.needs),
        "segments": segments(queue.needs),
        "today": [(printable(name), n) for name, n in tally(found, datetime.now(UTC).date())],
        "done": address("/review/done", slot=slot, by=None if who.is_known else by),
        "again": address("/review", slot=slot, by=None if who.is_known else by),
        "mine": [
            (printable(name), address("/review", slot=slot, by=None if who.is_known else by, case=name))
            for name, one in sorted(assigned.items())
            if by is not None and same(one.to) == same(by)
        ],
        "minutes": f"{serve.settings.review_minutes:g}",
        "last": None,
        "case": None,
        "held": None,
        "blind": True,
    }
    if by is None:
        return told
    told["last"] = await _last(labels, by, last, before)
    transaction = asked
    segment = None
    if asked is not None:
        holder = (await labels.holders(slot, [asked]))[0]
        if holder is not None and same(holder) != same(by):
            return {**told, "held": printable(holder), "held_id": printable(asked)}
    else:
        async for case, of in claimed(serve.redis, queue, serve.settings, by):
            transaction, segment = case.transaction, of
            break
    if transaction is None:
        return told
    waits = any(case.transaction == transaction for case, _ in queue.turns)
    case_known = next((one for one in queue.cases if one.transaction == transaction), None)
    scope = Scope(slot=slot, run=str(queue.seen.candidate.run), transaction=transaction)
    try:
        parts = await of_transaction(asking, scope, reader)
    except HTTPException:
        if case_known is None:
            raise
        parts = _expired(case_known, serve)
    if asked is not None and not await labels.lease(slot, transaction, by, serve.settings.review_minutes):
        return {**told, "held": "a colleague", "held_id": printable(transaction)}
    to = assigned.get(transaction)
    return {
        **told,
        "parts": parts,
        "case": transaction,
        "segment": segment,
        "counts": waits,
        "assigned": None if to is None else f"{printable(to.to)} by {printable(to.by)}",
        "whole": to_transaction(View(slot=slot), transaction),
    }


async def _last(labels: LabelStore, by: str, last: str | None, before: str | None) -> dict[str, str] | None:
    """What somebody said of the transaction that they marked last, and what it takes to undo that; None if nothing."""
    if last is None:
        return None
    said = await own_answer(labels, by, last)
    if said in (None, OPEN):
        return None
    back = before if before in ("fraud", "legit", "unsure") and before != said else OPEN
    return {
        "id": last,
        "shown": printable(last),
        "said": IN_WORDS[str(said)],
        "back": back,
        "back_words": IN_WORDS[back],
    }


async def own_answer(labels: LabelStore, by: str, transaction: str) -> str | None:
    """What somebody said of a transaction in the end; None if nothing."""
    subject = by_transaction(transaction)
    votes = merge(*(await labels.of([subject])).get(subject, ()))
    found = votes.get(REVIEW, {}).get(by)
    return None if found is None else found[1]


def _expired(case: Case, serve: Serve) -> dict[str, Any]:
    """What is still known of a case whose sample is gone."""
    unit, currency = serve.deployments.minor_per_unit, currency_of(serve) or ""
    at = datetime.fromtimestamp(case.occurred_ms / 1000, UTC)
    return {
        "is_expired": True,
        "id": printable(case.transaction),
        "at": at.isoformat(timespec="seconds"),
        "amount": f"{case.minor / unit:,.2f} {currency}".rstrip(),
    }


def settles(needs: Sequence[Need]) -> str:
    """How many more reviews settle the question, in one sentence."""
    wanted = sorted((need for need in needs if need.settled < 1), key=lambda need: need.settled)
    if not wanted:
        return "No reviews needed: the gate asks for none."
    first = wanted[0]
    name = "all traffic" if first.segment == "all" else first.segment
    also = (
        f" {len(wanted) - 1:,} more {'segment waits' if len(wanted) == 2 else 'segments wait'}." if wanted[1:] else ""
    )
    if first.more is None:
        return f"Too few reviews so far to estimate how many more settle {name}.{also}"
    return f"About {first.more:,} more {'review settles' if first.more == 1 else 'reviews settle'} {name}.{also}"


def segments(needs: Sequence[Need]) -> list[dict[str, str]]:
    """Where the reviews of the least settled segments stand."""
    wanted = sorted((need for need in needs if need.settled < 1), key=lambda need: need.settled)
    return [
        {
            "name": printable("all traffic" if need.segment == "all" else need.segment),
            "reviewed": f"{need.reviewed:,}",
            "settled": percent(need.settled, 0),
            "more": "not known yet" if need.more is None else f"about {need.more:,}",
        }
        for need in wanted[:SEGMENTS]
    ]


def colleagues(serve: Serve, found: Sequence[Decision], by: str | None) -> list[str]:
    """Whom a case may be assigned to: those with a token that may review, and those who have reviewed."""
    known = {name for name, person in serve.settings.people.items() if may(person.role, "reviewer")}
    names = known | {one.by for one in found}
    return sorted(printable(name) for name in names if by is None or same(name) != same(by))


@dataclass(frozen=True)
class Wanted:
    """Which decisions the list shows. Empty: all."""

    name: str | None = None
    label: Said | None = None
    day: date | None = None

    def holds(self, one: Decision) -> bool:
        return (
            (self.name is None or same(one.by) == same(self.name))
            and (self.label is None or one.verdict == self.label)
            and (self.day is None or one.day == self.day)
        )


async def of_done(asking: Asking, slot: str, wanted: Wanted, skip: int, typed: str | None) -> dict[str, Any]:
    """What the list of decisions is given. typed: the name of somebody without a token of their own."""
    serve = asking.serve
    queue = await queue_for(serve, slot)
    found = await decided(serve.redis, queue.cases, serve.settings)
    shown = [one for one in found if wanted.holds(one)]
    unit, currency = serve.deployments.minor_per_unit, currency_of(serve) or ""
    known: dict[str, Known] = {case.transaction: one for case, one in zip(queue.cases, queue.known, strict=True)}
    given = {
        "slot": slot,
        "by": typed,
        "name": wanted.name,
        "label": wanted.label,
        "day": None if wanted.day is None else wanted.day.isoformat(),
    }
    return {
        **given,
        "here": "review",
        "queue": address("/review", slot=slot, by=typed),
        "clear": address("/review/done", slot=slot, by=typed),
        "is_filtered": wanted != Wanted(),
        "names": sorted({one.by for one in found}),
        "labels": [(value, IN_WORDS[value]) for value in ("fraud", "legit", "unsure")],
        "total": len(shown),
        "run": str(queue.seen.candidate.run),
        "today": [(printable(name), n) for name, n in tally(found, datetime.now(UTC).date())],
        "rows": [
            {
                "id": printable(one.case.transaction),
                "address": to_transaction(View(slot=slot), one.case.transaction),
                "by": printable(one.by),
                "said": IN_WORDS[one.verdict],
                "at": datetime.fromtimestamp(one.at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M"),
                "amount": f"{one.case.minor / unit:,.2f} {currency}".rstrip(),
                "note": printable(one.note),
                "disputed": known[one.case.transaction].review is State.CONTRADICTORY,
            }
            for one in shown[skip : skip + ON_A_PAGE]
        ],
        "earlier": address("/review/done", **given, skip=str(skip + ON_A_PAGE))
        if len(shown) > skip + ON_A_PAGE
        else None,
    }


def require_colleague(serve: Serve, name: str) -> None:
    """Raise HTTPException, 422, for somebody who is known not to review."""
    people = serve.settings.people
    if people and serve.settings.oidc_issuer is None and not serve.settings.proxy_addresses:
        able = [one for one, person in people.items() if may(person.role, "reviewer")]
        if same(name) not in {same(one) for one in able}:
            raise HTTPException(422, f"to: nobody of that name may review; expected one of {', '.join(sorted(able))}")
