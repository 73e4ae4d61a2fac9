"""Runs and their totals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadow.comparison.totals import LATE, LATE_DAY, Run, SegmentTotals, event_day, event_days


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_run_is_read_as_it_was_written(live: int, candidate: int) -> None:
    assert Run.parse(str(Run(live, candidate))) == Run(live, candidate)


@pytest.mark.parametrize("text", ["", "L1", "C1-L1", "L1-Cx", "1-2", "L1-C1-X"])
def test_text_that_is_not_a_run_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a run; expected L<epoch>-C<epoch>"):
        Run.parse(text)


def test_a_day_has_24_hours_and_late_hours_a_day_of_their_own() -> None:
    hours = [0, 23, 24, 490_896, LATE]
    assert event_days(np.array(hours)).tolist() == list(map(event_day, hours)) == [0, 0, 1, 20_454, LATE_DAY]


def test_live_blocks_what_both_block_and_what_it_blocks_alone() -> None:
    totals = SegmentTotals(counts=np.array([1000, 40, 20, 30]))
    assert (totals.compared, totals.live_blocks) == (1090, 60)
    assert (SegmentTotals().compared, SegmentTotals().live_blocks) == (0, 0)
