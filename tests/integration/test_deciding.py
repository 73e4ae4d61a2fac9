"""What people decide, on a real broker and a real store: a verdict is judged again, and of two at once one is first."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from harness.desk import BAD, GOOD, RELEASE, TWIN, Desk, suggestions
from harness.models import CUT, Models
from harness.patience import PATIENCE_SECONDS
from harness.stack import Stack, get, wait_for, write_lines
from scorer.deployments.deploy import now
from scorer.deployments.ledger import append
from scorer.deployments.records import Answer, Withdrawal
from shadow.comparison.totals import Run
from shadow.gate.criteria import parse

MUCH = "{maximum_more_blocks: 50, maximum_more_blocked_amount: 50, maximum_more_uncapped_amount: 50}"
LAX = f"schema: 1\nminimum_covered_hours: 24\nmay_stay_insufficient: ['*']\noverall: {MUCH}\nper_segment: {MUCH}\n"
SIGNED = ("--by", "ann", "--reason", "because")


def row(i: int) -> dict[str, Any]:
    at = f"2026-02-01T12:00:{i:02}Z"
    return {"occurred_at": at, "card_id": f"c-{i}", "merchant_id": "m", "amount": 12.5, "currency": "EUR"}


@pytest.fixture
def desk(stack: Stack, models: Models) -> Desk:
    return Desk(stack, models)


def test_a_suggestion_is_withdrawn_with_its_cause_when_the_verdict_turns_and_made_again(desk: Desk) -> None:
    serve = desk.serve()
    wait_for("suggestion", lambda: suggestions(serve))
    assert serve.metric("shadow_suggestions_waiting") == 1
    desk.count("candidate", BAD)
    (withdrawal,) = wait_for("withdrawal", lambda: desk.ledger("withdrawal"))
    assert withdrawal["suggestion"] == desk.ledger("suggestion")[0]["seq"]
    assert withdrawal["cause"] == "verdict"
    assert withdrawal["reason"].startswith("reject: failed more_blocks")
    assert withdrawal["by"] == "shadow serve"
    wait_for("none left", lambda: not suggestions(serve))
    wait_for("counted", lambda: serve.metric("shadow_suggestions_waiting") == 0)
    for command in ("approve", "reject"):
        line = desk.stack.fails("shadow", command, "--by", "ann", "--reason", "clean")
        assert "the suggestion was withdrawn at 2" in line
        assert "reject: failed more_blocks" in line
    desk.criteria.write_text(LAX)
    serve.stop()
    again = desk.serve()
    wait_for("suggested again", lambda: suggestions(again))
    desk.stack.run("shadow", "approve", "--by", "ann", "--reason", "clean")
    assert desk.live()["digest"] == desk.models.candidate


def test_what_was_suggested_is_judged_again_when_it_is_approved(desk: Desk) -> None:
    seq = desk.suggest()
    desk.count("candidate", BAD)  # and nobody has looked since
    line = desk.refused()
    assert "the gate no longer promotes this candidate (reject: failed more_blocks" in line
    assert "--force" not in line
    (withdrawal,) = desk.ledger("withdrawal")
    assert (withdrawal["suggestion"], withdrawal["by"], withdrawal["cause"]) == (seq, "ann", "verdict")
    assert "the suggestion was withdrawn at 2" in desk.refused()
    assert len(desk.ledger("withdrawal")) == 1
    assert desk.ledger("prepare") == [], "no scorer was asked"
    assert desk.live()["epoch"] == 1


def test_the_criteria_in_force_decide_not_those_of_the_suggestion(desk: Desk) -> None:
    seq = desk.suggest()
    desk.criteria.write_text(RELEASE + "overall: {maximum_more_blocks: 0.9}\n")
    line = desk.refused()
    assert "its suggestion cannot be approved here: it was made under release criteria" in line
    assert desk.ledger("withdrawal") == [], "a laxer file of one's own changes nothing"
    desk.criteria.write_text(RELEASE.replace("24", "1000"))
    assert (
        "the gate no longer promotes this candidate (hold: evidence still missing for covered_hours" in desk.refused()
    )
    (withdrawal,) = desk.ledger("withdrawal")
    assert (withdrawal["suggestion"], withdrawal["cause"]) == (seq, "criteria")


def test_a_suggestion_expires_after_72_hours_and_says_so(desk: Desk) -> None:
    made = datetime.now(UTC) - timedelta(hours=72, minutes=1)
    old = desk.suggest(made.isoformat())
    line = desk.refused()
    assert f"the suggestion of {made:%Y-%m-%d %H:%M} UTC expired" in line
    assert "within 72 hours" in line
    assert desk.ledger("withdrawal") == [], "it is what `shadow serve` says"
    serve = desk.serve()
    (fresh,) = wait_for("a new one", lambda: suggestions(serve))
    (withdrawal,) = desk.ledger("withdrawal")
    assert (withdrawal["suggestion"], withdrawal["cause"]) == (old, "expired")
    assert fresh["seq"] != old
    desk.stack.run("shadow", "approve", "--by", "ann", "--reason", "clean")


def test_without_redis_nothing_is_approved(desk: Desk) -> None:
    desk.suggest()
    desk.stack.store.stop()
    assert "start it or set SHADOW_REDIS" in desk.refused()
    assert desk.live()["epoch"] == 1


def test_of_two_approvers_at_once_the_second_is_told_who_was_first(desk: Desk) -> None:
    desk.suggest()
    both = {by: desk.approve(by) for by in ("ann", "bob")}
    told = {by: process.communicate(timeout=PATIENCE_SECONDS)[0].decode() for by, process in both.items()}
    codes = {by: process.returncode for by, process in both.items()}
    assert sorted(codes.values()) == [0, 2], told
    (first,) = [by for by, code in codes.items() if code == 0]
    (second,) = [by for by, code in codes.items() if code == 2]
    errors = [line for line in told[second].splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert f"{first} approved this candidate at 2" in errors[0]
    assert desk.live()["epoch"] == 2


def _withdrawing(seq: str) -> Withdrawal:
    return Withdrawal(suggestion=seq, cause="verdict", reason="hold: as of now", by="shadow serve", at=now())


def _rejecting(seq: str) -> Answer:
    return Answer(suggestion=seq, answer="rejected", by="bob", reason="holidays", at=now())


@pytest.mark.parametrize(
    ("settle", "told"),
    [(_withdrawing, "the suggestion was withdrawn at 2"), (_rejecting, "bob rejected this candidate at 2")],
    ids=["withdrawn", "rejected"],
)
def test_a_suggestion_that_is_settled_while_scorers_prepare_is_not_approved(
    desk: Desk, settle: Callable[[str], Any], told: str
) -> None:
    seq = desk.suggest()
    desk.scorer.pause()  # it does not answer the request to prepare
    try:
        approval = desk.approve()
        wait_for("asked", lambda: desk.ledger("prepare"))
        desk.write(settle(seq))
        out, _ = approval.communicate(timeout=PATIENCE_SECONDS)
    finally:
        desk.scorer.resume()
    assert approval.returncode == 2
    (line,) = [line for line in out.decode().splitlines() if line.startswith("error: ")]
    assert told in line
    assert desk.live()["epoch"] == 1


def test_an_approval_that_comes_behind_a_withdrawal_in_the_log_is_void(desk: Desk, tmp_path: Path) -> None:
    from scorer.deployments.changes import promotion
    from scorer.deployments.ledger import StaleChangeError, read

    seq = desk.suggest()
    seen = asyncio.run(read(desk.stack.settings()))  # what the approver saw
    desk.write(_withdrawing(seq))
    change = promotion(seen, "candidate", "ann", "clean", now(), None, seq)
    with pytest.raises(StaleChangeError):
        asyncio.run(append(desk.stack.settings(), lambda _: change))
    after = asyncio.run(read(desk.stack.settings()))
    assert after.slot("live").epoch == 1
    assert [line.is_void for line in after.ledger][-2:] == [False, True]


def test_only_resume_lifts_the_kill_switch(desk: Desk) -> None:
    stack, models, sent = desk.stack, desk.models, 0

    def decided(epoch: int) -> list[dict[str, Any]]:
        """Decisions on ten more transactions."""
        nonlocal sent
        wait_for("swapped", lambda: desk.scorer.metric("scorer_live_epoch") == epoch)
        rows = [row(i) | {"transaction_id": f"t-{sent + i}"} for i in range(10)]
        stack.run("scorer", "replay", str(write_lines(stack.folder / "rows.jsonl", rows)))
        sent += 10
        stack.until_settled(sent)
        return [d for d in stack.decisions() if d["epoch"] == epoch]

    def is_blocked(epoch: int) -> bool:
        return {(d["decision"], d.get("override"), d["score"]) for d in decided(epoch)} == {
            ("block", "block_all", None)
        }

    still = "the kill switch stays on (block_all): no model is asked until `scorer deploy --resume"
    assert still not in stack.run("scorer", "deploy", "--block-all", *SIGNED)
    assert is_blocked(2)
    desk.count("candidate", GOOD, run=Run(2, 1))
    desk.count("control", TWIN, run=Run(2, 1))
    desk.suggest(live=2)
    assert still in stack.run("shadow", "approve", *SIGNED)
    assert is_blocked(3)
    assert desk.live()["digest"] == models.candidate
    assert still in stack.run("shadow", "rollback", *SIGNED)
    assert is_blocked(4)
    assert still in stack.run("scorer", "deploy", models.control, *SIGNED)
    assert is_blocked(5)
    stack.run("scorer", "deploy", "--resume", *SIGNED)
    assert {(d["bundle"], d.get("override")) for d in decided(6)} == {(models.control, None)}


def test_deploying_what_is_there_changes_nothing(desk: Desk) -> None:
    stack, models = desk.stack, desk.models
    n = len(desk.ledger("change"))
    for slot, bundle in (("candidate", models.candidate), ("control", models.control), ("live", models.live)):
        told = stack.run("scorer", "deploy", bundle, "--slot", slot, *SIGNED)
        assert told.startswith(f"slot {slot}: unchanged; bundle {bundle[:12]} at threshold ")
        assert "epoch 1" in told
    assert "unchanged; empty" in stack.run("scorer", "deploy", "--empty", "--slot", "spare", *SIGNED)
    assert len(desk.ledger("change")) == n
    stack.run("shadow", "gate")
    again = ("scorer", "deploy", models.candidate, "--slot", "candidate", *SIGNED)
    assert stack.run(*again).endswith("its run goes on; to begin a new one, add --discard-evidence")
    assert "epoch 2\nthis ended slot candidate, run L1-C1 (48 " in stack.run(*again, "--discard-evidence")


def test_evidence_is_thrown_away_only_by_those_who_say_so(desk: Desk) -> None:
    stack, models = desk.stack, desk.models
    compared = 48 * sum(GOOD)
    asks = f"slot candidate, run L1-C1 (48 event hours, {compared:,} transactions)"
    floor = f"slot control, run L1-C1 (48 event hours, {48 * sum(TWIN):,} transactions)"
    assert stack.run("shadow", "evidence").splitlines() == [asks, floor]
    n = len(desk.ledger("change"))
    for what in ((models.live,), (models.candidate, "--threshold", "0.123"), ("--empty",)):
        line = stack.fails("scorer", "deploy", *what, "--slot", "candidate", *SIGNED)
        assert f"this would throw away the evidence of {asks};" in line
        assert "--discard-evidence" in line
    line = stack.fails("scorer", "deploy", models.control, "--slot", "live", *SIGNED)
    assert f"{asks}; {floor};" in line
    assert len(desk.ledger("change")) == n

    told = stack.run("scorer", "deploy", models.live, "--slot", "candidate", "--discard-evidence", *SIGNED)
    assert f"this ended {asks}" in told
    stack.run("scorer", "deploy", models.candidate, "--slot", "candidate", *SIGNED)  # the run before has nothing yet
    told = stack.run("scorer", "deploy", models.control, "--slot", "live", "--discard-evidence", *SIGNED)
    assert f"this ended {floor}" in told
    assert stack.run("shadow", "evidence").splitlines() == [
        f"slot {slot}, run L2-C{epoch} (0 event hours, 0 transactions)"
        for slot, epoch in (("candidate", 3), ("control", 1), ("previous", 1))
    ]


def test_what_cannot_be_seen_is_not_taken_for_nothing_and_stops_no_kill_switch(desk: Desk) -> None:
    stack, models = desk.stack, desk.models
    stack.store.stop()
    deploy = ("scorer", "deploy", models.live, "--slot", "candidate", *SIGNED)
    line = stack.fails(*deploy)
    assert "what the run of slot candidate has gathered, which this would throw away, cannot be seen (redis " in line
    assert "cannot be seen (redis " in stack.run("scorer", "deploy", "--block-all", *SIGNED)
    assert desk.live()["override"] == "block_all"
    stack.run("scorer", "deploy", "--resume", *SIGNED)
    assert "cannot be seen" in stack.run(*deploy, "--discard-evidence")


def test_approval_and_rollback_say_which_other_runs_they_end(desk: Desk) -> None:
    stack = desk.stack
    stack.deploy(desk.models.live, "challenger")
    desk.count("challenger", GOOD)
    desk.suggest()
    asks = f"(48 event hours, {48 * sum(GOOD):,} transactions)"
    told = stack.run("shadow", "approve", *SIGNED)
    assert f"this ended slot challenger, run L1-C1 {asks}" in told
    assert "slot candidate, run" not in told, "that is what was approved"
    desk.count("challenger", GOOD, run=Run(2, 1))
    assert f"slot challenger, run L2-C1 {asks}" in stack.run("shadow", "rollback", *SIGNED)


def test_a_forced_release_keeps_the_verdict_of_its_moment_and_is_shown_for_ever(desk: Desk) -> None:
    stack, models = desk.stack, desk.models
    desk.count("candidate", BAD)
    assert "the gate does not promote this candidate; see `shadow gate" in desk.refused()
    told = stack.run("shadow", "approve", "--force", "--by", "ann", "--reason", "board meeting")
    assert "promoting in spite of this: slot candidate: the gate does not promote this candidate" in told
    (entry,) = desk.ledger("forced")
    assert f"this release was forced, which stays on record (ledger entry {entry['seq']}): reject: failed" in told
    assert entry["verdict"]["decision"] == "reject"
    assert entry["verdict"]["run"] == "L1-C1"
    assert entry["verdict"]["criteria"] == parse(RELEASE).digest
    failed = {(found["criterion"], found["segment"]) for found in entry["verdict"]["against"]}
    assert ("more_blocks", "all") in failed
    assert desk.live()["digest"] == models.candidate

    serve = desk.serve()
    page = get(f"http://127.0.0.1:{serve.port}/metrics") or b""
    assert b'shadow_forced_releases{verdict="reject"} 1.0' in page
    stack.run("shadow", "rollback", *SIGNED)
    (line,) = [line for line in stack.run("shadow", "history").splitlines() if "FORCED" in line]
    assert "FORCED by ann: live bundle" in line
    assert line.endswith("reason: board meeting  (name not verified)")
    told, _ = stack.begin("shadow", "gate").communicate(timeout=PATIENCE_SECONDS)
    assert b"one release was forced by ann at 2" in told


def test_another_threshold_than_the_judged_one_is_forced_or_refused(desk: Desk) -> None:
    stack = desk.stack
    judged = next(r for r in reversed(desk.ledger("change")) if "candidate" in r["slots"])["slots"]["candidate"]
    desk.suggest()
    line = stack.fails("shadow", "approve", "--threshold", "0.4", *SIGNED)
    assert f"--threshold 0.4: was not judged, the candidate was at {judged['threshold']:g}" in line
    assert "--force" not in line
    assert desk.ledger("prepare") == []
    told = stack.run("shadow", "approve", "--threshold", "0.4", "--force", *SIGNED)
    assert "promoting in spite of this: --threshold 0.4: was not judged" in told
    (entry,) = desk.ledger("forced")
    assert entry["verdict"]["decision"] == "promote"
    assert entry["slots"]["live"]["threshold"] == 0.4
    assert ["--threshold 0.4" in why for why in entry["overrode"]] == [True]


def test_the_judged_threshold_is_no_other_one(desk: Desk) -> None:
    judged = next(r for r in reversed(desk.ledger("change")) if "candidate" in r["slots"])["slots"]["candidate"]
    desk.suggest()
    desk.stack.run("shadow", "approve", "--threshold", repr(judged["threshold"]), *SIGNED)
    assert desk.ledger("forced") == []


def test_without_redis_a_forced_release_says_that_nobody_knows_the_verdict(desk: Desk) -> None:
    desk.stack.store.stop()
    told = desk.stack.run("shadow", "approve", "--force", *SIGNED)
    assert "cannot be judged now (redis " in told
    (entry,) = desk.ledger("forced")
    assert entry["verdict"]["decision"] == "unknown"
    assert desk.live()["epoch"] == 2


def test_a_blank_name_or_reason_is_refused_at_once(desk: Desk) -> None:
    stack, models = desk.stack, desk.models
    desk.suggest()
    n = len(stack.read("deployments"))
    nowhere = "127.0.0.1:1"  # nobody is even asked
    for by, reason, option in (("", "clean", "--by"), (" \t", "clean", "--by"), ("ann", " ", "--reason")):
        signed = ("--by", by, "--reason", reason)
        for command in (
            ("shadow", "approve", *signed),
            ("shadow", "approve", "--force", *signed),
            ("shadow", "reject", *signed),
            ("shadow", "rollback", *signed),
            ("scorer", "deploy", models.live, "--slot", "candidate", *signed),
            ("scorer", "deploy", "--block-all", *signed),
        ):
            line = stack.fails(*command, SCORER_KAFKA=nowhere, SHADOW_KAFKA=nowhere)
            assert line.startswith(f"error: {option}: says nothing; give your ")
    assert len(stack.read("deployments")) == n


def test_names_of_what_is_not_there_are_refused_with_the_nearest(desk: Desk) -> None:
    stack = desk.stack
    for command in (
        ("shadow", "gate"),
        ("shadow", "report"),
        ("shadow", "verify"),
        ("shadow", "disagreements"),
        ("shadow", "review", "next", "--by", "ann"),
        ("shadow", "review", "mark", "t-1", "fraud", "--by", "ann"),
        ("shadow", "approve", *SIGNED),
        ("shadow", "reject", *SIGNED),
    ):
        line = stack.fails(*command, "--slot", "candidat")
        assert line == "error: slot candidat: was never filled; did you mean candidate?"
        assert "slot live: is what candidates are compared with" in stack.fails(*command, "--slot", "live")
    assert "did you mean all?" in stack.fails("shadow", "disagreements", "--segment", "al")
    assert "run L1-C7: slot candidate never had it; did you mean L1-C1?" in stack.fails(
        "shadow", "disagreements", "--run", "L1-C7"
    )
    line = stack.fails("shadow", "review", "mark", "t-1", "fraud", "--by", "ann")
    assert "transaction t-1: no run of slot candidate keeps it; there is none yet" in line
    assert stack.read("labels") == []
    assert "needs another slot" in stack.fails("shadow", "rollback", "--slot", "live", *SIGNED)


def test_the_candidates_own_twin_takes_the_control_slot_with_its_promotion(desk: Desk) -> None:
    stack, models = desk.stack, desk.models
    train = ("scorer", "train", str(models.history), "--to", CUT, "--twin")
    twin = stack.run(*train, models.candidate).splitlines()[-1]
    told, _ = stack.begin("shadow", "gate").communicate(timeout=PATIENCE_SECONDS)
    wanted = "slot candidate: no twin of this candidate is known, so after a promotion there is no A/A floor; make one "
    assert wanted.encode() in told
    hint = re.search(r"name it: `(scorer deploy .*) --twin TWIN", told.decode())
    assert hint is not None

    name = (*hint[1].split(), *SIGNED, "--twin")
    assert f"is no twin of bundle {models.candidate[:12]}: it " in stack.fails(*name, models.control)
    out = stack.run(*name, twin)
    assert "slot candidate: unchanged; bundle" in out
    assert f"its twin is bundle {twin[:12]}, which takes slot control when it is promoted" in out
    found = orjson.loads(stack.run("shadow", "gate", "--json"))
    assert (found["run"], found["twin"]) == ("L1-C1", twin), "and the run goes on"
    assert "--twin: is named with the bundle" in stack.fails("scorer", "deploy", "--block-all", "--twin", twin, *SIGNED)

    desk.suggest()
    n = len(desk.ledger("change"))
    assert f"slot control: bundle {twin[:12]}, the twin of what is live now" in stack.run("shadow", "approve", *SIGNED)
    (*_, change) = desk.ledger("change")
    assert len(desk.ledger("change")) == n + 1, "in the same change"
    assert {name: (slot or {}).get("digest") for name, slot in change["slots"].items()} == {
        "live": models.candidate,
        "previous": models.live,
        "candidate": None,
        "control": twin,
    }
    told_back = stack.run("shadow", "rollback", *SIGNED)
    assert f"slot control: bundle {models.control[:12]}, the twin of what is live now" in told_back
    assert desk.live()["digest"] == models.live
