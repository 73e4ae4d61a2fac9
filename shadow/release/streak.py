"""When automation is earned: by suggestions that people accepted as they were, of one kind of change, in a row. Pure.

Whatever shows that a person was needed takes it away: a rejection, an edit, a rollback, a forced release, other
criteria, a release past the gate, harm that the watch found. All of it is on the ledger, so this is a fold of the
ledger, and nobody has to keep a count.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import get_args

from scorer.deployments.records import LIVE, Answer, Automation, Change, ChangeKind, Forced, Prepare, Suggestion, Target
from scorer.deployments.slots import Deployments, LedgerLine
from shadow.release.history import times_of

KINDS: tuple[ChangeKind, ...] = get_args(ChangeKind)
#: The kinds that put a candidate live.
PROMOTIONS: tuple[ChangeKind, ...] = tuple(kind for kind in KINDS if kind != "rollback")
#: A suggestion counts if planted harm of the limit's size would have been stopped with this probability: else the
#: evidence could not have failed, and to accept it says nothing.
MUST_STOP = 0.95


@dataclass(frozen=True, slots=True)
class Rules:
    """What it takes. accepted: suggestions in a row. days: from the first of them to the last, at least."""

    accepted: int = 5
    days: float = 60.0


@dataclass(frozen=True, slots=True)
class Loss:
    """What took a streak away. seq: the ledger entry. why: in words."""

    seq: str
    why: str


@dataclass(frozen=True, slots=True)
class Streak:
    """Where the automation of a kind of change stands.

    accepted: suggestions in a row that people accepted as they were. first, last: when. loss: what ended the streak
    before this one. is_on: somebody has switched it on, by when it was earned, and nothing has taken it away since.
    switched: the entry that did. took_away: what took it away after somebody had switched it on, and nobody has said so
    on the ledger yet.
    """

    kind: ChangeKind
    accepted: int = 0
    first: datetime | None = None
    last: datetime | None = None
    loss: Loss | None = None
    is_on: bool = False
    switched: str | None = None
    took_away: Loss | None = None

    @property
    def days(self) -> float:
        """Days from the first accepted suggestion to the last."""
        if self.first is None or self.last is None:
            return 0.0
        return (self.last - self.first).total_seconds() / 86_400

    def is_earned(self, rules: Rules) -> bool:
        return self.accepted >= rules.accepted and self.days >= rules.days

    def missing(self, rules: Rules) -> str | None:
        """What is still missing, for people; None if it is earned."""
        if self.is_earned(rules):
            return None
        told = f"{self.accepted} of {rules.accepted} suggestions in a row were accepted as they were"
        if self.days < rules.days:
            told += f", over {self.days:.0f} of {rules.days:g} days"
        return told if self.loss is None else f"{told}, since entry {self.loss.seq} ({self.loss.why})"


def streaks(deployments: Deployments, rules: Rules) -> dict[ChangeKind, Streak]:
    """Where each kind of change stands at the end of the ledger."""
    found = {kind: Streak(kind) for kind in KINDS}
    lines = [line for line in deployments.ledger if not isinstance(line.entry, Prepare)]
    suggested: dict[str, Suggestion] = {}
    criteria: str | None = None
    has_live = False
    times = dict(zip((line.seq for line in lines), times_of([line.entry.at for line in lines]), strict=True))
    for line in lines:
        if line.is_void:
            continue
        entry = line.entry
        if isinstance(entry, Automation):
            found[entry.change] = _switched(found[entry.change], entry, line.seq, rules)
        for kinds, why in _losses(entry, suggested, criteria, has_live):
            for kind in kinds:
                found[kind] = _lost(found[kind], Loss(line.seq, why))
        if isinstance(entry, Suggestion):
            if deployments.person(entry, line.signed_by) is None:  # a person's own suggestions earn nothing
                suggested[line.seq] = entry
            criteria = entry.criteria if entry.action == "promote" else criteria
        if isinstance(entry, Change):
            has_live = has_live or entry.slots.get(LIVE) is not None
            accepted = suggested.get(str(entry.suggestion))
            if accepted is not None and accepted.change is not None and _counts(entry, accepted):
                # the time of the suggestion is that of the gate, not of whoever approves
                found[accepted.change] = _accepted(found[accepted.change], times[str(entry.suggestion)])
    return found


def _switched(before: Streak, entry: Automation, seq: str, rules: Rules) -> Streak:
    if entry.state == "on":  # who writes it without having earned it has switched nothing on
        return replace(before, is_on=True, switched=seq, took_away=None) if before.is_earned(rules) else before
    return replace(before, is_on=False, switched=None, took_away=None)


def _lost(before: Streak, loss: Loss) -> Streak:
    return Streak(before.kind, loss=loss, took_away=loss if before.is_on else before.took_away)


def _accepted(before: Streak, at: datetime | None) -> Streak:
    first = at if before.first is None else before.first
    return replace(before, accepted=before.accepted + 1, first=first, last=at if at is not None else before.last)


def _counts(change: Change, accepted: Suggestion) -> bool:
    """Whether an approval is one more of a streak: a person's, as suggested, on evidence that could have failed."""
    return not change.automatic and not is_edited(change, accepted) and could_have_failed(accepted)


def is_edited(change: Change, accepted: Suggestion) -> bool:
    """Whether what went live is not what was suggested."""
    target = change.slots.get(LIVE) or Target()
    return (target.digest, target.threshold) != (accepted.target.digest, accepted.target.threshold)


def could_have_failed(suggestion: Suggestion) -> bool:
    """Whether planted harm would have been stopped. The watch's suggestions rest on harm that was found."""
    if suggestion.action == "rollback":
        return True
    told = suggestion.evidence.get("challenge")
    stopped = told.get("stopped") if isinstance(told, dict) else None
    return isinstance(stopped, int | float) and stopped >= MUST_STOP


def _losses(
    entry: object, suggested: dict[str, Suggestion], criteria: str | None, has_live: bool
) -> Iterator[tuple[Sequence[ChangeKind], str]]:
    """The kinds of changes that lose their streak by an entry, and why.

    suggested: by ledger key. criteria: of the last suggestion. has_live: whether anything was live before.
    """
    match entry:
        case Suggestion(action="rollback"):
            yield PROMOTIONS, "the watch found that live is worse than the model before it"
        case Suggestion() if criteria is not None and entry.criteria != criteria:
            yield KINDS, "the release criteria were changed"
        case Forced():
            yield KINDS, f"{entry.by} forced a release"
        case Change(cause="rollback"):
            told = "the model before was put back" if entry.automatic else f"{entry.by} put the model before back"
            yield PROMOTIONS, told
            if entry.suggestion is None:
                yield ("rollback",), f"{entry.by} rolled back before anything suggested it"
        case Change(cause="deploy") if has_live and entry.slots.get(LIVE) is not None:
            yield PROMOTIONS, f"{entry.by} put a model live past the gate"
        case Change(cause="approve"):
            accepted = suggested.get(str(entry.suggestion))
            if accepted is not None and accepted.change is not None and is_edited(entry, accepted):
                yield (accepted.change,), f"{entry.by} approved something else than was suggested"
        case Answer():
            answered = suggested.get(entry.suggestion)
            if answered is not None:
                kinds = KINDS if answered.change is None else (answered.change,)
                yield kinds, f"{entry.by} rejected a suggestion"


@dataclass(frozen=True, slots=True)
class Pace:
    """When automation may act. grace: time in which a person can stop it. every: between two automatic promotions."""

    grace: timedelta = timedelta(hours=4)
    every: timedelta = timedelta(days=14)


@dataclass(frozen=True, slots=True)
class Due:
    """When a suggestion is carried out by itself. at: None if it is not, and why tells it."""

    at: datetime | None
    why: str


def due(deployments: Deployments, seq: str, rules: Rules, pace: Pace) -> Due:
    """When a standing suggestion is carried out by itself, if nobody answers it.

    seq: its ledger key. Business hours are not reckoned with here (`scorer.process.office_hours`).
    """
    suggestion = next((line.entry for line in deployments.ledger if line.seq == seq), None)
    if not isinstance(suggestion, Suggestion) or seq in deployments.settled:
        return Due(None, "the suggestion is settled")
    kind = suggestion.change
    if kind is None or not streaks(deployments, rules)[kind].is_on:
        return Due(None, f"automation of {kind or 'this kind of change'} is off")
    if deployments.slot(LIVE).override is not None:
        return Due(None, "the kill switch is on")
    if not could_have_failed(suggestion):
        return Due(None, "its evidence could not have failed: planted harm would have passed, too")
    times = _times(deployments)
    made = times.get(seq)
    if made is None:
        return Due(None, "its time cannot be read")
    earliest = made + pace.grace
    if suggestion.action == "promote":
        before = [at for at in map(times.get, automatic_promotions(deployments)) if at is not None]
        earliest = max([earliest, *(at + pace.every for at in before)])
    return Due(earliest, f"automation of {kind} is on")


def automatic_promotions(deployments: Deployments) -> list[str]:
    """The ledger keys of the promotions that nobody asked for, oldest first."""
    return [line.seq for line in deployments.ledger if _is_automatic_promotion(line)]


def _is_automatic_promotion(line: LedgerLine) -> bool:
    entry = line.entry
    return isinstance(entry, Change) and entry.automatic and entry.cause == "approve" and not line.is_void


def _times(deployments: Deployments) -> dict[str, datetime | None]:
    lines = [line for line in deployments.ledger if not isinstance(line.entry, Prepare)]
    return dict(zip((line.seq for line in lines), times_of([line.entry.at for line in lines]), strict=True))
