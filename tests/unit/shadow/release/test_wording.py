"""Who finds nothing to approve is told why: who was faster, who said no, or that the gate does not promote."""

from __future__ import annotations

from typing import Any

import pytest

from scorer.deployments.changes import promotion, rollback
from scorer.deployments.changes import switch as a_switch
from scorer.deployments.records import Answer, Change, Suggestion, Target, encode
from scorer.deployments.slots import Deployments
from shadow.release.wording import why_empty, why_no_suggestion, why_no_way_back

AT = "2026-01-02T14:03:59.123+00:00"
FILL = "slot candidate: is empty; fill it with `scorer deploy BUNDLE --slot candidate --by … --reason …`"
GATE = "slot candidate: the gate does not promote this candidate; see `shadow gate --slot candidate`"
APPROVED = "slot candidate: ann approved this candidate at 2026-01-02 14:03 UTC; nothing left to approve"
REJECTED = (
    "slot candidate: ann rejected this candidate at 2026-01-02 14:03 UTC (holidays); to have it judged again, "
    "deploy it again with `scorer deploy`"
)


class Ledger:
    """A ledger that entries are appended to."""

    def __init__(self) -> None:
        self.state = Deployments()
        for slot in ("live", "candidate"):
            self.fill(slot)

    def add(self, entry: Any) -> str:
        seq = self.state.next_seq("a1b2c3d4")
        self.state.fold(f"ledger/{seq}".encode(), encode(entry))
        return seq

    def fill(self, slot: str, expects: int | None = None) -> None:
        epoch = self.state.slot(slot).epoch if expects is None else expects
        target = Target(digest=f"{epoch:064x}", threshold=0.5)
        self.add(Change(slots={slot: target}, expects={slot: epoch}, by="bob", reason="new", cause="deploy", at=AT))

    def suggest(self) -> str:
        state = self.state.slot("candidate")
        expects = {name: self.state.slot(name).epoch for name in ("live", "candidate")}
        target = Target(digest=state.digest, threshold=0.5)
        return self.add(Suggestion(slot="candidate", target=target, expects=expects, criteria="c", evidence={}, at=AT))

    def reject(self, suggestion: str) -> None:
        self.add(Answer(suggestion=suggestion, answer="rejected", by="ann", reason="holidays", at=AT))

    def approve(self, suggestion: str | None = None) -> None:
        self.add(promotion(self.state, "candidate", "ann", "clean", AT, None, suggestion))


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


def test_a_slot_that_nobody_filled_is_to_be_filled() -> None:
    assert why_empty(Deployments(), "candidate") == FILL


def test_the_second_of_two_approvers_is_told_who_was_first_and_when(ledger: Ledger) -> None:
    ledger.approve(ledger.suggest())
    assert why_empty(ledger.state, "candidate") == APPROVED
    ledger.fill("candidate", expects=17)  # void: it came too late to change anything
    assert why_empty(ledger.state, "candidate") == APPROVED


def test_a_slot_that_was_emptied_after_its_promotion_is_just_empty(ledger: Ledger) -> None:
    ledger.approve()
    ledger.fill("candidate")
    empty = Change(slots={"candidate": None}, expects={"candidate": 3}, by="b", reason="x", cause="deploy", at=AT)
    ledger.add(empty)
    assert ledger.state.slot("candidate").is_empty
    assert why_empty(ledger.state, "candidate") == FILL


def test_the_slot_that_a_promotion_fills_was_not_promoted(ledger: Ledger) -> None:
    ledger.approve()
    ledger.add(rollback(ledger.state, "ann", "complaints", AT, "candidate"))
    assert why_empty(ledger.state, "previous").startswith("slot previous: is empty")


def test_a_candidate_that_somebody_rejected_says_who_and_why(ledger: Ledger) -> None:
    assert why_no_suggestion(ledger.state, "candidate") == GATE
    ledger.reject(ledger.suggest())
    assert why_no_suggestion(ledger.state, "candidate") == REJECTED


@pytest.mark.parametrize("slot", ["live", "candidate"])
def test_a_rejection_does_not_outlive_what_it_was_about(ledger: Ledger, slot: str) -> None:
    ledger.reject(ledger.suggest())
    ledger.fill(slot)
    assert why_no_suggestion(ledger.state, "candidate") == GATE


def test_of_two_who_go_back_the_second_is_told_who_was_first() -> None:
    ledger = Ledger()
    assert why_no_way_back(ledger.state) == "slot previous is empty: there is nothing to go back to"
    ledger.add(promotion(ledger.state, "candidate", "ann", "clean", AT, None, None))
    changed = why_no_way_back(ledger.state)
    assert changed.startswith("slot live: ann changed it at 2026-01-02 14:03 UTC (approve: clean)")
    ledger.add(rollback(ledger.state, "carl", "complaints", AT, "candidate"))
    told = (
        "slot live: carl put the model before it back at 2026-01-02 14:03 UTC (complaints); nothing left to go back to"
    )
    assert why_no_way_back(ledger.state) == told
    ledger.add(a_switch(ledger.state, "block_all", "dora", "attack", AT))
    assert why_no_way_back(ledger.state) == told, "the kill switch is another matter"
