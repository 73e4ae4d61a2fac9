"""Findings read as plain sentences, with a word for the direction instead of a sign."""

from __future__ import annotations

import doctest
import re

import pytest

from shadow.comparison.resets import GAP, Reset
from shadow.gate import wording
from shadow.gate.clean_period import CleanPeriod
from shadow.gate.criteria import Criterion, Kind
from shadow.gate.findings import Verdict

BY_EVIDENCE = [criterion for criterion in Criterion if criterion.kind in (Kind.CHANGE, Kind.HARM, Kind.FLOOR)]


def test_examples_in_docstrings_run() -> None:
    assert doctest.testmod(wording).failed == 0


@pytest.mark.parametrize("criterion", BY_EVIDENCE)
def test_opposite_directions_have_opposite_words_and_no_sign(criterion: Criterion) -> None:
    worse = wording.claim(criterion, 0.034, 0.012, Verdict.FAIL, 0.01)
    better = wording.claim(criterion, -0.034, -0.012, Verdict.PASS, 0.01)
    assert "3.4 %" in worse
    assert "3.4 %" in better
    assert not re.search(r"[-+]\d", worse + better)
    assert "(lower bound 1.2 % " in worse
    assert "(upper bound 1.2 % " in better
    (limit,) = {text.rpartition("; ")[2] for text in (worse, better)}
    assert limit == f"limit 1.0 % {worse.partition('bound 1.2 % ')[2].partition(')')[0]}"
    assert worse.partition(" (")[0] != better.partition(" (")[0]


def test_harm_is_a_share_of_what_live_blocks() -> None:
    assert wording.claim(Criterion.LOST_FRAUD, 0.03, 0.041, Verdict.INSUFFICIENT, 0.05) == (
        "Blocks less fraud than live, by 3.0 % of live's blocks (upper bound so far 4.1 % less); limit 5.0 % less"
    )
    assert wording.claim(Criterion.INSULTS_AMOUNT, -0.02, 0.01, Verdict.PASS, 0.15) == (
        "Blocks less honest money than live, by 2.0 % of the money live blocks (upper bound 1.0 % more); "
        "limit 15.0 % more"
    )


def test_what_is_needed_is_estimated_or_said_to_be_out_of_reach_or_unknown() -> None:
    assert wording.needs(1, 0.5, "reviews", True) == "; needs about 1 more reviews (about 0.5 days)"
    assert wording.needs(None, None, "reviews", True) == "; not decidable at this traffic"
    assert wording.needs(None, None, "reviews", False) == "; not enough data for an estimate"


def test_a_plain_threshold_names_what_was_found_and_what_is_required() -> None:
    assert wording.support(Criterion.TRANSACTIONS, 1200, 1300, 10_000) == (
        "1,200 transactions compared; at least 10,000 required"
    )
    assert wording.support(Criterion.CANDIDATE_ERROR_RATE, 0.002, 5000, 0.001) == (
        "0.2000 % of 5,000 decisions not scored by the candidate; at most 0.10 % allowed"
    )
    assert wording.support(Criterion.COVERAGE, None, 0, 0.99) == "No decisions yet"


def test_the_clean_period_names_its_last_reset() -> None:
    assert wording.clean_hours(CleanPeriod(3, 336, 5, 9)) == "3 clean event hours; 336 required"
    resets = (Reset(1, "feature view"), Reset(4, GAP))
    assert wording.clean_hours(CleanPeriod(3, 336, 5, 9, resets)) == (
        "3 clean event hours since the last reset (coverage gap); 336 required"
    )


def test_conflicts_are_counted_in_words() -> None:
    assert wording.conflicts(0) == "No transaction was decided twice with different scores"
    assert wording.conflicts(2000) == "2,000 transactions were decided twice with different scores"
