"""Tells the history of the slots to people, as lines of text. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from scorer.deployments.records import (
    LIVE,
    Answer,
    Approval,
    Automation,
    Change,
    Comment,
    Erasure,
    Forced,
    Rotation,
    Suggestion,
    Target,
    Watched,
    Withdrawal,
)
from scorer.people import NOT_VERIFIED
from scorer.text_table import printable as printable
from shadow.release.history import Filling, Row
from shadow.release.wording import minute

#: Lines on what stood against a change, at most; `--json` has all.
AGAINST = 4
#: What begins a line that belongs to the entry above it.
DEEPER = "    "


def lines(rows: Iterable[Row]) -> Iterator[str]:
    """Each row as a line, and what belongs to it in indented lines below."""
    for row in rows:
        for n, told in enumerate(told_of(row)):
            yield (DEEPER if n else "") + printable(told)


def told_of(row: Row) -> list[str]:
    """A row for people: the entry, then what stood for and against it, and for how long it stood."""
    void = "  (void: another entry came first)" if row.is_void else ""
    clock = "  (by a clock that disagrees with the ledger's order)" if _is_off(row) else ""
    signed = "" if row.signed_by is None else f"  (signed by {row.signed_by})"
    if row.is_unverified:
        signed += f"  ({NOT_VERIFIED})"
    after = [] if row.aftermath is None else [f"afterwards: {row.aftermath}"]
    return [f"{minute(row.at)}  {_entry(row)}{signed}{void}{clock}", *_stood(row), *map(_lasted, row.fillings), *after]


def _is_off(row: Row) -> bool:
    """Whether the entry counts as of another minute than it says."""
    return row.when is not None and minute(row.when.isoformat()) != minute(row.at)


def _entry(row: Row) -> str:
    match row.entry:
        case Forced() as change:
            return (
                f"FORCED by {' and '.join(row.approved_by)}: {_slots(change)}; the verdict was "
                f"{change.verdict.reason}; reason: {change.reason}"
            )
        case Change() as change:
            kind = _KINDS.get(row.kind, change.cause)
            kind = f"automatic {kind}" if change.automatic else kind
            return f"{kind} by {' and '.join(row.approved_by)}: {_slots(change)}; reason: {change.reason}"
        case Suggestion(action="rollback") as made:
            return f"suggested: roll back to {held(made.target)}, as {row.seq}"
        case Suggestion() as made:
            return f"suggested: slot {made.slot}, {held(made.target)}, as {row.seq}"
        case Answer() as answer:
            return f"rejected by {answer.by}: {answer.suggestion}; reason: {answer.reason}"
        case Approval() as first:
            return (
                f"approved by {first.by} as the first of two: {_slots(first)}, as {'; '.join(first.why)}; reason: "
                f"{first.reason}"
            )
        case Comment() as comment:
            return f"comment by {comment.by} on {comment.suggestion}: {comment.text}"
        case Withdrawal() as back:
            return f"withdrawn by {back.by}: {back.suggestion}; reason: {back.reason}"
        case Watched() as watched:
            return f"the watch over live ended after {watched.days:g} days: {watched.reason}"
        case Automation() as switched:
            return f"automation of {switched.change} {switched.state} by {switched.by}; reason: {switched.reason}"
        case Rotation() as rotated:
            return _rotated(rotated)
        case Erasure() as erased:
            return (
                f"erasure of a card by {erased.by}: {erased.samples:,} samples, {erased.cases:,} cases and "
                f"{erased.labels:,} labels in Redis, request {erased.request} to the scorers of {erased.partitions:,} "
                f"partitions and to the archive; reason: {erased.reason}"
            )
    return row.kind  # pragma: no cover - requests to prepare have no row


def _rotated(entry: Rotation) -> str:
    made = f"bundle {entry.candidate[:12]}, made as {entry.parent[:12]} on data as of {minute(entry.as_of)}"
    if entry.outcome == "rejected":
        ended = "was rejected by the backtest, and no slot changed"
    else:
        filled = "" if entry.change is None else f" by entry {entry.change}"
        ended = f"was put into slot candidate{filled}"
        ended += "" if entry.backtest is not None else ", without a backtest"
    doubt = "" if entry.doubt is None else f"; its lineage is in doubt: {entry.doubt}"
    return f"rotation by {entry.by}: {made}, {ended}{doubt}; reason: {entry.reason}"


#: Kinds of changes whose cause on the ledger says less.
_KINDS = {
    "threshold": "threshold",
    "empty": "emptied",
    "twin": "twin named",
    "kill_switch_on": "kill switch on",
    "kill_switch_off": "kill switch off",
}


def _slots(change: Change | Approval) -> str:
    order = sorted(change.slots, key=lambda name: (name != LIVE, name))
    named = [f"bundle {twin.digest[:12]} as the twin of {of[:12]}" for of, twin in sorted(change.twins.items())]
    return ", ".join([f"{name} {held(change.slots[name])}" for name in order] or named)


def held(target: Target | None) -> str:
    """What a slot is filled with, in a few words."""
    if target is None:
        return "emptied"
    bundle = "no bundle" if target.digest is None else f"bundle {target.digest[:12]}"
    at = "" if target.threshold is None else f" at {target.threshold:g}"
    return f"{bundle}{at}" + ("" if target.override is None else f" ({target.override})")


def _stood(row: Row) -> Iterator[str]:
    if row.stood is None or not isinstance(row.entry, Suggestion | Change | Rotation):
        return
    if not row.is_forced:  # whose first line has it
        run = "" if row.stood.run is None else f" (run {row.stood.run})"
        which = "backtest" if isinstance(row.entry, Rotation) else "verdict"
        yield f"{which}: {row.stood.reason}{run}"
    yield from (f"against: {one}" for one in row.stood.against[:AGAINST])
    left = len(row.stood.against) - AGAINST
    if left > 0:
        yield f"and {left} more against it, which --json lists"
    if row.stood.dossier is not None and isinstance(row.entry, Suggestion):
        yield f"dossier: {row.stood.dossier[:12]}; judge it again with `shadow replay {row.stood.dossier[:12]}`"


def _lasted(filling: Filling) -> str:
    if filling.ended_by is None:
        return f"{filling.slot}: unchanged since"
    if filling.seconds is None:
        return f"{filling.slot}: until entry {filling.ended_by}"
    until = "" if filling.until is None else minute(filling.until.isoformat())
    return f"{filling.slot}: for {duration(filling.seconds)}, until {until} (entry {filling.ended_by})"


def duration(seconds: float) -> str:
    """A length of time in its two largest units.

    >>> [duration(n) for n in (0, 59.9, 60, 3661, 90_000, 86_400 * 33)]
    ['0 s', '59 s', '1 min', '1 h 1 min', '1 d 1 h', '33 d']
    """
    whole = int(seconds)
    days, rest = divmod(whole, 86_400)
    hours, minutes = divmod(rest // 60, 60)
    first, second = ((days, "d"), (hours, "h")) if days else ((hours, "h"), (minutes, "min"))
    parts = [f"{n:,} {unit}" for n, unit in (first, second) if n]
    return " ".join(parts) or f"{whole} s"


def in_force(rows: Sequence[Row], at: datetime, slot: str | None = None) -> Iterator[str]:
    """What each slot held at a time, who had put it there, when and why. rows: those in force then. slot: this one."""
    found = [
        (filling, row)
        for row in rows
        for filling in row.fillings
        if row.was_in_force(at, filling.slot) and slot in (None, filling.slot)
    ]
    for filling, row in sorted(found, key=lambda one: (one[0].slot != LIVE, one[0].slot)):
        state = filling.state
        target = None if state.is_empty else Target(
            digest=state.digest, threshold=state.threshold, override=state.override
        )  # fmt: skip
        what = "empty" if target is None else held(target)
        kind = "FORCED" if row.is_forced else _KINDS.get(row.kind, row.kind)
        unverified = f" ({NOT_VERIFIED})" if row.is_unverified else ""
        yield printable(
            f"{filling.slot}: {what}, by {' and '.join(row.approved_by)}{unverified} since {minute(row.at)} "
            f"({kind}: {row.reason}), entry {row.seq}"
        )
