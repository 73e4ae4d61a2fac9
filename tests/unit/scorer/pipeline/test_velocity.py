"""Card velocity against a slow oracle: what a card saw never depends on how its events were cut into batches."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from scorer.pipeline import velocity
from scorer.pipeline.card_row import REMEMBERED, ROW, SPAN_DAYS
from scorer.pipeline.card_states import CardStates
from scorer.pipeline.velocity import Seen, id_hashes
from scorer.pipeline.view import VELOCITY_FEATURES, WINDOWS

HOUR = 3_600_000
START = 1_767_225_600_000  # 2026-01-01


@dataclass
class Event:
    card: str
    id: str
    at: int
    minor: int
    trusted: bool = True


events = st.lists(
    st.builds(
        Event,
        card=st.sampled_from(["a", "b", "c"]),
        id=st.integers(0, 12).map(str),
        at=st.integers(0, 40 * 24 * 6).map(lambda n: START + n * HOUR // 6),
        minor=st.integers(0, 10_000),
        trusted=st.sampled_from([True, True, True, False]),
    ),
    max_size=30,
)


def absorb(states: CardStates, batch: list[Event], first_offset: int) -> Seen:
    return velocity.observe(
        [states],
        [slice(0, len(batch))],
        [e.card for e in batch],
        id_hashes([e.id for e in batch]),
        np.array([e.at for e in batch], dtype=np.int64),
        np.array([e.minor for e in batch], dtype=np.int64),
        np.arange(first_offset, first_offset + len(batch), dtype=np.int64),
        np.array([e.trusted for e in batch], dtype=bool),
    )


def in_batches(states: CardStates, all_events: list[Event], cuts: list[int]) -> Seen:
    edges = [0, *sorted({c for c in cuts if 0 < c < len(all_events)}), len(all_events)]
    parts = [absorb(states, all_events[a:b], a) for a, b in pairwise(edges)]
    return Seen(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in ("features", "repeat", "absorbed"))
    )


def oracle(all_events: list[Event]) -> tuple[np.ndarray, list[bool]]:
    """One event at a time, every bucket kept in a dict with the bucket that holds each ring place."""
    rings: dict[tuple[str, str], dict[int, tuple[int, int, int]]] = defaultdict(dict)
    heads: dict[tuple[str, str], int] = {}
    ids: dict[str, list[str]] = defaultdict(list)
    features, repeats = [], []
    newest: dict[str, int] = {}
    for event in all_events:
        row: list[float] = []
        day = event.at // (24 * HOUR)
        if event.trusted and day - newest.get(event.card, day) >= SPAN_DAYS:
            ids[event.card] = []  # the card starts anew
        repeat = event.id in ids[event.card]
        for window, seconds, n in WINDOWS:
            bucket = event.at // (seconds * 1000)
            ring = rings[event.card, window]
            held = [(count, total) for b, count, total in ring.values() if bucket - n < b <= bucket]
            count, total = sum(c for c, _ in held), sum(t for _, t in held)
            mean = total / 100 / count if count else float("nan")
            row += [count, mean, event.minor / 100 / mean if mean > 0 else float("nan")]
            if event.trusted and not repeat:
                head = heads[event.card, window] = max(heads.get((event.card, window), -(2**40)), bucket)
                for place, (b, _, _) in list(ring.items()):
                    if b <= head - n:
                        del ring[place]
                if bucket > head - n:
                    _, count, total = ring.get(bucket % n, (bucket, 0, 0))
                    ring[bucket % n] = (bucket, count + 1, total + event.minor)
        if event.trusted and not repeat:
            ids[event.card] = [event.id, *ids[event.card]][:REMEMBERED]
            newest[event.card] = max(day, newest.get(event.card, day))
        features.append(row)
        repeats.append(repeat)
    return np.array(features).reshape(-1, len(VELOCITY_FEATURES)), repeats


@settings(max_examples=200, deadline=None)
@given(events, st.lists(st.integers(1, 29), max_size=4))
def test_any_cut_into_batches_shows_what_one_at_a_time_shows(all_events: list[Event], cuts: list[int]) -> None:
    seen = in_batches(CardStates(capacity=1), all_events, cuts)
    features, repeats = oracle(all_events)
    np.testing.assert_allclose(seen.features, features, rtol=1e-12)
    assert seen.repeat.tolist() == repeats
    assert not seen.absorbed.any()


@settings(max_examples=100, deadline=None)
@given(events, st.integers(0, 29), st.integers(0, 29))
def test_reading_events_again_changes_no_state_and_no_later_feature(
    all_events: list[Event], at: int, back: int
) -> None:
    straight, bumpy = CardStates(), CardStates()
    expected = in_batches(straight, all_events, [])
    at = min(at, len(all_events))
    again = max(0, at - back)
    absorb(bumpy, all_events[:at], 0)
    tail = absorb(bumpy, all_events[again:], again)
    assert tail.absorbed[: at - again].all()
    np.testing.assert_array_equal(tail.features[at - again :], expected.features[at:])
    cards = sorted({e.card for e in all_events})
    assert bumpy.packed(cards) == straight.packed(cards)


@settings(max_examples=100, deadline=None)
@given(events, st.randoms(use_true_random=False))
def test_changelog_in_any_order_restores_the_highest_offset(all_events: list[Event], random: object) -> None:
    states, log = CardStates(), []
    for offset, event in enumerate(all_events):
        absorb(states, [event], offset)
        log += states.packed([event.card])
    random.shuffle(log)  # type: ignore[attr-defined]
    restored = CardStates(capacity=1)
    half = len(log) // 2
    for part in (log[:half], log[half:]):
        restored.load([key for key, _ in part], [value for _, value in part])
    cards = sorted({e.card for e in all_events})
    assert restored.packed(cards) == states.packed(cards)
    assert restored.highest_offset == states.highest_offset == len(all_events) - 1


def test_records_that_are_no_rows_are_passed_over_and_the_others_are_loaded() -> None:
    states = CardStates()
    absorb(states, [Event("a", "1", START, 100)], 5)
    ((key, value),) = states.packed(["a"])

    def changed(**fields: int) -> bytes:
        row = np.frombuffer(value, dtype=ROW).copy()
        for name, cell in fields.items():
            row[name] = cell
        return row.tobytes()

    bad = [
        (key, changed(layout=99)),
        (key, value[:-8]),
        (key, b""),
        (b"\xff\xfe", value),
        (None, value),
        (b"b", changed(offset=6)),
        (b"b", changed(offset=2**62)),
        (b"b", changed(offset=-1)),
    ]
    loaded = CardStates()
    keys, values = zip(*bad[:4], (key, value), *bad[4:], strict=True)
    assert loaded.load(keys, values, end=6) == len(bad)
    assert loaded.packed(["a"]) == states.packed(["a"])
    assert (len(loaded), loaded.highest_offset) == (1, 5)
    assert CardStates().load([], []) == 0


def test_an_event_from_2099_that_is_not_trusted_leaves_the_card_as_it_was() -> None:
    states = CardStates()
    absorb(states, [Event("a", "1", START, 100), Event("a", "2", START + 70 * 365 * 24 * HOUR, 100, False)], 0)
    seen = absorb(states, [Event("a", "3", START + 1000, 100)], 2)
    assert seen.features[0, 0] == 1


def test_a_row_costs_less_than_half_a_kilobyte() -> None:
    assert ROW.itemsize <= 512
