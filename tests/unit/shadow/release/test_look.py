"""Which slots and runs are judged."""

from __future__ import annotations

from harness.ledgers import a_ledger
from shadow.comparison.totals import Run
from shadow.release.look import judged_slots, present_run
from shadow.settings import ShadowSettings


def test_only_slots_with_a_candidate_are_judged() -> None:
    assert judged_slots(a_ledger(), ShadowSettings()) == ["candidate"]
    assert present_run(a_ledger(), "candidate") == Run(1, 1)
    assert present_run(a_ledger(), "other") is None
