"""The second view: the candidate at the threshold at which it blocks as much as live does, and what others would block.

As shipped, half of all disagreement is calibration: one model blocks more because its threshold says so, not because
it sees more. So a threshold is taken from a calibration window, the first event days of the run, and what follows is
judged at it: never the hours that it was taken from. From there on it is fixed, so evidence on what follows may be
looked at all the time, as any (`shadow.evidence`).

Scores are known by bin, so a threshold is the lower edge of one, and the error of the binning is known, too: how far
from live's blocks the best edge was in the calibration window, and where its neighbours are.

This view decides nothing. What would go live is the bundle at its own threshold; the other one is a suggestion, and a
bundle at another threshold is a new run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shadow.bins import ALLOWED, ALLOWED_MONEY, BLOCKED, BLOCKED_MONEY, EDGES, Counts
from shadow.claims import HIGHEST, LOWEST, Sums, excess, shares, shift
from shadow.criteria import Release
from shadow.evidence import Array, Interval, given_up, log_unbalanced
from shadow.measure import WEIGHT_OF_ALL

#: Points of a trade-off curve, at most, and how much more or less than live they go to.
POINTS, FARTHEST = 40, 4.0


@dataclass(frozen=True, slots=True)
class Point:
    """What a threshold would have done to what followed, over all traffic.

    blocks: of the candidate. added, lost: those that live allows, and those of live that it allows. *_minor: the same
    in minor units of the reporting currency.
    """

    threshold: float
    blocks: int
    added: int
    lost: int
    added_minor: int
    lost_minor: int


@dataclass(frozen=True, slots=True)
class Bounds:
    """An estimate, and bounds that hold at all times but for promote_error each."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class MatchedPart:
    """A segment in what followed, at the matched threshold.

    counts, minor: transactions and money by outcome. shift: blocks more than live's, as a share of live's blocks.
    disagreement, floor: transactions on which one alone blocks, as a share of live's blocks, and the A/A control's at
    its own matched threshold. excess: the difference, in card-days. None where it is not known. evidence: base-10 log
    of an e-value that one of the two blocks alone more often. differs: it survives e-BH over all segments.
    """

    segment: str
    counts: tuple[int, int, int, int]
    minor: tuple[int, int, int, int]
    shift: Bounds | None
    disagreement: float | None
    floor: float | None
    excess: Bounds | None
    evidence: float
    differs: bool


@dataclass(frozen=True, slots=True)
class Matched:
    """The second view of a run.

    days: event days, since 1970, of the calibration window. live_blocks: of it. threshold: suggested; between
    `below` and `above`, its neighbours, the bins know nothing. off: blocks of the candidate at it in that window beyond
    live's, as a share of these: what the binning leaves. shipped: the run's own threshold, if known. parts: what
    followed, by segment, all traffic first. curve: other thresholds, ascending.
    """

    days: tuple[int, ...]
    live_blocks: int
    threshold: float
    below: float
    above: float
    off: float
    shipped: float | None
    parts: tuple[MatchedPart, ...]
    curve: tuple[Point, ...]

    @property
    def told(self) -> str:
        """Two lines for people: the threshold, and what followed at it."""
        lines = [
            f"at live's block rate: threshold {self.threshold:.4g} ({self.below:.4g} to {self.above:.4g} by the bins; "
            f"blocks {self.off:+.1%} of live's in the {len(self.days)} event days it was taken from)"
        ]
        whole = self.parts[0]
        if whole.shift is None or whole.disagreement is None:
            lines.append("what followed: live has blocked nothing yet")
        else:
            found = whole.shift
            beside = "" if whole.floor is None else f", the A/A control on {whole.floor:.1%}"
            lines.append(
                f"what followed: {found.estimate:+.1%} of live's blocks ({found.low:+.1%} to {found.high:+.1%} at all "
                f"times); the two differ on {whole.disagreement:.1%}{beside}"
            )
            apart = [part.segment for part in self.parts[1:] if part.differs]
            if apart:
                lines.append(f"one of the two blocks more in: {', '.join(apart)}")
        return "\n".join(lines)

    @property
    def is_as_shipped(self) -> bool:
        """Whether the run's own threshold is the matched one, as far as the bins can tell."""
        return self.shipped is not None and self.below <= self.shipped <= self.above


def edge_for(calibration: Counts) -> int | None:
    """The position in EDGES of the threshold that comes nearest to live's blocks; None where live blocks nothing.

    calibration: int64 (KINDS, BINS) of all traffic.
    """
    wanted = int(calibration[BLOCKED].sum())
    if not wanted:
        return None
    return int(np.argmin(np.abs(blocks_at(calibration) - wanted)))


def blocks_at(sums: Counts) -> Counts:
    """How many the candidate blocks at each of EDGES: int64 (..., len(EDGES)). sums: (..., KINDS, BINS)."""
    return _above(sums[..., ALLOWED, :] + sums[..., BLOCKED, :])


def _above(counts: Counts) -> Counts:
    return np.asarray(np.flip(np.cumsum(np.flip(counts, axis=-1), axis=-1), axis=-1)[..., 1:])


def outcomes_at(sums: Counts, edge: int) -> tuple[Counts, Counts]:
    """Transactions and money by outcome if the candidate blocked from an edge on: int64 (..., 4) each."""

    def table(allowed: int, blocked: int) -> Counts:
        inside, beyond = np.split(sums, [edge + 1], axis=-1)
        parts = (inside[..., allowed, :], beyond[..., blocked, :], inside[..., blocked, :], beyond[..., allowed, :])
        return np.stack([part.sum(axis=-1) for part in parts], axis=-1)

    return table(ALLOWED, BLOCKED), table(ALLOWED_MONEY, BLOCKED_MONEY)


def tradeoff(sums: Counts) -> tuple[Point, ...]:
    """Thresholds at which the candidate blocks between a fourth and four times what live does. sums: of all traffic."""
    wanted, found = int(sums[BLOCKED].sum()), blocks_at(sums)
    if not wanted:
        return ()
    inside = np.flatnonzero((found * FARTHEST >= wanted) & (found <= wanted * FARTHEST))
    points = []
    for edge in inside[:: max(1, math.ceil(len(inside) / POINTS))].tolist():
        counts, minor = outcomes_at(sums, edge)
        points.append(
            Point(float(EDGES[edge]), int(found[edge]), int(counts[3]), int(counts[2]), int(minor[3]), int(minor[2]))
        )
    return tuple(points)


def calibration_days(covered_hours: Sequence[int], n: int) -> tuple[int, ...]:
    """The first n event days with a comparison; none while no day has followed them. Days since 1970."""
    days = sorted({hour // 24 for hour in covered_hours})
    return tuple(days[:n]) if len(days) > n else ()


def matched(
    calibration: Counts,
    following: Counts,
    candidate: Sums,
    release: Release,
    days: Sequence[int],
    shipped: float | None = None,
    control: tuple[Counts, Counts, Sums] | None = None,
) -> Matched | None:
    """Judge what followed at the threshold that the calibration window gives; None where live blocked nothing in it.

    calibration, following: int64 (S, KINDS, BINS), all traffic first. candidate: the run's sums as shipped, which say
    how many transactions of one card and day differ together. control: the same three of the A/A control.
    """
    edge = edge_for(calibration[0])
    if edge is None:
        return None
    counts, minor = outcomes_at(following, edge)
    ours = _sums(counts, candidate)
    theirs = _control_sums(control)
    wanted, found = int(calibration[0, BLOCKED].sum()), blocks_at(calibration[0])
    log_e = log_unbalanced(ours.pairs[..., 0], ours.pairs[..., 1])
    differs = given_up(log_e, shares(WEIGHT_OF_ALL, len(log_e), 1)[0], release.reject_error)
    shifts = shift(ours).bounds(release.promote_error, LOWEST, HIGHEST)
    over = None if theirs is None else excess(ours, theirs).bounds(release.promote_error, LOWEST, HIGHEST)
    parts = []
    for at, name in enumerate(release.segments.names):
        is_known = bool(counts[at, 1] + counts[at, 2])
        floor = None if theirs is None else _disagreement(theirs.counts[at])
        parts.append(
            MatchedPart(
                name,
                _four(counts[at]),
                _four(minor[at]),
                _bounds(shifts, at) if is_known else None,
                _disagreement(counts[at]),
                floor,
                _bounds(over, at) if over is not None and is_known and floor is not None else None,
                evidence=round(float(log_e[at]) / math.log(10), 2),
                differs=bool(differs[at]),
            )
        )
    return Matched(
        days=tuple(days),
        live_blocks=wanted,
        threshold=float(EDGES[edge]),
        below=float(EDGES[edge - 1]) if edge else 0.0,
        above=float(EDGES[edge + 1]) if edge + 1 < len(EDGES) else 1.0,
        off=int(found[edge]) / wanted - 1,
        shipped=shipped,
        parts=tuple(parts),
        curve=tradeoff(following[0]),
    )


def _sums(counts: Counts, as_shipped: Sums) -> Sums:
    """Sums at another threshold: what differs is clustered in cards and days as it is as shipped."""
    transactions = counts.astype(np.float64)
    nothing = np.zeros((*counts.shape[:-1], 3))
    pairs = transactions[..., 2:] / as_shipped.crowding[..., None]
    return Sums(transactions, nothing, nothing[..., :2], pairs, nothing[..., 0])


def _control_sums(control: tuple[Counts, Counts, Sums] | None) -> Sums | None:
    """The A/A control's sums in what followed, at its own matched threshold; None where that is not known."""
    if control is None:
        return None
    calibration, following, as_shipped = control
    edge = edge_for(calibration[0])
    return None if edge is None else _sums(outcomes_at(following, edge)[0], as_shipped)


def _bounds(interval: Interval, at: int) -> Bounds:
    return Bounds(*(float(x[at]) for x in (interval.estimate, interval.low, interval.high)))


def _disagreement(counts: Counts | Array) -> float | None:
    """Transactions that only one blocks, as a share of live's blocks."""
    blocks = float(counts[1] + counts[2])
    return float(counts[2] + counts[3]) / blocks if blocks else None


def _four(counts: Counts) -> tuple[int, int, int, int]:
    first, second, third, fourth = counts.tolist()
    return first, second, third, fourth
