"""How things stand: what is live and how old its data is, what is in each slot, and what waits for whom. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from scorer.deployments.records import CANDIDATE, CONTROL, LIVE, PREVIOUS, STANDS, Approval, Suggestion, Target
from scorer.deployments.slots import Deployments, Slot
from scorer.people import NOT_VERIFIED
from scorer.text_table import wrapped
from shadow.gate.findings import Decision
from shadow.release.complaints import ComplaintLook
from shadow.release.history import Filling, Row, history, instant
from shadow.release.telling import duration
from shadow.release.wording import minute

#: What a suggestion waits for, by its action.
_WHAT = {"promote": "to be approved or rejected", "rollback": "to be put back (`shadow rollback`) or rejected"}
#: Slots that are shown even if they were never filled, in this order; all others follow.
ALWAYS = (CANDIDATE, CONTROL, PREVIOUS)


@dataclass(frozen=True, slots=True)
class SlotVerdict:
    """The verdict on a slot, and how many of its cases wait for a review."""

    decision: Decision
    reason: str
    reviews: int


@dataclass(frozen=True, slots=True)
class DataAge:
    """How old the data of a model is. since: the time that it counts from, None if that is not known.

    counted: what happened then: its training data ended; or, if its manifest does not have that, the bundle was made.
    """

    counted: Literal["training data ended", "bundle made"] | None
    since: datetime | None
    trouble: str | None = None


def data_age(training_ended: str | None, made: datetime) -> DataAge:
    """The age of a bundle's data. training_ended: RFC 3339, as the manifest has it, if it does. made: the bundle."""
    ended = None if training_ended is None else instant(training_ended)
    return DataAge("bundle made", made) if ended is None else DataAge("training data ended", ended)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A suggestion, or a first approval, that waits for a person. expires: when it can no longer be approved.

    first: who has approved it as the first of two, None if nobody has. comments: as (name, text), oldest first.
    automatic: what automation is about to do with it.
    """

    seq: str
    slot: str
    digest: str | None
    at: str
    expires: datetime | None
    first: str | None = None
    comments: tuple[tuple[str, str], ...] = ()
    action: Literal["promote", "rollback"] = "promote"
    automatic: str | None = None


@dataclass(frozen=True, slots=True)
class WatchSeen:
    """What the watch over live sees. days: since the release. until: when it ends, None if that is not known."""

    days: float
    until: datetime | None
    is_harm: bool
    reason: str

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        until = None if self.until is None else self.until.isoformat(timespec="milliseconds")
        return {"days": round(self.days, 2), "until": until, "harm": self.is_harm, "reason": self.reason}


@dataclass(frozen=True, slots=True)
class Status:
    """How things stand at a time.

    live: the row that put the bundle live at its threshold, kill: the one that turned the kill switch on; None if
    nobody has. trouble: why verdicts and reviews are not known. watch: None while nothing is watched, or it is not
    known. automated: the kinds of changes that are carried out by themselves. complaints: what they say of the last
    release; None if nobody reports any. erasures: of cards, that were asked for.
    """

    at: datetime
    slots: Mapping[str, Slot]
    runs: Mapping[str, str]
    live: Row | None
    kill: Row | None
    data: DataAge
    verdicts: Mapping[str, SlotVerdict]
    waiting: tuple[Waiting, ...]
    forced: int
    trouble: str | None = None
    watch: WatchSeen | None = None
    automated: tuple[str, ...] = ()
    complaints: ComplaintLook | None = None
    erasures: int = 0

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        live = self.slots.get(LIVE, Slot())
        return {
            "at": self.at.isoformat(timespec="milliseconds"),
            "live": {"digest": live.digest, "threshold": live.threshold, "epoch": live.epoch, **_who(self.live)},
            "data": {
                "counted_from": self.data.counted,
                "since": None if self.data.since is None else self.data.since.isoformat(),
                "days": None if self.data.since is None else _days(self.at, self.data.since),
                "trouble": self.data.trouble,
            },
            "kill_switch": {"override": live.override, **_who(self.kill)},
            "slots": {name: self._slot_json(name) for name in self.names},
            "waiting": [
                {
                    "suggestion": one.seq,
                    "action": one.action,
                    "automatic": one.automatic,
                    "slot": one.slot,
                    "digest": one.digest,
                    "at": one.at,
                    "expires": None if one.expires is None else one.expires.isoformat(timespec="milliseconds"),
                    "first_approval_by": one.first,
                    "comments": [{"by": by, "text": text} for by, text in one.comments],
                }
                for one in self.waiting
            ],
            "forced": self.forced,
            "erasures": self.erasures,
            "trouble": self.trouble,
            "watch": None if self.watch is None else self.watch.to_json(),
            "automated": list(self.automated),
            "complaints": None if self.complaints is None else self.complaints.to_json(),
        }

    @property
    def names(self) -> list[str]:
        """The slots beside live, in the order in which they are shown."""
        return [*ALWAYS, *sorted(self.slots.keys() - {LIVE, *ALWAYS})]

    def _slot_json(self, name: str) -> dict[str, Any]:
        slot, verdict = self.slots.get(name, Slot()), self.verdicts.get(name)
        return {
            "digest": slot.digest,
            "threshold": slot.threshold,
            "epoch": slot.epoch,
            "since": slot.since,
            "run": self.runs.get(name),
            "decision": None if verdict is None else verdict.decision.value,
            "reason": None if verdict is None else verdict.reason,
            "reviews_waiting": None if verdict is None else verdict.reviews,
        }


def status(
    deployments: Deployments,
    data: DataAge,
    runs: Mapping[str, str],
    verdicts: Mapping[str, SlotVerdict],
    at: datetime,
    trouble: str | None = None,
    watch: WatchSeen | None = None,
    automated: Sequence[str] = (),
    intention: Callable[[str], str | None] = lambda seq: None,
    complaints: ComplaintLook | None = None,
) -> Status:
    """How things stand. data: of the live bundle. runs, verdicts: by slot, as far as they are known. intention: what
    automation is about to do with the suggestion of a ledger key."""
    rows = history(deployments)
    ofs = [(row, one) for row in rows for one in row.fillings if one.slot == LIVE]
    waiting = []
    for line in deployments.open_suggestions(at):
        if isinstance(line.entry, Suggestion):
            said = tuple((one.by, one.text) for one in deployments.comments(line.seq))
            made = line.entry
            waiting.append(
                replace(
                    _waiting(line.seq, made.slot, made.target, made.at, None, said),
                    action=made.action,
                    automatic=intention(line.seq),
                )
            )
    for line in deployments.open_approvals(at):
        if isinstance(line.entry, Approval):
            waiting.append(_waiting(line.seq, LIVE, line.entry.slots.get(LIVE), line.entry.at, line.entry.by))
    return Status(
        at=at,
        slots=dict(deployments.slots),
        runs=dict(runs),
        live=_first(ofs, lambda slot: (slot.digest, slot.threshold)) if deployments.slot(LIVE).digest else None,
        kill=_first(ofs, lambda slot: slot.override) if deployments.slot(LIVE).override else None,
        data=data,
        verdicts=dict(verdicts),
        waiting=tuple(waiting),
        forced=len(deployments.forced),
        trouble=trouble,
        watch=watch,
        automated=tuple(automated),
        complaints=complaints,
        erasures=len(deployments.erasures),
    )


def _waiting(
    seq: str,
    slot: str,
    target: Target | None,
    at: str,
    first: str | None,
    comments: tuple[tuple[str, str], ...] = (),
) -> Waiting:
    made = instant(at)
    expires = None if made is None else made + STANDS
    return Waiting(seq, slot, None if target is None else target.digest, at, expires, first, comments)


def _first(fillings: Sequence[tuple[Row, Filling]], key: Any) -> Row | None:
    """The row that began what the last filling holds. key: what of a slot has to stay the same."""
    found = None
    for row, filling in reversed(fillings):
        if key(filling.state) != key(fillings[-1][1].state):
            break
        found = row
    return found


def _who(row: Row | None) -> dict[str, Any]:
    if row is None:
        return {"verified": None, "since": None, "by": None, "reason": None, "kind": None, "entry": None}
    return {
        "verified": row.verified,
        "since": row.at,
        "by": row.by,
        "reason": row.reason,
        "kind": row.kind,
        "entry": row.seq,
    }


def _days(at: datetime, since: datetime) -> float:
    return round((at - since).total_seconds() / 86_400, 1)


def lines(found: Status, width: int | None = None) -> Iterator[str]:
    """A status for people: one line each for live, its data, the kill switch, each slot, and what waits.

    width: of a terminal, on which a line that is longer goes on below; None for a pipe.
    """
    for name, said in told(found):
        yield from wrapped(said, width, " " * 13, f"{name:<12} ")


def told(found: Status) -> Iterator[tuple[str, str]]:
    """A status for people: what each line is about, and what it says."""
    live = found.slots.get(LIVE, Slot())
    yield LIVE, _held(live) + _since(found.at, live.since if found.live is None else found.live.at) + _by(found.live)
    yield "data", _data(found)
    if live.override is None:
        yield "kill switch", "off"
    else:
        yield "kill switch", f"ON ({live.override}){_since(found.at, live.since)}{_by(found.kill)}"
    for name in found.names:
        slot, verdict = found.slots.get(name, Slot()), found.verdicts.get(name)
        told = _held(slot) + ("" if slot.is_empty else _since(found.at, slot.since))
        if name in found.runs:
            told += f", run {found.runs[name]}"
        if verdict is not None:
            told += f"; {verdict.reason}"
        yield name, told
    if found.watch is not None:
        ends = "" if found.watch.until is None else f", until {minute(found.watch.until.isoformat())}"
        yield "watch", f"{found.watch.days:.1f} days since the release{ends}: {found.watch.reason}"
    if found.complaints is not None:
        yield "complaints", found.complaints.reason
    if not found.waiting:
        yield "waiting", "no suggestion waits for a person"
    for one in found.waiting:
        until = ""
        if one.expires is not None:
            left = duration(max(0.0, (one.expires - found.at).total_seconds()))
            until = f"; expires at {minute(one.expires.isoformat())}, in {left}"
        if one.first is None:
            soon = "" if one.automatic is None else f"; {one.automatic}"
            yield "waiting", f"slot {one.slot}: {_WHAT[one.action]} by a person, as {one.seq}{until}{soon}"
        else:
            yield (
                "waiting",
                f"slot {one.slot}: {one.first} has approved, a second person has to, as {one.seq}{until}",
            )
        if one.comments:
            by, text = one.comments[-1]
            said = "1 comment" if len(one.comments) == 1 else f"{len(one.comments)} comments"
            yield "", f"{said}, the last by {by}: {text}"
    cases = {name: one.reviews for name, one in found.verdicts.items() if one.reviews}
    many = ", ".join(f"{n:,} {'case' if n == 1 else 'cases'} of slot {name}" for name, n in sorted(cases.items()))
    if found.trouble is not None:
        yield "reviews", f"verdicts and reviews cannot be seen: {found.trouble}"
    else:
        yield "reviews", f"a reviewer: {many}; see `shadow review next`" if many else "No reviews needed"
    if found.automated:
        yield "automation", f"on for {', '.join(found.automated)}; see `shadow automate`"
    if found.forced:
        yield "forced", f"{found.forced:,} {'release' if found.forced == 1 else 'releases'}; see `shadow history`"
    if found.erasures:
        many = "1 erasure of a card was" if found.erasures == 1 else f"{found.erasures:,} erasures of cards were"
        yield "erasures", f"{many} asked for; see `shadow history`"


def _held(slot: Slot) -> str:
    if slot.digest is None:
        return "empty"
    return f"bundle {slot.digest[:12]}" + ("" if slot.threshold is None else f" at {slot.threshold:g}")


def _since(at: datetime, text: str | None) -> str:
    if text is None:
        return ""
    since = instant(text)
    age = "" if since is None else f" ({duration(max(0.0, (at - since).total_seconds()))})"
    return f" since {minute(text)}{age}"


def _by(row: Row | None) -> str:
    if row is None:
        return ""
    by = " and ".join(row.approved_by) + (f" ({NOT_VERIFIED})" if row.is_unverified else "")
    return f", {'FORCED' if row.is_forced else row.kind} by {by}: {row.reason}"


def _data(found: Status) -> str:
    data = found.data
    if data.since is None:
        return f"age is not known: {data.trouble}"
    told = f"{max(0.0, _days(found.at, data.since)):,.1f} days old"
    if data.counted == "bundle made":
        return (
            f"{told}, counted from when the bundle was made ({minute(data.since.isoformat())}): no training data named"
        )
    return f"{told}: training data ended at {minute(data.since.isoformat())}"
