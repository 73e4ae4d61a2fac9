"""What Redis returns for a run is decoded and named."""

from __future__ import annotations

import numpy as np
import pytest

from shadow.comparison.totals import CAPPED, COLUMNS, COUNTS, DAY_SUMS, DAY_TOPS, ERRORS, MINOR
from shadow.store.payload import DAY_FIELDS, FIELDS, TOP_FIELDS
from shadow.store.run_sums import SegmentSums, cells, texts


def test_fields_return_to_their_columns_and_add_up() -> None:
    sums = SegmentSums()
    for _ in range(2):
        sums.add_counts({name.encode(): b"%d" % (at + 1) for at, name in enumerate(FIELDS)})
        sums.add_card_days({name.encode(): b"%d" % (at + 1) for at, name in enumerate(DAY_FIELDS)})
    assert sums.counts.tolist() == [2 * (at + 1) for at in range(COLUMNS)]
    totals = sums.totals()
    assert totals.columns.tolist() == sums.counts.tolist()
    assert totals.day_columns.tolist() == sums.days.tolist() == [2 * (at + 1) for at in range(DAY_SUMS)]
    assert totals.counts.tolist() == sums.counts[COUNTS].tolist()
    assert totals.minor.tolist() == sums.counts[MINOR].tolist()
    assert totals.capped.tolist() == sums.counts[CAPPED].tolist()
    assert totals.errors == sums.counts[ERRORS]


def test_of_the_heaviest_card_days_the_heavier_stays() -> None:
    sums = SegmentSums()
    for value in (3, 7, 5):
        sums.add_card_days({name.encode(): b"%d" % (value * 10 + at) for at, name in enumerate(TOP_FIELDS)})
    assert sums.totals().tops.ravel().tolist() == [70 + at for at in range(DAY_TOPS)]


def test_a_field_that_no_program_writes_is_refused() -> None:
    for add in (SegmentSums().add_counts, SegmentSums().add_card_days):
        with pytest.raises(KeyError):
            add({b"x": b"1"})


def test_a_string_of_sums_ends_with_the_last_count() -> None:
    stored = np.array([0, 7, 2**40], dtype=">i8").tobytes()
    assert cells(stored, 5).tolist() == [0, 7, 2**40, 0, 0]
    assert cells(None, 2).tolist() == [0, 0]
    assert texts({b"a": "é".encode()}) == {"a": "é"}
