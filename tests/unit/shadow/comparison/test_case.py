"""A case is stored and read back whole, and its card only as a hash."""

from __future__ import annotations

import re

from scorer.pipeline.instants import DAY_MS
from shadow.comparison.case import Case, by_card, by_transaction, card_hash
from shadow.comparison.outcome import Outcome


def a_case(outcome: Outcome = Outcome.CANDIDATE_ONLY) -> Case:
    return Case("t-1", outcome, 1250, 1_770_000_000_000, card_hash("c-1"), ("all",), 0.5, 1, 7)


def test_a_case_is_read_as_it_was_written() -> None:
    case = a_case(Outcome.LIVE_ONLY)
    assert Case.decode(case.encode(), case.partition, case.inclusion) == case


def test_a_case_says_under_which_labels_and_strata_it_is_found() -> None:
    case = a_case()
    assert case.subjects == (by_transaction("t-1"), by_card(card_hash("c-1"), 1_770_000_000_999)), "of the same second"
    assert by_card(card_hash("c-1"), 1_770_000_001_000) not in case.subjects
    assert case.strata == ["3:all"]
    assert case.cluster == (card_hash("c-1"), 1_770_000_000_000 // DAY_MS)


def test_a_card_is_stored_as_a_hash_only() -> None:
    assert b"c-1" not in a_case().encode()
    assert card_hash("c-1") == card_hash("c-1") != card_hash("c-2")
    assert re.fullmatch("[0-9a-f]{16}", card_hash("c-1"))
