"""What is claimed of every segment, and how much evidence there is on either side: the arithmetic of the gate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from shadow.criteria import Release
from shadow.evidence import Array, Interval, Ratio
from shadow.tally import CAP_PARTS, RunTotals, SegmentTotals

#: No ratio of interest is beyond these.
LOWEST, HIGHEST = -10.0, 50.0
#: How much more of the same is looked ahead for.
FACTORS = np.geomspace(1.05, 100, 60)


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums of S segments at any number of looks.

    counts: (..., S, 4), transactions by outcome. capped, squares: (..., S, 3) and (..., S, 2), amounts as in
    `SegmentTotals`. pairs: (..., S, 2), discordant pairs once per card and day. errors: (..., S). Float64 all.
    """

    counts: Array
    capped: Array
    squares: Array
    pairs: Array
    errors: Array

    @classmethod
    def of(cls, totals: RunTotals, names: Sequence[str]) -> Sums:
        """One look at a run. A segment that is not there is empty."""
        parts = [totals.segments.get(name, SegmentTotals()) for name in names]

        def stacked(field: str) -> Array:
            return np.array([getattr(part, field) for part in parts], dtype=np.float64)

        return cls(*(stacked(field) for field in ("counts", "capped", "squares", "pairs", "errors")))

    @property
    def compared(self) -> Array:
        """Transactions that both models decided: (..., S)."""
        return np.asarray(self.counts.sum(axis=-1))

    @property
    def crowding(self) -> Array:
        """Discordant transactions for each discordant card and day, >= 1: (..., S).

        Transactions of a card on a day are not independent; so many of them are worth one. A segment with little to
        go by is taken to be no better than all traffic, which is segment 0. Source: Kish (1965), "Survey sampling",
        the design effect of equal clusters that agree wholly.
        """
        differ, cards = self.counts[..., 2:].sum(axis=-1), self.pairs.sum(axis=-1)
        own = np.divide(differ, cards, out=np.ones_like(differ), where=cards > 0)
        crowded: Array = np.maximum(1.0, np.maximum(own, own[..., :1]))
        return crowded


def shift(sums: Sums) -> Ratio:
    """What the candidate blocks more than live, as a share of what live blocks, in card-days. -0.3: 30 % less."""
    both = sums.counts[..., 1] / sums.crowding
    return Ratio((1, -1, 0), (0, 1, 1), (sums.pairs[..., 1], sums.pairs[..., 0], both))


def amount_shift(sums: Sums, cap_minor: int) -> Ratio:
    """The same of the money, each amount cut at the cap."""
    scale = sums.crowding * cap_minor
    both, live_only, candidate_only = (sums.capped[..., at] / scale for at in range(3))
    squared = sums.crowding * CAP_PARTS**2
    squares = (sums.squares[..., 1] / squared, sums.squares[..., 0] / squared, both)
    return Ratio((1, -1, 0), (0, 1, 1), (candidate_only, live_only, both), squares)


def alike(one: Sums, other: Sums) -> tuple[Sums, Sums]:
    """Counts and pairs of two runs in the shadow of one live model, in each segment as if they had seen equally many of
    live's blocks.

    The one that has seen more is weighed down, and a weight of less than 1 makes no evidence: log(1 + c * a) is at
    least a * log(1 + c). What is compared is then a rate of one time with a rate of another.
    """
    blocks = [sums.counts[..., 1] + sums.counts[..., 2] for sums in (one, other)]
    fewer = np.minimum(*blocks)
    out = []
    for sums, mine in zip((one, other), blocks, strict=True):
        share = np.divide(fewer, mine, out=np.ones_like(mine), where=mine > 0)[..., None]
        out.append(replace(sums, counts=sums.counts * share, pairs=sums.pairs * share))
    return out[0], out[1]


def excess(candidate: Sums, control: Sums, sides: Sequence[int] = (0, 1)) -> Ratio:
    """Disagreements of the candidate beyond those of the control, as a share of what live blocks, in card-days.

    sides: which are counted, 0 for what live alone blocks and 1 for what the other alone does. Both compared the same
    transactions with live. Bets on a transaction on which both differ multiply, and as one pays where the other costs,
    the product is at most what a bet on the difference would pay; so the two need not be known together.

    Where one has seen more of live than the other, as a control does that runs before the candidate comes, each of its
    transactions weighs less: see `alike`.
    """
    candidate, control = alike(candidate, control)
    ours = candidate.pairs[..., list(sides)].sum(axis=-1)
    lost, added = control.pairs[..., 0], control.pairs[..., 1]
    both = control.counts[..., 1] / np.maximum(candidate.crowding, control.crowding)
    counted = [float(side in sides) for side in (0, 1)]
    return Ratio((1, -counted[0], -counted[1], 0), (0, 1, 0, 1), (ours, lost, added, both))


def factors(axes: int) -> Array:
    """FACTORS before so many further axes."""
    return np.asarray(FACTORS.reshape(-1, *[1] * axes))


def smallest_factor(settled: npt.NDArray[np.bool_]) -> Array:
    """The smallest of FACTORS, the first axis, with which something is settled; NaN if none does."""
    return np.where(settled.any(axis=0), FACTORS[settled.argmax(axis=0)], np.nan)


class Claim(Protocol):
    """That something is at most a limit in each of S segments, at any number of looks.

    limit: (S,). told: what it is a share of, for people, after a number. seen: how many `things` the evidence comes
    from, (..., S); None for the transactions compared.
    """

    @property
    def criterion(self) -> str: ...
    @property
    def limit(self) -> Array: ...
    @property
    def told(self) -> str: ...
    @property
    def seen(self) -> Array | None: ...
    @property
    def things(self) -> str: ...

    def log_within(self) -> Array:
        """Log evidence that the limit is kept: (..., S)."""

    def log_beyond(self) -> Array:
        """Log evidence that the limit is exceeded: (..., S)."""

    def interval(self, alpha: float) -> Interval:
        """What the limit is compared with; a higher value is worse. Each end holds at all times but for alpha."""

    def of_floor(self) -> Array | None:
        """The same of the A/A control, where there is one."""

    def times_needed(self, bar: float) -> Array:
        """How many times as much of the same it takes until the log evidence on one side reaches the bar: (..., S);
        NaN if it is not in sight."""


@dataclass(frozen=True, slots=True)
class RatioClaim:
    """A `Claim` that a ratio is at most `limit` (sign 1), or at least minus the limit (sign -1).

    floor: the same ratio of the control, where there is one.
    """

    criterion: str
    ratio: Ratio
    limit: Array
    told: str
    sign: int = 1
    floor: Ratio | None = None
    seen: Array | None = None
    things: str = "transactions"

    def log_within(self) -> Array:
        return _within(self.ratio, self.sign, self.limit)

    def log_beyond(self) -> Array:
        return _beyond(self.ratio, self.sign, self.limit)

    def interval(self, alpha: float) -> Interval:
        found = self.ratio.bounds(alpha, LOWEST, HIGHEST)
        return found if self.sign > 0 else Interval(-found.estimate, -found.high, -found.low)

    def of_floor(self) -> Array | None:
        return None if self.floor is None else self.sign * self.floor.estimate

    def times_needed(self, bar: float) -> Array:
        more = self.ratio.times(factors(np.ndim(self.ratio.sums[0])))
        return smallest_factor(np.maximum(*(side(more, self.sign, self.limit) for side in (_within, _beyond))) >= bar)


def _within(ratio: Ratio, sign: int, limit: Array) -> Array:
    return ratio.log_below(limit) if sign > 0 else ratio.log_above(-limit)


def _beyond(ratio: Ratio, sign: int, limit: Array) -> Array:
    return ratio.log_above(limit) if sign > 0 else ratio.log_below(-limit)


def bounded_changes(candidate: Sums, control: Sums | None, release: Release, cap_minor: int) -> list[RatioClaim]:
    """That what would change stays within the margins: blocks and money, more and less."""
    count, amount = shift(candidate), amount_shift(candidate, cap_minor)
    floors = (None, None) if control is None else (shift(control), amount_shift(control, cap_minor))
    claims = []
    for name, ratio, floor, told in (
        ("blocks", count, floors[0], "live's blocks"),
        ("blocked_amount", amount, floors[1], "the money live blocks"),
    ):
        for side, sign, word in (("more", 1, "more than"), ("fewer", -1, "less than")):
            limit = release.limit(f"maximum_{side}_{name}")
            claims.append(RatioClaim(f"{side}_{name}", ratio, limit, f"{word} {told}", sign, floor=floor))
    return claims


def within_floor(candidate: Sums, control: Sums, release: Release) -> RatioClaim:
    """That the candidate differs from live little more than a seed twin does."""
    limit = release.limit("maximum_excess_disagreement")
    told = "of live's blocks beyond the A/A control"
    return RatioClaim("excess_disagreement", excess(candidate, control), limit, told)


def shares(of_all: float, n_segments: int, n_claims: int) -> npt.NDArray[np.float64]:
    """How the error of a rejection is shared: float64 (n_claims, S), adding up to 1; segment 0 gets its own part."""
    rest = (1 - of_all) / max(1, n_segments - 1)
    each = np.array([of_all if n_segments > 1 else 1.0] + [rest] * (n_segments - 1))
    return np.tile(each / n_claims, (n_claims, 1))
