"""The clean shadow period: covered event hours since the last thing that resets it, and what that was."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

#: What begins a new run, in either slot, and the period with it.
ARTEFACT, THRESHOLD, AGAIN = "new artefact", "new threshold", "deployed again"
#: What resets the period within a run.
CRITERIA, VIEW, GAP, ERROR, CONFLICT = (
    "release criteria",
    "feature view",
    "coverage gap",
    "candidate error",
    "decision conflict",
)
CAUSES = (ARTEFACT, THRESHOLD, AGAIN, CRITERIA, VIEW, GAP, ERROR, CONFLICT)


@dataclass(frozen=True, slots=True, order=True)
class Reset:
    """Something that is not clean. hour: the event hour, since 1970, in which it was seen."""

    hour: int
    cause: str


@dataclass(frozen=True, slots=True)
class CleanPeriod:
    """hours: clean ones so far. since: the first of them, last: the newest covered hour; event hours since 1970, None
    before there is any. resets: all there were in the run, oldest first. begun: what ended the run before, if there was
    one."""

    hours: int
    needed: int
    since: int | None
    last: int | None
    resets: tuple[Reset, ...] = ()
    begun: tuple[str, ...] = ()

    @property
    def missing(self) -> int:
        """Clean hours still to come."""
        return max(0, self.needed - self.hours)

    @property
    def ends(self) -> int | None:
        """The event hour with which the period is full at the earliest: it was, or will be if nothing resets it."""
        return None if self.last is None else self.last + self.missing


@dataclass(frozen=True, slots=True)
class Compared:
    """What a run compares: digests and thresholds of live and of the candidate, as its decisions have them."""

    digests: tuple[str, str]
    thresholds: tuple[float | None, float | None]


def begun_by(before: Compared, now: Compared) -> tuple[str, ...]:
    """Why a run is another than the one before it.

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
    """Resets without candidate errors in hours in which these were few. errors: by hour, of so many decisions."""

    def is_few(hour: int) -> bool:
        wrong, decided = errors.get(hour, (1, 1))
        return wrong <= rate * decided

    return tuple(reset for reset in resets if reset.cause != ERROR or not is_few(reset.hour))


def clean_period(
    covered: Collection[int], resets: Iterable[Reset], needed: int, begun: tuple[str, ...] = ()
) -> CleanPeriod:
    """Count the covered hours after the last reset; the hour of the reset itself is not clean.

    covered: event hours in which something was compared. needed: hours of the full period. Hours are counted, never
    subtracted, so that one record from 2099 completes nothing.

    >>> clean_period([1, 2, 3, 5], [Reset(2, ERROR)], 4)
    CleanPeriod(hours=2, needed=4, since=3, last=5, resets=(Reset(hour=2, cause='candidate error'),), begun=())
    """
    known = tuple(sorted(set(resets)))
    after = known[-1].hour if known else -1
    clean = sorted(hour for hour in covered if hour > after)
    return CleanPeriod(len(clean), needed, clean[0] if clean else None, max(covered, default=None), known, begun)
