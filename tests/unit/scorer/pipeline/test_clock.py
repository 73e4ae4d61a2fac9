"""The event clock against a slow oracle."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from scorer.pipeline.clock import NO_DAY, EventClock

CROWD = 3
moves = st.lists(st.tuples(st.integers(0, 7), st.integers(-3, 60), st.booleans()), max_size=40)


def day_of(newest: dict[int, int]) -> int:
    """The latest day that a crowd has reached, by sorting."""
    days = sorted(newest.values(), reverse=True)
    return days[CROWD - 1] if len(days) >= CROWD else NO_DAY + 1


@settings(max_examples=300, deadline=None)
@given(moves)
def test_the_clock_stands_at_the_latest_day_that_a_crowd_has_reached(all_moves: list[tuple[int, int, bool]]) -> None:
    clock, newest = EventClock(CROWD), dict[int, int]()
    for card, day, leaves in all_moves:
        if leaves and card in newest:
            if not clock.leave(newest.pop(card)):
                clock = EventClock.of(np.array([*newest.values()], dtype=np.int32), CROWD)
        elif not leaves:
            before, after = newest.get(card, NO_DAY), max(newest.get(card, NO_DAY), day)
            newest[card] = after
            was = clock.day
            stepped = clock.note(np.array([before], dtype=np.int32), np.array([after], dtype=np.int32))
            assert stepped == (clock.day != was)
        assert clock.day == day_of(newest)
        assert all(n > 0 and day >= clock.day for day, n in clock.reached.items())
        of_all = EventClock.of(np.array([*newest.values()], dtype=np.int32), CROWD)
        assert (of_all.day, of_all.reached) == (clock.day, clock.reached)


@settings(max_examples=300, deadline=None)
@given(moves, st.lists(st.tuples(st.integers(0, 7), st.integers(-3, 90)), min_size=1, max_size=20))
def test_events_up_to_a_step_are_taken_and_no_fewer(
    all_moves: list[tuple[int, int, bool]], events: list[tuple[int, int]]
) -> None:
    newest: dict[int, int] = {}
    for card, day, _ in all_moves:
        newest[card] = max(day, newest.get(card, NO_DAY))
    clock = EventClock.of(np.array([*newest.values()], dtype=np.int32), CROWD)
    cards = np.array([card for card, _ in events])
    days = np.array([day for _, day in events])
    held = np.array([newest.get(card, NO_DAY) for card, _ in events], dtype=np.int32)
    expected = len(events)
    for n, (card, day) in enumerate(events, start=1):
        newest[card] = max(day, newest.get(card, NO_DAY))
        if day_of(newest) != clock.day:
            expected = n
            break
    assert clock.before_step(days, held, cards) == expected
