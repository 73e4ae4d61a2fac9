"""Bins of scores and features hold the values that their edges say."""

from __future__ import annotations

import doctest
import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from shadow.comparison import bins
from shadow.comparison.bins import BINS, BY_VALUE, EDGES, FEATURE_BINS, feature_bins, score_bins

scores = st.floats(0, 1)


@given(st.lists(st.one_of(scores, st.just(math.nan)), max_size=50))
def test_score_bins_hold_what_their_edges_say(values: list[float]) -> None:
    edges = [-math.inf, *EDGES.tolist(), math.inf]
    assert len(edges) == BINS + 1
    for value, found in zip(values, score_bins(np.array(values, dtype=float)).tolist(), strict=True):
        if math.isnan(value):
            assert found == -1
        else:
            assert edges[found] <= value < edges[found + 1]


@given(st.lists(st.one_of(st.floats(), st.integers(-10, 10).map(float)), max_size=40))
def test_feature_bins_keep_the_order_of_values_and_tell_small_whole_numbers_apart(values: list[float]) -> None:
    found = feature_bins(np.array(values, dtype=float))
    place = np.argsort(BY_VALUE)[found]
    assert sorted(BY_VALUE.tolist()) == list(range(FEATURE_BINS))
    known = [(value, at) for value, at in zip(values, place.tolist(), strict=True) if not math.isnan(value)]
    assert [at for _, at in sorted(known)] == sorted(at for _, at in known)
    assert all((at == 0) == math.isnan(value) for value, at in zip(values, place.tolist(), strict=True))
    whole = {value: at for value, at in known if value.is_integer() and abs(value) <= 8}
    assert len(set(whole.values())) == len(whole)


@given(st.floats(2**-10, 2**33), st.floats(1, 1.5))
def test_values_in_one_feature_bin_are_within_a_fifth(value: float, factor: float) -> None:
    a, b = feature_bins(np.array([value, value * factor])).tolist()
    assert a != b or factor < 2**0.25 * 1.0001


def test_examples_in_docstrings_run() -> None:
    assert doctest.testmod(bins).failed == 0
