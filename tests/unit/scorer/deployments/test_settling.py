"""A suggestion is settled once: by the first in log order that approves, rejects or withdraws it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.changes import AT, a_change, fold
from scorer.deployments.changes import promotion
from scorer.deployments.records import STANDS, Answer, Suggestion, Target, Withdrawal, encode
from scorer.deployments.slots import Deployments

NOW = datetime(2026, 1, 5, tzinfo=UTC)


def begun() -> Deployments:
    return fold(a_change({"live": "a"}, {"live": 0}), a_change({"candidate": "b"}, {"candidate": 0}))


def a_suggestion(at: str = AT) -> Suggestion:
    target = Target(digest="b" * 64, threshold=0.5)
    expects = {"live": 1, "candidate": 1}
    return Suggestion(slot="candidate", target=target, expects=expects, criteria="c", evidence={}, at=at)


def settling(act: str, state: Deployments, seq: str) -> Any:
    """What somebody writes who has seen `state`."""
    if act == "approve":
        return promotion(state, "candidate", "ann", "clean", AT, None, seq)
    if act == "reject":
        return Answer(suggestion=seq, answer="rejected", by="bob", reason="no", at=AT)
    return Withdrawal(suggestion=seq, cause="verdict", reason="hold: …", by="shadow serve", at=AT)


@given(st.lists(st.sampled_from(["approve", "reject", "withdraw"]), min_size=1, max_size=6))
def test_of_all_that_settles_a_suggestion_the_first_counts(acts: list[str]) -> None:
    state = begun()
    fold(a_suggestion(), start=state)
    (line,) = state.open_suggestions()
    for entry in [settling(act, state, line.seq) for act in acts]:  # all of them saw it open
        fold(entry, start=state)
    written = state.ledger[-len(acts) :]
    assert [entry.is_void for entry in written] == [False, *[True] * (len(acts) - 1)]
    assert state.open_suggestions() == []
    assert (state.slot("live").digest == "b" * 64) is (acts[0] == "approve")
    assert state.slot("live").epoch == 1 + (acts[0] == "approve")


def test_an_approval_that_comes_too_late_for_its_slots_settles_nothing() -> None:
    state = begun()
    fold(a_suggestion(), start=state)
    (line,) = state.open_suggestions()
    approval = promotion(state, "candidate", "ann", "clean", AT, None, line.seq)
    fold(a_change({"live": "c"}, {"live": 1}), approval, start=state)
    assert state.ledger[-1].is_void
    assert line.seq not in state.settled
    assert state.slot("live").digest == "c" * 64


@given(st.floats(0, 200), st.sampled_from([UTC, None]))
def test_a_suggestion_is_open_for_72_hours(hours: float, zone: Any) -> None:
    made = NOW - timedelta(hours=hours)
    state = begun()
    fold(a_suggestion(made.replace(tzinfo=zone).isoformat()), start=state)
    assert len(state.open_suggestions(NOW)) == (zone is not None and NOW - made <= timedelta(hours=72))
    assert len(state.open_suggestions()) == 1, "without a time, none expires"
    assert timedelta(hours=72) == STANDS


@pytest.mark.parametrize("at", ["", "yesterday", "2026-13-01T00:00:00Z", "2026-01-04"])
def test_one_whose_time_cannot_be_read_has_expired(at: str) -> None:
    state = begun()
    fold(a_suggestion(at), start=state)
    assert state.open_suggestions(NOW) == []


def test_a_withdrawal_survives_the_wire() -> None:
    state = begun()
    fold(a_suggestion(), start=state)
    (line,) = state.open_suggestions()
    withdrawal = settling("withdraw", state, line.seq)
    again = Deployments()
    for entry in (*state.ledger, withdrawal):
        body = entry if entry is withdrawal else entry.entry  # type: ignore[union-attr]
        again.fold(f"ledger/{again.next_seq('a1b2c3d4')}".encode(), encode(body))  # type: ignore[arg-type]
    assert again.ledger[-1].entry == withdrawal
    assert again.open_suggestions() == []
