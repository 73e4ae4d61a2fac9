"""A promotion is suggested once, only while the slots are as they were judged, and taken back when the verdict is."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.ledgers import AT, a_digest, a_ledger, fill
from scorer.deployments.records import Answer, Suggestion, Target, Withdrawal, encode
from scorer.deployments.slots import Deployments
from shadow.comparison.totals import Run, RunTotals
from shadow.gate.criteria import parse
from shadow.gate.findings import Decision, Judgement
from shadow.release.lapse import lapse, standing, unsettled
from shadow.release.look import Labels, Look
from shadow.release.suggestion import proposal

RELEASE = parse("schema: 1")
OTHER = parse("schema: 1\nminimum_covered_hours: 100")
BEGIN = datetime.fromisoformat(AT)


def judged(decision: Decision = Decision.PROMOTE) -> Judgement:
    return Judgement(decision, (), 400, 336, "L1-C1")


def seen(decision: Decision = Decision.PROMOTE) -> Look:
    return Look("candidate", RunTotals(Run(1, 1), {}, 400), None, judged(decision), Labels((), (), ()))


def add(deployments: Deployments, entry: Suggestion | Answer | Withdrawal) -> None:
    deployments.fold(f"ledger/{deployments.next_seq('a1b2c3d4')}".encode(), encode(entry))


def suggest(deployments: Deployments, at: datetime = BEGIN) -> Suggestion | None:
    found = proposal(deployments, seen(), RELEASE, {"digest": "x"}, at.isoformat())
    if found is not None:
        add(deployments, found)
    return found


def look(deployments: Deployments, decision: Decision, at: datetime) -> None:
    """What `shadow serve` does after a look."""
    found = unsettled(deployments, "candidate")
    if found is None:
        made = proposal(deployments, seen(decision), RELEASE, {}, at.isoformat())
        if made is not None:
            add(deployments, made)
        return
    seq, suggestion = found
    why = lapse(suggestion, judged(decision), RELEASE.digest, at)
    if why is not None:
        add(deployments, Withdrawal(suggestion=seq, cause=why.cause, reason=why.reason, by="s", at=at.isoformat()))


def test_only_a_decision_to_promote_leads_to_a_suggestion() -> None:
    for decision in (Decision.HOLD, Decision.REJECT):
        assert proposal(a_ledger(), seen(decision), RELEASE, {}, AT) is None
    found = suggest(a_ledger())
    assert found is not None
    assert found.target == Target(digest=a_digest("candidate", 0), threshold=0.5)
    assert found.expects == {"live": 1, "candidate": 1}
    assert found.criteria == RELEASE.digest


def test_a_suggestion_that_is_open_or_was_rejected_is_not_repeated() -> None:
    deployments = a_ledger()
    assert suggest(deployments) is not None
    assert suggest(deployments) is None
    (line,) = deployments.open_suggestions()
    answer = Answer(suggestion=line.seq, answer="rejected", by="ann", reason="no", at=AT)
    deployments.fold(f"ledger/{deployments.next_seq('a1b2c3d4')}".encode(), encode(answer))
    assert deployments.open_suggestions() == []
    assert suggest(deployments) is None, "a person said no"
    assert proposal(deployments, seen(), OTHER, {}, AT) is not None, "under other criteria it may ask again"


@pytest.mark.parametrize("slot", ["live", "candidate"])
def test_a_change_of_either_slot_closes_a_suggestion(slot: str) -> None:
    deployments = a_ledger()
    suggest(deployments)
    fill(deployments, slot, 1)
    assert deployments.open_suggestions() == []
    assert suggest(deployments) is None, "what was seen is not what is there now"
    run = Run(2, 1) if slot == "live" else Run(1, 2)
    assert proposal(deployments, replace(seen(), candidate=RunTotals(run, {}, 400)), RELEASE, {}, AT) is not None


@given(st.sampled_from(Decision), st.booleans(), st.floats(0, 200))
def test_a_suggestion_stands_exactly_while_the_gate_would_make_it_and_not_for_longer_than_72_hours(
    decision: Decision, is_same: bool, hours: float
) -> None:
    deployments = a_ledger()
    made = suggest(deployments)
    assert made is not None
    at = BEGIN + timedelta(hours=hours)
    why = lapse(made, judged(decision), RELEASE.digest if is_same else OTHER.digest, at)
    assert (why is None) == (decision is Decision.PROMOTE and is_same and hours <= 72)
    if why is not None:
        assert why.reason
        if decision is not Decision.PROMOTE:
            assert why.reason.startswith(f"{decision}: "), "the cause is the verdict"
        assert (why.cause == "expired") == (decision is Decision.PROMOTE and is_same)
        assert (why.cause == "criteria") == (not is_same)


def test_what_is_withdrawn_is_suggested_again_once_the_gate_promotes_it_again() -> None:
    deployments = a_ledger()
    look(deployments, Decision.PROMOTE, BEGIN)
    look(deployments, Decision.HOLD, BEGIN)
    assert standing(deployments, "candidate") is None
    look(deployments, Decision.PROMOTE, BEGIN)
    assert standing(deployments, "candidate", BEGIN) is not None
    late = BEGIN + timedelta(hours=73)
    assert standing(deployments, "candidate", late) is None
    look(deployments, Decision.PROMOTE, late)
    assert isinstance(deployments.ledger[-1].entry, Withdrawal)
    assert "within 72 hours" in deployments.ledger[-1].entry.reason
    look(deployments, Decision.PROMOTE, late)
    found = standing(deployments, "candidate", late)
    assert found is not None
    assert found[1].at == late.isoformat()


@pytest.mark.slow
@settings(max_examples=20)
@given(st.integers(), st.sampled_from([0.02, 0.5]))
def test_a_verdict_that_comes_and_goes_does_not_flood_the_ledger(seed: int, flip: float) -> None:
    deployments, days, chance = a_ledger(), 7, random.Random(seed)
    decision, before = Decision.PROMOTE, len(deployments.ledger)
    for minute in range(0, days * 24 * 60, 3):
        if chance.random() < flip:
            decision = Decision.HOLD if decision is Decision.PROMOTE else Decision.PROMOTE
        look(deployments, decision, BEGIN + timedelta(minutes=minute))
    assert 2 <= len(deployments.ledger) - before <= 2 * (8 + days)


@pytest.mark.parametrize("at", ["2999-01-01T00:00:00Z", "whenever", "2026-01-01"])
def test_a_withdrawal_whose_time_makes_no_sense_does_not_stop_suggestions(at: str) -> None:
    deployments = a_ledger()
    for _ in range(5):
        assert suggest(deployments) is not None
        (line,) = deployments.open_suggestions()
        add(deployments, Withdrawal(suggestion=line.seq, cause="verdict", reason="hold", by="s", at=at))


def test_a_person_who_says_no_is_not_asked_again_after_a_withdrawal() -> None:
    deployments = a_ledger()
    suggest(deployments)
    (line,) = deployments.open_suggestions()
    add(deployments, Answer(suggestion=line.seq, answer="rejected", by="ann", reason="no", at=AT))
    add(deployments, Withdrawal(suggestion=line.seq, cause="verdict", reason="hold", by="s", at=AT))
    assert deployments.ledger[-1].is_void
    assert suggest(deployments) is None
