"""How much a fetch waits for, against a broker that is a few lines long."""

from __future__ import annotations

from itertools import pairwise

import pytest

from scorer.pace import Pace

GATHER_SECONDS = 0.010
RECORD = 600
MOST = 512 * 1024
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
