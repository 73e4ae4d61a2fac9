"""Turns: each row takes its events in order, and the rows of a turn are the first ones of the turn before."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorer.pipeline.turns import in_order


@given(st.lists(st.integers(0, 6), min_size=1, max_size=40))
def test_every_turn_is_of_the_first_rows_and_takes_the_next_event_of_each(places: list[int]) -> None:
    check(places)


@pytest.mark.parametrize("highest", [1, 300, 2**16 - 1, 2**16, 2**40])
def test_so_it_is_of_many_events_however_far_apart_their_rows_are(highest: int) -> None:
    rng = np.random.default_rng(1)
    check([*np.minimum(rng.geometric(0.01, 3000), highest).tolist(), highest, 0, highest])


def check(places: list[int]) -> None:
    order = in_order(np.array(places, dtype=np.int64))
    assert order.rows.tolist() == sorted(set(places))
    rows = order.rows[order.ranked].tolist()
    left = defaultdict(list)
    for at, place in enumerate(places):
        left[place].append(at)
    start = 0
    for end in order.ends.tolist():
        assert start < end
        for row, at in zip(rows, order.events[start:end].tolist(), strict=False):
            assert left[row].pop(0) == at
        start = end
    assert not any(left.values())
