"""What people decided of the cases of a run: who, what and when, with their notes. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from scorer.pipeline.instants import DAY_MS
from shadow.comparison.case import Case
from shadow.labels.label import OPEN, REVIEW, Note, Votes, merge

#: Days since 1970 are counted from here.
_FIRST = date(1970, 1, 1).toordinal()


@dataclass(frozen=True, slots=True)
class Decision:
    """A person's verdict that stands on a case. at_ms: milliseconds since 1970."""

    case: Case
    by: str
    at_ms: int
    verdict: str
    note: str = ""

    @property
    def day(self) -> date:
        """The day, in UTC, on which it was made."""
        return date.fromordinal(_FIRST + self.at_ms // DAY_MS)


def decisions(
    cases: Iterable[Case], votes: Mapping[str, Sequence[Votes]], notes: Mapping[str, Sequence[Note]]
) -> list[Decision]:
    """The reviews that stand on cases, newest first. votes, notes: by subject, as the store returns them."""
    found = []
    for case in cases:
        said = merge(*(one for subject in case.subjects for one in votes.get(subject, ()))).get(REVIEW, {})
        written = {
            note.by: note.text
            for subject in case.subjects
            for note in reversed(notes.get(subject, ()))
            if note.source == REVIEW
        }
        found += [
            Decision(case, by, at, verdict, written.get(by, ""))
            for by, (at, verdict) in said.items()
            if verdict != OPEN
        ]
    return sorted(found, key=lambda one: (-one.at_ms, one.case.transaction, one.by))


def tally(found: Iterable[Decision], day: date) -> list[tuple[str, int]]:
    """Who reviewed how many cases on a day, the most first."""
    counts = Counter(one.by for one in found if one.day == day)
    return sorted(counts.items(), key=lambda one: (-one[1], one[0]))
