"""What the bench makes of several runs: paired ratios with intervals, and rates without what was in flight."""

from __future__ import annotations

import doctest
import random
import statistics
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import reckoning
from bench.reckoning import Mark, begin, between, coverage, ratio

RATES = st.lists(st.floats(1.0, 1e6), min_size=1, max_size=9)


def test_the_examples_are_true() -> None:
    assert doctest.testmod(reckoning).failed == 0


@given(RATES, st.floats(0.1, 10.0))
def test_a_slow_turn_slows_both_and_leaves_their_ratio(rates: list[float], times: float) -> None:
    found = ratio([times * rate for rate in rates], rates)
    assert found.low == pytest.approx(times)
    assert found.high == pytest.approx(times)


@given(RATES, RATES)
def test_the_median_lies_within_its_interval(above: list[float], below: list[float]) -> None:
    n = min(len(above), len(below))
    found = ratio(above[:n], below[:n])
    assert found.low <= found.median <= found.high


def test_turns_that_have_no_partner_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        ratio([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="no turns"):
        ratio([], [])


@pytest.mark.parametrize("turns", [1, 3, 5])
def test_the_interval_covers_the_true_median_as_often_as_it_says(turns: int) -> None:
    rng = random.Random(4)  # a skewed distribution, whose median is 1
    covered = 0
    for _ in range(20_000):
        drawn = [rng.lognormvariate(0.0, 1.5) for _ in range(turns)]
        covered += min(drawn) <= 1.0 <= max(drawn)
    assert covered / 20_000 == pytest.approx(coverage(turns), abs=0.012)


def a_run(read_ahead: int, rate: float = 1_000.0, n: int = 5_000, size: int = 500) -> list[Mark]:
    """A contender that reads so many ahead at once, and decides in order at a fixed rate, seen every hundredth second.

    It starts for a second, in which it receives a little.
    """
    marks = []
    for tick in range(101 + int(100 * n / rate)):
        worked = max(0.0, tick / 100 - 1.0)
        # what it has worked on leaves it in chunks of its read-ahead, as of a framework that flushes by epochs
        done = min(n, int(worked * rate))
        decided = n if done >= n else done // read_ahead * read_ahead
        taken = min(n, done + read_ahead) if worked else 0
        marks.append(Mark(tick / 100, 0.5 + worked, decided, 1_000 + taken * size))
    return marks


@pytest.mark.parametrize("read_ahead", [1, 100, 2_000])
def test_what_a_contender_reads_ahead_makes_it_no_faster(read_ahead: int) -> None:
    marks = a_run(read_ahead)
    rate, cpu = between(begin([mark for mark in marks if not mark.decided], 10_000), marks[-1])
    assert rate == pytest.approx(1_000, rel=0.01)
    assert cpu == pytest.approx(1.0, rel=0.01)


def test_counting_from_a_later_mark_would_make_it_faster() -> None:
    marks = a_run(2_000)
    at = next(mark for mark in marks if mark.decided)
    rate, _ = between(marks[marks.index(at) - 1], marks[-1])
    assert rate > 1_500


def test_one_that_began_unseen_is_not_timed() -> None:
    with pytest.raises(ValueError, match="look sooner"):
        begin([Mark(0.0, 0.0, 0, 1_000_000)], 10_000)
    with pytest.raises(ValueError, match="look sooner"):
        begin([Mark(0.0, 0.0, 5, 0)], 10_000)


def test_the_last_mark_with_nothing_in_flight_begins() -> None:
    marks = a_run(100)
    first = begin([mark for mark in marks if not mark.decided], 10_000)
    assert first.received == 1_000
    assert next(after for before, after in pairwise(marks) if before is first).received > 10_000


def test_a_median_of_each_is_told() -> None:
    assert reckoning.medians({"a": [3.0, 1.0, 2.0]}) == {"a": statistics.median([3.0, 1.0, 2.0])}
