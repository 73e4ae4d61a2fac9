"""How much a fetch waits for, against a broker that is a few lines long."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scorer.settings import ScorerSettings
from scorer.streaming.pace import FULL, SLOWEST, Pace
from shadow.settings import ShadowSettings

GATHER_SECONDS = 0.010
RECORD = 600
MOST = 512 * 1024
ROW_SECONDS = 0.000_034
LONGEST_WAIT = 0.020


def fetched(pace: Pace, rate: float, seconds: float, ratio: float = 1.0, busy: float = 0.001) -> list[float]:
    """Times between fetches of a stream of so many records a second, which the broker holds compressed by a ratio.

    A fetch comes back when it has what it waits for, or after its longest wait; then the worker is busy for a while.
    """
    began = now = pace._since or 1.0
    read, times = 0, [now]
    while now < began + seconds:
        asked = now
        while True:
            there = int((now - began) * rate) - read
            if there > 0 and (there * RECORD / ratio >= pace.least_bytes or now - asked >= LONGEST_WAIT):
                break
            now += 0.0002
        read += there
        pace.came(there * RECORD, now)
        times.append(now)
        now += busy
    return [after - before for before, after in pairwise(times)][len(times) // 2 :]


@pytest.mark.parametrize("ratio", [1.0, 4.0])
@pytest.mark.parametrize("rate", [2_000, 13_000, 50_000])
def test_a_busy_stream_comes_about_every_ten_milliseconds(rate: int, ratio: float) -> None:
    between = fetched(Pace(GATHER_SECONDS, MOST), rate, 5.0, ratio)
    assert 0.5 * GATHER_SECONDS < sum(between) / len(between) < 1.6 * GATHER_SECONDS


@pytest.mark.parametrize("rate", [1, 20, 90])
def test_a_lone_record_does_not_wait(rate: int) -> None:
    pace = Pace(GATHER_SECONDS, MOST)
    fetched(pace, rate, 5.0)
    assert pace.least_bytes <= RECORD


def test_a_stream_that_ends_is_forgotten_with_its_next_record() -> None:
    pace = Pace(GATHER_SECONDS, MOST)
    fetched(pace, 13_000, 2.0)
    assert pace.least_bytes > 10 * RECORD
    pace.came(RECORD, pace._since + 60.0)
    assert pace.least_bytes < RECORD


def test_a_worker_that_lags_waits_for_no_more_than_is_there() -> None:
    pace = Pace(GATHER_SECONDS, MOST)
    for n in range(100):
        pace.came(5000 * RECORD, 1.0 + n * 0.2)
    assert pace.least_bytes < 5000 * RECORD


def test_a_backlog_is_never_waited_for_in_more_than_a_fetch_brings() -> None:
    pace = Pace(0.2, MOST)
    waits = [pace.came(4 * MOST, 1.0 + n * 0.05) for n in range(200)]
    assert max(waits) == MOST


def worked(pace: Pace, rate: float, seconds: float, batch_seconds: float = 0.002) -> tuple[float, float]:
    """How full a core is, and how long records wait in the middle, seconds: a fetch costs half of what a batch does.

    One core fetches and decides in turn, fetches first; what is fetched while a batch is decided waits for its turn.
    """
    began = now = free_at = asked = 1.0
    read, waiting, busy = 0, 0, 0.0
    waits: list[tuple[float, int]] = []
    while now < began + seconds:
        now += 0.0002
        there = int((now - began) * rate) - read
        if there > 0 and (there * RECORD >= pace.least_bytes or now - asked >= pace.longest):
            pace.came(there * RECORD, now, waiting > 0, busy)
            read, waiting, asked = read + there, waiting + there, now
            free_at, busy = max(free_at, now) + batch_seconds / 2, busy + batch_seconds / 2
        if waiting and now >= free_at:
            took = batch_seconds + waiting * ROW_SECONDS
            free_at, busy = now + took, busy + took
            waits.append((now + took - (began + (read - waiting / 2) / rate), waiting))
            waiting = 0
    late = waits[len(waits) // 2 :]
    return busy / seconds, sum(wait * n for wait, n in late) / sum(n for _, n in late)


def test_a_worker_that_is_behind_gathers_for_longer_and_so_keeps_up(monkeypatch: pytest.MonkeyPatch) -> None:
    pace = Pace(GATHER_SECONDS, MOST)
    _, wait = worked(pace, 25_000, 10.0)
    assert GATHER_SECONDS < pace.every <= SLOWEST * GATHER_SECONDS
    monkeypatch.setattr("scorer.streaming.pace.SLOWEST", 1.0)
    _, without = worked(Pace(GATHER_SECONDS, MOST), 25_000, 10.0)
    assert wait < without / 2


def test_a_worker_that_caught_up_gathers_as_it_is_told_again() -> None:
    pace = Pace(GATHER_SECONDS, MOST)
    for n in range(200):
        pace.came(RECORD, 1.0 + 0.01 * n, is_behind=True)
    assert pace.every == SLOWEST * GATHER_SECONDS
    for n in range(200, 800):
        pace.came(RECORD, 1.0 + 0.01 * n)
    assert pace.every == GATHER_SECONDS


def test_a_worker_that_keeps_up_gathers_no_longer_than_it_is_told() -> None:
    pace = Pace(GATHER_SECONDS, MOST)
    full, wait = worked(pace, 13_000, 10.0)
    assert pace.every == GATHER_SECONDS
    assert full < 0.9
    assert wait < 0.03


def test_a_worker_with_room_decides_sooner_and_is_not_full_of_it() -> None:
    _, gathered = worked(Pace(GATHER_SECONDS, MOST), 2_500, 10.0)
    full, eager = worked(Pace(GATHER_SECONDS, MOST, is_eager=True), 2_500, 10.0)
    assert eager < 0.75 * gathered
    assert full < FULL + 0.05


def test_the_cheaper_a_batch_the_sooner_it_is_decided() -> None:
    waits = [worked(Pace(GATHER_SECONDS, MOST, is_eager=True), 2_500, 5.0, cost)[1] for cost in (0.0005, 0.002, 0.006)]
    assert waits[0] < 0.7 * waits[1] < 0.5 * waits[2]


@settings(max_examples=25, deadline=None)
@given(rate=st.integers(200, 30_000), batch_ms=st.floats(0.3, 5.0))
def test_eager_fetches_fill_no_core_that_gathering_would_leave_with_room(rate: int, batch_ms: float) -> None:
    eager = Pace(GATHER_SECONDS, MOST, is_eager=True)
    full, wait = worked(eager, rate, 4.0, batch_ms / 1000)
    gathered, without = worked(Pace(GATHER_SECONDS, MOST), rate, 4.0, batch_ms / 1000)
    assert full <= max(FULL, gathered) + 0.1
    assert wait <= 1.15 * without + 0.002


@given(
    st.lists(st.tuples(st.integers(1, 5_000), st.floats(0.0001, 0.2), st.booleans(), st.floats(0, 0.5)), max_size=200)
)
def test_no_traffic_makes_a_fetch_wait_for_longer_than_it_may(fetches: list[tuple[int, float, bool, float]]) -> None:
    pace, now, spent = Pace(GATHER_SECONDS, MOST, is_eager=True), 1.0, 0.0
    for n, later, is_behind, work in fetches:
        now, spent = now + later, spent + work
        assert 1 <= pace.came(n * RECORD, now, is_behind, spent) <= MOST
        assert 0 <= pace.longest <= 2 * SLOWEST * GATHER_SECONDS
    pace.quiet()
    assert pace.least_bytes == 1
    assert pace.longest >= 2 * GATHER_SECONDS, "a stream that is quiet is not asked all the time"


def test_nobody_waits_for_a_shadow_so_it_gathers_though_it_has_room() -> None:
    pace = Pace(0.2, MOST)
    worked(pace, 2_500, 10.0)
    assert pace.every == 0.2
    assert not ShadowSettings.model_construct().is_eager
    assert ScorerSettings.model_construct().is_eager
