"""The watch lasts as long as it should, suggests a rollback once, takes it back, and reports its end once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from harness.ledgers import AT, a_ledger
from harness.totals import RELEASE, a_run, part
from scorer.deployments.changes import switch
from scorer.deployments.records import Answer, Change, Suggestion, Target, Watched, Withdrawal, encode
from scorer.deployments.slots import Deployments
from shadow.comparison.totals import RunTotals
from shadow.gate.evidence import Evidence
from shadow.release.after_release import (
    Afterwards,
    afterwards,
    epochs,
    is_refused,
    lapse_of_rollback,
    period_of,
    report,
    rollback_proposal,
)

BEGIN = datetime.fromisoformat(AT)
WORSE = a_run(FR=part(30_000, 1000, 20, 520))


def look(deployments: Deployments, totals: RunTotals = WORSE, days: float = 3, release: Any = RELEASE) -> Afterwards:
    period = period_of(deployments, 14)
    assert period is not None
    seen = Evidence(totals, None, "", 100.0, (), (), None)
    return afterwards(seen, release, period, epochs(deployments), BEGIN + timedelta(days=days))


def add(deployments: Deployments, entry: Any) -> str:
    seq = deployments.next_seq("a1b2c3d4")
    deployments.fold(f"ledger/{seq}".encode(), encode(entry))
    return seq


def test_live_is_watched_for_a_fortnight_from_the_release_on() -> None:
    period = period_of(a_ledger(), 14)
    assert period is not None
    assert (period.since, period.until) == (BEGIN, BEGIN + timedelta(days=14))
    assert [period.is_over(BEGIN + timedelta(days=day)) for day in (0, 13.9, 14)] == [False, False, True]
    assert period.days(BEGIN + timedelta(days=40)) == 14


def test_nothing_is_watched_without_a_model_before_or_while_the_kill_switch_decides() -> None:
    assert period_of(Deployments(), 14) is None
    assert period_of(a_ledger(), 0) is None
    deployments = a_ledger()
    add(deployments, switch(deployments, "block_all", "ann", "attack", AT))
    assert period_of(deployments, 14) is None


def test_a_release_whose_time_cannot_be_read_is_watched_without_an_end() -> None:
    deployments = a_ledger()
    target = Target(digest="a" * 64, threshold=0.5)
    add(deployments, Change(slots={"previous": target}, expects={"previous": 1}, by="a", reason="b", cause="deploy",
                            at="soon"))  # fmt: skip
    period = period_of(deployments, 14)
    assert period is not None
    assert not period.is_over(datetime(2100, 1, 1, tzinfo=UTC))
    assert period.days(datetime(2100, 1, 1, tzinfo=UTC)) == 0


def test_harm_is_suggested_once_and_in_words() -> None:
    deployments = a_ledger()
    seen = look(deployments)
    assert seen.is_harm
    made = rollback_proposal(deployments, seen, {"digest": "x"})
    assert made is not None
    assert (made.action, made.change, made.slot) == ("rollback", "rollback", "previous")
    assert made.expects == {"live": 1, "previous": 1}
    assert made.evidence["judgement"]["reason"].startswith("live is worse than the model before it: ")
    assert "country=FR" in made.evidence["judgement"]["reason"]
    add(deployments, made)
    assert rollback_proposal(deployments, seen, {}) is None, "it stands"


def test_no_harm_leads_to_nothing() -> None:
    deployments = a_ledger()
    seen = look(deployments, a_run())
    assert rollback_proposal(deployments, seen, {}) is None
    assert seen.reason.startswith("no harm found in 93,150 transactions")


def test_a_rollback_that_somebody_refused_is_not_suggested_again_under_the_same_criteria() -> None:
    deployments = a_ledger()
    seen = look(deployments)
    made = rollback_proposal(deployments, seen, {})
    assert made is not None
    seq = add(deployments, made)
    add(deployments, Answer(suggestion=seq, answer="rejected", by="ann", reason="an attack", at=AT))
    assert rollback_proposal(deployments, seen, {}) is None
    assert is_refused(deployments, seen), "so nobody is woken any more"
    target = Target(digest="b" * 64, threshold=0.5)
    add(deployments, Change(slots={"previous": target}, expects={"previous": 1}, by="a", reason="b", cause="deploy",
                            at=AT))  # fmt: skip
    assert not is_refused(deployments, look(deployments)), "of another release nobody has said anything"


@pytest.mark.parametrize("cause", ["expired", "criteria"])
def test_one_that_was_not_answered_is_suggested_again(cause: Any) -> None:
    deployments = a_ledger()
    seen = look(deployments)
    made = rollback_proposal(deployments, seen, {})
    assert made is not None
    seq = add(deployments, made)
    add(deployments, Withdrawal(suggestion=seq, cause=cause, reason="r", by="s", at=seen.at.isoformat()))
    assert rollback_proposal(deployments, look(deployments, days=7), {}) is not None


def test_it_is_withdrawn_when_the_evidence_turns_the_criteria_change_or_nobody_answers() -> None:
    deployments = a_ledger()
    made = rollback_proposal(deployments, look(deployments), {})
    assert made is not None
    assert lapse_of_rollback(made, look(deployments)) is None
    turned = lapse_of_rollback(made, look(deployments, a_run()))
    assert turned is not None
    assert turned.cause == "verdict"
    other = lapse_of_rollback(made.model_copy(update={"criteria": "f" * 64}), look(deployments))
    assert other is not None
    assert other.cause == "criteria"
    old = lapse_of_rollback(made, look(deployments, days=6.1))
    assert old is not None
    assert old.cause == "expired"


def test_no_look_at_other_slots_than_there_are_now_leads_to_anything() -> None:
    deployments = a_ledger()
    seen, over = look(deployments), look(deployments, days=20)
    target = Target(digest="b" * 64, threshold=0.5)
    add(deployments, Change(slots={"live": target}, expects={"live": 1}, by="a", reason="b", cause="deploy", at=AT))
    assert rollback_proposal(deployments, seen, {}) is None
    assert report(deployments, over) is None


def test_its_end_is_reported_once_with_what_it_saw() -> None:
    deployments = a_ledger()
    assert report(deployments, look(deployments, days=13)) is None
    found = report(deployments, look(deployments, a_run(), days=15))
    assert found is not None
    assert (found.verdict, found.days, found.compared) == ("no_harm", 14.0, 93_150)
    add(deployments, found)
    assert report(deployments, look(deployments, a_run(), days=16)) is None
    assert rollback_proposal(deployments, look(deployments, days=15), {}) is None, "it is over"


def test_a_watch_that_saw_nothing_reports_nothing() -> None:
    deployments = a_ledger()
    nothing = RunTotals(a_run().run, {}, 0)
    seen = look(deployments, nothing, days=15)
    assert report(deployments, seen) is None
    assert seen.reason == "nothing is compared with the model before it: is there a shadow for slot previous?"


def test_records_of_older_versions_are_promotions_and_nobodys_automation() -> None:
    told = {"schema": 1, "kind": "suggestion", "slot": "candidate", "target": {}, "expects": {}, "criteria": "c",
            "evidence": {}, "at": AT}  # fmt: skip
    found = Suggestion.model_validate(told)
    assert (found.action, found.change) == ("promote", None)
    assert Watched.model_validate(
        {"expects": {"live": 1}, "verdict": "no_harm", "reason": "r", "compared": 1, "days": 1, "by": "s", "at": AT}
    )
