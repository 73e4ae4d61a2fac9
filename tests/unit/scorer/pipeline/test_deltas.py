"""The time since a card's last transaction, and how far an amount is from the card's mean: only where a view asks."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from harness.batches import MODEL, NOTHING, NOW, RULES, VIEW, a_value, incoming
from scorer.pipeline.batch import Settled
from scorer.pipeline.card_row import REMEMBERED, ROW
from scorer.pipeline.card_states import CardStates
from scorer.pipeline.changelog import ChangelogReader
from scorer.pipeline.decode import decode
from scorer.pipeline.features import history, states_of
from scorer.pipeline.settle import settle
from scorer.pipeline.view import Attribute, FeatureView

WITH = FeatureView(name="test", attributes=VIEW.attributes, deltas=("since_last", "from_mean"))
RULES_WITH = replace(RULES, view=WITH)
SINCE = WITH.names.index("card_seconds_since_last")

payments = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 3000), st.integers(0, 6), st.integers(1, 900)), min_size=1, max_size=25
)


def values_of(made: list[tuple[int, int, int, int]]) -> list[bytes | None]:
    return [
        a_value(
            0,
            card_id=f"c{card}",
            transaction_id=f"t{number}",
            occurred_at=f"2026-01-01T{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}Z",
            amount=amount,
        )
        for card, second, number, amount in made
    ]


def features(settled: list[Settled]) -> np.ndarray:
    rows = [orjson.loads(value or b"")["features"] for one in settled for _, value in one.decisions]
    return np.array(rows, dtype=float)


def in_batches(states: CardStates, values: list[bytes | None], cuts: list[int]) -> list[Settled]:
    edges = [0, *sorted({c for c in cuts if 0 < c < len(values)}), len(values)]
    return [settle(incoming(values[a:b], a), states, NOTHING, MODEL, RULES_WITH, NOW) for a, b in pairwise(edges)]


@settings(max_examples=150, deadline=None)
@given(payments, st.lists(st.integers(1, 24), max_size=4))
def test_an_event_sees_its_cards_last_transaction_however_batches_are_cut(
    made: list[tuple[int, int, int, int]], cuts: list[int]
) -> None:
    found = features(in_batches(states_of(WITH), values_of(made), cuts))
    newest: dict[int, int] = {}
    ids: dict[int, list[int]] = {}
    for row, (card, second, number, amount) in zip(found, made, strict=True):
        np.testing.assert_equal(row[SINCE], second - newest[card] if card in newest else math.nan)
        if number not in ids.setdefault(card, []):
            newest[card] = max(second, newest.get(card, second))
            ids[card] = [number, *ids[card]][:REMEMBERED]
        mean = row[WITH.names.index("card_mean_1h")]
        np.testing.assert_equal(row[WITH.names.index("card_delta_1h")], amount - mean)


@settings(max_examples=100, deadline=None)
@given(payments, st.integers(0, 24), st.integers(0, 24))
def test_a_successor_that_reads_rows_and_events_again_sees_the_same(
    made: list[tuple[int, int, int, int]], at: int, back: int
) -> None:
    values = values_of(made)
    at = min(at, len(values))
    expected = features(in_batches(states_of(WITH), values, []))
    first = settle(incoming(values[:at]), states_of(WITH), NOTHING, MODEL, RULES_WITH, NOW)
    states = states_of(WITH)
    assert states.load([key for key, _ in first.states], [value or b"" for _, value in first.states]) == 0
    again = max(0, at - back)
    published = replace(NOTHING, decisions=at - 1, rejected=at - 1)
    rest = settle(incoming(values[again:], again), states, published, MODEL, RULES_WITH, NOW)
    np.testing.assert_array_equal(features([rest]).reshape(-1, len(WITH.names)), expected[at:])


def test_rows_of_a_view_without_it_are_read_as_rows_that_do_not_know_and_do_not_grow() -> None:
    values = [a_value(0, card_id="a"), a_value(1, card_id="a"), a_value(2, card_id="a")]
    old = settle(incoming(values[:1]), CardStates(), NOTHING, MODEL, RULES, NOW)
    ((key, row),) = old.states
    assert len(row or b"") == ROW.itemsize
    states = states_of(WITH)
    assert states.load([key], [row or b""]) == 0
    found = features([settle(incoming(values[1:], 1), states, NOTHING, MODEL, RULES_WITH, NOW)])
    np.testing.assert_array_equal(found[:, SINCE], [math.nan, 1.0])
    (wide,) = states.packed(["a"])
    back = CardStates()
    assert back.load([wide[0]], [wide[1]]) == 0  # a view that asks no more
    ((_, again),) = back.packed(["a"])
    assert wide[1][: ROW.itemsize] == again


def test_a_card_that_was_erased_has_no_last_transaction() -> None:
    states = states_of(WITH)
    settle(incoming([a_value(0, card_id="a")]), states, NOTHING, MODEL, RULES_WITH, NOW)
    assert states.erase("a") is not None
    found = features([settle(incoming([a_value(1, card_id="a")], 1), states, NOTHING, MODEL, RULES_WITH, NOW)])
    assert math.isnan(found[0, SINCE])


def test_an_event_that_is_not_settled_leaves_no_time() -> None:
    states = states_of(WITH)
    settle(incoming([a_value(0, card_id="a")]), states, NOTHING, MODEL, RULES_WITH, NOW)
    before = states.packed(["a"])
    broken = replace(MODEL, score=lambda matrix: np.empty(7))
    with pytest.raises(Exception, match="scores for"):
        settle(incoming([a_value(5, card_id="a")], 1), states, NOTHING, broken, RULES_WITH, NOW)
    assert states.packed(["a"]) == before


def test_a_history_tells_what_was_served() -> None:
    values = [a_value(i) for i in range(60)]
    served = features(in_batches(states_of(WITH), values, [7, 31]))
    events = decode(values, RULES.reading).events
    np.testing.assert_array_equal(history(WITH, events), served)


def test_a_view_without_deltas_is_what_it_was() -> None:
    view = FeatureView(name="test", attributes=(Attribute(name="country", kind="category", values=("DE", "FR")),))
    assert view.id == "test-ef27c80b"
    assert len(view.names) == 16
    assert WITH.names[:16] == view.names


def test_a_name_that_deltas_take_is_no_attribute() -> None:
    told = {
        "name": "x",
        "attributes": [{"name": "card_delta_1h", "kind": "number"}],
        "deltas": ["from_mean"],
    }
    with pytest.raises(ValidationError, match="card_delta_1h is declared twice"):
        FeatureView.model_validate(told)
    assert FeatureView.model_validate(told | {"deltas": []}).names[-1] == "card_delta_1h"


def test_the_changelog_tells_the_time_to_a_reader() -> None:
    states = states_of(WITH)
    made = settle(incoming([a_value(0, card_id="a")]), states, NOTHING, MODEL, RULES_WITH, NOW)
    reader = ChangelogReader(again := states_of(WITH))
    reader.fold([SimpleNamespace(key=k, value=v, headers=[]) for k, v in made.states])
    reader.finish()
    assert again.packed(["a"]) == states.packed(["a"])
