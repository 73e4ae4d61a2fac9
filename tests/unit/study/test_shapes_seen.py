"""What a shadow sees of a shape is what the product's own code counts, transaction by transaction."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import pytest

from shadow.comparison.card_days import Blocked, count, in_parts
from shadow.comparison.outcome import Outcome
from shadow.comparison.totals import CELLS, DAY_SUMS, DAY_TOPS, MONEY, Run
from study.shapes.seen import A_DAY, CAP, NAMES, Seen
from study.shapes.traffic import draw
from study.shapes.world import Area, Attack, Damage, Scene, World

RUN, FIRST = Run(1, 1), 24 * 20_000


@pytest.mark.parametrize("crowd", ["pareto", "busy", "lasting"])
def test_card_days_are_counted_as_the_product_counts_them(crowd: str) -> None:
    world = World(4000, 4, crowd=crowd, blocked=0.02)
    scene = Scene(world, world.live, (Damage(Area(country=0), 0.5),), attack=Attack(2, 0.5, (True, False, True)))
    seen = Seen.of(draw(scene, np.random.default_rng(1)), world.days)
    rows = seen.rows
    by_look = defaultdict(list)
    for at in range(len(rows.card)):
        code = 1 if rows.live[at] and rows.candidate[at] else 2 if rows.live[at] else 3 if rows.candidate[at] else 0
        if code:
            parts, of = int(in_parts(rows.minor[at : at + 1], CAP)[0]), tuple(seen.segments[at].tolist())
            one = Blocked(RUN, FIRST + int(rows.hour[at]), str(rows.card[at]), Outcome(code), parts, of)
            by_look[int(rows.hour[at]) * A_DAY // 24].append(one)
    assert sum(map(len, by_look.values())) > 300
    states: dict[Any, bytes] = {}
    sums, tops = np.zeros((len(NAMES), DAY_SUMS)), np.zeros((len(NAMES), DAY_TOPS))
    for look in range(world.days * A_DAY):
        changes, new = count(by_look[look], states, len(NAMES))
        states |= new
        for change in changes.values():
            sums, tops = sums + change.sums, np.maximum(tops, change.tops)
        assert np.array_equal(seen.candidate.cells[look], sums[:, :CELLS])
        assert np.array_equal(seen.candidate.money[look].reshape(len(NAMES), -1), sums[:, MONEY])
        assert (seen.candidate.tops[look].reshape(len(NAMES), -1) >= tops).all()
    assert (seen.candidate.tops[-1].reshape(len(NAMES), -1) == tops).mean() > 0.9
