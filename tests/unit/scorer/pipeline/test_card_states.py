"""Idle cards are dropped, and no decision ever tells when, nor whether its worker was killed in between."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.batches import MODEL, NOTHING, RULES, VIEW, a_value
from scorer.pipeline.batch import Incoming, Published, Settled
from scorer.pipeline.card_row import IDLE_DAYS, LATE_DAYS, REMEMBERED, SPAN_DAYS
from scorer.pipeline.card_states import SWEPT_AT_LEAST, SWEPT_PER_EVENT, CardStates, Dropped
from scorer.pipeline.changelog import ChangelogReader
from scorer.pipeline.settle import settle
from scorer.pipeline.view import VELOCITY_FEATURES, WINDOWS
from scorer.worker.writer import _states

DAY_MS = 86_400_000
FIRST_DAY = 20_454  # 2026-01-01
CROWD = 2


@dataclass
class Event:
    """hour: since FIRST_DAY. is_ahead: dated after its arrival, so it does not count in velocity."""

    card: str
    id: int
    hour: int
    is_ahead: bool = False

    @property
    def day(self) -> int:
        return FIRST_DAY + self.hour // 24

    @property
    def ms(self) -> int:
        return FIRST_DAY * DAY_MS + self.hour * 3_600_000

    @property
    def value(self) -> bytes:
        at = np.datetime_as_string(np.datetime64(self.ms, "ms"))
        return a_value(1, card_id=self.card, transaction_id=f"t{self.id}", occurred_at=f"{at}Z")


def streams(most_late_days: int, distinct_ids: bool) -> st.SearchStrategy[list[Event]]:
    """Events whose time goes on by leaps, some of them late, some of them dated ahead of their arrival."""

    def build(steps: list[tuple[str, int, int, int, bool]]) -> list[Event]:
        now, out = 40 * 24, []
        for n, (card, leap, late, number, is_ahead) in enumerate(steps):
            now += leap
            out.append(Event(card, n if distinct_ids else number, now - late, is_ahead))
        return out

    leaps = st.one_of(st.integers(0, 30), st.sampled_from([0, 0, 24, 29 * 24, 31 * 24, 36 * 24, 38 * 24, 80 * 24]))
    late = st.sampled_from(
        [hours for hours in (0, 0, 0, 5, 40, 100, 150, 200, 700, 2000) if hours <= most_late_days * 24]
    )
    step = st.tuples(st.sampled_from("abcde"), leaps, late, st.integers(0, 5), st.sampled_from([False] * 5 + [True]))
    return st.lists(step, min_size=1, max_size=30).map(build)


@dataclass
class Card:
    newest: int = -(10**6)
    ids: list[int] = field(default_factory=list)
    added: list[Event] = field(default_factory=list)


def told(events: list[Event], drops: bool = True) -> tuple[list[list[float]], list[bool]]:
    """What each event sees, from all events of its card, kept for ever; and whether its id is a repeat.

    drops: cards start anew as `velocity` says; otherwise their whole past is seen.
    """
    cards: dict[str, Card] = defaultdict(Card)
    features, repeats = [], []
    for event in events:
        newest = sorted((card.newest for card in cards.values()), reverse=True)
        clock = newest[CROWD - 1] if len(newest) >= CROWD else -(10**6)
        card, trusted = cards[event.card], not event.is_ahead
        is_idle = card.newest <= clock - IDLE_DAYS
        if drops and (is_idle or (trusted and event.day - card.newest >= SPAN_DAYS)):
            card = cards[event.card] = Card()
        row: list[float] = []
        for _, seconds, n in WINDOWS:
            mine = event.ms // (seconds * 1000)
            seen = [bucket for bucket in _held(card.added, seconds, n) if mine - n < bucket <= mine]
            row += [len(seen), 1.25 if seen else float("nan"), 1.0 if seen else float("nan")]
        repeat = event.id in card.ids
        if trusted and not repeat:
            card.newest = max(card.newest, event.day)
            card.ids = [event.id, *card.ids][:REMEMBERED]
            card.added.append(event)
        features.append(row)
        repeats.append(repeat)
    return features, repeats


def _held(added: list[Event], seconds: int, n: int) -> list[int]:
    """The buckets that events are in, one for each: what is a ring older than the newest so far is gone for ever."""
    held: list[int] = []
    newest = -(10**9)
    for event in added:
        bucket = event.ms // (seconds * 1000)
        newest = max(newest, bucket)
        held = [other for other in [*held, bucket] if other > newest - n]
    return held


def batch_of(events: list[Event], first: int) -> Incoming:
    """As Kafka brings them: an event that is ahead arrived a day before it happened."""
    arrived = [e.ms - DAY_MS if e.is_ahead else e.ms + 50 * DAY_MS for e in events]
    n = len(events)
    keys: list[bytes | None] = [e.card.encode() for e in events]
    return Incoming(3, keys, [e.value for e in events], np.arange(first, first + n), np.array(arrived, dtype=np.int64))


def cut(events: list[Event], cuts: list[int], start: int = 0) -> list[Incoming]:
    edges = [start, *sorted({c for c in cuts if start < c < len(events)}), len(events)]
    return [batch_of(events[a:b], a) for a, b in pairwise(edges) if b > a]


def settled(states: CardStates, batches: list[Incoming], published: Published = NOTHING) -> list[Settled]:
    return [settle(batch, states, published, MODEL, RULES, None) for batch in batches]


def decisions(several: list[Settled]) -> dict[int, bytes]:
    """Decisions by source offset."""
    values = [value or b"" for one in several for _, value in one.decisions]
    return {orjson.loads(value)["source"]["offset"]: value for value in values}


def written(one: Settled) -> list[Any]:
    """The records of a batch on the changelog, in their order."""
    write = _states("velocity", 3, one)
    headers = write.headers or [[] for _ in write.records]
    return [SimpleNamespace(key=k, value=v, headers=h) for (k, v), h in zip(write.records, headers, strict=True)]


def recovered(records: list[Any], end: int) -> CardStates:
    states = CardStates(capacity=1, crowd=CROWD)
    reader = ChangelogReader(states, end)
    for chunk in (records[: len(records) // 2], records[len(records) // 2 :]):
        reader.fold(chunk)
    reader.finish()
    assert reader.passed_over == 0
    return states


cuts = st.lists(st.integers(1, 29), max_size=5)


@settings(max_examples=150, deadline=None)
@given(streams(90, distinct_ids=False), cuts)
def test_what_a_card_saw_is_what_all_its_events_tell_however_batches_are_cut(
    events: list[Event], at: list[int]
) -> None:
    made = decisions(settled(CardStates(capacity=1, crowd=CROWD), cut(events, at)))
    features, repeats = told(events)
    first = VIEW.names.index(VELOCITY_FEATURES[0])
    for offset, value in made.items():
        body = orjson.loads(value)
        seen = body["features"][first : first + len(VELOCITY_FEATURES)]
        np.testing.assert_allclose(np.array(seen, dtype=float), features[offset])
        assert body.get("repeat", False) == repeats[offset]
    assert sorted(made) == list(range(len(events)))


@settings(max_examples=150, deadline=None)
@given(streams(LATE_DAYS - 1, distinct_ids=True))
def test_a_card_that_was_dropped_and_returns_scores_as_its_full_state_would(events: list[Event]) -> None:
    """Late events, too, up to LATE_DAYS."""
    np.testing.assert_array_equal(told(events)[0], told(events, drops=False)[0])


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(streams(90, distinct_ids=False), cuts, cuts, st.data())
def test_a_killed_worker_s_successor_decides_the_same_bytes(
    events: list[Event], at: list[int], then: list[int], data: st.DataObject
) -> None:
    """Killed while it wrote the changelog of any batch, when up to two more were decided. Its successor begins at any
    earlier batch, and cuts batches elsewhere."""
    batches = cut(events, at)
    whole = settled(CardStates(crowd=CROWD), batches)
    expected = decisions(whole)
    last = data.draw(st.integers(0, len(batches) - 1), "batch that is written in part")
    ahead = data.draw(st.integers(last, min(last + 2, len(batches) - 1)), "last batch that is decided")
    part = written(whole[last])
    part = part[: data.draw(st.integers(0, len(part)), "records of it that are written")]
    log = [record for one in whole[:last] for record in written(one)] + part
    committed = int(batches[data.draw(st.integers(0, last), "batch that is committed")].offsets[0])
    states = recovered(log, len(events))
    decided = int(batches[ahead].offsets[-1])
    published = Published(decided, max(decided, states.highest_offset))
    again = settled(states, cut(events, then, committed), published)
    assert decisions(again) == {offset: value for offset, value in expected.items() if offset > decided}
    # Whatever it left on the topic is right, too, for the next successor.
    log += [record for one in again for record in written(one)]
    third = recovered(log, len(events))
    more = [replace(e, id=e.id + 50) for e in events[-5:]]
    straight = settled(_replayed(events), [batch_of(more, len(events))])
    assert decisions(settled(third, [batch_of(more, len(events))])) == decisions(straight)


def _replayed(events: list[Event]) -> CardStates:
    states = CardStates(crowd=CROWD)
    settled(states, cut(events, []))
    return states


def on(*days: str) -> list[Event]:
    """Events of cards on days, as in `a20`."""
    return [Event(text[0], n, 24 * int(text[1:])) for n, text in enumerate(days)]


def seen_before(one: Settled) -> list[int]:
    """How many events each event saw in the longest window."""
    at = VIEW.names.index("card_count_30d")
    return [int(orjson.loads(value or b"")["features"][at]) for _, value in one.decisions]


def test_a_card_is_dropped_once_it_is_idle_and_not_a_day_before() -> None:
    states = CardStates(crowd=CROWD)
    (one,) = settled(states, cut(on("a0", f"b{IDLE_DAYS - 1}", f"c{IDLE_DAYS - 1}"), []))
    assert (one.dropped, len(states)) == ([], 3)
    (two,) = settled(states, [batch_of(on(f"b{IDLE_DAYS}", f"c{IDLE_DAYS}"), 3)])
    assert [(mark.record, mark.headers) for mark in two.dropped] == [((b"a", None), [("offset", b"0")])]
    assert len(states) == 2


def test_one_card_far_ahead_drops_nobody() -> None:
    states = CardStates(crowd=CROWD)
    (one,) = settled(states, cut(on("a0", "b0", "c3000", "a1", "b1"), []))
    assert (one.dropped, one.clock[-1:]) == ([], one.clock)
    assert seen_before(one) == [0, 0, 0, 1, 1]


def test_a_batch_written_in_part_is_read_again_with_the_clock_as_it_was() -> None:
    """The states on the topic are ahead of the clock that the card without one had seen."""
    events = on("a0", "b20", "c20", "b20", "c20", "a20", "b40", "c40", "a25")
    batches = cut(events, [3, 8])
    whole = settled(CardStates(crowd=CROWD), batches)
    first, part = written(whole[0]), written(whole[1])
    assert [record.key for record in part[:4]] == [b"", b"b", b"c", b"a"]
    states = recovered(first + part[:3], len(events))
    again = settled(states, batches[1:], Published(7, 7))
    assert seen_before(again[1]) == seen_before(whole[2]) == [2]


def test_so_does_the_next_successor_when_the_first_read_only_a_part_again() -> None:
    events = on("a0", "b20", "c20", "b20", "c20", "b21", "c21", "a21", "b40", "c40", "a25")
    batches = cut(events, [3, 10])
    whole = settled(CardStates(crowd=CROWD), batches)
    log = written(whole[0]) + written(whole[1])[:3]
    second = settled(recovered(log, len(events)), [batch_of(events[3:7], 3)], Published(9, 9))
    log += [record for one in second for record in written(one)]
    third = settled(recovered(log, len(events)), [batch_of(events[7:10], 7), batches[2]], Published(9, 9))
    assert seen_before(third[1]) == seen_before(whole[2]) == [2]


def test_an_erased_card_stays_erased_while_its_events_are_read_again() -> None:
    events = on("b0", "a0", "a1", "c1", "b1")
    states = CardStates(crowd=CROWD)
    log = [record for one in settled(states, cut(events, [])) for record in written(one)]
    gone = states.erase("a")
    assert gone == Dropped("a", 2)
    assert (states.erase("a"), states.erase("z")) == (None, None)
    log.append(SimpleNamespace(key=b"a", value=None, headers=[("offset", b"2"), ("erasure", b"e1")]))
    reader = ChangelogReader(back := CardStates(crowd=CROWD), 5)
    reader.fold(log)
    reader.finish()
    assert (reader.erasures, back.highest_offset) == ({"e1"}, 4)
    again = settled(back, cut(events, [1, 2, 3, 4]), Published(4, 4))
    assert [record.key for one in again for record in written(one) if record.key] == []
    for cards in (states, back):
        (one,) = settled(cards, [batch_of([replace(event, id=9) for event in on("a1", "b1")], 5)])
        assert seen_before(one) == [0, 2]
        assert [record.key for record in written(one)] == [b"a", b"b"]
        assert len(cards) == 3


def test_erasing_a_card_that_holds_the_clock_takes_the_clock_back() -> None:
    states = CardStates(crowd=CROWD)
    settled(states, cut(on("a0", "b5", "c9"), []))
    assert states.day == FIRST_DAY + 5
    states.erase("c")
    assert states.day == FIRST_DAY
    settled(states, [batch_of([Event("a", 9, 7 * 24)], 3)])
    assert states.day == FIRST_DAY + 5


def test_places_of_dropped_cards_are_used_again_and_no_batch_looks_at_all_cards() -> None:
    """A tenth of the cards goes in each turn, and as many new ones come."""
    states, each, most = CardStates(crowd=CROWD), 500, 0
    for turn in range(30):
        events = [Event(f"card-{turn}-{i}", i, turn * 5 * 24) for i in range(each)]
        (one,) = settled(states, [batch_of(events, turn * each)])
        assert len(one.dropped) <= SWEPT_PER_EVENT * each + SWEPT_AT_LEAST
        most = max(most, len(states))
    assert most <= each * (IDLE_DAYS // 5 + 3)
    assert states.places <= most + each


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("offset", b"-1")],
        [("offset", b"99")],
        [("offset", b"1e3")],
        [("offset", b"\xff")],
        [("offset", None)],
    ],
)
def test_a_foreign_record_without_a_value_drops_no_card(headers: list[tuple[str, bytes]]) -> None:
    log = [record for one in settled(CardStates(), cut(on("a0"), [])) for record in written(one)]
    reader = ChangelogReader(states := CardStates(), 99)
    reader.fold([*log, SimpleNamespace(key=b"a", value=None, headers=headers)])
    reader.fold([SimpleNamespace(key=None, value=None, headers=[("offset", b"3")])])
    reader.finish()
    assert reader.passed_over == 2
    assert seen_before(settled(states, [batch_of([Event("a", 7, 0)], 1)])[0]) == [1]


@pytest.mark.parametrize(
    "text", [b"", b"1", b"1 2", b"1 2:x", b"1 5:2 4:3", b"1 4:3 5:2", b"1 4:1", b"1 99:2", b"x", b"\xff 1:2", None]
)
def test_a_foreign_record_moves_no_clock(text: bytes | None) -> None:
    reader = ChangelogReader(states := CardStates(), 99)
    reader.fold([SimpleNamespace(key=b"", value=None, headers=[("clock", text)] if text is not None else [])])
    reader.finish()
    assert (reader.passed_over, states.day) == (1, CardStates().day)
