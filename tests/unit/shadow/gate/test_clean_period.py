"""The clean period: covered hours after the last reset."""

from __future__ import annotations

import doctest

from hypothesis import given
from hypothesis import strategies as st

from shadow.comparison.resets import AGAIN, ARTEFACT, ERROR, GAP, THRESHOLD, Reset
from shadow.comparison.totals import Run, RunTotals
from shadow.gate import clean_period as module
from shadow.gate.clean_period import Compared, begun_by, clean_of, clean_period, untolerated

hours = st.sets(st.integers(0, 300))


@given(hours, st.lists(st.builds(Reset, st.integers(0, 300), st.sampled_from([ERROR, GAP]))), st.integers(1, 400))
def test_clean_hours_are_the_covered_ones_after_the_last_reset(
    covered: set[int], resets: list[Reset], needed: int
) -> None:
    found = clean_period(covered, resets, needed)
    after = max((reset.hour for reset in resets), default=-1)
    assert found.hours == sum(hour > after for hour in covered)
    assert found.missing == max(0, needed - found.hours)
    assert (found.ends is None) == (not covered)
    if covered and found.missing:
        assert found.ends == max(covered) + found.missing


def test_an_hour_with_few_candidate_errors_is_tolerated_and_other_causes_never_are() -> None:
    resets = [Reset(1, ERROR), Reset(2, ERROR), Reset(2, GAP), Reset(3, ERROR)]
    errors = {1: (10, 1000), 2: (11, 1000)}
    assert untolerated(resets, errors, 0.01) == (Reset(2, ERROR), Reset(2, GAP), Reset(3, ERROR)), "hour 3 is unknown"
    assert untolerated(resets, errors, 0.0) == tuple(resets)


def test_a_run_replaces_another_by_its_artefacts_its_thresholds_or_a_second_deployment() -> None:
    before = Compared(("a", "b"), (0.5, 0.4))
    assert begun_by(before, Compared(("a", "c"), (0.5, 0.3))) == (ARTEFACT, THRESHOLD)
    assert begun_by(before, Compared(("a", "c"), (0.5, 0.4))) == (ARTEFACT,)
    assert begun_by(before, before) == (AGAIN,)


def test_a_run_of_which_only_the_number_of_hours_is_known_is_clean() -> None:
    assert clean_of(RunTotals(Run(1, 1), {}, 7), 10).hours == 7
    of_hours = RunTotals(Run(1, 1), {}, 3, covered=(5, 6, 7), resets=(Reset(5, GAP),))
    assert clean_of(of_hours, 10).hours == 2


def test_examples_in_docstrings_run() -> None:
    assert doctest.testmod(module).failed == 0
