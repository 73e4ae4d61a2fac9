"""Windows that a view declares: what they show, that neither cuts into batches nor kills show, and what is erased."""

from __future__ import annotations

import math
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
from pydantic import ValidationError

from harness.batches import MODEL, NOTHING, NOW, RULES, a_value
from scorer.bundles.manifest import ViewRecord
from scorer.errors import ModelFailedError
from scorer.pipeline import changelog
from scorer.pipeline.batch import Incoming, Part, Published, Rules, Settled
from scorer.pipeline.card_row import LATE_DAYS, REMEMBERED, SPAN_DAYS
from scorer.pipeline.card_states import CardStates
from scorer.pipeline.changelog import ChangelogReader
from scorer.pipeline.decode import decode
from scorer.pipeline.features import history, states_of
from scorer.pipeline.settle import settle, settle_all
from scorer.pipeline.transaction import Reading
from scorer.pipeline.view import FeatureView
from scorer.pipeline.window import BUCKETS, Window
from scorer.pipeline.window_states import PREFIX, Windows, card_of
from scorer.training.making import view_of
from scorer.worker.writer import _states

DAY_MS = 86_400_000
FIRST_DAY = 20_454  # 2026-01-01
CROWD = 2
ATTRIBUTES = (
    {"name": "country", "kind": "category", "values": ["DE", "FR"]},
    {"name": "online", "kind": "boolean"},
    {"name": "distance", "kind": "number"},
)
WINDOWS: tuple[dict[str, Any], ...] = (
    {"name": "merchant_amount_6h", "key": "merchant_id", "window": "6h", "aggregate": "sum", "of": "amount"},
    {"name": "merchant_mean_6h", "key": "merchant_id", "window": "6h", "aggregate": "mean", "of": "amount"},
    {"name": "merchant_count_2d", "key": "merchant_id", "window": "2d", "aggregate": "count"},
    {"name": "country_count_60d", "key": ["online", "country"], "window": "60d", "aggregate": "count"},
    {"name": "distance_mean_1d", "window": "1d", "aggregate": "mean", "of": "distance"},
    {
        "name": "distance_sum_1d",
        "key": ["country", "merchant_id"],
        "window": "1d",
        "aggregate": "sum",
        "of": "distance",
    },
    {"name": "merchants_1d", "window": "1d", "aggregate": "distinct", "of": "merchant_id"},
    {"name": "distances_2d", "key": "online", "window": "2d", "aggregate": "distinct", "of": "distance"},
    {"name": "countries_1d", "key": "merchant_id", "window": "1d", "aggregate": "distinct", "of": "country"},
)


def a_view(*windows: dict[str, Any], **more: Any) -> FeatureView:
    return FeatureView.model_validate(
        {"name": "test", "attributes": ATTRIBUTES, "windows": windows, "deltas": ["since_last"], **more}
    )


VIEW = a_view(*WINDOWS)
FIRST = len(VIEW.names) - len(WINDOWS)


def rules_of(view: FeatureView) -> Rules:
    return replace(RULES, view=view, reading=Reading(attributes=view.attributes))


@dataclass
class Event:
    """hour: since FIRST_DAY. is_ahead: dated after its arrival, so it does not count."""

    card: str
    id: int
    hour: int
    merchant: str = "m"
    country: str | None = "DE"
    online: bool | None = True
    distance: float | None = 0.1
    amount: int = 1
    is_ahead: bool = False

    @property
    def ms(self) -> int:
        return FIRST_DAY * DAY_MS + self.hour * 3_600_000

    @property
    def value(self) -> bytes:
        at = np.datetime_as_string(np.datetime64(self.ms, "ms"))
        told = {"country": self.country, "online": self.online, "distance": self.distance, "amount": self.amount / 100}
        return a_value(
            1,
            card_id=self.card,
            merchant_id=self.merchant,
            transaction_id=f"t{self.id}",
            occurred_at=f"{at}Z",
            **{name: cell for name, cell in told.items() if cell is not None},
            **({} if self.country is not None else {"country": None}),
        )

    def told(self, of: str | None) -> Any:
        """What a window tells apart."""
        country = self.country if self.country in ("DE", "FR", None) else "other"
        return {"merchant_id": self.merchant, "distance": self.distance, "country": country}[str(of)]

    def key(self, names: tuple[str, ...]) -> tuple[Any, ...] | None:
        country = self.country if self.country in ("DE", "FR", None) else "other"
        told = {"merchant_id": self.merchant, "country": country, "online": self.online}
        key = tuple(told[name] for name in names)
        return None if None in key else (self.card, *key)


def streams() -> st.SearchStrategy[list[Event]]:
    """Events whose time goes on by leaps, some of them late, repeated, dated ahead, or without a key."""

    def build(steps: list[tuple[Any, ...]]) -> list[Event]:
        now, out = 40 * 24, []
        for card, leap, late, *cells in steps:
            now += leap
            number, merchant, country, online, distance, amount, is_ahead = cells
            out.append(Event(card, number, now - late, merchant, country, online, distance, amount, is_ahead))
        return out

    step = st.tuples(
        st.sampled_from("abcd"),
        st.one_of(st.integers(0, 9), st.sampled_from([0, 0, 24, 9 * 24, 31 * 24, 50 * 24, 80 * 24])),
        st.sampled_from([0, 0, 0, 1, 5, 30, 150, 200, 700, 2000]),
        st.integers(0, 9),
        st.sampled_from(["m", "n", "3:|#1"]),
        st.sampled_from(["DE", "FR", "IT", "ES", None]),
        st.sampled_from([True, False, None]),
        st.sampled_from([0.1, 0.2, 0.3, 1e15, None]),
        st.integers(0, 10**6),
        st.sampled_from([False] * 5 + [True]),
    )
    return st.lists(step, min_size=1, max_size=30).map(build)


@dataclass
class Row:
    newest: int = -(10**6)
    held: list[tuple[int, Event]] = field(default_factory=list)
    head: int = -(10**9)

    def add(self, event: Event, day: int, bucket: int) -> None:
        self.newest, self.head = max(self.newest, day), max(self.head, bucket)
        self.held = [one for one in [*self.held, (bucket, event)] if one[0] > self.head - BUCKETS]


def told(events: list[Event], view: FeatureView = VIEW) -> list[list[float]]:
    """What each event sees: slowly, from every event of its card and keys that is still held."""
    newest_of: dict[str, int] = {}
    ids: dict[str, list[int]] = {}
    rows: dict[tuple[str, tuple[Any, ...]], Row] = defaultdict(Row)
    out = []
    for event in events:
        days = sorted(newest_of.values(), reverse=True)
        clock = days[CROWD - 1] if len(days) >= CROWD else -(10**6)
        day = event.ms // DAY_MS
        newest = newest_of.get(event.card, -(10**6))
        if newest <= clock - (SPAN_DAYS + LATE_DAYS) or (not event.is_ahead and day - newest >= SPAN_DAYS):
            ids[event.card] = []
        adds = not event.is_ahead and event.id not in ids[event.card]
        seen = []
        for window in view.windows:
            key = event.key(window.key)
            if key is None:
                seen.append(math.nan)
                continue
            row, size = rows[window.name, key], window.seconds * 1000 // BUCKETS
            if row.newest <= clock - (-(-window.seconds // 86_400) + LATE_DAYS):
                row = Row()
            bucket = event.ms // size
            mine = [one for at, one in row.held if bucket - BUCKETS < at <= bucket]
            if window.aggregate == "distinct":
                seen.append(len({one.told(window.of) for one in mine} - {None}))
                if adds and event.told(window.of) is not None:
                    row.add(event, day, bucket)
                    rows[window.name, key] = row
                continue
            given = [one.amount / 100 if window.of == "amount" else one.distance for one in mine]
            total = float(sum(x for x in given if x is not None)) if window.of else 0.0
            n = len([x for x in given if x is not None]) if window.of else len(mine)
            seen.append({"count": n, "sum": total, "mean": total / n if n else math.nan}[window.aggregate])
            if adds and not (window.of == "distance" and event.distance is None):
                row.add(event, day, bucket)
                rows[window.name, key] = row
        if adds:
            ids[event.card] = [event.id, *ids[event.card]][:REMEMBERED]
            newest_of[event.card] = max(day, newest_of.get(event.card, day))
        out.append(seen)
    return out


def batch_of(events: list[Event], first: int) -> Incoming:
    arrived = [e.ms - DAY_MS if e.is_ahead else e.ms + 50 * DAY_MS for e in events]
    n = len(events)
    keys: list[bytes | None] = [e.card.encode() for e in events]
    return Incoming(3, keys, [e.value for e in events], np.arange(first, first + n), np.array(arrived, dtype=np.int64))


def cut(events: list[Event], cuts: list[int], start: int = 0) -> list[Incoming]:
    edges = [start, *sorted({c for c in cuts if start < c < len(events)}), len(events)]
    return [batch_of(events[a:b], a) for a, b in pairwise(edges) if b > a]


def new_states(view: FeatureView = VIEW) -> CardStates:
    return CardStates(capacity=1, crowd=CROWD, has_last="since_last" in view.deltas, tracks=view.tracks)


def settled(
    states: CardStates, batches: list[Incoming], published: Published = NOTHING, view: FeatureView = VIEW
) -> list[Settled]:
    return [settle(batch, states, published, MODEL, rules_of(view), None) for batch in batches]


def decisions(several: list[Settled]) -> dict[int, bytes]:
    values = [value or b"" for one in several for _, value in one.decisions]
    return {orjson.loads(value)["source"]["offset"]: value for value in values}


def features(several: list[Settled]) -> np.ndarray:
    return np.array([orjson.loads(value)["features"] for value in decisions(several).values()], dtype=float)


def written(one: Settled) -> list[Any]:
    write = _states("velocity", 3, one)
    headers = write.headers or [[] for _ in write.records]
    return [SimpleNamespace(key=k, value=v, headers=h) for (k, v), h in zip(write.records, headers, strict=True)]


def recovered(records: list[Any], end: int, view: FeatureView = VIEW) -> CardStates:
    states = new_states(view)
    reader = ChangelogReader(states, end)
    for chunk in (records[: len(records) // 2], records[len(records) // 2 :]):
        reader.fold(chunk)
    reader.finish()
    assert reader.passed_over == 0
    return states


cuts = st.lists(st.integers(1, 29), max_size=5)


@settings(max_examples=150, deadline=None)
@given(streams(), cuts)
def test_an_event_sees_what_its_card_and_keys_tell_however_batches_are_cut(events: list[Event], at: list[int]) -> None:
    found = features(settled(new_states(), cut(events, at)))
    np.testing.assert_allclose(found[:, FIRST:], np.array(told(events), dtype=float), rtol=1e-9)


@settings(max_examples=100, deadline=None)
@given(streams(), cuts)
def test_a_snapshot_is_the_same_to_the_last_bit_however_batches_are_cut(events: list[Event], at: list[int]) -> None:
    assert decisions(settled(new_states(), cut(events, at))) == decisions(settled(new_states(), cut(events, [])))


@settings(max_examples=100, deadline=None)
@given(streams(), streams(), cuts)
def test_partitions_that_are_settled_together_do_not_mix(one: list[Event], other: list[Event], at: list[int]) -> None:
    apart = [decisions(settled(new_states(), cut(events, at))) for events in (one, other)]
    both = [new_states(), new_states()]
    batches = [Part(batch_of(events, 0), states, NOTHING) for events, states in zip((one, other), both, strict=True)]
    together = [decisions([made]) for made in settle_all(batches, MODEL, rules_of(VIEW), None)]
    assert together == apart


@settings(max_examples=100, deadline=None)
@given(streams(), cuts, cuts, st.data())
def test_a_killed_worker_s_successor_decides_the_same_bytes(
    events: list[Event], at: list[int], then: list[int], data: st.DataObject
) -> None:
    """Killed while it wrote the changelog of any batch, when up to two more were decided."""
    batches = cut(events, at)
    whole = settled(new_states(), batches)
    expected = decisions(whole)
    last = data.draw(st.integers(0, len(batches) - 1), "batch that is written in part")
    ahead = data.draw(st.integers(last, min(last + 2, len(batches) - 1)), "last batch that is decided")
    part = written(whole[last])
    part = part[: data.draw(st.integers(0, len(part)), "records of it that are written")]
    log = [record for one in whole[:last] for record in written(one)] + part
    again = data.draw(st.integers(0, last), "batch from which its successor reads on")
    end = int(batches[ahead].offsets[-1]) + 1
    states = recovered(log, end)
    start = int(batches[again].offsets[0])
    tail = settled(states, cut(events, then, start), Published(end - 1, end - 1))
    assert decisions(tail) == {offset: value for offset, value in expected.items() if offset >= end}


def test_a_history_in_order_of_time_is_what_was_served() -> None:
    random = np.random.default_rng(3)
    events = [
        Event(f"c{random.integers(5)}", n, 960 + n, f"m{random.integers(3)}", distance=float(random.random()), amount=n)
        for n in range(300)
    ]
    served = features(settled(states_of(VIEW), cut(events, [7, 90, 91, 200])))
    read = decode([event.value for event in events], rules_of(VIEW).reading).events
    assert history(VIEW, read).tobytes() == served.tobytes()


def test_two_windows_of_the_same_thing_share_a_row() -> None:
    assert len(VIEW.tracks) == len(WINDOWS) - 1
    one = settled(new_states(), [batch_of([Event("a", 0, 960)], 0)])
    assert sum((key or b"").startswith(PREFIX) for key, _ in one[0].states) == len(VIEW.tracks)


def test_rows_of_windows_are_written_before_those_of_cards() -> None:
    """A card's row tells a repeat from an event that its windows still lack."""
    made = settled(new_states(), [batch_of([Event("a", 0, 960), Event("b", 1, 960)], 0)])[0]
    are_windows = [(key or b"").startswith(PREFIX) for key, _ in made.states]
    assert are_windows == sorted(are_windows, reverse=True)
    assert set(are_windows) == {True, False}


def test_a_row_that_is_ahead_of_its_card_is_not_added_to_again() -> None:
    """Killed when the rows of windows were written, and those of cards were not."""
    first, second = (
        [Event("a", 0, 960), Event("b", 1, 960)],
        [Event("a", 2, 961), Event("a", 2, 961), Event("b", 3, 961)],
    )
    third = [Event("a", 4, 962), Event("b", 5, 962)]
    states = new_states()
    whole = settled(states, [batch_of(first, 0), batch_of(second, 2), batch_of(third, 5)])
    log = written(whole[0]) + [record for record in written(whole[1]) if (record.key or b"").startswith(PREFIX)]
    successor = recovered(log, 5)
    assert successor.highest_offset == 4
    tail = settled(successor, [batch_of(second, 2), batch_of(third, 5)], Published(4, 4))
    assert decisions(tail) == decisions(whole[2:])
    assert [made.decisions for made in tail[:1]] == [[]]


@pytest.mark.parametrize(("days", "sees"), [(8, 1), (9, 0)])
def test_a_row_starts_anew_once_the_clock_is_its_length_and_a_week_ahead(days: int, sees: int) -> None:
    """A window of two days, and an event that is late by as much as makes a difference."""
    ahead = [Event(card, n, 960 + 24 * days) for n, card in enumerate("cd", 1)]
    events = [Event("a", 0, 960), *ahead, Event("a", 9, 960 + 24)]
    for at in ([], [1], [1, 3], [1, 2, 3]):
        found = features(settled(new_states(), cut(events, at)))
        assert found[-1, VIEW.names.index("merchant_count_2d")] == sees


def test_erasing_a_card_takes_its_windows_and_no_other_s_and_a_successor_knows() -> None:
    events = [Event("a", 0, 960), Event("aa", 1, 960), Event("a", 2, 961, "n")]
    states = new_states()
    log = [record for one in settled(states, [batch_of(events, 0)]) for record in written(one)]
    before = len(states.windows)
    marks = changelog.erased(states, "a", "0123456789abcdef")
    gone = {mark.record[0] for mark in marks if (mark.record[0] or b"").startswith(PREFIX)}
    mine = {record.key for record in log if record.key.startswith(PREFIX) and b"/1:a" in record.key}
    assert gone == mine
    assert len(mine) == before - len(VIEW.tracks) > 0
    assert marks[-1] == ((b"a", None), [("offset", b"2"), ("erasure", b"0123456789abcdef")])
    assert changelog.erased(states, "a", "0123456789abcdef") == []
    log += [SimpleNamespace(key=mark.record[0], value=None, headers=mark.headers) for mark in marks]
    for owner in (states, recovered(log, 3)):
        found = features(settled(owner, [batch_of([Event("a", 5, 962), Event("aa", 6, 962)], 3)]))
        assert found[:, FIRST:].tolist()[0][2:4] == [0, 0]
        assert found[:, FIRST:].tolist()[1][2:4] == [1, 1]


def test_a_window_that_outlives_its_card_names_the_request_that_erases_it() -> None:
    states = new_states()
    settled(states, [batch_of([Event("a", 0, 960)], 0)])
    assert states.erase("a") is not None
    marks = changelog.erased(states, "a", "0123456789abcdef")
    assert marks[-1].headers[-1] == ("erasure", b"0123456789abcdef")
    reader = ChangelogReader(new_states())
    reader.fold([SimpleNamespace(key=mark.record[0], value=None, headers=mark.headers) for mark in marks])
    reader.finish()
    assert reader.erasures == {"0123456789abcdef"}


def test_an_idle_row_is_dropped_from_memory_and_changelog() -> None:
    states = new_states()
    first = [Event("a", 0, 960), Event("b", 1, 960)]
    later = [Event(card, n, 960 + 24 * 9) for n, card in enumerate("cd", 2)]
    log = [record for one in settled(states, [batch_of(first, 0), batch_of(later, 2)]) for record in written(one)]
    dropped = {record.key for record in log if record.value is None and record.key}
    short = {record.key for record in log if record.value and record.key.startswith(PREFIX) and b":a" in record.key}
    (long,) = {VIEW.track(window).id for window in VIEW.windows if window.name == "country_count_60d"}
    wanted = {key for key in short if long.encode() not in key}
    assert dropped == wanted | {key.replace(b":a", b":b") for key in wanted}
    assert len(states.windows) == len(VIEW.tracks) * 2 + 2
    assert len(states) == 4  # a card is not idle yet
    assert len(recovered(log, 4).windows) >= len(states.windows)


def test_a_view_without_the_windows_keeps_no_sums_erases_them_and_drops_them_once_idle() -> None:
    states = new_states()
    log = [r for one in settled(states, [batch_of([Event("a", 0, 960), Event("b", 1, 960)], 0)]) for r in written(one)]
    plain = a_view()
    owner = recovered(log, 2, plain)
    assert len(owner.windows) == len(states.windows)
    assert owner.windows.memory_bytes < states.windows.memory_bytes
    gone = [mark.record[0] for mark in changelog.erased(owner, "a", "0123456789abcdef")]
    assert len(gone) == len(VIEW.tracks) + 1
    later = [Event(card, n, 960 + 24 * 70) for n, card in enumerate("cd", 2)]
    made = settled(owner, [batch_of(later, 2), batch_of([Event("c", 9, 960 + 24 * 70)], 4)], view=plain)
    dropped = {mark.record[0] for one in made for mark in one.dropped}
    assert {record.key for record in log if b":b" in record.key} <= dropped


def test_a_view_that_declares_a_window_again_finds_its_rows() -> None:
    log = [r for one in settled(new_states(), [batch_of([Event("a", 0, 960)], 0)]) for r in written(one)]
    other = a_view(*WINDOWS[2:], {"name": "new", "key": "merchant_id", "window": "3h", "aggregate": "count"})
    found = features(settled(recovered(log, 1, other), [batch_of([Event("a", 1, 961)], 1)], view=other))
    assert found[0, -len(other.windows) :].tolist() == [1, 1, 0.1, 0.1, 1, 1, 1, 0]


def test_what_is_not_settled_leaves_no_trace_in_windows() -> None:
    states = new_states()
    settled(states, [batch_of([Event("a", 0, 960)], 0)])
    events = [Event("a", 1, 961), Event("z", 2, 961)]
    broken = replace(MODEL, score=lambda matrix: np.empty(77))
    with pytest.raises(ModelFailedError):
        settle(batch_of(events, 1), states, NOTHING, broken, rules_of(VIEW), None)
    assert states.windows.packed() == []
    straight = settled(new_states(), [batch_of([Event("a", 0, 960)], 0), batch_of(events, 1)])
    assert decisions(settled(states, [batch_of(events, 1)])) == decisions(straight[1:])


def test_numbers_that_sum_beyond_all_bounds_are_missing_and_stop_nothing() -> None:
    events = [Event("a", n, 960, distance=1.7e308) for n in range(4)]
    made = settle(
        batch_of(events, 0), new_states(), NOTHING, replace(MODEL, override="allow_all"), rules_of(VIEW), None
    )
    found = features([made])
    assert found[:, FIRST + 4].tolist()[1] == 1.7e308
    assert np.isnan(found[2:, FIRST + 4]).all()


def test_foreign_records_are_passed_over() -> None:
    ((key, row), *_) = settled(new_states(), [batch_of([Event("a", 0, 960)], 0)])[0].states
    assert key is not None
    assert row is not None
    late = np.frombuffer(row, dtype=[("rest", "V8"), ("offset", "<i8")], count=1).copy()
    late["offset"] = 10**9
    bad = [
        (key, row[:-1]), (key, b""),
        (key, late.tobytes() + row[16:]), (PREFIX, row), (PREFIX + b"0" * 8 + b"/9:a", row),
        (PREFIX + b"zzzzzzzz/1:a", row), (PREFIX + b"0" * 8 + b"/1:\xfe", row), (PREFIX + b"0" * 8 + b"/a", row),
    ]  # fmt: skip
    windows = Windows(VIEW.tracks)
    assert windows.load([k for k, _ in bad], [v for _, v in bad], 100) == len(bad)
    assert len(windows) == 0
    assert windows.load([key], [row], 100) == 0
    assert windows.bury([PREFIX, key, key], [1, 100, 1], 100) == 2


@given(st.text(max_size=12))
def test_no_text_stops_the_reader(text: str) -> None:
    card = card_of(text)
    assert card is None or card in text


@pytest.mark.parametrize(
    ("window", "says"),
    [
        ({"name": "x", "window": "6h", "aggregate": "sum"}, "need `of`"),
        ({"name": "x", "window": "6h", "aggregate": "count", "of": "amount"}, "a count has none"),
        ({"name": "x", "window": "91d", "aggregate": "count"}, "at most 90d"),
        ({"name": "x", "window": "6", "aggregate": "count"}, "'6' is no length; write a whole number and m, h or d"),
        ({"name": "x", "window": "0h", "aggregate": "count"}, "'0h' is no length"),
        ({"name": "x", "window": "6h\n", "aggregate": "count"}, "is no length"),
        ({"name": "x", "window": "6h", "aggregate": "max", "of": "amount"}, "aggregate"),
        ({"name": "x", "window": "6h", "aggregate": "count", "key": "distance"}, "is neither merchant_id nor"),
        ({"name": "x", "window": "6h", "aggregate": "count", "key": "nowhere"}, "is neither merchant_id nor"),
        ({"name": "x", "window": "6h", "aggregate": "count", "key": "card_id"}, "leave card_id out"),
        ({"name": "x", "window": "6h", "aggregate": "count", "key": ["online", "online"]}, "named twice"),
        ({"name": "x", "window": "6h", "aggregate": "sum", "of": "country"}, "is neither amount nor"),
        ({"name": "x", "window": "6h", "aggregate": "sum", "of": "merchant_id"}, "is neither amount nor"),
        ({"name": "x", "window": "6h", "aggregate": "distinct"}, "need `of`"),
        ({"name": "x", "window": "6h", "aggregate": "distinct", "of": "card_id"}, "is neither merchant_id, amount nor"),
        ({"name": "x", "window": "6h", "aggregate": "distinct", "of": "country", "key": "country"}, "country is a key"),
        ({"name": "country", "window": "6h", "aggregate": "count"}, "country is declared twice"),
        ({"name": "amount", "window": "6h", "aggregate": "count"}, "amount is declared twice"),
    ],
)
def test_a_window_that_cannot_be_is_refused_and_named(window: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        a_view(window)


def test_a_definition_tells_the_window_again_and_a_new_value_of_a_key_makes_another() -> None:
    told_of = VIEW.definitions(VIEW.window_names)
    again = [Window.of_definition(name, one) for name, one in told_of.items()]
    view = FeatureView(name="test", attributes=VIEW.attributes, windows=tuple(again))
    assert view.definitions(view.window_names) == told_of
    assert view.tracks == VIEW.tracks
    grown = [dict(one) for one in ATTRIBUTES]
    grown[0]["values"] = ["DE", "FR", "IT"]
    other = a_view(*WINDOWS, attributes=grown)
    changed = {name for name in told_of if other.definitions((name,))[name] != told_of[name]}
    assert changed == {"country_count_60d", "distance_sum_1d", "countries_1d"}
    assert {track.id for track in other.tracks} != {track.id for track in VIEW.tracks}


def test_a_view_without_windows_writes_what_it_wrote() -> None:
    """Not a byte more, and the same id."""
    plain = RULES.view
    assert plain.tracks == ()
    one = settle(
        Incoming(5, [b"c"], [a_value(0)], np.arange(1), np.full(1, NOW)), CardStates(), NOTHING, MODEL, RULES, NOW
    )
    assert [key for key, _ in one.states] == [b"c0"]


def test_a_manifest_tells_the_view_again_with_what_its_windows_are_made_of() -> None:
    uses = ["distance_mean_1d", "online", "card_delta_1h"]
    view = a_view(
        *WINDOWS, functions=[{"name": "cents", "version": "3", "uses": uses}], deltas=["since_last", "from_mean"]
    )
    for names in (
        ("amount", "cents", "merchant_amount_6h", "country_count_60d"),
        ("cents",),
        ("merchants_1d", "countries_1d", "distances_2d"),
        ("card_seconds_since_last",),
    ):
        record = ViewRecord(name=view.name, id=view.id, features=view.definitions(names))
        again = view_of(record)
        assert again.definitions(names) == record.features
        assert view.sources(names) == again.sources(names)
        assert view.sources(names) == {attribute.name for attribute in again.attributes}
    assert view.sources(("cents",)) == {"distance", "online"}
    assert view.sources(("country_count_60d",)) == {"country", "online"}
