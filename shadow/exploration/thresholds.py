"""What a candidate would do with another threshold: from score histograms of the whole stream, or from samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from shadow.comparison.bins import ALLOWED, ALLOWED_MONEY, BLOCKED, BLOCKED_MONEY, EDGES, LIVE, Counts
from shadow.comparison.outcome import Outcome
from shadow.exploration.estimate import count, estimate, total
from shadow.exploration.table import Rows, Table


@dataclass(frozen=True, slots=True)
class Number:
    """A number with what it lies between: by the bins of a histogram for certain, by samples with 95 % confidence."""

    value: float
    low: float
    high: float

    def to_json(self, unit: float = 1.0) -> dict[str, Any]:
        """For machines. unit: what it is divided by."""
        return {name: round(getattr(self, name) / unit, 3) for name in ("value", "low", "high")}


@dataclass(frozen=True, slots=True)
class WhatIf:
    """What a candidate would block with a threshold, beside what live does block. Money is in minor units.

    source: `histogram` (whole stream; limits are those of the bin that holds the threshold) or `samples`.
    """

    threshold: float
    transactions: float
    live_blocks: float
    blocks: Number
    candidate_only: Number
    live_only: Number
    candidate_only_money: Number
    live_only_money: Number
    source: str

    def to_json(self, minor_per_unit: float) -> dict[str, Any]:
        """For machines."""
        return {
            "threshold": self.threshold,
            "transactions": round(self.transactions, 3),
            "live_blocks": round(self.live_blocks, 3),
            "blocks": self.blocks.to_json(),
            "candidate_only": self.candidate_only.to_json(),
            "live_only": self.live_only.to_json(),
            "candidate_only_amount": self.candidate_only_money.to_json(minor_per_unit),
            "live_only_amount": self.live_only_money.to_json(minor_per_unit),
            "source": self.source,
        }


def by_histogram(scores: Counts, live_blocks: int, threshold: float) -> WhatIf:
    """What a whole stream would show. scores: int64 (KINDS, BINS). threshold: a score equal to it blocks."""
    at = int(np.searchsorted(EDGES, threshold, side="right"))  # the bin that holds it
    low_edge = float(EDGES[at - 1]) if at else 0.0
    high_edge = float(EDGES[at]) if at < len(EDGES) else 1.0
    if threshold == low_edge:
        inside = 1.0
    else:
        inside = (high_edge - threshold) / (high_edge - low_edge) if high_edge > low_edge else 0.0
    is_split = 0.0 < inside < 1.0

    def from_on(kind: int) -> Number:
        above, split = float(scores[kind, at + 1 :].sum()), float(scores[kind, at])
        if not is_split:
            whole = above + (split if inside else 0.0)
            return Number(whole, whole, whole)
        return Number(above + inside * split, above, above + split)

    def below(kind: int) -> Number:
        all_of, reached = float(scores[kind].sum()), from_on(kind)
        return Number(all_of - reached.value, all_of - reached.high, all_of - reached.low)

    only, both = from_on(ALLOWED), from_on(BLOCKED)
    blocks = Number(only.value + both.value, only.low + both.low, only.high + both.high)
    return WhatIf(
        threshold,
        float(scores[ALLOWED].sum() + scores[BLOCKED].sum()),
        float(live_blocks),
        blocks,
        only,
        below(BLOCKED),
        from_on(ALLOWED_MONEY),
        below(BLOCKED_MONEY),
        "histogram",
    )


def by_samples(table: Table, rows: Rows, threshold: float) -> WhatIf:
    """What some samples let expect of the transactions that they stand for. rows: with agreements among them."""
    kinds, chances = table.entries["kind"][rows], table.chances[rows]
    minor = table.entries["minor"][rows].astype(np.float64)
    is_live = np.isin(kinds, [Outcome.BOTH_BLOCK, Outcome.LIVE_ONLY])
    is_candidate = table.columns.scores[rows] >= threshold

    def number(mask: np.ndarray) -> Number:
        one = count(chances[mask])
        return Number(one.value, one.low, one.high)

    def money(mask: np.ndarray) -> Number:
        value, error = total(minor[mask], chances[mask])
        told = estimate(value, error**2, 0)
        return Number(told.value, max(told.low, float(minor[mask].sum())), told.high)

    only, lost = is_candidate & ~is_live, is_live & ~is_candidate
    return WhatIf(
        threshold,
        count(chances).value,
        count(chances[is_live]).value,
        number(is_candidate),
        number(only),
        number(lost),
        money(only),
        money(lost),
        "samples",
    )


def curve(scores: Counts, live_blocks: int, points: int = 60) -> list[WhatIf]:
    """What thresholds from one end of the scores to the other would do, at edges of bins, where it is exact."""
    seen = np.flatnonzero(scores[[LIVE, ALLOWED, BLOCKED]].sum(axis=0))
    if not len(seen):
        return []
    low, high = int(seen[0]), int(min(seen[-1] + 1, len(EDGES)))
    edges = sorted(set(np.linspace(max(low, 1), max(high, 1), points).astype(int).tolist()))
    return [by_histogram(scores, live_blocks, float(EDGES[at - 1])) for at in edges]
