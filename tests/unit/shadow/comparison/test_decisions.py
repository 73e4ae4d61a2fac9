"""JSON values become columns of decisions; what is no decision is reported by its offset."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.decisions import SEGMENTS, Doubling, a_decision, parsed
from shadow.comparison.absorb import absorb
from shadow.comparison.decisions import read
from shadow.comparison.increment import Increment, add
from shadow.comparison.memory import Memory


def test_values_that_are_not_decisions_are_reported_by_their_offsets() -> None:
    good = orjson.dumps(a_decision(1))
    decisions, bad = read([None, b"{", b"[]", b"{}", good], [10, 11, 12, 13, 14])
    assert decisions.offsets.tolist() == [14]
    assert bad == [10, 11, 12, 13]


def test_columns_hold_what_the_rows_say() -> None:
    rows = [
        a_decision(7, decision="block", amount_minor=250),
        a_decision(8, score=None, repeat=True, epoch=2, country="FR"),
    ]
    found = parsed(rows, start=40)
    assert found.offsets.tolist() == [40, 41]
    assert found.sources.tolist() == [7, 8]
    assert found.blocks.tolist() == [True, False]
    assert found.minor.tolist() == [250, 100]
    assert found.repeats.tolist() == [False, True]
    assert found.epochs.tolist() == [1, 2]
    assert np.isnan(found.scores).tolist() == [False, True]
    assert found.column("country") == ["DE", "FR"]
    assert found.column("nothing") == [None, None]
    last = found.take(np.array([1]))
    assert (last.sources.tolist(), last.rows) == ([8], [rows[1]])


def test_rows_are_grouped_by_their_feature_view() -> None:
    found = parsed([a_decision(at, view=view, features=[at / 4]) for at, view in enumerate("vvwv")])
    assert {view: rows.tolist() for view, rows in found.views().items()} == {"v": [0, 1, 3], "w": [2]}
    assert found.snapshots["v"][1].tolist() == [[0.0], [0.25], [0.75]]


#: What a record on the topic may look like that the scorer did not write, as a change of a good one.
ODD: list[dict[str, Any]] = [
    {"epoch": "x"},
    {"epoch": -1},
    {"epoch": 2**70},
    {"epoch": 1.5},
    {"epoch": True},
    {"scored_at": "yesterday"},
    {"scored_at": None},
    {"scored_at": "0000-01-01T00:00:00Z"},
    {"occurred_at": "10000-01-01T00:00:00Z"},
    {"occurred_at": 5},
    {"amount_minor": None},
    {"amount_minor": "5"},
    {"amount_minor": -1},
    {"amount_minor": 2**63},
    {"score": "high"},
    {"score": 1.5},
    {"score": [0.5]},
    {"decision": "maybe"},
    {"decision": ["block"]},
    {"features": None},
    {"features": ["a"]},
    {"features": [[1.0]]},
    {"features": {"a": 1}},
    {"view": None},
    {"view": ["v"]},
    {"bundle": 7},
    {"threshold": "half"},
    {"source": None},
    {"source": {"partition": 0, "offset": "x"}},
    {"source": {"partition": 0, "offset": -5}},
    {"source": {"partition": None, "offset": 5}},
    {"transaction": []},
    {"transaction": {"transaction_id": 5, "card_id": "c", "occurred_at": "2026-01-31T12:00:00Z"}},
    {"transaction": {"transaction_id": "t", "card_id": None, "occurred_at": "2026-01-31T12:00:00Z"}},
]


@pytest.mark.parametrize("odd", ODD, ids=str)
def test_a_record_that_is_no_decision_is_reported_and_its_neighbours_are_read(odd: dict[str, Any]) -> None:
    values = [orjson.dumps(a_decision(1)), json.dumps(a_decision(2, **odd)).encode(), orjson.dumps(a_decision(3))]
    decisions, bad = read(values, [10, 11, 12])
    assert bad == [11]
    assert decisions.sources.tolist() == [1, 3]


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
fields = st.sampled_from([*a_decision(1), "transaction_id", "card_id", "occurred_at", "repeat"])


@pytest.mark.slow
@given(st.lists(st.one_of(st.binary(max_size=40), st.dictionaries(fields, anything, max_size=4)), max_size=8))
def test_no_record_of_anybody_makes_reading_or_comparing_raise(records: list[Any]) -> None:
    rows = [r if isinstance(r, bytes) else json.dumps(a_decision(at, **r)).encode() for at, r in enumerate(records)]
    values = [orjson.dumps(a_decision(100)), *rows, orjson.dumps(a_decision(200))]
    decisions, bad = read(values, list(range(len(values))))
    assert len(decisions) + len(bad) == len(values)
    found = absorb(decisions, Doubling(), Memory(), SEGMENTS, {}, 100.0, 5000)
    pending = Increment()
    add(pending, found)
    add(pending, absorb(decisions, Doubling(), Memory(), SEGMENTS, {}, 100.0, 5000))
    assert 0 not in bad
    assert len(values) - 1 not in bad


def test_a_drawn_would_be_block_is_a_block_of_live_and_released_only_if_it_was_allowed() -> None:
    rows = [
        a_decision(0, release_probability=0.1),
        a_decision(1, release_probability=0.1, decision="block"),
        a_decision(2, release_probability=1.0),
        a_decision(3, release_probability=1),
        a_decision(4, decision="block"),
    ]
    found = parsed(rows)
    assert found.blocks.tolist() == [True, True, False, False, True]
    assert found.released.tolist() == [True, False, False, False, False]


@pytest.mark.parametrize("told", [0, -0.5, 1.5, "0.5", None, True, [], 10**400])
def test_a_release_probability_that_is_none_makes_no_decision(told: Any) -> None:
    row = {**a_decision(1), "release_probability": told}
    decisions, bad = read([json.dumps(row).encode(), orjson.dumps(a_decision(2))], [10, 11])
    assert bad == [10]
    assert decisions.sources.tolist() == [2]
