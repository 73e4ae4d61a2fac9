"""Pairing, segments, bins and hours against what plain Python says."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shadow.bins import BINS, BY_VALUE, EDGES, FEATURE_BINS, feature_bins, score_bins
from shadow.compare import compare
from shadow.segments import MOST, SegmentField, Segments
from shadow.tally import ALL, LATE, OUTCOMES, Run, event_hours

HOUR = 3_600_000
scores = st.floats(0, 1)


@given(st.lists(st.tuples(st.booleans(), st.one_of(scores, st.just(math.nan), st.just(1.5))), max_size=30), scores)
def test_outcomes_are_the_paired_table(rows: list[tuple[bool, float]], threshold: float) -> None:
    live = np.array([row[0] for row in rows], dtype=bool)
    paired = compare(live, np.array([row[1] for row in rows]), threshold)
    for (blocks, score), code, usable in zip(rows, paired.codes, paired.usable, strict=True):
        assert usable == (0 <= score <= 1)
        name = {(0, 0): "both_allow", (1, 1): "both_block", (1, 0): "live_only", (0, 1): "candidate_only"}
        assert OUTCOMES[code] == name[blocks, score >= threshold]


def test_a_score_equal_to_the_threshold_blocks() -> None:
    assert compare(np.array([False]), np.array([0.5]), 0.5).candidate.tolist() == [True]


def test_a_batch_that_is_not_whole_is_refused() -> None:
    with pytest.raises(ValueError, match="score the whole batch"):
        compare(np.array([True, False]), np.array([0.5]), 0.5)


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


@pytest.mark.parametrize(
    ("occurred", "scored", "hour"),
    [
        (10 * HOUR + 5, 10 * HOUR + 9, 10),
        (10 * HOUR, 58 * HOUR, 10),
        (10 * HOUR - 1, 58 * HOUR, LATE),
        (10 * HOUR + 300_000, 10 * HOUR, 10),
        (10 * HOUR + 300_001, 10 * HOUR, LATE),
    ],
)
def test_hours_are_the_events_own_unless_far_from_the_scoring(occurred: int, scored: int, hour: int) -> None:
    assert event_hours(np.array([occurred]), np.array([scored])).tolist() == [hour]


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_run_is_read_back(live: int, candidate: int) -> None:
    assert Run.parse(str(Run(live, candidate))) == Run(live, candidate)


@pytest.mark.parametrize("text", ["", "L1", "C1-L1", "L1-Cx", "1-2", "L1-C1-X"])
def test_text_that_is_no_run_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whatever it says
        Run.parse(text)


SEGMENTS = Segments.model_validate(
    {
        "country": {"field": "country", "values": ["DE", "FR"]},
        "amount": {"field": "amount", "bands": [20, 100]},
    }
)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["DE", "FR", "US", None, 5]),
            st.one_of(st.none(), st.floats(-1, 300), st.sampled_from([20, 100, "x", True])),
        ),
        max_size=20,
    )
)
def test_each_transaction_is_in_one_segment_of_each_division(rows: list[tuple[object, object]]) -> None:
    columns = {"country": [row[0] for row in rows], "amount": [row[1] for row in rows]}
    found = SEGMENTS.assign(columns, len(rows))
    assert found.shape == (len(rows), 3)
    for (country, amount), row in zip(rows, found, strict=True):
        names = [SEGMENTS.names[at] for at in row]
        if type(amount) not in (int, float):
            band = "other"
        else:
            band = "<20" if amount < 20 else "20-100" if amount < 100 else ">=100"
        assert names == [ALL, f"country={country if country in ('DE', 'FR') else 'other'}", f"amount={band}"]


def test_segments_have_names_in_order() -> None:
    assert SEGMENTS.names == (
        "all",
        "country=DE",
        "country=FR",
        "country=other",
        "amount=<20",
        "amount=20-100",
        "amount=>=100",
        "amount=other",
    )
    assert SEGMENTS.fields == {"country", "amount"}


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"field": "a"}, "either values or bands"),
        ({"field": "a", "values": ["x"], "bands": [1]}, "either values or bands"),
        ({"field": "a", "bands": [2, 1]}, "ascend"),
        ({"field": "a", "bands": [1, 1]}, "ascend"),
        ({"field": "a", "values": ["x", "x"]}, "twice"),
        ({"field": "a", "values": []}, "at least 1"),
    ],
)
def test_a_division_that_makes_no_sense_is_refused(fields: dict[str, object], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        SegmentField.model_validate(fields)


def test_too_many_segments_are_refused() -> None:
    values = [str(i) for i in range(MOST)]
    with pytest.raises(ValidationError, match="merge some"):
        Segments.model_validate({"x": {"field": "x", "values": values}})
    with pytest.raises(ValidationError, match="letters, digits"):
        Segments.model_validate({"a b": {"field": "x", "values": ["1"]}})
