"""A rise of complaints is found where there is one, hardly ever where there is none, and not at all on thin ground."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadow.release.complaints import LEAST_DAYS, MOST_DAYS, Day, compare, date_of, day_number, split

RISE = 0.2
BLOCKS = 1000


def days(rng: np.random.Generator, n: int, mean: float, spread: float, size: int, first: int = 0) -> list[Day]:
    """Complaints in clusters of a size, about days of which some are worse than others. spread: their deviation."""
    means = mean * rng.gamma(1 / spread**2, spread**2, n) if spread else np.full(n, mean)
    return [Day(first + at, int(rng.poisson(m / size)) * size, BLOCKS) for at, m in enumerate(means)]


def ever_found(times: float, spread: float, size: int, seeds: range, mean: float = 12.0) -> float:
    """The share of releases in which a rise is found on any of fourteen days."""
    found = 0
    for seed in seeds:
        rng = np.random.default_rng(seed)
        before = days(rng, 28, mean, spread, size)
        after = days(rng, 14, mean * times, spread, size, 40)
        found += any(compare(before, after[: n + 1], RISE).is_risen for n in range(14))
    return found / len(seeds)


@pytest.mark.slow
@pytest.mark.parametrize(("spread", "size"), [(0.0, 1), (0.3, 1), (0.3, 3), (0.6, 1)])
def test_a_release_that_changes_nothing_raises_hardly_ever_an_alarm(spread: float, size: int) -> None:
    assert ever_found(1.0, spread, size, range(300)) <= 0.01


@pytest.mark.slow
@pytest.mark.parametrize(("spread", "size", "mean"), [(0.0, 1, 3.0), (0.0, 1, 40.0), (0.3, 3, 12.0), (0.6, 1, 12.0)])
def test_even_a_rise_of_all_that_is_tolerated_is_an_alarm_once_in_a_hundred_releases(
    spread: float, size: int, mean: float
) -> None:
    assert ever_found(1 + RISE, spread, size, range(1000, 3000), mean) <= 0.01


@pytest.mark.slow
@pytest.mark.parametrize(("times", "mean", "spread"), [(2.0, 40.0, 0.0), (2.0, 40.0, 0.15), (3.0, 12.0, 0.0)])
def test_a_rise_is_found_within_a_fortnight(times: float, mean: float, spread: float) -> None:
    assert ever_found(times, spread, 1, range(200), mean) >= 0.95


def test_fewer_complaints_are_no_rise() -> None:
    assert compare([Day(at, 20, 1000) for at in range(10)], [Day(20, 2, 1000)], RISE).verdict == "not_risen"


def test_twice_the_complaints_about_twice_the_blocks_are_no_rise() -> None:
    before = [Day(at, 20, 1000) for at in range(10)]
    assert compare(before, [Day(20 + at, 40, 2000) for at in range(10)], RISE).verdict == "not_risen"


def test_days_that_vary_need_more_to_be_a_rise() -> None:
    even = [Day(at, 20, 1000) for at in range(10)]
    odd = [Day(at, 40 * (at % 2), 1000) for at in range(10)]
    after = [Day(20, 70, 1000)]
    assert compare(even, after, RISE).verdict == "risen"
    assert compare(odd, after, RISE).verdict == "not_risen"


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        ([], [], "0 days before the release have a report and blocks, at least 7 are needed"),
        ([Day(at, 9, 100) for at in range(6)], [Day(9, 90, 100)], "6 days before"),
        ([Day(at, 1, 100) for at in range(7)], [Day(9, 90, 100)], "7 complaints before the release, at least 10"),
        ([Day(at, 9, 100) for at in range(7)], [], "no whole day since the release has a report yet"),
        ([Day(at, 9, 100) for at in range(7)], [Day(9, 90, 0)], "live has blocked nothing since the release"),
    ],
)
def test_what_is_too_thin_is_said_to_be(before: list[Day], after: list[Day], why: str) -> None:
    found = compare(before, after, RISE)
    assert (found.verdict, found.is_risen) == ("unknown", False)
    assert why in found.reason


def test_complaints_without_any_block_before_are_not_compared() -> None:
    found = compare([Day(at, 9, 0) for at in range(9)], [Day(20, 9, 10)], RISE)
    assert found.verdict == "unknown"


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 900)), min_size=LEAST_DAYS, max_size=30),
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 900)), min_size=1, max_size=20),
    st.randoms(use_true_random=False),
)
def test_it_depends_neither_on_the_order_of_days_nor_goes_down_with_more_complaints(
    before: list[tuple[int, int]], after: list[tuple[int, int]], chance: object
) -> None:
    old, new = ([Day(at, *pair) for at, pair in enumerate(pairs)] for pairs in (before, after))
    found = compare(old, new, RISE)
    shuffled = sorted(new, key=lambda day: (day.complaints, day.blocks))
    assert compare(old[::-1], shuffled, RISE).log_e == pytest.approx(found.log_e, abs=1e-9)
    more = [Day(day.day, day.complaints + 1, day.blocks) for day in new]
    assert compare(old, more, RISE).log_e >= found.log_e


@given(
    complaints=st.dictionaries(st.integers(80, 180), st.integers(0, 9)),
    before=st.dictionaries(st.integers(80, 130), st.integers(0, 9)),
    after=st.dictionaries(st.integers(120, 180), st.integers(0, 9)),
    today=st.integers(120, 180),
)
def test_only_whole_days_with_a_report_count(
    complaints: dict[int, int], before: dict[int, int], after: dict[int, int], today: int
) -> None:
    released = 125
    old, new = split(complaints, before, after, released, today)
    for day in range(60, 200):
        is_whole_before = day < released and day >= released - MOST_DAYS and any(other < day for other in before)
        is_whole_after = released < day < today and any(other > day for other in after)
        assert (day in {one.day for one in old}) == (day in complaints and is_whole_before)
        assert (day in {one.day for one in new}) == (day in complaints and is_whole_after)
    assert all(one.complaints == complaints[one.day] and one.blocks == before.get(one.day, 0) for one in old)
    assert all(one.complaints == complaints[one.day] and one.blocks == after.get(one.day, 0) for one in new)


def test_days_are_counted_from_1970() -> None:
    assert [day_number(date_of(day)) for day in (0, 20_454)] == [0, 20_454]
    assert date_of(20_454).isoformat() == "2026-01-01"
