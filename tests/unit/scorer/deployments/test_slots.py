"""Slots are the fold of the ledger: the first change that expects the right epochs wins, whoever reads it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorer.deployments import (
    Answer,
    Change,
    Deployments,
    Slot,
    Suggestion,
    Target,
    WorkerReport,
    encode,
    promotion,
    rollback,
)

AT = "2026-01-01T00:00:00+00:00"


def a_change(slots: dict[str, str | None], expects: dict[str, int], **more: Any) -> Change:
    targets = {name: None if digest is None else Target(digest=digest, threshold=0.5) for name, digest in slots.items()}
    fields: dict[str, Any] = {"by": "ann", "reason": "because", "cause": "deploy", "at": AT} | more
    return Change(slots=targets, expects=expects, **fields)


def fold(*entries: Any, start: Deployments | None = None) -> Deployments:
    deployments = start or Deployments()
    for entry in entries:
        deployments.absorb(f"ledger/{deployments.next_seq()}".encode(), encode(entry))
    return deployments


def test_of_two_approvals_at_once_the_second_is_void() -> None:
    state = fold(
        a_change({"live": "a"}, {"live": 0}),
        a_change({"live": "b"}, {"live": 1}),
        a_change({"live": "c"}, {"live": 1}),
    )
    assert state.slot("live") == Slot(2, "b", 0.5, None, AT)
    assert [line.is_void for line in state.ledger] == [False, False, True]


def test_a_change_of_several_slots_applies_as_a_whole_or_not_at_all() -> None:
    state = fold(a_change({"live": "a", "candidate": "b"}, {"live": 0, "candidate": 1}))
    assert state.slots == {}


@given(
    st.lists(st.tuples(st.sampled_from(["live", "candidate"]), st.sampled_from("abc"), st.integers(0, 4)), max_size=12)
)
def test_epoch_counts_the_changes_that_applied(changes: list[tuple[str, str, int]]) -> None:
    state = fold(*(a_change({slot: digest}, {slot: epoch}) for slot, digest, epoch in changes))
    for name in ("live", "candidate"):
        applied = [line.entry for line in state.ledger if not line.is_void and name in line.entry.slots]  # type: ignore[union-attr]
        assert state.slot(name).epoch == len(applied)
        assert [change.expects[name] for change in applied] == list(range(len(applied)))  # type: ignore[union-attr]


def test_the_same_record_twice_counts_once() -> None:
    state = Deployments()
    for _ in range(2):
        state.absorb(b"ledger/00000001-aa", encode(a_change({"live": "a"}, {"live": 0})))
    assert state.slot("live").epoch == 1
    assert len(state.ledger) == 1


@pytest.mark.parametrize("value", [b"", b"{", b"[]", b'{"kind":"change"}', b'{"schema":2,"kind":"change"}', None])
def test_records_that_are_not_understood_are_passed_over(value: bytes | None) -> None:
    state = fold(a_change({"live": "a"}, {"live": 0}))
    for key in (b"ledger/x", b"worker/x", b"view/x", b"what", None):
        state.absorb(key, value)
    assert state.slot("live").epoch == 1
    assert len(state.ledger) == 1


def test_promotion_moves_the_candidate_up_and_lets_live_go_on() -> None:
    state = fold(a_change({"live": "a"}, {"live": 0}), a_change({"candidate": "b"}, {"candidate": 0}))
    fold(promotion(state, "candidate", "ann", "clean", AT, None, None), start=state)
    assert state.slot("live").digest == "b"
    assert state.slot("previous").digest == "a"
    assert state.slot("candidate").is_empty
    fold(rollback(state, "bob", "complaints", AT, "candidate"), start=state)
    assert state.slot("live").digest == "a"
    assert state.slot("previous").is_empty
    assert state.slot("candidate").digest == "b"
    assert [slot.digest for slot in state.was_live] == ["a", "b", "a"]


def test_an_edited_threshold_is_what_goes_live() -> None:
    state = fold(a_change({"live": "a"}, {"live": 0}), a_change({"candidate": "b"}, {"candidate": 0}))
    fold(promotion(state, "candidate", "ann", "clean", AT, 0.25, None), start=state)
    assert state.slot("live").threshold == 0.25


def test_an_empty_slot_cannot_be_promoted_nor_gone_back_to() -> None:
    with pytest.raises(ValueError, match="candidate is empty"):
        promotion(Deployments(), "candidate", "ann", "x", AT, None, None)
    with pytest.raises(ValueError, match="nothing to go back to"):
        rollback(Deployments(), "ann", "x", AT, "candidate")


def test_a_suggestion_stands_until_it_is_answered_or_overtaken() -> None:
    def suggested() -> tuple[Deployments, str]:
        state = fold(a_change({"live": "a"}, {"live": 0}), a_change({"candidate": "b"}, {"candidate": 0}))
        suggestion = Suggestion(
            slot="candidate",
            target=Target(digest="b", threshold=0.5),
            expects={"live": 1, "candidate": 1},
            criteria="c",
            evidence={},
            at=AT,
        )
        fold(suggestion, start=state)
        (line,) = state.open_suggestions()
        return state, line.seq

    state, seq = suggested()
    fold(Answer(suggestion=seq, answer="rejected", by="ann", reason="no", at=AT), start=state)
    assert state.open_suggestions() == []
    state, seq = suggested()
    fold(promotion(state, "candidate", "ann", "yes", AT, None, seq), start=state)
    assert state.open_suggestions() == []
    state, seq = suggested()
    fold(a_change({"candidate": "z"}, {"candidate": 1}), start=state)
    assert state.open_suggestions() == []


def test_a_worker_that_says_goodbye_is_forgotten() -> None:
    state = Deployments()
    state.absorb(b"worker/w1", encode(WorkerReport(digest="a", status="failed", reason="disk", at=AT)))
    assert state.workers["w1"].reason == "disk"
    state.absorb(b"worker/w1", None)
    assert state.workers == {}
