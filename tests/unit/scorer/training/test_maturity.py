"""Labels that nobody can know yet are refused, with the day from which on a training works."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorer.errors import UserError
from scorer.training.maturity import DAY_MS, ready_on, require_mature
from scorer.training.split import cut

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
FIRST = int(BEGIN.timestamp() * 1000)


def traffic(days: int, a_day: int, frauds: int) -> tuple[np.ndarray, np.ndarray]:
    """So many transactions a day, the first of which are frauds."""
    occurred = FIRST + np.arange(days * a_day, dtype=np.int64) * (DAY_MS // a_day)
    labels = (np.arange(days * a_day) % a_day < frauds).astype(np.int8)
    return occurred, labels


def as_of(days: float) -> int:
    return FIRST + int(days * DAY_MS)


def test_enough_mature_labels_are_let_pass() -> None:
    occurred, labels = traffic(60, 50, 3)
    require_mature(occurred, labels, 0.2, 7 * DAY_MS, as_of(60))


def test_the_refusal_names_the_first_day_that_works() -> None:
    occurred, labels = traffic(12, 50, 3)
    with pytest.raises(UserError, match=r"labels are not mature: .* it works from 2026-01-2"):
        require_mature(occurred, labels, 0.2, 7 * DAY_MS, as_of(12))
    ready = ready_on(occurred, labels, 0.2, 7 * DAY_MS, as_of(12))
    assert ready is not None
    # an oracle that goes day by day over traffic which really goes on
    longer, said = traffic(200, 50, 3)

    def works(day: date) -> bool:
        end = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)
        seen = longer < end
        try:
            cut(longer[seen], said[seen], 0.2, 7 * DAY_MS, end)
        except UserError:
            return False
        return True

    first = next(day for n in range(13, 200) if works(day := (BEGIN + timedelta(days=n)).date()))
    assert abs((ready - first).days) <= 1


def test_without_any_fraud_nobody_can_tell() -> None:
    occurred, labels = traffic(12, 50, 0)
    assert ready_on(occurred, labels, 0.2, 7 * DAY_MS, as_of(12)) is None
    with pytest.raises(UserError, match="nobody can tell when that changes"):
        require_mature(occurred, labels, 0.2, 7 * DAY_MS, as_of(12))
    with pytest.raises(UserError, match="there is no transaction"):
        require_mature(occurred[:0], labels[:0], 0.2, 7 * DAY_MS, as_of(12))


@given(st.integers(1, 40), st.integers(1, 60), st.integers(0, 5), st.integers(1, 40))
def test_the_day_that_is_named_lies_ahead_and_twice_the_traffic_never_delays_it(
    days: int, a_day: int, frauds: int, delay: int
) -> None:
    frauds = min(frauds, a_day - 1)
    occurred, labels = traffic(days, a_day, frauds)
    ready = ready_on(occurred, labels, 0.2, delay * DAY_MS, as_of(days))
    if ready is None:
        return
    assert ready > (BEGIN + timedelta(days=days)).date()
    twice = ready_on(np.repeat(occurred, 2), np.repeat(labels, 2), 0.2, delay * DAY_MS, as_of(days))
    assert twice is not None
    assert twice <= ready
