"""Commands as people use them: every error is one line and exit 2, and every decision is on record."""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from harness.models import Models
from harness.patience import PATIENCE_SECONDS
from harness.stack import Stack, Worker, get, wait_for, write_lines
from shadow.local.process import free_port

SIGNED = ("--by", "ann", "--reason", "because")


@pytest.mark.parametrize(
    ("env", "told"),
    [
        ({"SCORER_SESION_SECONDS": "3"}, "SCORER_SESION_SECONDS: no such setting"),
        ({"SCORER_PARTITIONS": "0"}, "set SCORER_PARTITIONS"),
        ({"SCORER_KAFKA": "localhost"}, "is not host:port"),
        ({"SCORER_TOPICS": "{"}, "JSON"),
        ({"SCORER_SETTINGS": "nowhere.yaml"}, "no file nowhere.yaml"),
        ({"SCORER_HEARTBEAT_SECONDS": "1.9"}, "heartbeat_seconds"),
        ({"SCORER_VIEW": "nowhere.yaml"}, "feature view nowhere.yaml"),
        ({"SCORER_MONEY": '{"currency": "euro"}'}, "ISO 4217"),
    ],
)
def test_a_bad_setting_stops_the_start(stack: Stack, env: dict[str, str], told: str) -> None:
    assert told in stack.fails("scorer", "run", "--http-port", "0", **env)


def test_bad_release_criteria_stop_the_start(stack: Stack) -> None:
    path = stack.folder / "release.yaml"
    path.write_text("schema: 1\noverall: {minimum_coverage: 2}\n")
    line = stack.fails("shadow", "run", "--slot", "candidate", SHADOW_RELEASE=str(path))
    assert "overall.minimum_coverage" in line


@pytest.mark.parametrize(
    "argv",
    [
        ("scorer", "run", "--http-port", "0"),
        ("scorer", "deploy", "--block-all", *SIGNED),
        ("scorer", "replay", "--rejected"),
        ("shadow", "run", "--slot", "candidate", "--http-port", "0"),
        ("shadow", "serve", "--http-port", "0"),
        ("shadow", "gate"),
        ("shadow", "approve", *SIGNED),
    ],
    ids=lambda argv: " ".join(argv[:2]),
)
def test_a_broker_that_is_away_is_told(stack: Stack, argv: tuple[str, ...]) -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    assert f"kafka {nowhere}: cannot be reached" in stack.fails(*argv, SCORER_KAFKA=nowhere, SHADOW_KAFKA=nowhere)


def test_a_store_that_is_away_is_told(stack: Stack, models: Models) -> None:
    stack.deploy(models.candidate, "candidate")
    nowhere = f"redis://127.0.0.1:{free_port()}/0"
    for command in ("gate", "disagreements", "verify"):
        assert "start it or set SHADOW_REDIS" in stack.fails("shadow", command, SHADOW_REDIS=nowhere)


def test_a_bundle_that_is_missing_or_tampered_with_is_told(stack: Stack, models: Models, tmp_path: Path) -> None:
    assert "put it there" in stack.fails("scorer", "deploy", "ab" * 32, *SIGNED)
    assert "no digests in store" in stack.fails("scorer", "deploy", "abcdabcd", *SIGNED)
    store = tmp_path / "store"
    folder = store / models.live
    folder.mkdir(parents=True)
    origin = Path(models.env["SCORER_STORE"]) / models.live
    for part in origin.iterdir():
        (folder / part.name).write_bytes(part.read_bytes().replace(b"leaf_value=", b"leaf_value=0.", 1))
    env = {"SCORER_STORE": str(store), "SCORER_CACHE": str(tmp_path / "cache")}
    assert "its content was changed" in stack.fails("scorer", "deploy", models.live, *SIGNED, **env)
    assert "its content was changed" in stack.fails("scorer", "run", "--http-port", "0", **env)


def test_an_empty_live_slot_is_told(models: Models, tmp_path: Path) -> None:
    with Stack(tmp_path, dict(models.env)) as stack:
        assert "slot live: is empty" in stack.fails("scorer", "run", "--http-port", "0")


def test_a_topic_with_more_partitions_than_there_are_transactions_stops_the_start(stack: Stack) -> None:
    env = {"SCORER_TOPICS": '{"transactions": "others"}', "SCORER_PARTITIONS": "2"}
    line = stack.fails("scorer", "run", "--http-port", "0", **env)
    assert "topic decisions: has 4 partitions, 2 expected" in line


def test_no_topic_but_its_own_holds_up_the_kill_switch(stack: Stack) -> None:
    """Somebody raised the partitions of a topic, or has not made a new one yet."""
    topics = '{"transactions": "others", "erasures": "nowhere"}'
    env = {"SCORER_TOPICS": topics, "SCORER_PARTITIONS": "2", "SCORER_CREATE_TOPICS": "false"}
    signed = ("--by", "ann", "--reason", "a test")
    assert "topic decisions: has 4" in stack.fails("scorer", "deploy", "--empty", "--slot", "candidate", *signed, **env)
    assert "block_all" in stack.run("scorer", "deploy", "--block-all", *signed, env=env)
    assert "slot live: bundle" in stack.run("scorer", "deploy", "--resume", *signed, env=env)


def decide(stack: Stack, rows: list[dict[str, Any]], already: int) -> list[dict[str, Any]]:
    """Send transactions; their decisions."""
    file = write_lines(
        stack.folder / f"{already}.jsonl", [{**r, "transaction_id": f"{already}-{i}"} for i, r in enumerate(rows)]
    )
    stack.run("scorer", "replay", str(file))
    stack.until_settled(already + len(rows))
    return [d for d in stack.decisions() if d["transaction"]["transaction_id"].startswith(f"{already}-")]


def a_row(i: int = 0) -> dict[str, Any]:
    return {
        "occurred_at": f"2026-02-01T12:00:{i:02}Z",
        "card_id": f"c-{i}",
        "merchant_id": "m",
        "amount": 12.5,
        "currency": "EUR",
    }


def test_kill_switch_asks_no_model_and_ends_when_told(stack: Stack) -> None:
    worker = stack.start("scorer", "run")
    rows = [a_row(i) for i in range(20)]
    assert all(d["score"] is not None for d in decide(stack, rows, 0))
    for n, (action, verdict) in enumerate([("allow-all", "allow"), ("block-all", "block")], start=1):
        stack.run("scorer", "deploy", f"--{action}", *SIGNED)
        wait_for("override", lambda n=n: worker.metric("scorer_live_epoch") == 1 + n)
        made = decide(stack, rows, 20 * n)
        assert {(d["decision"], d["score"], d["override"]) for d in made} == {(verdict, None, action.replace("-", "_"))}
    assert worker.metric("scorer_override") == 1
    stack.run("scorer", "deploy", "--resume", *SIGNED)
    wait_for("resumed", lambda: worker.metric("scorer_live_epoch") == 4)
    made = decide(stack, rows, 60)
    assert all(d["score"] is not None and "override" not in d for d in made)
    assert "the kill switch is not on" in stack.fails("scorer", "deploy", "--resume", *SIGNED)


def test_a_candidate_may_differ_in_its_threshold_only(stack: Stack, models: Models) -> None:
    stack.deploy(models.live, "candidate", threshold=0.00001)
    stack.start("scorer", "run", ready=False)
    stack.start("shadow", "run", "--slot", "candidate", ready=False)
    stack.until_ready()
    stack.run("scorer", "replay", str(models.stream), "--limit", "300")
    stack.until_settled(300)
    outputs: list[str] = []

    def differ() -> bool:
        outputs[:] = stack.run("shadow", "disagreements", "--output", "jsonl", "--limit", "1000").splitlines()
        return len(outputs) > 50

    wait_for("disagreements", differ)
    for line in outputs:
        sample = orjson.loads(line)
        assert sample["outcome"] == "candidate_only"
        assert sample["candidate"]["score"] == sample["live"]["score"]
        assert sample["candidate"]["threshold"] == 0.00001


@pytest.fixture
def judged(stack: Stack, models: Models) -> Stack:
    """A candidate that passes: the criteria ask for little, so that a short stream is enough."""
    path = stack.folder / "release.yaml"
    path.write_text(
        "schema: 1\nsegments:\n  country: {field: country, values: [DE, ES, FR, GB]}\n"
        "minimum_covered_hours: 24\nmay_stay_insufficient: ['*']\n"
    )
    stack.env["SHADOW_RELEASE"] = str(path)
    stack.deploy(models.candidate, "candidate")
    stack.deploy(models.control, "control")
    stack.start("scorer", "run", ready=False)
    stack.start("scorer", "run", ready=False)
    for slot in ("candidate", "control", "previous"):
        stack.start("shadow", "run", "--slot", slot, ready=False)
    stack.start("shadow", "serve", ready=False)
    stack.until_ready()
    return stack


def suggestions(serve: Worker) -> list[Any]:
    found: list[Any] = orjson.loads(get(f"http://127.0.0.1:{serve.port}/api/suggestions") or b"[]")
    return found


def test_suggestion_rejection_promotion_and_rollback(judged: Stack, models: Models) -> None:
    stack, serve = judged, judged.workers[-1]
    line = stack.fails("shadow", "approve", *SIGNED)
    assert "the gate does not promote this candidate; see `shadow gate --slot candidate`" in line
    assert "--force" not in line
    assert "the gate does not promote" in stack.fails("shadow", "reject", *SIGNED)
    assert "there is nothing to go back to" in stack.fails("shadow", "rollback", *SIGNED)
    stack.run("scorer", "replay", str(models.stream), "--limit", "4000")
    (suggested,) = wait_for("suggestion", lambda: suggestions(serve))
    assert suggested["slot"] == "candidate"
    assert suggested["target"]["digest"] == models.candidate
    assert suggested["evidence"]["bundle"]["training"]["rows"] > 1000
    stack.run("shadow", "gate", expect=0)

    stack.run("shadow", "reject", *SIGNED)
    wait_for("no suggestion", lambda: not suggestions(serve))
    time.sleep(1.5)  # two looks of the gate: what was rejected is not suggested again
    assert not suggestions(serve)
    for command in ("approve", "reject"):
        assert "slot candidate: ann rejected this candidate at 2" in stack.fails("shadow", command, *SIGNED)

    stack.run("shadow", "approve", "--force", "--threshold", "0.4", *SIGNED)
    for scorer in stack.workers[:2]:
        wait_for("swapped", lambda scorer=scorer: scorer.metric("scorer_live_epoch") == 2)
    stack.run("scorer", "replay", str(models.stream), "--skip", "4000", "--limit", "2000")
    stack.until_settled(6000)
    after = [d for d in stack.decisions() if d["epoch"] == 2]
    assert len(after) > 1900
    assert {(d["bundle"], d["threshold"]) for d in after} == {(models.candidate, 0.4)}
    previous = stack.workers[4]  # it goes on with the model that was replaced
    wait_for("the replaced model is compared", lambda: previous.metric("shadow_comparisons_total") > 1900)
    assert "run L2-C1" in stack.run("shadow", "gate", "--slot", "previous")
    assert "slot candidate: is empty" in stack.fails("shadow", "gate")
    second = stack.fails("shadow", "approve", "--by", "bob", "--reason", "because")
    assert re.search(r"ann approved this candidate at \S+ \d\d:\d\d UTC; nothing left to approve", second)

    stack.run("shadow", "rollback", *SIGNED)
    for scorer in stack.workers[:2]:
        wait_for("back", lambda scorer=scorer: scorer.metric("scorer_live_epoch") == 3)
    stack.run("scorer", "replay", str(models.stream), "--skip", "6000", "--limit", "1000")
    stack.until_settled(7000)
    assert {d["bundle"] for d in stack.decisions() if d["epoch"] == 3} == {models.live}
    assert len(stack.settled()) == len(set(stack.settled())) == 7000
    assert all(worker.process.poll() is None for worker in stack.workers), "a swap needs no restart"
    for slot in ("candidate", "control", "previous"):
        assert "equal" in stack.run("shadow", "verify", "--slot", slot).splitlines()
    causes = [orjson.loads(r.value).get("cause") for r in stack.read("deployments") if r.key.startswith(b"ledger/")]
    assert [cause for cause in causes if cause] == ["deploy"] * 3 + ["approve", "rollback"]


def test_a_scorer_that_cannot_load_is_named_and_the_promotion_refused(
    judged: Stack, models: Models, tmp_path: Path
) -> None:
    stack, partial = judged, tmp_path / "partial"
    shutil.copytree(Path(models.env["SCORER_STORE"]) / models.live, partial / models.live)
    own = {"SCORER_STORE": str(partial), "SCORER_CACHE": str(tmp_path / "own"), "SCORER_WORKER_ID": "poor"}
    poor = stack.start("scorer", "run", env=own)
    stack.run("scorer", "replay", str(models.stream), "--limit", "4000")
    wait_for("suggestion", lambda: suggestions(stack.workers[5]))
    line = stack.fails("shadow", "approve", *SIGNED)
    assert line.startswith("error: scorer poor: bundle")
    assert "--force" not in line
    assert poor.metric("scorer_live_epoch") == 1
    forced = stack.begin("shadow", "approve", "--force", *SIGNED)
    told = forced.communicate(timeout=PATIENCE_SECONDS)[0].decode()
    assert forced.returncode == 1
    assert "promoting in spite of this: scorer poor: bundle" in told
    assert "NOT every scorer decides by it yet: poor: runs epoch 1" in told
    for scorer in stack.workers[:2]:
        wait_for("swapped", lambda scorer=scorer: scorer.metric("scorer_live_epoch") == 2)
    wait_for("says so", lambda: poor.metric("scorer_model_behind") == 1)
    assert poor.process.poll() is None, "it goes on with what it has"
    shutil.copytree(Path(models.env["SCORER_STORE"]) / models.candidate, partial / models.candidate)
    wait_for("caught up", lambda: poor.metric("scorer_live_epoch") == 2)
    assert poor.metric("scorer_model_behind") == 0
