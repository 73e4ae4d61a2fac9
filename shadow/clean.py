"""The clean shadow period: covered event hours since the last thing that resets it, and what that was."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

#: What resets the period within a run. A new artefact or threshold, in either slot, begins a new run.
CRITERIA, VIEW, GAP, ERROR, CONFLICT = (
    "release criteria",
    "feature view",
    "coverage gap",
    "candidate error",
    "decision conflict",
)
CAUSES = (CRITERIA, VIEW, GAP, ERROR, CONFLICT)


@dataclass(frozen=True, slots=True, order=True)
class Reset:
    """Something that is not clean. hour: the event hour, since 1970, in which it was seen."""

    hour: int
    cause: str


@dataclass(frozen=True, slots=True)
class CleanPeriod:
    """hours: clean ones so far. since: the first of them, last: the newest covered hour; event hours since 1970, None
    before there is any. resets: all there were, oldest first."""

    hours: int
    needed: int
    since: int | None
    last: int | None
    resets: tuple[Reset, ...] = ()

    @property
    def missing(self) -> int:
        """Clean hours still to come."""
        return max(0, self.needed - self.hours)

    @property
    def ends(self) -> int | None:
        """The event hour with which the period is full at the earliest: it was, or will be if nothing resets it."""
        return None if self.last is None else self.last + self.missing


def clean_period(covered: Collection[int], resets: Iterable[Reset], needed: int) -> CleanPeriod:
    """Count the covered hours after the last reset; the hour of the reset itself is not clean.

    covered: event hours in which something was compared. needed: hours of the full period. Hours are counted, never
    subtracted, so that one record from 2099 completes nothing.

    >>> clean_period([1, 2, 3, 5], [Reset(2, ERROR)], 4)
    CleanPeriod(hours=2, needed=4, since=3, last=5, resets=(Reset(hour=2, cause='candidate error'),))
    """
    known = tuple(sorted(set(resets)))
    after = known[-1].hour if known else -1
    clean = sorted(hour for hour in covered if hour > after)
    return CleanPeriod(len(clean), needed, clean[0] if clean else None, max(covered, default=None), known)
