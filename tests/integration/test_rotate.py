"""A rotation by the command alone, on what a real scorer has served: whole, killed at every step, twice at once, and
refused."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from aiokafka import AIOKafkaProducer
from deltalake import DeltaTable

from harness.models import Models
from harness.patience import PATIENCE_SECONDS
from harness.stack import Stack, by_source, wait_for

SERVED = 6000
DELAY = ("--label-delay", "1d")
BY = ("--by", "ann")


@dataclass
class Archived:
    """A stack whose live model has served, with labels, all of it archived. as_of: after all that."""

    stack: Stack
    models: Models
    as_of: datetime
    store: Path

    def at(self, ms: int) -> str:
        """A time after everything was archived; each makes a rotation of its own."""
        return (self.as_of + timedelta(milliseconds=ms)).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def argv(self, ms: int, *more: str) -> tuple[str, ...]:
        return ("scorer", "rotate", "--from-archive", "archive", *DELAY, *BY, "--as-of", self.at(ms), *more)

    def ledger(self) -> list[dict[str, Any]]:
        found = [
            orjson.loads(record.value)
            for record in self.stack.read("deployments")
            if record.key.startswith(b"ledger/") and record.value
        ]
        return [{**entry} for entry in found]

    def rotations(self) -> list[dict[str, Any]]:
        return [entry for entry in self.ledger() if entry["kind"] == "rotation"]

    def changes_to(self, digest: str) -> list[dict[str, Any]]:
        """Changes that put a bundle into slot candidate."""
        return [
            entry
            for entry in self.ledger()
            if entry["kind"] == "change" and ((entry["slots"].get("candidate") or {}).get("digest")) == digest
        ]

    def digests(self) -> set[str]:
        return {path.name for path in self.store.iterdir() if len(path.name) == 64}


@pytest.fixture(scope="module")
def archived(models: Models, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archived]:
    folder = tmp_path_factory.mktemp("rotate")
    store = folder / "bundles"
    shutil.copytree(models.env["SCORER_STORE"], store)  # the module's own: it leaves bundles there
    env = {**models.env, "SCORER_STORE": str(store), "SHADOW_STORE": str(store), "SHADOW_ARCHIVE": "archive"}
    with Stack(folder, env) as stack:
        stack.deploy(models.live, "live")
        worker = stack.start("scorer", "run")
        stack.run("scorer", "replay", str(models.stream), "--limit", str(SERVED))
        stack.until_settled(SERVED)
        send_labels(stack)
        time.sleep(0.01)
        as_of = datetime.now(UTC)
        stack.run("shadow", "archive", "run", "--once")
        assert worker.stop() == 0
        yield Archived(stack, models, as_of, store)


def send_labels(stack: Stack) -> None:
    """Frauds, as likely as live's score has them."""
    rng = np.random.default_rng(3)
    rows = decided(stack)
    frauds = [row for row in rows if rng.random() < min(1.0, 0.01 + 2 * (row["score"] or 0))]
    send(stack, [(row, "fraud") for row in frauds], "2026-02-20T00:00:00Z")


def decided(stack: Stack) -> list[dict[str, Any]]:
    return [row for row in by_source(stack.decisions()).values() if not row.get("repeat")]


def send(stack: Stack, verdicts: list[tuple[dict[str, Any], str]], at: str) -> None:
    """Labels of decisions, as a feed sends them."""

    async def go() -> None:
        async with AIOKafkaProducer(bootstrap_servers=stack.broker.address) as producer:
            sent = []
            for row, verdict in verdicts:
                source = "review" if row["decision"] == "block" else "chargeback"
                name = row["transaction"]["transaction_id"]
                said = {"transaction_id": name, "source": source, "verdict": verdict, "by": source, "at": at}
                sent.append(await producer.send("labels", orjson.dumps(said), key=name.encode()))
            await asyncio.gather(*sent)

    asyncio.run(go())


def killed_when(stack: Stack, argv: tuple[str, ...], what: str, is_there: Callable[[], Any]) -> int | None:
    """Start a command, kill it (-9) as soon as something is there; None if it was killed, else its exit code."""
    process = stack.begin(*argv)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_there() and process.poll() is None:
        assert time.monotonic() < deadline, what
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    said, _ = process.communicate()
    assert is_there(), f"{what}: ended before, saying {said.decode()}"
    return None if process.returncode == -signal.SIGKILL else process.returncode


def test_killed_after_each_step_it_goes_on_and_ends_as_if_nothing_had_been(archived: Archived) -> None:
    stack, store = archived.stack, archived.store
    argv = archived.argv(0, "--reason", "new merchants")
    before, notes = archived.digests(), store / "rotations"
    plan = stack.run(*argv, "--plan")
    assert [line.split()[1:3] for line in plan.splitlines()[1:]] == [
        [name, "to"] for name in ("train", "twin", "reproduce", "backtest", "deploy", "note")
    ]
    assert not notes.exists(), "a plan changes nothing"
    assert archived.digests() == before

    def complete() -> set[str]:
        return {name for name in archived.digests() - before if (store / name / "manifest.json").exists()}

    kills: list[tuple[str, Callable[[], Any]]] = [
        ("begun", lambda: list(notes.glob("*.begun.json"))),
        ("trained", lambda: len(complete()) >= 1),
        ("twinned", lambda: len(complete()) >= 2),
        ("reproduced", lambda: list(notes.glob("*.reproduced.json"))),
        ("tried", lambda: list(notes.glob("*.backtest.json"))),
    ]
    for n, (what, is_there) in enumerate(kills):
        assert killed_when(stack, argv, what, is_there) is None, what
        state = json.loads(stack.run(*argv, "--plan", "--json"))
        assert [step["state"] for step in state["steps"]][:n] == ["done"] * n, what
        assert len(complete()) == min(n, 2)
        assert archived.rotations() == []
    done = stack._command(argv, None)
    assert done.returncode == 0, done.stderr.decode()
    told, steps = done.stdout.decode(), done.stderr.decode()
    assert "4/6 backtest (done)" in steps
    assert "training on" not in steps, "nothing is trained again"
    assert "slot candidate: bundle" in told
    assert "by ann (name not verified)" in told

    (entry,) = archived.rotations()
    assert (entry["outcome"], entry["parent"], entry["reason"]) == ("deployed", archived.models.live, "new merchants")
    assert {entry["candidate"], entry["twin"]} == complete()
    (change,) = archived.changes_to(entry["candidate"])
    assert set(change["slots"]) == {"candidate", "control"}
    assert change["slots"]["control"]["digest"] == archived.models.control, "the twin of live that lay in the store"
    assert change["twins"][entry["candidate"]]["digest"] == entry["twin"]
    assert_as_trained_by_hand(archived, entry)

    again = stack.run(*argv)
    assert again.startswith("already done: the rotation as of")
    assert "was put into slot candidate" in again
    assert stack.run("scorer", "rotate", "--from-archive", "archive", *DELAY, *BY).partition(":")[0] == "already done"
    assert len(archived.rotations()) == 1
    history = stack.run("shadow", "history")
    assert f"rotation by ann: bundle {entry['candidate'][:12]}" in history
    assert "    backtest: " in history
    assert "made as" in history
    assert "its lineage is in doubt: " in history, "the tests' folder is no repository"


def assert_as_trained_by_hand(archived: Archived, entry: dict[str, Any]) -> None:
    """The same bundles come out of `scorer train` in a store of its own."""
    stack = archived.stack
    elsewhere = {"SCORER_STORE": str(stack.folder / "elsewhere")}
    train = ("scorer", "train", "--from-archive", "archive", *DELAY, "--as-of", archived.at(0))
    features = "amount,country,channel,card_count_1d,card_mean_30d"
    digest = stack.run(*train, "--features", features, "--param", "num_iterations=25", env=elsewhere)
    assert digest == entry["candidate"]
    twin = stack.run("scorer", "train", "--from-archive", "archive", "--twin", digest, env=elsewhere)
    assert twin == entry["twin"]
    manifest = json.loads((archived.store / digest / "manifest.json").read_text())
    assert (manifest["parent"], manifest["made_by"]) == (archived.models.live, "ann")


def test_killed_once_the_slots_are_filled_it_fills_them_once(archived: Archived) -> None:
    stack, argv = archived.stack, archived.argv(1)
    before = len(archived.rotations())
    process = stack.begin(*argv)
    entries = len(archived.ledger())
    wait_for("an entry", lambda: len(archived.ledger()) > entries or process.poll() is not None)
    process.kill()
    process.communicate()
    told = stack.run(*argv)
    assert "slot candidate" in told
    assert len(archived.rotations()) == before + 1
    entry = archived.rotations()[-1]
    assert len(archived.changes_to(entry["candidate"])) == 1


def test_of_two_at_once_one_is_refused(archived: Archived) -> None:
    stack, argv = archived.stack, archived.argv(2, "--no-backtest")
    lock = archived.store / "rotations" / "lock"
    lock.unlink(missing_ok=True)
    first = stack.begin(*argv)
    wait_for("the lock", lambda: lock.exists() and lock.read_text())
    first.send_signal(signal.SIGSTOP)
    try:
        refused = stack.fails(*argv)
    finally:
        first.send_signal(signal.SIGCONT)
    assert f"another rotation runs here (process {first.pid})" in refused
    assert first.wait(PATIENCE_SECONDS) == 0
    entry = archived.rotations()[-1]
    assert entry["backtest"] is None
    assert "without a backtest" in stack.run("shadow", "history")


def test_a_candidate_that_the_backtest_rejects_is_not_deployed_and_the_ledger_says_why(archived: Archived) -> None:
    stack = archived.stack
    poor = ("--param", "num_iterations=1", "--param", "num_leaves=2")
    argv = archived.argv(3, *poor)
    held = len(archived.ledger())
    told = stack.run(*argv, expect=4)
    assert "rejected by the backtest: " in told
    (entry,) = archived.ledger()[held:]
    assert (entry["kind"], entry["outcome"], entry["change"]) == ("rotation", "rejected", None)
    assert entry["backtest"]["decision"] == "reject"
    assert entry["backtest"]["against"]
    assert "was rejected by the backtest, and no slot changed" in stack.run("shadow", "history")
    assert "was rejected by the backtest" in stack.run(*argv, expect=4)
    assert len(archived.ledger()) == held + 1


def test_evidence_is_thrown_away_only_if_that_is_asked_for(archived: Archived) -> None:
    stack = archived.stack
    held = archived.ledger()
    shadow = stack.start("shadow", "run", "--slot", "candidate")
    scorer = stack.start("scorer", "run")
    rest = stack.folder / "rest.jsonl"
    rest.write_bytes(b"".join(archived.models.stream.read_bytes().splitlines(keepends=True)[SERVED : SERVED + 300]))
    stack.run("scorer", "replay", str(rest))
    wait_for("compared", lambda: "candidate" in stack.run("shadow", "evidence"))
    wait_for("gathered", lambda: "(0 event hours" not in stack.run("shadow", "evidence").partition("\n")[0])
    for worker in (scorer, shadow):
        assert worker.stop() == 0
    argv = archived.argv(4, "--no-backtest")
    refused = stack.fails(*argv)
    assert "would throw away the evidence of slot candidate" in refused
    assert "--discard-evidence" in refused
    assert "cannot be seen" in stack.fails(*argv, SHADOW_REDIS="redis://127.0.0.1:1/0")
    assert archived.ledger() == held
    stack.run(*argv, "--discard-evidence")
    assert archived.rotations()[-1]["outcome"] == "deployed"


def test_a_candidate_that_cannot_be_made_again_is_not_deployed(archived: Archived) -> None:
    stack, before, held = archived.stack, archived.digests(), archived.ledger()
    copy = stack.folder / "copy"
    shutil.copytree(stack.folder / "archive", copy)
    argv = ("scorer", "rotate", "--from-archive", "copy", *DELAY, *BY, "--as-of", archived.at(7), "--no-backtest")

    def both() -> bool:
        made = archived.digests() - before
        return len(made) == 2 and all((archived.store / name / "manifest.json").exists() for name in made)

    assert killed_when(stack, argv, "twinned", both) is None
    table = DeltaTable(copy / "decisions")
    table.delete(f"day = '{max(part['day'] for part in table.partitions())}'")
    told = stack.run(*argv, expect=1)
    assert "differs: data: transactions: " in told
    assert "came out otherwise once more, so it is not deployed" in told
    assert archived.ledger() == held
    note = next(path for path in (archived.store / "rotations").glob("*.begun.json") if str(copy) in path.read_text())
    note.write_text("{")
    assert "is damaged; remove it, and rotate again" in stack.fails(*argv)
    note.unlink()


def test_what_cannot_be_rotated_is_told_and_changes_nothing(archived: Archived) -> None:
    stack, before, held = archived.stack, archived.digests(), archived.ledger()
    begun = sorted((archived.store / "rotations").iterdir())
    ask = archived.argv(5)

    def refused(*argv: str, **env: str) -> str:
        return stack.fails(*(argv or ask), **env)

    days = (archived.as_of - datetime(2026, 1, 21, tzinfo=UTC)).days
    told = stack.run(*ask, "--label-delay", f"{days - 1}d", expect=2).splitlines()[-1]
    assert told.startswith("error: --as-of: labels are not mature: ")
    assert " it works from 202" in told
    assert "lies ahead" in refused(*ask, "--as-of", "2999-01-01")
    assert "--label-delay: is missing" in refused(*(word for word in ask if word not in DELAY))
    assert "name the archive" in refused("scorer", "rotate", *DELAY, *BY)
    assert "has no decisions" in refused("scorer", "rotate", "--from-archive", "nowhere", *DELAY, *BY)
    assert "--by: is missing" in refused(*(word for word in ask if word not in BY))
    assert "has not the live bundle" in refused(SCORER_STORE=str(stack.folder / "elsewhere"))
    key = stack.folder / "bob.pem"
    trusted = stack.folder / "trusted.yaml"
    public = stack.run("scorer", "key", "new", "bob", "--out", str(key))
    trusted.write_text(f"deployment: d\nunsigned_until: {ledger_keys(stack)[-1]}\n{public}\n")
    assert "this would not count, as it is not signed" in refused(SCORER_TRUSTED_KEYS=str(trusted))
    stack.run("scorer", "deploy", "--block-all", "--by", "ann", "--reason", "a drill")
    assert "the kill switch is on (block_all)" in refused()
    stack.run("scorer", "deploy", "--resume", "--by", "ann", "--reason", "it is over")
    assert archived.digests() == before
    assert [entry["kind"] for entry in archived.ledger()[len(held) :]] == ["change", "change"]
    assert sorted((archived.store / "rotations").iterdir()) == begun


def ledger_keys(stack: Stack) -> list[str]:
    keys = [record.key.decode() for record in stack.read("deployments")]
    return [key.partition("/")[2] for key in keys if key.startswith("ledger/")]


def test_a_live_bundle_that_cannot_be_followed_is_told(archived: Archived, tmp_path: Path) -> None:
    archive = str(archived.stack.folder / "archive")
    ask = ("scorer", "rotate", "--from-archive", archive, *DELAY, *BY)
    with Stack(tmp_path, {**archived.models.env, "SCORER_STORE": str(archived.store)}) as fresh:
        fresh.run("scorer", "topics")
        assert "slot live: is empty" in fresh.fails(*ask)
        fresh.deploy(archived.models.live, "live")
        assert "is that of another deployment" in fresh.fails(*ask, "--as-of", archived.at(6))
        model = tmp_path / "model.txt"
        shutil.copy(archived.store / archived.models.live / "model.txt", model)
        foreign = fresh.run("scorer", "bundle", "create", "--model", str(model), "--threshold", "0.5")
        fresh.deploy(foreign, "live", discard=True)
        assert "was trained elsewhere, so it cannot be rotated here" in fresh.fails(*ask)


def test_labels_whose_share_of_fraud_is_far_from_lives_are_not_learnt(archived: Archived) -> None:
    stack, held = archived.stack, archived.ledger()
    rows = decided(stack)
    labels = (orjson.loads(record.value) for record in stack.read("labels") if record.value)
    frauds = {label["transaction_id"] for label in labels if label["verdict"] == "fraud"}

    def archive_now() -> str:
        stack.run("shadow", "archive", "run", "--once")
        time.sleep(0.01)
        return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def known(row: dict[str, Any]) -> bool:
        return row["transaction"]["transaction_id"] in frauds

    argv = ("scorer", "rotate", "--from-archive", "archive", *DELAY, *BY, "--discard-evidence")
    live = json.loads((archived.store / archived.models.live / "manifest.json").read_text())
    parts = live["lineage"]["split"].values()
    made_on, its_frauds = sum(part["transactions"] for part in parts), sum(part["frauds"] for part in parts)
    assert 2 < len(frauds) / len(rows) / (its_frauds / made_on) < 3
    assert "1. train      to do" in stack.run(*argv, "--as-of", archived.at(8), "--plan"), "a share twice as large"

    flipped = [(row, "legit" if known(row) else "fraud") for row in rows]
    send(stack, flipped, "2026-02-22T00:00:00Z")
    asked = ("--as-of", archive_now())
    before, begun = archived.digests(), sorted(archived.store.glob("rotations/*.json"))
    legitimate = sum(1 for row, verdict in flipped if verdict == "legit")
    train = ("scorer", "train", "--from-archive", "archive", *DELAY, *asked)
    for refused in (
        stack.run(*argv, *asked, expect=2),
        stack.run(*argv, *asked, "--plan", expect=2),
        stack.run(*train, "--parent", archived.models.live, expect=2),
    ):
        line = refused.splitlines()[-1]
        share = float(line.removeprefix("error: labels: ").partition(" %")[0])
        assert share == pytest.approx(100 * (1 - legitimate / len(rows)), abs=0.5), line
        assert f" {100 * its_frauds / made_on:.3g} % of the {made_on} that bundle {archived.models.live[:12]}" in line
        assert "more than 3 times apart (setting fraud_share_factor)" in line
        assert "look whether the feed of labels says fraud of what was legitimate" in line
    assert archived.digests() == before
    assert sorted(archived.store.glob("rotations/*.json")) == begun
    assert archived.ledger() == held
    assert "1. train      to do" in stack.run(*argv, *asked, "--plan", env={"SCORER_FRAUD_SHARE_FACTOR": "1000"})

    by_hand = stack.run(*train, "--features", "amount,country,channel,card_count_1d,card_mean_30d",
                        "--param", "num_iterations=25")  # fmt: skip
    assert "labels: " in stack.run(*argv, *asked, expect=2), "what somebody has made of such labels by hand, too"
    shutil.rmtree(archived.store / by_hand)
