"""The clean period: covered event hours since the last reset, and what caused the reset."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from shadow.comparison.resets import AGAIN, ARTEFACT, CRITERIA, ERROR, THRESHOLD, Reset
from shadow.comparison.totals import RunTotals


@dataclass(frozen=True, slots=True)
class CleanPeriod:
    """How much of the clean period is done.

    hours: clean event hours so far. needed: clean hours required. since: the first clean hour, last: the newest covered
    hour; both since 1970, None if there is none. resets: of the run, oldest first. begun: why the run replaced the one
    before it.
    """

    hours: int
    needed: int
    since: int | None
    last: int | None
    resets: tuple[Reset, ...] = ()
    begun: tuple[str, ...] = ()

    @property
    def missing(self) -> int:
        """Clean hours still required."""
        return max(0, self.needed - self.hours)

    @property
    def is_edited(self) -> bool:
        """Whether the criteria changed within the run. Its evidence was gathered, and looked at, under others."""
        return any(reset.cause == CRITERIA for reset in self.resets)

    @property
    def ends(self) -> int | None:
        """The earliest event hour, since 1970, with which the period is complete; None before any hour is covered."""
        return None if self.last is None else self.last + self.missing


@dataclass(frozen=True, slots=True)
class Compared:
    """What a run compares: digests and thresholds of live and of the candidate, as its decisions record them."""

    digests: tuple[str, str]
    thresholds: tuple[float | None, float | None]


def begun_by(before: Compared, now: Compared) -> tuple[str, ...]:
    """Why a run replaced the one before it.

    >>> begun_by(Compared(("a", "b"), (0.5, 0.4)), Compared(("a", "b"), (0.5, 0.3)))
    ('new threshold',)
    """
    causes = []
    if before.digests != now.digests:
        causes.append(ARTEFACT)
    if before.thresholds != now.thresholds:
        causes.append(THRESHOLD)
    return tuple(causes) or (AGAIN,)


def untolerated(resets: Iterable[Reset], errors: Mapping[int, tuple[int, int]], rate: float) -> tuple[Reset, ...]:
    """Leave out resets by candidate errors in hours in which errors are tolerated.

    errors: errors and decisions by event hour; an hour that is missing is not tolerated. rate: highest tolerated share.
    """

    def is_tolerated(hour: int) -> bool:
        wrong, decided = errors.get(hour, (1, 1))
        return wrong <= rate * decided

    return tuple(reset for reset in resets if reset.cause != ERROR or not is_tolerated(reset.hour))


def clean_period(
    covered: Collection[int], resets: Iterable[Reset], needed: int, begun: tuple[str, ...] = ()
) -> CleanPeriod:
    """Count the covered hours after the last reset; the hour of the reset itself is not clean.

    covered: event hours with at least one comparison. needed: clean hours required. Hours are counted, never
    subtracted, so a record dated 2099 adds one hour at most.

    >>> clean_period([1, 2, 3, 5], [Reset(2, ERROR)], 4)
    CleanPeriod(hours=2, needed=4, since=3, last=5, resets=(Reset(hour=2, cause='candidate error'),), begun=())
    """
    known = tuple(sorted(set(resets)))
    after = known[-1].hour if known else -1
    clean = sorted(hour for hour in covered if hour > after)
    return CleanPeriod(len(clean), needed, clean[0] if clean else None, max(covered, default=None), known, begun)


def clean_of(totals: RunTotals, needed: int) -> CleanPeriod:
    """The clean period of a run. All of its hours count as clean if only their number is known."""
    return clean_period(totals.covered or range(totals.hours), totals.resets, needed, totals.begun)
