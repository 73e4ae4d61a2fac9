"""After a release, on a real broker and a real store: live is watched, and what people always accept is automated."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from harness.desk import GOOD, RELEASE, TWIN, Desk, suggestions
from harness.models import Models
from harness.patience import PATIENCE_SECONDS
from harness.stack import Stack, get, wait_for
from scorer.deployments.changes import deployment, promotion
from scorer.deployments.ledger import append
from scorer.deployments.records import CANDIDATE, LIVE, Automation, Change, Suggestion, Target
from scorer.deployments.slots import Deployments
from shadow.comparison.totals import Run
from shadow.gate.criteria import parse

#: By outcome in each hour: the model before live blocks much that live allows.
WORSE = (1000, 40, 4, 24)
SIGNED = ("--by", "bea", "--reason", "it says so")


@pytest.fixture
def desk(stack: Stack, models: Models) -> Desk:
    return Desk(stack, models)


@pytest.fixture
def released(desk: Desk) -> Desk:
    """The candidate was suggested and approved."""
    serve = desk.serve()
    wait_for("suggestion", lambda: suggestions(serve))
    desk.stack.run("shadow", "approve", "--by", "ann", "--reason", "clean")
    serve.stop()
    return desk


def test_of_two_who_roll_back_at_once_one_does_and_a_refusal_wakes_nobody_any_more(released: Desk) -> None:
    desk = released
    desk.count("previous", WORSE, run=Run(2, 1))
    serve = desk.serve()
    wait_for("worse", lambda: serve.metric("shadow_live_worse") == 1)
    desk.stack.run("shadow", "reject", "--slot", "previous", "--by", "ann", "--reason", "an attack")
    wait_for("nobody is woken", lambda: serve.metric("shadow_live_worse") == 0)
    both = [desk.stack.begin("shadow", "rollback", "--by", name, "--reason", "after all") for name in ("ann", "bob")]
    told = [one.communicate(timeout=PATIENCE_SECONDS)[0].decode() for one in both]
    assert sorted(one.returncode for one in both) == [0, 2], told
    assert desk.live()["digest"] == desk.models.live
    assert desk.live()["epoch"] == 3


def status(desk: Desk) -> list[str]:
    return desk.stack.run("shadow", "status").splitlines()


def test_a_live_model_that_is_worse_than_the_one_before_is_suggested_to_be_rolled_back(released: Desk) -> None:
    desk = released
    desk.count("previous", WORSE, run=Run(2, 1))
    serve = desk.serve()
    found = wait_for("rollback suggested", lambda: [s for s in desk.ledger("suggestion") if s["action"] == "rollback"])
    (made,) = found
    assert made["slot"] == "previous"
    assert made["target"]["digest"] == desk.models.live
    assert made["evidence"]["judgement"]["reason"].startswith(
        "live is worse than the model before it: fewer_blocks in "
    )
    wait_for("metric", lambda: serve.metric("shadow_live_worse") == 1)
    assert serve.metric("shadow_watched_transactions") == 48 * sum(WORSE)
    (line,) = [line for line in status(desk) if line.startswith("watch")]
    assert "live is worse than the model before it" in line
    (line,) = [line for line in status(desk) if line.startswith("waiting")]
    assert "slot previous: to be put back (`shadow rollback`) or rejected by a person" in line
    replayed = desk.stack.run("shadow", "replay", made["dossier"][:12])
    assert "the same verdict" in replayed or "byte for byte" in replayed
    assert "goes live by `shadow rollback" in desk.stack.fails("shadow", "approve", "--slot", "previous", *SIGNED)

    desk.stack.run("shadow", "rollback", *SIGNED)
    assert desk.live()["digest"] == desk.models.live
    (change,) = [c for c in desk.ledger("change") if c["cause"] == "rollback"]
    assert change["suggestion"] == made["seq"]
    assert change["automatic"] is False
    told = desk.stack.run("shadow", "history")
    assert f"suggested: roll back to bundle {desk.models.live[:12]} at " in told
    assert f"afterwards: rollback suggested as {made['seq']}: live is worse than the model before it" in told
    wait_for("nothing to be watched", lambda: serve.metric("shadow_live_worse") != serve.metric("shadow_live_worse"))


def test_a_live_model_that_is_as_good_is_watched_to_the_end_and_history_has_what_was_seen(released: Desk) -> None:
    desk = released
    desk.count("previous", TWIN, run=Run(2, 1))
    serve = desk.serve()
    wait_for("watched", lambda: serve.metric("shadow_watched_transactions") == 48 * sum(TWIN))
    assert serve.metric("shadow_live_worse") == 0
    shown = orjson.loads(get(f"http://127.0.0.1:{serve.port}/api/status") or b"{}")["watch"]
    assert shown["harm"] is False
    assert shown["reason"].startswith(f"no harm found in {48 * sum(TWIN):,} transactions")
    assert desk.ledger("watched") == []
    serve.stop()
    desk.stack.env["SHADOW_WATCH_DAYS"] = "0.00001"
    serve = desk.serve()
    (found,) = wait_for("its end on the ledger", lambda: desk.ledger("watched"))
    assert (found["verdict"], found["compared"], found["expects"]) == (
        "no_harm", 48 * sum(TWIN), {"live": 2, "previous": 1}
    )  # fmt: skip
    wait_for("another look", lambda: serve.metric("shadow_gate_seconds_count") >= 0)
    (row,) = [row for row in history(desk) if row["kind"] == "approve"]
    assert "no harm found" in row["aftermath"]
    assert len(desk.ledger("watched")) == 1, "once"


def history(desk: Desk) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in desk.stack.run("shadow", "history", "--json").splitlines()]


#: A good while ago, and before all that `accepted` writes.
LONG_AGO = timedelta(hours=6)


def past(minutes: int) -> str:
    return (datetime.now(UTC) - LONG_AGO + timedelta(minutes=minutes)).isoformat()


def accepted(desk: Desk, n: int) -> None:
    """As if people had accepted n suggestions to move the threshold of live, hours ago."""
    settings, digest = desk.stack.settings(), desk.models.live
    criteria = parse(RELEASE).digest
    for at in range(n):

        def fill(present: Deployments, at: int = at) -> Change:
            return deployment(present, CANDIDATE, digest, 0.5 + 0.01 * at, "ann", "again", past(at))

        def suggest(present: Deployments, at: int = at) -> Suggestion:
            return Suggestion(
                change="threshold",
                slot=CANDIDATE,
                target=Target(digest=digest, threshold=0.5 + 0.01 * at),
                expects={name: present.slot(name).epoch for name in (LIVE, CANDIDATE)},
                criteria=criteria,
                evidence={"challenge": {"stopped": 1.0}},
                at=past(at),
            )

        asyncio.run(append(settings, fill))
        line, _ = asyncio.run(append(settings, suggest))
        answer = line.seq

        def approve(present: Deployments, answer: str = answer, at: int = at) -> Change:
            return promotion(present, CANDIDATE, "bea", "as ever", past(at), None, answer)

        asyncio.run(append(settings, approve))


def test_what_people_always_accept_is_automated_once_an_admin_says_so_and_lost_by_one_rejection(desk: Desk) -> None:
    stack = desk.stack
    stack.env |= {"SHADOW_AUTOMATION_ACCEPTED": "3", "SHADOW_AUTOMATION_DAYS": "0"}
    refused = stack.fails("shadow", "automate", "threshold", "--on", *SIGNED)
    assert "automation of threshold: is not earned: 0 of 3 suggestions in a row" in refused
    accepted(desk, 3)
    assert "threshold  off; earned: an admin may switch it on" in stack.run("shadow", "automate")
    stack.run("shadow", "automate", "threshold", "--on", *SIGNED)
    assert "threshold  ON" in stack.run("shadow", "automate", "threshold")

    stack.deploy(desk.models.live, "candidate")
    state = {slot["slot"]: slot for slot in filled(desk)}
    run = Run(state["live"]["epoch"], state["candidate"]["epoch"])
    desk.count("candidate", GOOD, run=run)
    desk.count("control", TWIN, run=Run(run.live_epoch, state["control"]["epoch"]))
    serve = desk.serve()
    (made,) = wait_for("suggestion", lambda: suggestions(serve))
    assert made["change"] == "threshold"
    assert made["evidence"]["challenge"]["stopped"] >= 0.95
    (line,) = [line for line in status(desk) if line.startswith("waiting")]
    assert "automation of threshold is on: it is carried out from 2" in line
    wait_for("metric", lambda: serve.metric("shadow_automation") == 1)
    assert desk.live()["epoch"] == run.live_epoch, "there is time to stop it"
    stack.run("shadow", "reject", "--by", "eve", "--reason", "holidays")
    (lost,) = wait_for("lost", lambda: [e for e in desk.ledger("automation") if e["state"] == "lost"])
    assert lost["change"] == "threshold"
    assert lost["reason"].endswith("eve rejected a suggestion")
    assert "threshold  off; 0 of 3 suggestions" in stack.run("shadow", "automate")
    assert any(
        "automation of threshold lost by shadow serve" in line for line in stack.run("shadow", "history").splitlines()
    )


def filled(desk: Desk) -> list[dict[str, Any]]:
    """What each slot holds."""
    newest: dict[str, Any] = {}
    for record in desk.stack.read("deployments"):
        if record.key.startswith(b"slot/"):
            name = record.key.decode()[5:]
            newest[name] = orjson.loads(record.value) | {"slot": name}
    return list(newest.values())


def test_automation_carries_out_what_nobody_stopped_and_not_two_in_a_fortnight(desk: Desk) -> None:
    stack = desk.stack
    stack.env |= {"SHADOW_AUTOMATION_ACCEPTED": "3", "SHADOW_AUTOMATION_DAYS": "0"}
    accepted(desk, 3)
    for entry in (
        lambda _: Automation(change="threshold", state="on", by="eve", reason="earned", at=past(10)),
        lambda present: deployment(present, CANDIDATE, desk.models.live, 0.5, "ann", "again", past(11)),
    ):
        asyncio.run(append(stack.settings(), entry))
    state = {slot["slot"]: slot for slot in filled(desk)}
    run = Run(state["live"]["epoch"], state["candidate"]["epoch"])
    desk.count("candidate", GOOD, run=run)
    desk.count("control", TWIN, run=Run(run.live_epoch, state["control"]["epoch"]))

    def suggest(present: Deployments) -> Suggestion:
        return Suggestion(
            change="threshold",
            slot=CANDIDATE,
            target=Target(digest=desk.models.live, threshold=0.5),
            expects={LIVE: run.live_epoch, CANDIDATE: run.candidate_epoch},
            criteria=parse(RELEASE).digest,
            evidence={"challenge": {"stopped": 1.0}, "twin": None},
            at=past(12),
        )

    line, _ = asyncio.run(append(stack.settings(), suggest))
    desk.serve()
    wait_for("carried out", lambda: desk.live()["epoch"] > run.live_epoch)
    newest = desk.ledger("change")[-1]
    assert newest["automatic"] is True
    assert (newest["suggestion"], newest["by"]) == (line.seq, "shadow serve")
    assert f"automatic approve by shadow serve: live bundle {desk.models.live[:12]}" in stack.run("shadow", "history")
    assert "automatic" in stack.run("shadow", "history")
