"""Could the evidence for a promotion have failed? Harm of the limit's size is planted in it, and judged. Pure.

A verdict says something only if harm would have changed it. Where a segment may lack evidence, or nobody looks, it
might not. So in copies of the evidence the candidate lets through a part of what both models block in one segment:
fraud, until it loses as much of live's blocks as `maximum_lost_fraud` allows there; a candidate that gains some loses
that first. What would be reviewed of it, at the rate of the reviews so far, is known to be fraud. A copy is *stopped*
if any criterion no longer passes that has to.

It is a lower bound on what the gate would notice: what the harm adds to other divisions of the traffic is left out, and
so are the clean period and the last days.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from shadow.comparison.totals import ALL, CAP_PARTS
from shadow.gate.criteria import Criterion, Release
from shadow.gate.evidence import Evidence
from shadow.gate.harm import LabelledPairs, label_claims, labelled
from shadow.gate.measure import PASS, NoFloorRow, RecentRow, Row, RunProgress, ScoreRow, UnknownRow, measure
from shadow.gate.sums import Sums
from shadow.statistics.eprocess import Array

#: Copies with harm in each segment.
COPIES = 60
#: The kind of card-days on which both models block, and nothing alone; and on which live alone does.
_AGREED, _LIVE = 1, 2
#: Columns of the money of card-days that a block which only live keeps changes: see `MONEY_SUMS`.
_NET, _NET_NET, _NET_BASE, _NET_HELD, _ALONE, _ALONE_SQUARES = 0, 3, 4, 6, 8, 9
#: The place of "lost" in the kinds of reviewed disagreements.
_LOST = 0


@dataclass(frozen=True, slots=True)
class Challenge:
    """stopped: the probability that planted harm would have been stopped, in a segment drawn by its part of live's
    blocks, each division of the traffic being as likely. segments: the same by segment, where live blocks anything.
    copies: in each."""

    stopped: float
    segments: dict[str, float]
    copies: int = COPIES

    def to_json(self) -> dict[str, Any]:
        return {"stopped": round(self.stopped, 4), "segments": self.segments, "copies": self.copies}


def challenge(evidence: Evidence, release: Release, seed: int = 1) -> Challenge:
    """Plant harm in the evidence, and see whether it would have been stopped."""
    names = release.segments.names
    sums = Sums.of(evidence.candidate, names)
    control = None if evidence.floor is None else Sums(**_copies(Sums.of(evidence.floor, names)))
    pairs = labelled(evidence.cases, evidence.known, names, release.cap_minor(evidence.minor_per_unit))
    rng = np.random.default_rng(seed)
    lost = _lost_so_far(pairs, sums, release)
    places = [at for at in range(len(names)) if sums.live_cards[at] > 0]
    stopped = {}
    for at in places:
        harmed, reviewed = _planted(sums, pairs, at, float(lost[at]), release, rng)
        found = measure(harmed, control, _no_progress(COPIES), release, label_claims(reviewed, harmed, release))
        stopped[names[at]] = float(np.mean(_is_stopped(found.rows)))
    return Challenge(_overall(stopped, sums, names), stopped)


def _lost_so_far(pairs: LabelledPairs, sums: Sums, release: Release) -> Array:
    """Fraud that the candidate loses already by the reviews, as a share of live's blocks: (S,). Below 0: it gains."""
    (claim,) = (one for one in label_claims(pairs, sums, release) if one.criterion is Criterion.LOST_FRAUD)
    limit = release.limit(Criterion.LOST_FRAUD)
    return np.minimum(np.nan_to_num(claim.estimate), limit / 2)


def _overall(stopped: dict[str, float], sums: Sums, names: Sequence[str]) -> float:
    """The mean over divisions of what would be stopped in a segment of each, by its part of live's blocks."""
    parts: dict[str, list[tuple[float, float]]] = {}
    for at, name in enumerate(names):
        if name in stopped and name != ALL:
            parts.setdefault(name.partition("=")[0], []).append((float(sums.live_cards[at]), stopped[name]))
    if not parts:
        return stopped.get(ALL, 0.0)
    return float(np.mean([np.average([p for _, p in part], weights=[w for w, _ in part]) for part in parts.values()]))


def _no_progress(copies: int) -> RunProgress:
    nothing = np.zeros(copies, dtype=np.int64)
    return RunProgress(nothing, nothing, nothing)


def _is_stopped(rows: Sequence[Row]) -> npt.NDArray[np.bool_]:
    """Whether anything does not pass that has to: bool (copies,). The last days and the clean period are left out."""
    out: npt.NDArray[np.bool_] = np.zeros(COPIES, dtype=bool)
    for row in rows:
        if isinstance(row, RecentRow | ScoreRow | UnknownRow | NoFloorRow):
            continue
        out = out | ((row.codes != PASS) & row.asked & ~row.excused).any(axis=-1)
    return out


def _copies(of: Sums | LabelledPairs) -> dict[str, Array]:
    """Its arrays, COPIES times each: (COPIES, S, ...)."""
    return {field.name: np.repeat(getattr(of, field.name)[None], COPIES, axis=0) for field in fields(of)}


def _planted(
    sums: Sums, pairs: LabelledPairs, at: int, lost: float, release: Release, rng: np.random.Generator
) -> tuple[Sums, LabelledPairs]:
    """Copies of sums and reviews in which live alone keeps a part of what both blocked in a segment. lost: so far."""
    both, mine = float(sums.cells[at, _AGREED]), float(sums.live_cards[at])
    wanted = (float(release.limit(Criterion.LOST_FRAUD)[at]) - lost) * mine
    moved = rng.binomial(int(both), min(1.0, wanted / both) if both else 0.0, COPIES).astype(float)
    rows = [0, at] if at else [0]  # all traffic, and the segment
    out = _copies(sums)
    each = float(sums.crowding[at])  # transactions of a card-day
    for row in rows:
        out["cells"][:, row, _AGREED] -= moved
        out["cells"][:, row, _LIVE] += moved
        out["counts"][:, row, 1] -= moved * each
        out["counts"][:, row, 2] += moved * each
        money = sums.capped[at, 0] / max(1.0, sums.counts[at, 1]) * each * moved
        out["capped"][:, row, 0] -= money
        out["capped"][:, row, 1] += money
        for of in range(2):
            _move_money(out["money"][:, row, of], out["tops"][:, row, of], sums.money[at, of], mine, moved)
    planted = Sums(**out)
    return planted, _reviewed(pairs, sums, at, moved, rows, rng)


def _move_money(money: Array, tops: Array, of_segment: Array, cards: float, moved: Array) -> None:
    """Make money of card-days live's alone, in place. money: (COPIES, MONEY_SUMS). cards: on which live blocks."""
    mean, square = of_segment[1] / cards, of_segment[5] / cards
    for column, change in (
        (_NET, -mean),
        (_NET_NET, square),
        (_NET_BASE, -square),
        (_NET_HELD, -square),
        (_ALONE, mean),
        (_ALONE_SQUARES, square),
    ):
        money[:, column] += moved * change
    tops[:, 1] = np.maximum(tops[:, 1], np.where(moved > 0, np.minimum(tops[:, 2], 4 * np.sqrt(square)), 0.0))


def _reviewed(
    pairs: LabelledPairs, sums: Sums, at: int, moved: Array, rows: Sequence[int], rng: np.random.Generator
) -> LabelledPairs:
    """The reviews with those that the planted harm would have had: as large a part as of the other disagreements."""
    out = _copies(pairs)
    differ = float(sums.live_pairs[at] + sums.candidate_pairs[at])
    rate = min(1.0, float(pairs.reviewed[at]) / differ) if differ else 0.0
    seen = rng.binomial(moved.astype(np.int64), rate).astype(float)
    total = pairs.counts[at].sum()
    weight = float(total / pairs.reviewed[at]) if pairs.reviewed[at] else 1.0
    worth = min(1.0, float(sums.money[at, 0, 1]) / max(1.0, float(sums.live_cards[at])) / CAP_PARTS)
    for row in rows:
        out["counts"][:, row, _LOST] += seen * weight
        out["count_squares"][:, row, _LOST] += seen * weight**2
        out["money"][:, row, _LOST] += seen * weight * worth
        out["money_squares"][:, row, _LOST] += seen * (weight * worth) ** 2
        out["reviewed"][:, row] += seen
    return LabelledPairs(**out)
