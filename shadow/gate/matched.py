"""The matched threshold: the candidate at the threshold at which it blocks as much as live, and at others.

As shipped, part of the disagreement is calibration: one model blocks more because of its threshold, not because it
detects more. So a threshold is taken from the calibration window, the first event days of the run, and only what
follows is evaluated at it. From then on it is fixed, so the evidence may be evaluated at any time
(`shadow.statistics.eprocess`).

Scores are known by bin, so the threshold is the lower edge of a bin. The error of the binning is reported: how far the
best edge was from live's blocks in the calibration window, and the edges next to it.

This view decides nothing. The bundle would go live at its own threshold; the matched one is a suggestion, and the
bundle at another threshold is a new run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shadow.comparison.bins import ALLOWED, ALLOWED_MONEY, BLOCKED, BLOCKED_MONEY, EDGES, Counts
from shadow.comparison.outcome import DISAGREEMENTS, Outcome
from shadow.comparison.totals import CELLS, MONEY_SUMS, MONEY_TOPS, ONE_OF
from shadow.gate.claims import shares
from shadow.gate.criteria import Release
from shadow.gate.measure import WEIGHT_OF_ALL
from shadow.gate.shares import percent
from shadow.gate.sums import HIGHEST, LOWEST, Sums, card_shift, excess
from shadow.statistics.eprocess import Array, Interval, log_unbalanced, rejected

#: Largest number of points of a trade-off curve, and the largest factor by which their blocks differ from live's.
POINTS, FARTHEST = 40, 4.0


@dataclass(frozen=True, slots=True)
class Point:
    """What the candidate would have blocked at another threshold, after the calibration window and in all traffic.

    blocks: transactions that it blocks. added: those of them that live allows. lost: transactions that only live
    blocks. *_minor: the same in minor units of the reporting currency.
    """

    threshold: float
    blocks: int
    added: int
    lost: int
    added_minor: int
    lost_minor: int


@dataclass(frozen=True, slots=True)
class Bounds:
    """An estimate, and its bounds. Each is wrong, at any time, with probability at most promote_error."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class MatchedPart:
    """A segment at the matched threshold, after the calibration window.

    counts, minor: transactions and money by outcome. shift: additional blocks, as a share of live's blocks.
    disagreement: transactions that only one model blocks, as a share of live's blocks. floor: the same of the A/A
    control, at its own matched threshold. excess: the difference, counted once per card and day. All None if unknown.
    evidence: base-10 log of an e-value that one model blocks alone more often. differs: whether this evidence survives
    e-BH over all segments.
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

    @property
    def live_blocks(self) -> int:
        return self.counts[Outcome.BOTH_BLOCK] + self.counts[Outcome.LIVE_ONLY]

    @property
    def live_minor(self) -> int:
        """Money that live blocks, in minor units."""
        return self.minor[Outcome.BOTH_BLOCK] + self.minor[Outcome.LIVE_ONLY]


@dataclass(frozen=True, slots=True)
class Matched:
    """A run at the matched threshold.

    days: event days of the calibration window, since 1970. live_blocks: live's blocks in it. threshold: the matched
    one. below, above: the edges next to it; the bins do not resolve what lies between. off: the error of the binning,
    the candidate's blocks at the threshold beyond live's in that window, as a share of live's. shipped: the run's own
    threshold, if known. parts: what followed the window, by segment, all traffic first. curve: other thresholds,
    ascending.
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
        """Lines for people: the threshold, and what happened at it since."""
        off = f"{percent(abs(self.off))} {'more' if self.off >= 0 else 'less'}"
        lines = [
            f"at live's block rate: threshold {self.threshold:.4g} (between {self.below:.4g} and {self.above:.4g}); "
            f"in the {len(self.days)} event days that chose it the candidate blocked {off} than live"
        ]
        whole = self.parts[0]
        if whole.shift is None or whole.disagreement is None:
            return f"{lines[0]}\nsince then: live has blocked nothing yet"
        low, estimate, high = (_change(share) for share in (whole.shift.low, whole.shift.estimate, whole.shift.high))
        beside = "" if whole.floor is None else f" (A/A control: {whole.floor:.2f})"
        lines.append(
            f"since then: blocks {estimate} than live (between {low} and {high} at every look); "
            f"{whole.disagreement:.2f} disagreements for each transaction that live blocks{beside}"
        )
        apart = [part.segment for part in self.parts[1:] if part.differs]
        if apart:
            lines.append(f"one of the two still blocks more in: {', '.join(apart)}")
        return "\n".join(lines)

    @property
    def is_as_shipped(self) -> bool:
        """Whether the bins cannot tell the run's own threshold from the matched one."""
        return self.shipped is not None and self.below <= self.shipped <= self.above


def _change(share: float) -> str:
    """A change of blocks in words."""
    return f"{percent(abs(share))} {'more' if share >= 0 else 'fewer'}"


def edge_for(calibration: Counts) -> int | None:
    """The position in EDGES of the threshold closest to live's number of blocks; None where live blocks nothing.

    calibration: int64 (KINDS, BINS) of all traffic.
    """
    wanted = int(calibration[BLOCKED].sum())
    if not wanted:
        return None
    return int(np.argmin(np.abs(blocks_at(calibration) - wanted)))


def blocks_at(sums: Counts) -> Counts:
    """The candidate's blocks at each of EDGES: int64 (..., len(EDGES)). sums: (..., KINDS, BINS)."""
    return _above(sums[..., ALLOWED, :] + sums[..., BLOCKED, :])


def _above(counts: Counts) -> Counts:
    return np.asarray(np.flip(np.cumsum(np.flip(counts, axis=-1), axis=-1), axis=-1)[..., 1:])


def outcomes_at(sums: Counts, edge: int) -> tuple[Counts, Counts]:
    """Transactions and money by outcome if the candidate's threshold were EDGES[edge]: int64 (..., 4) each."""

    def table(allowed: int, blocked: int) -> Counts:
        inside, beyond = np.split(sums, [edge + 1], axis=-1)
        parts = (inside[..., allowed, :], beyond[..., blocked, :], inside[..., blocked, :], beyond[..., allowed, :])
        return np.stack([part.sum(axis=-1) for part in parts], axis=-1)

    return table(ALLOWED, BLOCKED), table(ALLOWED_MONEY, BLOCKED_MONEY)


def tradeoff(sums: Counts) -> tuple[Point, ...]:
    """Thresholds at which the candidate blocks from a quarter to four times as much as live. sums: of all traffic."""
    wanted, found = int(sums[BLOCKED].sum()), blocks_at(sums)
    if not wanted:
        return ()
    inside = np.flatnonzero((found * FARTHEST >= wanted) & (found <= wanted * FARTHEST))
    points = []
    for edge in inside[:: max(1, math.ceil(len(inside) / POINTS))].tolist():
        counts, minor = outcomes_at(sums, edge)
        sides = [int(part[side]) for part in (counts, minor) for side in (Outcome.CANDIDATE_ONLY, Outcome.LIVE_ONLY)]
        points.append(Point(float(EDGES[edge]), int(found[edge]), *sides))
    return tuple(points)


def calibration_days(covered_hours: Sequence[int], n: int) -> tuple[int, ...]:
    """The first n event days with a comparison, since 1970; empty until a later day has begun."""
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
    """Evaluate what followed the calibration window at its matched threshold; None where live blocked nothing in it.

    calibration, following: int64 (S, KINDS, BINS), all traffic first. candidate: the run's sums at its own threshold,
    which tell how disagreements cluster by card and day. days: of the calibration window. shipped: the run's own
    threshold. control: calibration, following and sums of the A/A control.
    """
    edge = edge_for(calibration[0])
    if edge is None:
        return None
    counts, minor = outcomes_at(following, edge)
    ours = _sums(counts, candidate)
    theirs = _control_sums(control)
    wanted, found = int(calibration[0, BLOCKED].sum()), blocks_at(calibration[0])
    log_e = log_unbalanced(ours.live_pairs, ours.candidate_pairs)
    differs = rejected(log_e, shares(WEIGHT_OF_ALL, len(log_e), 1)[0], release.reject_error)
    shifts = card_shift(ours).bounds(release.promote_error, LOWEST, HIGHEST)
    over = None if theirs is None else excess(ours, theirs).bounds(release.promote_error, LOWEST, HIGHEST)
    parts = []
    for at, name in enumerate(release.segments.names):
        is_known = bool(ours.live_blocks[at])
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
    """Sums at another threshold, assuming that blocks cluster by card and day as at the shipped one, and alike."""
    transactions = counts.astype(np.float64)
    shape = counts.shape[:-1]
    cells = np.zeros((*shape, CELLS))
    cells[..., ONE_OF] = transactions[..., Outcome.BOTH_BLOCK :] / as_shipped.crowding[..., None]
    money, tops = np.zeros((*shape, 2, MONEY_SUMS)), np.zeros((*shape, 2, MONEY_TOPS))
    return Sums(transactions, np.zeros((*shape, 3)), cells, money, tops, np.zeros(shape))


def _control_sums(control: tuple[Counts, Counts, Sums] | None) -> Sums | None:
    """The A/A control's sums after the calibration window, at its own matched threshold; None if unknown."""
    if control is None:
        return None
    calibration, following, as_shipped = control
    edge = edge_for(calibration[0])
    return None if edge is None else _sums(outcomes_at(following, edge)[0], as_shipped)


def _bounds(interval: Interval, at: int) -> Bounds:
    return Bounds(*(float(x[at]) for x in (interval.estimate, interval.low, interval.high)))


def _disagreement(counts: Counts | Array) -> float | None:
    """Transactions that only one model blocks, as a share of live's blocks."""
    blocks = float(counts[Outcome.BOTH_BLOCK] + counts[Outcome.LIVE_ONLY])
    return float(sum(counts[side] for side in DISAGREEMENTS)) / blocks if blocks else None


def _four(counts: Counts) -> tuple[int, int, int, int]:
    first, second, third, fourth = counts.tolist()
    return first, second, third, fourth
