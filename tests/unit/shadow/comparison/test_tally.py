"""Event hours, and sums by run, hour and segment."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.compared import comparisons
from shadow.comparison.outcome import Outcome
from shadow.comparison.tally import event_hours, merge, tally
from shadow.comparison.totals import CAPPED, COUNTS, ERRORS, LATE, MINOR, Run

HOUR = 3_600_000


@pytest.mark.parametrize(
    ("occurred", "scored", "hour"),
    [
        (10 * HOUR + 5, 10 * HOUR + 9, 10),
        (10 * HOUR, 58 * HOUR, 10),
        (10 * HOUR - 1, 58 * HOUR, LATE),
        (10 * HOUR + 300_000, 10 * HOUR, 10),
        (10 * HOUR + 300_001, 10 * HOUR, LATE),
    ],
)
def test_hours_are_the_events_own_unless_far_from_the_scoring(occurred: int, scored: int, hour: int) -> None:
    assert event_hours(np.array([occurred]), np.array([scored])).tolist() == [hour]


@given(
    st.lists(st.tuples(st.sampled_from(Outcome), st.integers(0, 10**7), st.booleans()), max_size=20),
    st.integers(1, 10**6),
)
def test_money_is_summed_whole_and_capped_and_an_unscored_row_counts_only_as_an_error(
    rows: list[tuple[Outcome, int, bool]], cap: int
) -> None:
    outcomes, minor, usable = (np.array([row[at] for row in rows]) for at in range(3))
    found = tally(
        comparisons(
            len(rows), outcomes=outcomes.astype(np.int64), minor=minor.astype(np.int64), usable=usable.astype(bool)
        ),
        1,
        cap,
    )
    if not rows:
        assert found == {}
        return
    (sums,) = found[Run(1, 1), 0]
    good = [(outcome, amount) for outcome, amount, is_usable in rows if is_usable]
    for outcome in Outcome:
        mine = [amount for of, amount in good if of is outcome]
        capped = [min(amount, cap) for amount in mine]
        assert sums[COUNTS][outcome] == len(mine)
        assert sums[MINOR][outcome] == sum(mine)
        if outcome >= Outcome.BOTH_BLOCK:
            assert sums[CAPPED][outcome - Outcome.BOTH_BLOCK] == sum(capped)
    assert sums[ERRORS] == len(rows) - len(good)


def test_merged_sums_add_up_by_key_and_change_nothing_else() -> None:
    into, more = {1: np.array([1, 2])}, {1: np.array([10, 20]), 2: np.array([5, 5])}
    merge(into, more)
    assert {key: sums.tolist() for key, sums in into.items()} == {1: [11, 22], 2: [5, 5]}
    assert more[1].tolist() == [10, 20]
