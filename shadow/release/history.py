"""The history of the slots: the ledger as rows that say who changed what, what stood for and against it, and for how
long it stood. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from scorer.deployments.records import (
    CANDIDATE,
    LIVE,
    PREVIOUS,
    Answer,
    Approval,
    Automation,
    Change,
    Comment,
    Entry,
    Erasure,
    Forced,
    Judged,
    Prepare,
    Rotation,
    Suggestion,
    Watched,
    Withdrawal,
)
from scorer.deployments.slots import Deployments, LedgerLine, Slot
from scorer.people import Means
from shadow.release.wording import minute

Kind = Literal[
    "deploy",
    "threshold",
    "empty",
    "twin",
    "kill_switch_on",
    "kill_switch_off",
    "approve",
    "forced",
    "rollback",
    "suggestion",
    "rollback_suggestion",
    "rejection",
    "withdrawal",
    "watched",
    "automation",
    "approval",
    "comment",
    "rotation",
    "erasure",
]


@dataclass(frozen=True, slots=True)
class Filling:
    """What a slot held from one change of it to the next.

    since, until: times of the two changes, None if they are not known. ended_by: the ledger key of the second; None
    while it holds this still.
    """

    slot: str
    state: Slot
    since: datetime | None
    until: datetime | None = None
    ended_by: str | None = None

    @property
    def seconds(self) -> float | None:
        """How long the slot held it; None while it does, or if a time is not known."""
        if self.ended_by is None or self.since is None or self.until is None:
            return None
        return (self.until - self.since).total_seconds()

    def to_json(self) -> dict[str, Any]:
        """For machines. Its epoch counts the changes of the slot."""
        return {
            "slot": self.slot,
            "epoch": self.state.epoch,
            "digest": self.state.digest,
            "threshold": self.state.threshold,
            "override": self.state.override,
            "since": _text(self.since),
            "until": _text(self.until),
            "ended_by": self.ended_by,
            "seconds": self.seconds,
        }


@dataclass(frozen=True, slots=True)
class Stood:
    """The verdict at the moment of an entry, as far as the ledger has it.

    passed: the number of criteria that passed, None if it is not kept. against: the findings that did not pass, or what
    else was overridden, one line each; a suggestion with a dossier lists the first ones only. dossier: its digest.
    """

    decision: str
    reason: str
    run: str | None = None
    criteria: str | None = None
    passed: int | None = None
    against: tuple[str, ...] = ()
    dossier: str | None = None

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Row:
    """An entry of the ledger for people.

    seq: its ledger key. at: its time as its writer had it. when: its time as it counts here, see `times_of`. slots:
    those that it is about. fillings: what the slots that it changed held from then on; empty if it is void. suggestion:
    the ledger key of the suggestion that it settles, or is about. signed_by: whose key has signed it, if signatures are
    asked for. aftermath: what the watch saw after a change of the live model; None if the ledger has nothing of it.
    """

    seq: str
    at: str
    when: datetime | None
    kind: Kind
    by: str | None
    reason: str | None
    slots: tuple[str, ...]
    fillings: tuple[Filling, ...]
    entry: Entry
    is_void: bool
    suggestion: str | None = None
    stood: Stood | None = None
    signed_by: str | None = None
    aftermath: str | None = None

    @property
    def is_forced(self) -> bool:
        return isinstance(self.entry, Forced)

    @property
    def verified(self) -> Means | None:
        """How the name of whoever wrote it was verified, as far as the ledger shows it."""
        is_own = self.signed_by is not None and self.signed_by == self.by
        return "key" if is_own else getattr(self.entry, "verified", None)

    @property
    def is_unverified(self) -> bool:
        """Whether it bears the name of a person that nobody has verified."""
        return self.verified is None and not _is_by_itself(self.entry)

    @property
    def approved_by(self) -> tuple[str, ...]:
        """Everybody who has approved a change, in order; nobody if it is none."""
        if not isinstance(self.entry, Change):
            return ()
        first = self.entry.first
        return (self.entry.by,) if first is None else (first.by, self.entry.by)

    def was_in_force(self, at: datetime, slot: str | None = None) -> bool:
        """Whether what a slot held at a time was put there by this. slot: None for any."""
        return any(
            (one.since is None or one.since <= at)
            and (one.ended_by is None or (one.until is not None and at < one.until))
            for one in self.fillings
            if slot is None or one.slot == slot
        )

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "seq": self.seq,
            "at": self.at,
            "counted_at": _text(self.when),
            "kind": self.kind,
            "by": self.by,
            "signed_by": self.signed_by,
            "verified": self.verified,
            "approved_by": self.approved_by,
            "reason": self.reason,
            "forced": self.is_forced,
            "void": self.is_void,
            "slots": self.slots,
            "fillings": [one.to_json() for one in self.fillings],
            "suggestion": self.suggestion,
            "verdict": None if self.stood is None else self.stood.to_json(),
            "aftermath": self.aftermath,
        }


def history(deployments: Deployments) -> list[Row]:
    """One row for each entry but requests to prepare, in log order. Fillings of one slot never overlap."""
    lines = [line for line in deployments.ledger if not isinstance(line.entry, Prepare)]
    times = times_of([line.entry.at for line in lines])
    suggested = {line.seq: line.entry for line in lines if isinstance(line.entry, Suggestion | Approval)}
    states: dict[str, Slot] = {}
    open_in: dict[str, tuple[int, int]] = {}  # row and place of the filling that a slot holds
    fillings: list[list[Filling]] = []
    kinds: list[Kind] = []
    for at, (line, when) in enumerate(zip(lines, times, strict=True)):
        fillings.append([])
        kinds.append(_kind(line.entry, states))
        if not isinstance(line.entry, Change) or line.is_void:
            continue
        for name in sorted(line.entry.slots, key=lambda name: (name != LIVE, name)):
            if name in open_in:
                row, place = open_in[name]
                before = fillings[row][place]
                fillings[row][place] = Filling(name, before.state, before.since, when, line.seq)
            target, epoch = line.entry.slots[name], states.get(name, Slot()).epoch + 1
            if target is None:
                states[name] = Slot(epoch, since=line.entry.at)
            else:
                states[name] = Slot(epoch, target.digest, target.threshold, target.override, line.entry.at)
            open_in[name] = at, len(fillings[at])
            fillings[at].append(Filling(name, states[name], when))
    after = _aftermaths(lines)
    return [
        _row(line, when, kind, tuple(held), suggested, after)
        for line, when, kind, held in zip(lines, times, kinds, fillings, strict=True)
    ]


def _aftermaths(lines: Sequence[LedgerLine]) -> dict[int, str]:
    """What the watch saw, by the epoch of slot `previous`, which only a change of the live model fills."""
    found: dict[int, list[str]] = {}
    for line in lines:
        match line.entry:
            case Suggestion(action="rollback") as made:
                told = made.evidence.get("judgement")
                why = told.get("reason") if isinstance(told, dict) else None
                found.setdefault(made.expects.get(PREVIOUS, 0), []).append(f"rollback suggested as {line.seq}: {why}")
            case Watched() as watched if not line.is_void:
                told_of = f"watched for {watched.days:g} days: {watched.reason}"
                found.setdefault(watched.expects.get(PREVIOUS, 0), []).append(told_of)
    return {epoch: "; ".join(told) for epoch, told in found.items()}


def _row(
    line: LedgerLine,
    when: datetime | None,
    kind: Kind,
    fillings: tuple[Filling, ...],
    suggested: dict[str, Suggestion | Approval],
    after: dict[int, str],
) -> Row:
    entry = line.entry
    former = {one.state.epoch for one in fillings if one.slot == PREVIOUS} if isinstance(entry, Change) else set()
    settles = entry.suggestion if isinstance(entry, Change | Answer | Withdrawal) else None
    about = entry.suggestion if isinstance(entry, Approval | Comment) else settles
    made = entry if isinstance(entry, Suggestion) else suggested.get(str(about))
    of_slots = entry if isinstance(entry, Change) else made if isinstance(made, Approval) else entry
    made = made if isinstance(made, Suggestion) else None
    if isinstance(of_slots, Change | Approval):
        slots = tuple(sorted(of_slots.slots, key=lambda name: (name != LIVE, name)))
    elif isinstance(entry, Rotation):
        slots = (CANDIDATE,)
    elif isinstance(entry, Watched):
        slots = tuple(sorted(entry.expects, key=lambda name: (name != LIVE, name)))
    else:
        slots = () if made is None else (made.slot,)
    return Row(
        seq=line.seq,
        at=entry.at,
        when=when,
        kind=kind,
        by=None if isinstance(entry, Suggestion) else entry.by,
        reason=None if isinstance(entry, Suggestion | Prepare) else _said(entry),
        slots=slots,
        fillings=fillings,
        entry=entry,
        is_void=line.is_void,
        suggestion=about,
        stood=_stood_of(entry, made),
        signed_by=line.signed_by,
        aftermath=next((after[epoch] for epoch in former if epoch in after), None),
    )


def _stood_of(entry: Entry, made: Suggestion | None) -> Stood | None:
    """The verdict at the moment of an entry. made: the suggestion that it is, or settles."""
    if isinstance(entry, Forced):
        return _judged_stood(entry.verdict, entry.overrode)
    if isinstance(entry, Rotation):
        return None if entry.backtest is None else _judged_stood(entry.backtest)
    return None if made is None else _stood(made)


def _is_by_itself(entry: Entry) -> bool:
    """Whether no person has made an entry."""
    match entry:
        case Change(automatic=is_automatic):
            return is_automatic
        case Automation(state=state):
            return state == "lost"
    return isinstance(entry, Suggestion | Withdrawal | Prepare | Watched)


def _said(entry: Change | Answer | Approval | Comment | Withdrawal | Watched | Automation | Rotation | Erasure) -> str:
    return entry.text if isinstance(entry, Comment) else entry.reason


def _kind(entry: Entry, before: dict[str, Slot]) -> Kind:
    """The kind of an entry. before: what the slots held until then."""
    match entry:
        case Forced():
            return "forced"
        case Change(cause="override"):
            is_on = any(target is not None and target.override is not None for target in entry.slots.values())
            return "kill_switch_on" if is_on else "kill_switch_off"
        case Change(cause="deploy"):
            if not entry.slots:
                return "twin"
            if not any(entry.slots.values()):
                return "empty"
            held = {name: before.get(name, Slot()) for name in entry.slots}
            same = [target is not None and target.digest == held[name].digest for name, target in entry.slots.items()]
            moved = [target is not None and target.threshold != held[name].threshold
                     for name, target in entry.slots.items()]  # fmt: skip
            return "threshold" if all(same) and any(moved) else "deploy"
        case Change(cause="approve"):
            return "approve"
        case Change():
            return "rollback"
        case Suggestion():
            return "suggestion" if entry.action == "promote" else "rollback_suggestion"
        case Answer():
            return "rejection"
        case Watched():
            return "watched"
        case Automation():
            return "automation"
        case Approval():
            return "approval"
        case Comment():
            return "comment"
        case Rotation():
            return "rotation"
        case Erasure():
            return "erasure"
    return "withdrawal"


def _stood(made: Suggestion) -> Stood | None:
    """The verdict that a suggestion was made by; None if it does not have it, as somebody else may have written it."""
    told = made.evidence.get("judgement")
    if not isinstance(told, dict):
        return None
    found = told.get("findings")
    findings = [one for one in found if isinstance(one, dict)] if isinstance(found, list | tuple) else []
    passed = told.get("passed", sum(one.get("verdict") == "pass" for one in findings))
    run = made.evidence.get("run")
    return Stood(
        decision=str(told.get("decision")),
        reason=str(told.get("reason")),
        run=None if run is None else str(run),
        criteria=made.criteria,
        passed=passed if isinstance(passed, int) else None,
        against=tuple(_against(one) for one in findings if one.get("verdict") != "pass"),
        dossier=made.dossier,
    )


def _judged_stood(told: Judged, overrode: tuple[str, ...] = ()) -> Stood:
    against = overrode or tuple(map(_against, told.against))
    return Stood(told.decision, told.reason, told.run, told.criteria, None, against)


def _against(finding: dict[str, Any]) -> str:
    excused = " (excused)" if finding.get("excused") is True else ""
    return f"{finding.get('criterion')} in {finding.get('segment')}: {finding.get('reason')}{excused}"


def times_of(texts: Sequence[str]) -> list[datetime | None]:
    """The times of entries in log order, such that none is before the one that precedes it.

    The log's order is certain, and each writer has a clock of its own. The longest series of times that agrees with the
    order is believed; an entry outside of it, or without a time, counts as of the believed one before it, or of the
    first. Thus one wrong clock moves its own entries only. None for all if there is no time at all.
    Source: Fredman (1975), "On computing the length of longest increasing subsequences".

    >>> told = times_of([f"2026-01-{day}T00:00:00Z" for day in ("01", "02", "31", "03")] + ["soon"])
    >>> [one.day for one in told]
    [1, 2, 2, 3, 3]
    """
    times = [instant(text) for text in texts]
    ends: list[datetime] = []  # smallest end of a series of each length
    last: list[int] = []  # where it is
    before: list[int | None] = []
    for at, time in enumerate(times):
        before.append(None)
        if time is None:
            continue
        length = bisect_right(ends, time)
        before[at] = last[length - 1] if length else None
        ends[length : length + 1] = [time]
        last[length : length + 1] = [at]
    believed = set()
    follow = last[-1] if last else None
    while follow is not None:
        believed.add(follow)
        follow = before[follow]
    present = times[min(believed)] if believed else None
    out = []
    for at, time in enumerate(times):
        present = time if at in believed else present
        out.append(present)
    return out


def instant(text: str) -> datetime | None:
    """A time in RFC 3339 in UTC; None if it is none, or has no time zone."""
    try:
        time = datetime.fromisoformat(text)
        return None if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def chosen(
    rows: Sequence[Row],
    slot: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    at: datetime | None = None,
) -> list[Row]:
    """The rows that somebody asks for, in order.

    slot: that they are about. since, until: of the time that counts; until is not included. at: only the changes in
    force then, those that had put into each slot what it held.
    """
    return [
        row
        for row in rows
        if (slot is None or slot in row.slots)
        and (since is None or (row.when is not None and row.when >= since))
        and (until is None or row.when is None or row.when < until)
        and (at is None or row.was_in_force(at, slot))
    ]


def last_forced(deployments: Deployments) -> str | None:
    """How many releases were ever forced, and the last of them; None if none was."""
    found = deployments.forced
    if not found:
        return None
    _, last = found[-1]
    many = f"{len(found)} releases were forced, the last" if len(found) > 1 else "one release was forced"
    return f"{many} by {last.by} at {minute(last.at)} ({last.reason}); the verdict was {last.verdict.reason}"


def forced_by_verdict(deployments: Deployments) -> dict[str, int]:
    """The number of forced releases by what the verdict was, 0 included."""
    found = Counter(change.verdict.decision for _, change in deployments.forced)
    return {verdict: found[verdict] for verdict in get_args(Judged.model_fields["decision"].annotation)}


def _text(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat(timespec="milliseconds")
