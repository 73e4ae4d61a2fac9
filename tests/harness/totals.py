"""Totals of runs, of which a test states the counts."""

from __future__ import annotations

from typing import Any

import numpy as np

from shadow.comparison.totals import ALL, CAP_PARTS, CELLS, MONEY_SUMS, ONE_OF, Run, RunTotals, SegmentTotals
from shadow.gate.criteria import parse

#: Minor units at which amounts are capped.
CAP = 50_000


def part(
    both_allow: int, both_block: int, live_only: int, candidate_only: int, errors: int = 0, **more: Any
) -> SegmentTotals:
    """Sums of a segment by outcome. Every amount is half of the cap, every blocked transaction of another card."""
    counts = np.array([both_allow, both_block, live_only, candidate_only], dtype=np.int64)
    given = of_cards(counts[1:], CAP_PARTS // 2) | {"capped": counts[1:] * (CAP // 2)} | more
    given = {name: np.array(value, dtype=np.int64) for name, value in given.items()}
    return SegmentTotals(counts=counts, errors=errors, **given)


def of_cards(counts: Any, parts: int) -> dict[str, Any]:
    """Sums over card-days of one transaction each. counts: both block, live alone, candidate alone. parts: amounts."""
    both, live, candidate = (int(count) for count in counts)
    cells = np.zeros(CELLS, dtype=np.int64)
    cells[ONE_OF] = both, live, candidate
    net, base, square = candidate - live, both + live, parts**2
    money = [net * parts, base * parts, base * parts, (live + candidate) * square, -live * square, base * square]
    tops = [parts * (candidate > 0), parts * (live > 0), parts * (base > 0)]
    whole = [*money, -live * square, base * square, live * parts, live * square, candidate * square]
    return {"cells": cells, "money": [whole, whole], "tops": [tops, tops]}


def a_run(hours: int = 48, gap: int = 0, conflicts: int = 0, **segments: SegmentTotals) -> RunTotals:
    """Run L1-C1 in segments country=DE, country=FR, all, and below the cap: a seed twin, but for parts given."""
    named = {"country=DE": part(60_000, 1900, 100, 100), "country=FR": part(30_000, 950, 50, 50)}
    named |= {f"country={name}": totals for name, totals in segments.items()}
    whole = SegmentTotals(
        counts=sum((p.counts for p in named.values()), np.zeros(4, np.int64)),
        cells=sum((p.cells for p in named.values()), np.zeros(CELLS, np.int64)),
        capped=sum((p.capped for p in named.values()), np.zeros(3, np.int64)),
        money=sum((p.money for p in named.values()), np.zeros((2, MONEY_SUMS), np.int64)),
        tops=np.max([p.tops for p in named.values()], axis=0),
        errors=sum(p.errors for p in named.values()),
    )
    named["amount=<500"] = whole
    return RunTotals(Run(1, 1), {ALL: whole, **named}, hours, whole.errors, gap=gap, conflicts=conflicts)


#: Criteria with the segments of these runs.
RELEASE = parse("schema: 1\nsegments:\n  country: {field: country, values: [DE, FR]}\nminimum_covered_hours: 24\n")
