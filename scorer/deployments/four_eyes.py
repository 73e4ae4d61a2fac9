"""What one person alone must not decide, and whether a second one has decided it, too. Pure.

Everything is judged by what a change does, not by what it calls itself: whatever puts another bundle, or another
threshold, live that was not live before is a release.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from scorer.deployments.records import LIVE, Approval, Change, Forced, Judged, Suggestion, Target, is_over
from scorer.people import same


class Held(Protocol):
    """What was in slot live: a state of it."""

    @property
    def digest(self) -> str | None: ...
    @property
    def threshold(self) -> float | None: ...


@dataclass
class Decided:
    """What the ledger says of who proposed and approved what. People are as `same` has their names.

    proposed: who has put a bundle into a slot, by its digest. suggestions: with the person who wrote it, None if that
    was the gate. firsts: first approvals with their person. Both by ledger key. criteria: digest of those of the last
    release.
    """

    proposed: dict[str, set[str]] = field(default_factory=dict)
    suggestions: dict[str, tuple[Suggestion, str | None]] = field(default_factory=dict)
    firsts: dict[str, tuple[Approval, str]] = field(default_factory=dict)
    criteria: str | None = None

    def note(self, change: Change, person: str, was_live: Iterable[Held]) -> None:
        """Take up a change that counts. was_live: before it."""
        known = {one.digest for one in was_live}
        for name, target in change.slots.items():
            if name != LIVE and target is not None and target.digest is not None and target.digest not in known:
                self.proposed.setdefault(target.digest, set()).add(person)
        criteria = change.verdict.criteria if isinstance(change, Forced) else None
        if change.suggestion in self.suggestions:
            criteria = self.suggestions[str(change.suggestion)][0].criteria
        self.criteria = self.criteria if criteria is None else criteria

    def is_pending(self, approval: Approval, over: Container[str]) -> bool:
        """Whether the same first approval is there already. over: ledger keys of what is settled."""
        return any(
            seq not in over and _content(one) == _content(approval) and not _is_older(one, approval.at)
            for seq, (one, _) in self.firsts.items()
        )


def is_release(change: Change, live: Held, was_live: Iterable[Held]) -> bool:
    """Whether a change puts something live that was not live before. The first bundle of all is no release, nor is the
    kill switch, nor going back. live: what is there now. was_live: every state of the slot so far."""
    target = change.slots.get(LIVE)
    if target is None or target.digest is None:
        return False
    if isinstance(change, Forced):
        return True
    past = [(one.digest, one.threshold) for one in was_live if one.digest is not None]
    return bool(past) and (target.digest, target.threshold) not in [*past, (live.digest, live.threshold)]


def why_two(decided: Decided, change: Change, live: Held, was_live: Iterable[Held], person: str) -> tuple[str, ...]:
    """Why one person alone must not make a change; nothing if they may. person: who makes it. Others: as above."""
    if not is_release(change, live, was_live):
        return ()
    if isinstance(change, Forced):
        return ("it is a forced release",)
    found = decided.suggestions.get(str(change.suggestion))
    if found is None or not _is_as_suggested(change, found[0]):
        return ("no suggestion of the gate stands behind it",)
    suggestion, wrote = found
    target = change.slots[LIVE]
    digest = "" if target is None else str(target.digest)
    people = decided.proposed.get(digest, set()) | {same(one) for one in (suggestion.made_by,) if one}
    why = []
    if person in people:
        why.append("who approves has trained or proposed this bundle")
    if wrote is not None:
        why.append("a person, and not the gate, has written the suggestion")
    if decided.criteria not in (None, suggestion.criteria):
        why.append("the release criteria have changed since the last release")
    return tuple(why)


def _is_as_suggested(change: Change, suggestion: Suggestion) -> bool:
    target = change.slots[LIVE]
    return (
        target is not None
        and (target.digest, target.threshold) == (suggestion.target.digest, suggestion.target.threshold)
        and all(change.expects.get(name) == epoch for name, epoch in suggestion.expects.items())
        and not _is_older(suggestion, change.at)
    )


def refusal(decided: Decided, change: Change, person: str, over: Container[str]) -> str | None:
    """Why the first approval that a change names does not do; None if it does. over: as above."""
    if change.first is None:
        return "it needs the approval of two people"
    seq = change.first.approval
    found = decided.firsts.get(seq)
    if found is None:
        return "its first approval is not on the ledger"
    approval, first = found
    if seq in over:
        return "its first approval was withdrawn, or is used up"
    if first == person:
        return "one person has approved it twice"
    if change.first.by != approval.by:
        return "its first approval is that of somebody else"
    if _content(approval) != content(change):
        return "its first approval was for something else"
    if _is_older(approval, change.at):
        return "its first approval had expired"
    return None


#: All that two approvals must agree on.
Content = tuple[
    Mapping[str, Target | None], Mapping[str, int], Mapping[str, object], str, str | None, tuple[str, str | None] | None
]


def content(change: Change) -> Content:
    """What a change does, as two people must want it."""
    verdict = _told(change.verdict) if isinstance(change, Forced) else None
    return change.slots, change.expects, change.twins, change.cause, change.suggestion, verdict


def _content(approval: Approval) -> Content:
    verdict = None if approval.verdict is None else _told(approval.verdict)
    return approval.slots, approval.expects, approval.twins, approval.cause, approval.suggestion, verdict


def is_of(approval: Approval, change: Change) -> bool:
    """Whether an approval is of this very change."""
    return _content(approval) == content(change)


def _told(verdict: Judged) -> tuple[str, str | None]:
    """What of a verdict has to be the same: an approval dies with its evidence."""
    return verdict.decision, verdict.criteria


def _is_older(one: Approval | Suggestion, at: str) -> bool:
    """Whether something had expired at a time on the ledger, or that is no time with a zone."""
    try:
        present = datetime.fromisoformat(at)
    except ValueError:
        return True
    return is_over(one.at, present)
