"""Distinct values in a window, against sets that keep everything: exact up to the cap, and what they are beyond."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.batches import MODEL, NOTHING, RULES, a_value
from scorer.pipeline.batch import Incoming
from scorer.pipeline.decode import decode
from scorer.pipeline.distinct import of_numbers, of_texts
from scorer.pipeline.features import history, states_of
from scorer.pipeline.settle import settle
from scorer.pipeline.transaction import Reading
from scorer.pipeline.view import FeatureView
from scorer.pipeline.window import BUCKETS, MOST
from scorer.pipeline.window_row import row_type

MINUTE = 60_000
START = 20_454 * 86_400_000  # 2026-01-01
VIEW = FeatureView.model_validate(
    {
        "name": "test",
        "attributes": [{"name": "items", "kind": "number"}],
        "windows": [
            {"name": "merchants_1h", "window": "60m", "aggregate": "distinct", "of": "merchant_id"},
            {"name": "amounts_1h", "window": "60m", "aggregate": "distinct", "of": "amount"},
            {"name": "items_1h", "key": "merchant_id", "window": "60m", "aggregate": "distinct", "of": "items"},
        ],
    }
)
BUCKET = 60 * MINUTE // BUCKETS
#: card, minutes since START, merchant, cents
Row = tuple[int, int, int, int]


def batch(rows: list[Row], first: int) -> Incoming:
    values = []
    for n, (card, minute, merchant, cents) in enumerate(rows, first):
        at = np.datetime_as_string(np.datetime64(START + minute * MINUTE, "ms"))
        values.append(
            a_value(
                1, card_id=f"c{card}", merchant_id=f"m{merchant}", transaction_id=f"t{n}", occurred_at=f"{at}Z",
                amount=cents / 100, items=cents % 5,
            )
        )  # fmt: skip
    offsets = np.arange(first, first + len(rows))
    arrived = np.array([START + minute * MINUTE for _, minute, _, _ in rows], dtype=np.int64)
    return Incoming(3, [b"k"] * len(rows), values, offsets, arrived)


def found(rows: list[Row], cuts: tuple[int, ...] = ()) -> np.ndarray:
    """What each event saw: float64 (n, windows)."""
    rules = replace(RULES, view=VIEW, reading=Reading(attributes=VIEW.attributes))
    states = states_of(VIEW)
    edges = [0, *sorted({at for at in cuts if 0 < at < len(rows)}), len(rows)]
    out: list[Any] = []
    for a, b in pairwise(edges):
        made = settle(batch(rows[a:b], a), states, NOTHING, MODEL, rules, None)
        out += [orjson.loads(value or b"")["features"][-len(VIEW.windows) :] for _, value in made.decisions]
    return np.array(out, dtype=float)


def told(rows: list[Row]) -> list[list[tuple[int, bool, int]]]:
    """By event and window: how many there were, whether the event is the newest, and how many the ring had."""
    held: dict[tuple[Any, ...], list[tuple[int, int]]] = defaultdict(list)
    out = []
    for card, minute, merchant, cents in rows:
        bucket, seen = (START + minute * MINUTE) // BUCKET, []
        for key, value in (((card,), merchant), ((card, "a"), cents), ((card, "i", merchant), cents % 5)):
            mine = held[key]
            head = max([at for at, _ in mine], default=bucket)
            seen.append(
                (
                    len({one for at, one in mine if bucket - BUCKETS < at <= bucket and at > head - BUCKETS}),
                    bucket >= head,
                    len({one for at, one in mine if at > head - BUCKETS}),
                )
            )
            if bucket > head - BUCKETS:
                mine.append((bucket, value))
        out.append(seen)
    return out


def streams(most_late: int) -> st.SearchStrategy[list[Row]]:
    step = st.tuples(
        st.integers(0, 1), st.integers(0, 6), st.integers(0, most_late), st.integers(0, 70), st.integers(1, 60)
    )

    def build(steps: list[tuple[int, ...]]) -> list[Row]:
        now, out = 0, []
        for card, leap, late, merchant, cents in steps:
            now += leap if leap < 6 else 25 * (leap - 5)
            out.append((card, max(0, now - late), merchant, cents))
        return out

    return st.lists(step, min_size=1, max_size=150).map(build)


@settings(max_examples=60, deadline=None)
@given(streams(0))
def test_in_order_there_are_as_many_as_there_were_or_the_most(rows: list[Row]) -> None:
    assert found(rows).tolist() == [[float(min(n, MOST)) for n, _, _ in seen] for seen in told(rows)]


@settings(max_examples=60, deadline=None)
@given(streams(90), st.tuples(st.integers(1, 149), st.integers(1, 149)))
def test_a_late_event_sees_no_more_than_there_were_and_batches_do_not_show(
    rows: list[Row], cuts: tuple[int, int]
) -> None:
    values = found(rows)
    assert values.tobytes() == found(rows, cuts).tobytes()
    overfull: set[tuple[int, int]] = set()  # card and window whose ring had more than the most
    for row, seen, cells in zip(rows, told(rows), values.tolist(), strict=True):
        for at, ((n, is_newest, in_ring), cell) in enumerate(zip(seen, cells, strict=True)):
            assert cell <= min(n, MOST)
            overfull |= {(row[0], at)} if in_ring > MOST else set()
            if is_newest or (row[0], at) not in overfull:
                assert cell == min(n, MOST)


def test_more_than_the_most_are_forgotten_oldest_first_and_come_down_again() -> None:
    rows: list[Row] = [(0, n // 8, n, 1) for n in range(64)]  # 64 merchants in eight minutes
    rows += [(0, 70, 99, 1), (0, 132, 98, 1)]
    values = found(rows)[:, 0].tolist()
    assert values[:64] == [float(min(n, MOST)) for n in range(64)]
    assert values[64:] == [0.0, 0.0 if BUCKETS <= (132 - 70) // 5 else 1.0]


def test_those_that_were_seen_last_stay_when_there_are_more_than_the_most() -> None:
    early: list[Row] = [(0, 0, n, 1) for n in range(20)]
    again: list[Row] = [(0, 30, n, 1) for n in range(5)]
    later: list[Row] = [(0, 30, 100 + n, 1) for n in range(MOST - 5)]
    # what came early has left the window, but for what came again
    for between in (again + later, later + again):
        assert found([*early, *between, (0, 64, 999, 1)])[-1, 0] == MOST
    assert found([*early, *again, *later[:-1], (0, 64, 999, 1)])[-1, 0] == MOST - 1


def test_a_history_in_order_of_time_is_what_was_served() -> None:
    rng = np.random.default_rng(2)
    rows: list[Row] = [(0, n, int(rng.integers(80)), int(rng.integers(1, 90))) for n in range(400)]
    events = decode(batch(rows, 0).values, Reading(attributes=VIEW.attributes)).events
    assert history(VIEW, events)[:, -len(VIEW.windows) :].tobytes() == found(rows, (7, 100)).tobytes()
    assert found(rows)[:, :2].max() == MOST, "the cap was reached"


def test_a_row_has_a_size_that_no_card_changes() -> None:
    assert {row_type(track).itemsize for track in VIEW.tracks} == {24 + MOST * 10}


def test_values_are_the_same_on_every_machine_and_whatever_a_sender_writes_is_one() -> None:
    assert of_texts(["m1", "m2", "m1"]).tolist() == [6104225451280506833, 10416827267787391938, 6104225451280506833]
    assert len(of_texts(["\ud800", "", "é", "e\u0301"])) == 4
    zeros = of_numbers(np.array([0.0, -0.0, 1.0]))
    assert zeros[0] == zeros[1] != zeros[2]
