"""Rows of windows as columns: cards with hundreds of events in a batch see what a plain recount tells, and a row to
which nothing is added stays as it is."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import numpy as np
import pytest

from scorer.pipeline.card_states import CardStates
from scorer.pipeline.events import Events
from scorer.pipeline.features import observe, states_of
from scorer.pipeline.velocity import Seen
from scorer.pipeline.view import FeatureView
from scorer.pipeline.window import BUCKETS, MOST

MINUTE, DAY = 60_000, 86_400_000
START = 20_454 * DAY  # 2026-01-01
VIEW = FeatureView.model_validate(
    {
        "name": "test",
        "attributes": [{"name": "distance", "kind": "number"}, {"name": "online", "kind": "boolean"}],
        "windows": [
            {"name": "count_1m", "window": "1m", "aggregate": "count"},
            {"name": "mean_90d", "window": "90d", "aggregate": "mean", "of": "amount"},
            {"name": "sum_90d", "window": "90d", "aggregate": "sum", "of": "amount"},
            {"name": "distance_1d", "window": "1d", "aggregate": "sum", "of": "distance"},
            {"name": "online_6h", "key": ["online", "merchant_id"], "window": "6h", "aggregate": "count"},
            {"name": "merchants_30d", "window": "30d", "aggregate": "distinct", "of": "merchant_id"},
        ],
    }
)
Lines = list[dict[str, Any]]


def lines_of(seed: int, n: int) -> Lines:
    """Most of one card, many at one time, some late, some without a key or what is added up."""
    rng = np.random.default_rng(seed)
    steps = rng.choice([0, 0, 0, 1000, 5000, MINUTE, 20 * MINUTE, DAY], n, p=[0.2, 0.2, 0.2, 0.1, 0.1, 0.1, 0.07, 0.03])
    late = rng.choice([0, 0, 1, 4999, MINUTE, 3 * 60 * MINUTE, 5 * DAY], n)
    return [
        {
            "card": "big" if rng.random() < 0.7 else f"c{rng.integers(9)}",
            "merchant": f"m{rng.integers(20)}",
            "ms": int(at),
            "minor": int(rng.integers(1, 10**6)),
            "distance": None if rng.random() < 0.1 else float(rng.choice([0.1, 0.2, -0.3, 1e15])),
            "online": [None, True, False][rng.integers(3)],
        }
        for at in START + np.cumsum(steps) - late
    ]


def added(states: CardStates, lines: Lines, first: int, trusted: np.ndarray | bool = True) -> Seen:
    return added_at(states, lines, np.arange(first, first + len(lines)), np.full(len(lines), trusted))


def added_at(states: CardStates, lines: Lines, offsets: np.ndarray, trusted: np.ndarray) -> Seen:
    events = Events(
        ids=[f"t{at}" for at in offsets.tolist()],
        cards=[line["card"] for line in lines],
        merchants=[line["merchant"] for line in lines],
        occurred_ms=np.array([line["ms"] for line in lines], dtype=np.int64),
        amount=np.array([line["minor"] / 100 for line in lines]),
        minor=np.array([line["minor"] for line in lines], dtype=np.int64),
        attributes={
            "distance": np.array([math.nan if line["distance"] is None else line["distance"] for line in lines]),
            "online": [line["online"] for line in lines],
        },
        documents=[b""] * len(lines),
    )
    return observe([states], [slice(0, len(lines))], events, offsets, trusted, VIEW)


def shown(seen: Seen) -> np.ndarray:
    return np.array([seen.windows[VIEW.track(window).id].of(window.aggregate) for window in VIEW.windows]).T


def told(lines: Lines) -> list[list[float]]:
    """What each sees: slowly, from all of its card and keys before it. No card is idle, and no merchant forgotten."""
    held: dict[tuple[Any, ...], Lines] = defaultdict(list)
    out: list[list[float]] = []
    for line in lines:
        row = []
        for window in VIEW.windows:
            keys = tuple(line["merchant" if name == "merchant_id" else name] for name in window.key)
            if None in keys:
                row.append(math.nan)
                continue
            mine, size = held[window.name, line["card"], keys], window.seconds * 1000 // BUCKETS
            head = max((one["ms"] // size for one in mine), default=-BUCKETS)
            at = line["ms"] // size
            seen = [one for one in mine if max(at, head) - BUCKETS < one["ms"] // size <= at]
            if window.aggregate == "distinct":
                row.append(len({one["merchant"] for one in seen}))
            elif window.of == "distance":
                cells = [0.0] * BUCKETS
                for one in seen:
                    cells[one["ms"] // size % BUCKETS] += one["distance"]
                total = 0.0
                for cell in cells:
                    total += cell
                row.append(total)
            else:
                amount = sum(one["minor"] for one in seen) / 100
                mean = amount / len(seen) if seen else math.nan
                row.append({"count": float(len(seen)), "sum": amount, "mean": mean}[window.aggregate])
            if (window.of != "distance" or line["distance"] is not None) and at > head - BUCKETS:
                mine.append(line)
        out.append(row)
    return out


@pytest.mark.parametrize("seed", [1, 2])
def test_a_card_with_hundreds_of_events_in_a_batch_sees_what_a_recount_tells(seed: int) -> None:
    lines = lines_of(seed, 700)
    whole = shown(added(states_of(VIEW), lines, 0))
    assert whole.tobytes() == np.array(told(lines)).tobytes()
    assert len({line["merchant"] for line in lines}) < MOST
    states = states_of(VIEW)
    apart = [shown(added(states, lines[at : at + 7], at)) for at in range(0, len(lines), 7)]
    assert np.concatenate(apart).tobytes() == whole.tobytes()


def rows_of(states: CardStates) -> list[bytes]:
    return [states.windows.of(track).take(np.arange(len(states.windows.of(track)))).tobytes() for track in VIEW.tracks]


def test_a_row_to_which_nothing_is_added_stays_as_it_is() -> None:
    lines, states = lines_of(3, 200), states_of(VIEW)
    added(states, lines, 0)
    states.windows.packed()
    rows = rows_of(states)
    later = [{**line, "ms": line["ms"] + 40 * DAY} for line in lines]
    assert shown(added(states, later, 200, trusted=False))[:, 0].max() == 0
    assert rows_of(states) == rows
    assert states.windows.packed() == []


def test_events_that_do_not_count_leave_no_trace_among_those_that_do() -> None:
    lines, counts = lines_of(5, 400), np.random.default_rng(5).random(400) < 0.6
    both, alone = states_of(VIEW), states_of(VIEW)
    added_at(both, lines, np.arange(400), counts)
    some = np.flatnonzero(counts)
    added_at(alone, [lines[at] for at in some.tolist()], some, np.ones(len(some), dtype=bool))
    assert sorted(both.windows.packed()) == sorted(alone.windows.packed())


def test_what_is_undone_is_as_it_was() -> None:
    lines, states = lines_of(4, 200), states_of(VIEW)
    added(states, lines, 0)
    states.windows.packed()
    rows = rows_of(states)
    added(states, [{**line, "ms": line["ms"] + DAY} for line in lines], 200).undo()
    assert rows_of(states) == rows
    assert states.windows.packed() == []
