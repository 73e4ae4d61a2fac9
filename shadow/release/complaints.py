"""Complaints about blocks, as people count them by event day: did they rise with a release? Pure.

Compared are complaints for each transaction that live blocks, on whole event days with a report: before the release,
and after it. Complaints come late, so the days after it lack some: that hides a rise for a while, and feigns none.

The days before bound the rate of then from above, and an e-process bets that the rate since is higher than that and a
margin. Each may be wrong with half of the error, so a rise is found where there is none with a probability of at most
ERROR, at however many looks. Complaints come in clusters (a bad hour, a shared card): how much the days before vary
more than chance would have them, at the upper limit of that, makes each complaint count for less. The e-process takes
the complaints of a day as Poisson then.
Sources: Ville (1939); the bound of Garwood (1936), "Fiducial limits for the Poisson distribution"; dispersion as in
McCullagh and Nelder (1989), "Generalized linear models".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Literal

import numpy as np
import scipy  # which loads `special` where it is first used

from shadow.statistics.eprocess import mixed

#: Probability that a rise is ever found where there is none.
ERROR = 0.01
#: Days with a report before the release, and complaints on them, that a comparison needs.
LEAST_DAYS, LEAST_COMPLAINTS = 7, 10
#: How sure the upper limit of the dispersion is: surer hides more rises, and the tests show few feigned ones.
SURE = 0.7
#: How many times the rate the bets expect, and the part of the fortune on each.
TIMES = np.array([1.15, 1.4, 2.0, 4.0])
PARTS = np.array([0.25, 0.25, 0.25, 0.25])
#: Most days before a release that count: older tallies expire.
MOST_DAYS = 56
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Day:
    """Complaints about blocks of an event day. day: since 1970. blocks: transactions that live blocked on it."""

    day: int
    complaints: int
    blocks: int


@dataclass(frozen=True, slots=True)
class Rate:
    """Complaints and blocks on so many days."""

    days: int
    complaints: int
    blocks: int

    @classmethod
    def of(cls, days: Sequence[Day]) -> Rate:
        return cls(len(days), sum(one.complaints for one in days), sum(one.blocks for one in days))

    @property
    def value(self) -> float:
        """Complaints for each block, NaN without blocks."""
        return self.complaints / self.blocks if self.blocks else math.nan

    def __str__(self) -> str:
        days = "1 day" if self.days == 1 else f"{self.days} days"
        return f"{self.value * 1000:,.2f} for each 1,000 blocks on {days}"

    def to_json(self) -> dict[str, Any]:
        value = None if math.isnan(self.value) else self.value
        return {"days": self.days, "complaints": self.complaints, "blocks": self.blocks, "rate": value}


@dataclass(frozen=True, slots=True)
class ComplaintLook:
    """What complaints say of a release. log_e: log evidence for a rise. thin: why nothing can be said; None if it can.

    bound: of the rate before it, from above. dispersion: how much more than chance its days vary.
    """

    before: Rate
    after: Rate
    rise: float
    log_e: float = 0.0
    bound: float = math.nan
    dispersion: float = 1.0
    thin: str | None = None

    @property
    def is_risen(self) -> bool:
        return self.thin is None and self.log_e >= math.log(2 / ERROR)

    @property
    def verdict(self) -> Literal["risen", "not_risen", "unknown"]:
        if self.thin is not None:
            return "unknown"
        return "risen" if self.is_risen else "not_risen"

    @property
    def reason(self) -> str:
        """In one line for people."""
        if self.thin is not None:
            return f"complaints cannot be compared: {self.thin}"
        told = f"{self.after} since the release, {self.before} before it"
        if self.is_risen:
            return f"complaints rose by more than {self.rise:.0%}: {told}".replace("%", " %")
        return f"no rise of complaints found: {told}"

    def to_json(self) -> dict[str, Any]:
        return {
            "verdict": self.verdict,
            "reason": self.reason,
            "before": self.before.to_json(),
            "after": self.after.to_json(),
            "rise": self.rise,
            "log_evidence": self.log_e,
            "dispersion": self.dispersion,
        }


def compare(before: Sequence[Day], after: Sequence[Day], rise: float) -> ComplaintLook:
    """Whether the complaints of the days after are above those of the days before by more than a rise, as a share.

    >>> quiet = [Day(at, 4, 1000) for at in range(10)]
    >>> compare(quiet, [Day(11, 30, 1000)], 0.2).verdict
    'risen'
    """
    then, since = Rate.of(before), Rate.of(after)
    thin = _thin(before, then, since)
    if thin is not None:
        return ComplaintLook(then, since, rise, thin=thin)
    dispersion = _dispersion(before)
    bound = dispersion * float(scipy.special.gammaincinv(then.complaints / dispersion + 1, 1 - ERROR / 2)) / then.blocks
    expected = (1 + rise) * bound * since.blocks / dispersion
    wins = since.complaints / dispersion * np.log(TIMES) - (TIMES - 1) * expected
    return ComplaintLook(then, since, rise, float(mixed(wins, PARTS)), bound, dispersion)


def _thin(before: Sequence[Day], then: Rate, since: Rate) -> str | None:
    """Why two rates cannot be compared."""
    days = sum(one.blocks > 0 for one in before)
    if days < LEAST_DAYS:
        return f"{days} days before the release have a report and blocks, at least {LEAST_DAYS} are needed"
    if then.complaints < LEAST_COMPLAINTS:
        return f"{then.complaints} complaints before the release, at least {LEAST_COMPLAINTS} are needed"
    if not since.days:
        return "no whole day since the release has a report yet"
    if not since.blocks:
        return "live has blocked nothing since the release"
    return None


def _dispersion(days: Sequence[Day]) -> float:
    """The variance of a day's complaints as a multiple of their mean: its upper limit; at least 1."""
    told = [one for one in days if one.blocks]
    counts, blocks = (np.array([getattr(one, name) for one in told], dtype=float) for name in ("complaints", "blocks"))
    expected = blocks * counts.sum() / blocks.sum()
    squares = float((((counts - expected) ** 2) / expected).sum())
    return max(1.0, squares / float(scipy.special.chdtri(len(told) - 1, SURE)))


def split(
    complaints: Mapping[int, int],
    blocks_before: Mapping[int, int],
    blocks_after: Mapping[int, int],
    released: int,
    today: int,
) -> tuple[list[Day], list[Day]]:
    """The whole days with a report, before a release and after it.

    complaints: by event day, those with a report. blocks_before, blocks_after: live's by event day, as the shadows
    counted them that ran before and after. released: event day of the release, on which both models blocked. The first
    day of the one and the last of the other are no whole days.
    """
    began, reached = min(blocks_before, default=released), max(blocks_after, default=released)
    before = [day for day in complaints if max(began + 1, released - MOST_DAYS) <= day < released]
    after = [day for day in complaints if released < day < min(reached, today)]
    return (
        [Day(day, complaints[day], blocks_before.get(day, 0)) for day in sorted(before)],
        [Day(day, complaints[day], blocks_after.get(day, 0)) for day in sorted(after)],
    )


def day_number(day: date) -> int:
    """Days since 1970."""
    return (day - _EPOCH).days


def date_of(day: int) -> date:
    """The date of a day since 1970."""
    return _EPOCH + timedelta(days=day)
