"""A decision that was seen before is a duplicate; with another score under the same epoch it is a conflict."""

from __future__ import annotations

import numpy as np

from harness.decisions import a_decision, parsed
from shadow.comparison.memory import REMEMBERED, Memory


def test_a_duplicate_conflicts_only_with_another_score_under_the_same_epoch() -> None:
    memory = Memory()
    memory.remember(parsed([a_decision(1), a_decision(2, score=None)]))
    again = parsed(
        [
            a_decision(1),
            a_decision(1, score=0.75),
            a_decision(1, score=0.75, epoch=2),
            a_decision(2, score=None),
            a_decision(2),
        ]
    )
    assert memory.conflicts(again, np.arange(5)).tolist() == [1, 4]


def test_the_first_decision_in_a_batch_stands_for_one_that_is_not_remembered() -> None:
    both = parsed([a_decision(1), a_decision(1, score=0.75)])
    assert Memory().conflicts(both, np.array([1])).tolist() == [1]


def test_old_batches_are_forgotten_once_younger_ones_hold_enough() -> None:
    memory = Memory()
    memory.remember(parsed([a_decision(0)]))
    later = parsed([a_decision(source) for source in (1, 2)]).take(np.arange(REMEMBERED - 1) % 2)
    memory.remember(later)
    other = parsed([a_decision(0, score=0.75)])
    assert memory.conflicts(other, np.array([0])).tolist() == [0]
    memory.remember(parsed([a_decision(3)]))
    assert memory.conflicts(other, np.array([0])).tolist() == []


def test_a_transaction_stays_decided_however_long_its_score_is_forgotten() -> None:
    memory = Memory()
    assert memory.duplicates(parsed([a_decision(0), a_decision(2), a_decision(1), a_decision(0)])).tolist() == [
        False,
        False,
        True,
        True,
    ]
    memory.remember(parsed([a_decision(0)]))
    assert memory.duplicates(parsed([a_decision(0)])).tolist() == [True]
