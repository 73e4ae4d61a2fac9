"""Live's verdict and the candidate's on one snapshot make one of four outcomes."""

from __future__ import annotations

import doctest
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadow.comparison import outcome
from shadow.comparison.outcome import DISAGREEMENTS, Outcome, compare

SCORES = st.floats(0, 1)


@given(st.lists(st.tuples(st.booleans(), st.one_of(SCORES, st.just(math.nan), st.just(1.5))), max_size=30), SCORES)
def test_outcomes_are_the_paired_table(rows: list[tuple[bool, float]], threshold: float) -> None:
    live = np.array([row[0] for row in rows], dtype=bool)
    paired = compare(live, np.array([row[1] for row in rows]), threshold)
    for (blocks, score), code, usable in zip(rows, paired.codes, paired.usable, strict=True):
        assert usable == (0 <= score <= 1)
        name = {(0, 0): "both_allow", (1, 1): "both_block", (1, 0): "live_only", (0, 1): "candidate_only"}
        assert Outcome(code).key == name[blocks, score >= threshold]


def test_a_score_equal_to_the_threshold_blocks() -> None:
    assert compare(np.array([False]), np.array([0.5]), 0.5).candidate.tolist() == [True]


def test_scores_for_a_part_of_the_batch_are_refused() -> None:
    with pytest.raises(ValueError, match="1 scores for 2 decisions; expected one for each"):
        compare(np.array([True, False]), np.array([0.5]), 0.5)


def test_a_disagreement_is_an_outcome_in_which_one_model_blocks() -> None:
    assert [outcome.is_disagreement for outcome in Outcome] == [False, False, True, True]
    assert list(DISAGREEMENTS) == [outcome for outcome in Outcome if outcome.is_disagreement]


def test_examples_in_docstrings_run() -> None:
    assert doctest.testmod(outcome).failed == 0
