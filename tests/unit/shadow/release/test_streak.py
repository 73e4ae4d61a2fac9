"""Automation is earned by suggestions accepted as they were; whatever shows that a person was needed takes it away."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from scorer.deployments.changes import deployment, forced, promotion, rollback, switch
from scorer.deployments.records import (
    CANDIDATE,
    LIVE,
    PREVIOUS,
    Answer,
    Automation,
    Change,
    ChangeKind,
    Judged,
    Suggestion,
    Target,
    Withdrawal,
    encode,
)
from scorer.deployments.signatures import TrustedKeys
from scorer.deployments.slots import Deployments
from shadow.release.streak import KINDS, PROMOTIONS, Pace, Rules, automatic_promotions, due, streaks

BEGIN = datetime(2026, 1, 5, 10, tzinfo=UTC)
RULES = Rules(accepted=3, days=28.0)


class History:
    """A ledger on which a fortnight passes with each release."""

    def __init__(self) -> None:
        self.deployments = Deployments()
        self.day = 0.0
        self.n = 0
        self.fill(LIVE)

    @property
    def at(self) -> str:
        return (BEGIN + timedelta(days=self.day)).isoformat()

    def add(self, entry: Any) -> str:
        seq = self.deployments.next_seq("a1b2c3d4")
        line = self.deployments.fold(f"ledger/{seq}".encode(), encode(entry))
        assert line is not None
        return seq

    def fill(self, slot: str) -> str:
        self.n += 1
        change = deployment(self.deployments, slot, f"{self.n:064x}", 0.5, "ann", "new", self.at)
        return self.add(change)

    def suggest(self, change: ChangeKind | None = "retrain", criteria: str = "c", stopped: Any = 1.0) -> str:
        self.day += 14
        self.fill(CANDIDATE)
        state = self.deployments.slot(CANDIDATE)
        return self.add(
            Suggestion(
                change=change,
                slot=CANDIDATE,
                target=Target(digest=state.digest, threshold=state.threshold),
                expects={LIVE: self.deployments.slot(LIVE).epoch, CANDIDATE: state.epoch},
                criteria=criteria,
                evidence={"challenge": {"stopped": stopped}},
                at=self.at,
            )
        )

    def approve(self, seq: str | None, threshold: float | None = None, automatic: bool = False) -> str:
        change = promotion(self.deployments, CANDIDATE, "bea", "good", self.at, threshold, seq)
        return self.add(change.model_copy(update={"automatic": automatic}))

    def release(self, change: ChangeKind | None = "retrain", **more: Any) -> str:
        return self.approve(self.suggest(change, **more))

    def alarm(self) -> str:
        expects = {name: self.deployments.slot(name).epoch for name in (LIVE, PREVIOUS)}
        target = Target(digest=self.deployments.slot(PREVIOUS).digest, threshold=0.5)
        return self.add(
            Suggestion(
                action="rollback",
                change="rollback",
                slot=PREVIOUS,
                target=target,
                expects=expects,
                criteria="c",
                evidence={},
                at=self.at,
            )
        )

    def switch(self, state: Literal["on", "off", "lost"] = "on", change: ChangeKind = "retrain") -> str:
        return self.add(Automation(change=change, state=state, by="eve", reason="earned", at=self.at))

    def of(self, kind: ChangeKind = "retrain") -> Any:
        return streaks(self.deployments, RULES)[kind]


def earned() -> History:
    told = History()
    for _ in range(3):
        told.release()
    return told


def test_it_takes_so_many_in_a_row_over_so_many_days() -> None:
    told = History()
    for n in range(3):
        assert not told.of().is_earned(RULES)
        told.release()
        assert told.of().accepted == n + 1
    assert told.of().is_earned(RULES)
    assert told.of().days == 28.0
    assert not told.of().is_earned(Rules(3, 29.0)), "too soon"
    assert told.of().missing(Rules(5, 60.0)) == (
        "3 of 5 suggestions in a row were accepted as they were, over 28 of 60 days"
    )


def test_each_kind_of_change_has_a_streak_of_its_own() -> None:
    told = earned()
    told.release("threshold")
    assert (told.of().accepted, told.of("threshold").accepted, told.of("design").accepted) == (3, 1, 0)
    told.release(None)
    assert [told.of(kind).accepted for kind in KINDS] == [3, 1, 0, 0], "of an unknown kind nothing follows"


@pytest.mark.parametrize("stopped", [0.94, None, "1.0", float("nan")])
def test_a_suggestion_that_could_not_have_failed_counts_for_nothing(stopped: Any) -> None:
    told = History()
    told.release(stopped=stopped)
    assert told.of().accepted == 0
    assert told.of().loss is None


def test_what_nobody_accepted_counts_for_nothing() -> None:
    told = earned()
    seq = told.suggest()
    told.add(Withdrawal(suggestion=seq, cause="expired", reason="nobody came", by="shadow serve", at=told.at))
    told.switch()
    told.approve(told.suggest(), automatic=True)
    assert told.of().accepted == 3
    assert told.of().is_on


def reject(told: History) -> str:
    return told.add(Answer(suggestion=told.suggest(), answer="rejected", by="bea", reason="no", at=told.at))


def edit(told: History) -> str:
    return told.approve(told.suggest(), threshold=0.4)


def force(told: History) -> str:
    told.suggest()
    change = promotion(told.deployments, CANDIDATE, "bea", "now", told.at, None, None)
    return told.add(forced(change, Judged(decision="hold", reason="thin"), ()))


def roll_back(told: History) -> str:
    return told.add(rollback(told.deployments, "bea", "worse", told.at, CANDIDATE))


@pytest.mark.parametrize(
    ("what", "loses", "why"),
    [
        (reject, ("retrain",), "bea rejected a suggestion"),
        (edit, ("retrain",), "bea approved something else than was suggested"),
        (force, KINDS, "bea forced a release"),
        (roll_back, KINDS, "bea put the model before back"),
        (lambda told: told.suggest(criteria="d"), KINDS, "the release criteria were changed"),
        (lambda told: told.fill(LIVE), PROMOTIONS, "ann put a model live past the gate"),
        (History.alarm, PROMOTIONS, "the watch found that live is worse than the model before it"),
    ],
    ids=["rejection", "edit", "forced", "rollback", "criteria", "past_the_gate", "alarm"],
)
def test_what_takes_it_away(what: Any, loses: tuple[ChangeKind, ...], why: str) -> None:
    told = earned()
    for _ in range(3):
        told.release("design")
    told.switch()
    told.switch(change="design")
    assert told.of().is_on
    assert told.of("design").is_on
    seq = what(told)
    for kind in ("retrain", "design"):
        one = told.of(kind)  # type: ignore[arg-type]
        is_lost = kind in loses
        assert (one.is_on, one.accepted) == ((False, 0) if is_lost else (True, 3)), kind
        if is_lost:
            assert (one.loss.seq, one.loss.why) == (seq, why)
            assert one.took_away == one.loss, "nobody has said so yet"
            told.switch("lost", kind)  # type: ignore[arg-type]
            assert told.of(kind).took_away is None  # type: ignore[arg-type]
            assert told.of(kind).loss is not None  # type: ignore[arg-type]


def test_it_has_to_be_earned_before_it_is_switched_on_and_again_after_it_was_lost() -> None:
    told = History()
    told.release()
    told.switch()
    assert not told.of().is_on, "whoever writes it without having earned it has switched nothing on"
    told.release()
    told.release()
    assert not told.of().is_on, "nor does that count later"
    told.switch()
    assert told.of().is_on
    reject(told)
    told.switch()
    assert not told.of().is_on
    for _ in range(3):
        told.release()
    assert not told.of().is_on
    told.switch()
    assert told.of().is_on
    told.switch("off")
    assert not told.of().is_on
    assert told.of().is_earned(RULES), "it is switched off, not lost"


def test_a_void_entry_takes_nothing_away() -> None:
    told = earned()
    told.switch()
    before = told.deployments.slot(LIVE).epoch
    change = deployment(told.deployments, LIVE, "f" * 64, 0.5, "ann", "late", told.at)
    told.add(change.model_copy(update={"expects": {**change.expects, LIVE: before - 1}}))
    assert told.of().is_on


def test_automation_waits_so_that_a_person_can_stop_it() -> None:
    told = earned()
    told.switch()
    seq = told.suggest()
    pace = Pace(timedelta(hours=4), timedelta(days=14))
    found = due(told.deployments, seq, RULES, pace)
    assert found.at == BEGIN + timedelta(days=told.day, hours=4)
    told.add(Answer(suggestion=seq, answer="rejected", by="bea", reason="no", at=told.at))
    assert due(told.deployments, seq, RULES, pace).at is None


def test_one_automatic_promotion_in_a_fortnight() -> None:
    told = earned()
    told.switch()
    told.approve(told.suggest(), automatic=True)
    assert len(automatic_promotions(told.deployments)) == 1
    before = BEGIN + timedelta(days=told.day)
    told.day -= 13
    seq = told.suggest()
    assert due(told.deployments, seq, RULES, Pace()).at == before + timedelta(days=14)


def test_the_kill_switch_stops_it() -> None:
    told = earned()
    told.switch()
    seq = told.suggest()
    told.add(switch(told.deployments, "allow_all", "ann", "attack", told.at))
    assert due(told.deployments, seq, RULES, Pace()).at is None


def test_thin_evidence_is_left_to_people() -> None:
    told = earned()
    told.switch()
    assert due(told.deployments, told.suggest(stopped=0.5), RULES, Pace()).at is None
    assert due(told.deployments, told.suggest(stopped=1.0), RULES, Pace()).at is not None


STEPS = st.sampled_from(["release", "reject", "edit", "force", "roll_back", "alarm", "on", "criteria"])


@given(st.lists(STEPS, max_size=25))
def test_it_is_on_only_after_enough_releases_since_whatever_took_it_away(steps: list[str]) -> None:
    """Told by a count of its own: of one kind of change, everything but a release sets it to 0."""
    told = History()
    run, is_on, criteria = 0, False, 0
    for step in steps:
        if step in ("roll_back", "alarm") and told.deployments.slot(PREVIOUS).digest is None:
            continue
        match step:
            case "release":
                told.release(criteria=f"c{criteria}")
                run += 1
            case "reject":
                told.add(
                    Answer(
                        suggestion=told.suggest(criteria=f"c{criteria}"),
                        answer="rejected",
                        by="b",
                        reason="n",
                        at=told.at,
                    )
                )
                run, is_on = 0, False
            case "edit":
                told.approve(told.suggest(criteria=f"c{criteria}"), threshold=0.3)
                run, is_on = 0, False
            case "force":
                told.suggest(criteria=f"c{criteria}")
                change = promotion(told.deployments, CANDIDATE, "b", "n", told.at, None, None)
                told.add(forced(change, Judged(decision="reject", reason="bad"), ()))
                run, is_on = 0, False
            case "roll_back":
                roll_back(told)
                run, is_on = 0, False
            case "alarm":
                told.alarm()
                run, is_on = 0, False
            case "criteria":
                criteria += 1
                told.release(criteria=f"c{criteria}")
                has_before = any(
                    isinstance(line.entry, Suggestion) and line.entry.action == "promote"
                    for line in told.deployments.ledger[:-3]
                )
                run, is_on = (1, False) if has_before else (run + 1, is_on)
            case "on":
                told.switch()
                is_on = is_on or run >= 3
        assert (told.of().accepted, told.of().is_on) == (run, is_on), step


def test_a_rollback_that_was_suggested_counts_for_the_automation_of_rollbacks() -> None:
    told = History()
    for n in range(3):
        told.release()
        seq = told.alarm()
        told.add(rollback(told.deployments, "bea", "yes", told.at, "spare", suggestion=seq))
        assert told.of("rollback").accepted == n + 1
    assert told.of("rollback").is_earned(RULES)
    told.release()
    told.add(Answer(suggestion=told.alarm(), answer="rejected", by="bea", reason="a wave", at=told.at))
    assert told.of("rollback").accepted == 0


def test_an_automatic_change_says_so_on_the_ledger() -> None:
    told = earned()
    told.switch()
    told.approve(told.suggest(), automatic=True)
    changes = [line.entry for line in told.deployments.ledger if isinstance(line.entry, Change)]
    assert [one.automatic for one in changes if one.cause == "approve"] == [False, False, False, True]


def test_whoever_backdates_approvals_earns_nothing_sooner() -> None:
    told = History()
    for _ in range(3):
        seq = told.suggest()
        day, told.day = told.day, told.day + 40
        told.approve(seq)
        told.day = day - 14 + 0.01  # the next suggestion comes a minute later
    assert told.of().accepted == 3
    assert told.of().days < 1


def test_suggestions_that_a_person_has_signed_earn_nothing() -> None:
    keys = {
        name: {
            "public": base64.b64encode(Ed25519PrivateKey.generate().public_key().public_bytes_raw()).decode(),
            "role": r,
        }
        for name, r in (("ann", "releaser"), ("serve", "gate"))
    }
    for signer, counted in (("ann", 0), ("serve", 1)):
        told = History()
        told.release()
        told.deployments.trusted = TrustedKeys.model_validate({"keys": keys})
        ledger = told.deployments.ledger
        ledger[:] = [
            replace(line, signed_by=signer if isinstance(line.entry, Suggestion) else "ann") for line in ledger
        ]
        assert told.of().accepted == counted, signer
