"""When a worker stands still: nothing changes for the whole time, as far as somebody looked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorer.streaming.stall import MOST_LOOKS, Stall

LIMIT, EVERY = 10.0, 1.0
#: Signs, seconds since the look before, and whether there is an excuse.
LOOKS = st.lists(st.tuples(st.integers(0, 2), st.floats(0.0, 30.0), st.booleans()), max_size=60)


def slow_and_obvious(looks: list[tuple[int, float, bool]]) -> float:
    """Adds up the time of the last looks, back to one that saw a change or an excuse."""
    still = 0.0
    for at in reversed(range(len(looks))):
        signs, seconds, is_excused = looks[at]
        if is_excused or at == 0 or looks[at - 1][0] != signs:
            return still
        still += min(seconds, MOST_LOOKS * EVERY)
    return still


@given(LOOKS)
def test_only_time_without_a_change_or_an_excuse_adds_up(looks: list[tuple[int, float, bool]]) -> None:
    stall = Stall(LIMIT, EVERY)
    for signs, seconds, is_excused in looks:
        stall.look(signs, seconds)
        if is_excused:
            stall.excuse()
    assert stall.still_seconds == pytest.approx(slow_and_obvious(looks))
    assert stall.is_over == (stall.still_seconds >= LIMIT)


def test_a_process_that_was_stopped_for_long_has_not_stood_still_for_long() -> None:
    """It did not look meanwhile, so it cannot know."""
    stall = Stall(LIMIT, EVERY)
    stall.look("same", 1.0)
    stall.look("same", 3600.0)
    assert not stall.is_over
    for _ in range(10):
        stall.look("same", 1.0)
    assert stall.is_over


def test_the_broker_is_asked_before_time_is_up_but_not_about_a_busy_worker() -> None:
    stall = Stall(LIMIT, EVERY)
    for progress in range(100):
        stall.look(progress, 1.0)
        assert not stall.is_due
    for _ in range(4):
        stall.look("same", 1.0)
    stall.look("same", 1.0)
    assert stall.is_due
    assert not stall.is_over
