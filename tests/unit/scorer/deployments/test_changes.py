"""A promotion or a rollback is one change of several slots."""

from __future__ import annotations

import pytest

from harness.changes import AT, a_change, fold
from scorer.deployments.changes import promotion, rollback
from scorer.deployments.slots import Deployments


def test_promotion_moves_the_candidate_up_and_lets_live_go_on() -> None:
    state = fold(a_change({"live": "a"}, {"live": 0}), a_change({"candidate": "b"}, {"candidate": 0}))
    fold(promotion(state, "candidate", "ann", "clean", AT, None, None), start=state)
    assert state.slot("live").digest == "b" * 64
    assert state.slot("previous").digest == "a" * 64
    assert state.slot("candidate").is_empty
    fold(rollback(state, "bob", "complaints", AT, "candidate"), start=state)
    assert state.slot("live").digest == "a" * 64
    assert state.slot("previous").is_empty
    assert state.slot("candidate").digest == "b" * 64
    assert [slot.digest for slot in state.was_live] == ["a" * 64, "b" * 64, "a" * 64]


def test_an_edited_threshold_is_what_goes_live() -> None:
    state = fold(a_change({"live": "a"}, {"live": 0}), a_change({"candidate": "b"}, {"candidate": 0}))
    fold(promotion(state, "candidate", "ann", "clean", AT, 0.25, None), start=state)
    assert state.slot("live").threshold == 0.25


def test_an_empty_slot_cannot_be_promoted_nor_gone_back_to() -> None:
    with pytest.raises(ValueError, match="candidate is empty"):
        promotion(Deployments(), "candidate", "ann", "x", AT, None, None)
    with pytest.raises(ValueError, match="nothing to go back to"):
        rollback(Deployments(), "ann", "x", AT, "candidate")
