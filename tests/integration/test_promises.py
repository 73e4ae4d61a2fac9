"""What the product promises, with real processes: kills lose and double nothing, and a shadow cannot touch live."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import orjson
import redis

from harness.models import BAD, REPEATED, STREAM, Decisions, Models
from harness.patience import PATIENCE_SECONDS
from harness.places import ROOT
from harness.stack import Stack, Worker, by_source, wait_for, write_lines
from scorer.bundles.bundle import Bundle
from scorer.bundles.view_file import load_view
from shadow.store.keys import Keys

SENT = STREAM + REPEATED


def trickle(stack: Stack, models: Models, seconds: float) -> subprocess.Popen[bytes]:
    """Replay the stream in the background, spread over some seconds."""
    scorer = Path(sys.executable).parent / "scorer"
    argv = [str(scorer), "replay", str(models.stream), "--rate", str(SENT / seconds)]
    return subprocess.Popen(argv, env=stack.env, cwd=stack.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def compared(stack: Stack, slot: str) -> int:
    """Comparisons that the tallies of a slot hold, read past our own code."""
    client = redis.Redis(port=stack.store.port, decode_responses=True)
    total = 0
    for key in client.scan_iter(f"shadow:{{{slot}:*}}:2:t:*:total:all", count=1000):
        total += sum(int(client.hget(key, f"c{i}") or 0) for i in range(4))
    client.close()
    return total


def applied(stack: Stack, slot: str) -> int:
    """Decisions that are behind the fences of a slot."""
    client = redis.Redis(port=stack.store.port, decode_responses=True)
    fences = [client.hget(Keys("shadow", slot, partition).fence, "next") for partition in range(4)]
    client.close()
    return sum(int(fence or 0) for fence in fences)


def test_an_undisturbed_stream_is_decided_once_in_order_and_as_the_bundle_says(
    undisturbed: Decisions, models: Models
) -> None:
    assert len(undisturbed) == SENT - BAD
    assert sum("repeat" in decision for decision in undisturbed.values()) == REPEATED
    offsets: dict[int, list[int]] = defaultdict(list)
    for partition, offset in undisturbed:
        offsets[partition].append(offset)
    assert len(offsets) == 4
    assert all(found == sorted(found) for found in offsets.values())
    bundle = Bundle.load(Path(models.env["SCORER_STORE"]) / models.live)
    columns = bundle.columns(load_view(models.env["SCORER_VIEW"]))
    rows = list(undisturbed.values())
    matrix = np.array([row["features"] for row in rows], dtype=np.float64)[:, columns]
    scores = bundle.score(np.ascontiguousarray(matrix))
    assert scores.tolist() == [row["score"] for row in rows], "a score is not what the wire's snapshot gives"
    assert [row["decision"] for row in rows] == ["block" if s >= bundle.threshold else "allow" for s in scores]


def test_kill_minus_nine_of_scorer_and_shadow_loses_and_doubles_nothing(
    stack: Stack, models: Models, undisturbed: Decisions
) -> None:
    stack.deploy(models.candidate, "candidate")
    chance = random.Random(5)
    started: dict[str, Callable[[], Worker]] = {
        "scorer": lambda: stack.start("scorer", "run", env={"SCORER_BATCH_RECORDS": "200"}, ready=False),
        "shadow": lambda: stack.start("shadow", "run", "--slot", "candidate", ready=False),
    }
    running = {name: start() for name, start in started.items()}
    stack.until_ready()
    sender = trickle(stack, models, seconds=20)
    seen: dict[str, list[int]] = {"scorer": [], "shadow": []}
    count = {"scorer": lambda: len(stack.settled()), "shadow": lambda: applied(stack, "candidate")}
    for name in ("scorer", "shadow", "scorer", "shadow"):
        before = count[name]()
        wait_for(f"{name} at work", lambda name=name, before=before: count[name]() > before + 300)
        time.sleep(chance.uniform(0, 0.3))
        running[name].kill()
        seen[name].append(count[name]())
        running[name] = started[name]()
    assert sender.wait(PATIENCE_SECONDS) == 0
    assert all(0 < found < SENT for kills in seen.values() for found in kills), f"not in mid-stream: {seen}"
    settled = stack.until_settled(SENT)
    assert len(settled) == len(set(settled)) == SENT
    assert by_source(stack.decisions()) == undisturbed, "a decision depends on where a batch began or ended"
    wait_for("comparisons", lambda: compared(stack, "candidate") >= SENT - BAD - REPEATED)
    assert compared(stack, "candidate") == SENT - BAD - REPEATED
    assert "equal" in stack.run("shadow", "verify").splitlines()


@contextmanager
def slow_store(folder: Path, slow: str, seconds: float) -> Iterator[str]:
    """The address of a store of bundles, of which one takes seconds to come."""

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            if f"/{slow}/model" in self.path:
                time.sleep(seconds)
            super().do_GET()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_a_run_has_all_that_is_decided_after_its_slot_was_filled_however_slowly_its_bundle_comes(
    stack: Stack, models: Models, tmp_path: Path
) -> None:
    stack.start("scorer", "run")
    with slow_store(Path(models.env["SCORER_STORE"]), models.candidate, seconds=8.0) as store:
        env = {"SHADOW_STORE": store, "SHADOW_CACHE": str(tmp_path / "cache")}
        shadow = stack.start("shadow", "run", "--slot", "candidate", env=env)
        stack.deploy(models.candidate, "candidate")
        stack.run("scorer", "replay", str(models.stream))
        stack.until_settled(SENT)
        assert "predictor" not in shadow.log.read_text(), "it came before all was decided: this shows nothing"
        wait_for("comparisons", lambda: compared(stack, "candidate") >= SENT - BAD - REPEATED)
    assert compared(stack, "candidate") == SENT - BAD - REPEATED


def test_nothing_that_was_decided_before_its_slot_was_filled_counts_for_a_candidate(
    stack: Stack, models: Models
) -> None:
    """It may have been trained on that: for it, such decisions are no evidence."""

    def skipped(slot: str) -> int:
        client = redis.Redis(port=stack.store.port, decode_responses=True)
        found = [client.hget(Keys("shadow", slot, partition).fence, "skipped") for partition in range(4)]
        client.close()
        return sum(int(one or 0) for one in found)

    def decided(*which: str) -> int:
        """Have a part of the stream decided; how many decisions there are then."""
        before = len(stack.settled())
        told = stack.run("scorer", "replay", str(models.stream), *which)
        stack.until_settled(before + int(told.rpartition("sent ")[2].split()[0]))
        return len(stack.read("decisions"))

    def counted(slot: str) -> tuple[int, int, str]:
        return compared(stack, slot), skipped(slot), stack.run("shadow", "verify", "--slot", slot).splitlines()[-1]

    stack.start("scorer", "run")
    before = decided("--limit", "4000")
    stack.deploy(models.candidate, "challenger")
    shadow = stack.start("shadow", "run", "--slot", "challenger")
    wait_for("all of it read", lambda: applied(stack, "challenger") == before)
    assert compared(stack, "challenger") == 0, "a slot that is new in Redis begins with what is on the topic"
    assert skipped("challenger") == before
    first = decided("--skip", "4000", "--limit", "3000") - before
    wait_for("the rest", lambda: applied(stack, "challenger") == before + first)
    once = compared(stack, "challenger")
    assert 0.9 * first < once <= first
    assert counted("challenger") == (once, before, "equal")

    redis.Redis(port=stack.store.port).flushall()
    wait_for("all of it again", lambda: applied(stack, "challenger") == before + first)
    assert counted("challenger") == (once, before, "equal"), "a run that is rebuilt begins where it began"

    shadow.stop()
    late = decided("--skip", "7000", "--limit", "1000") - before - first
    stack.deploy(models.control, "challenger", discard=True)
    stack.start("shadow", "run", "--slot", "challenger")
    wait_for("what the shadow was late for", lambda: applied(stack, "challenger") == before + first + late)
    assert counted("challenger") == (once, before + late, "equal"), "it counts for no candidate"
    last = decided("--skip", "8000", "--limit", "1000") - before - first - late
    wait_for("what came since", lambda: applied(stack, "challenger") == before + first + late + last)
    total, missed, told = counted("challenger")
    assert once + 0.9 * last < total <= once + last
    assert (missed, told) == (before + late, "equal")


def test_live_goes_on_unchanged_when_shadows_store_and_serve_stop_in_mid_stream(
    stack: Stack, models: Models, undisturbed: Decisions
) -> None:
    stack.deploy(models.candidate, "candidate")
    stack.deploy(models.control, "control")
    scorer = stack.start("scorer", "run", ready=False)
    beside = [stack.start("shadow", "run", "--slot", slot, ready=False) for slot in ("candidate", "control")]
    beside.append(stack.start("shadow", "serve", ready=False))
    stack.until_ready()
    sender = trickle(stack, models, seconds=8)
    wait_for("comparisons", lambda: compared(stack, "candidate") > 500 and compared(stack, "control") > 500)
    assert len(stack.settled()) < SENT - 1000, "not in mid-stream"
    for worker in beside:
        worker.kill()
    stack.store.stop()
    assert sender.wait(PATIENCE_SECONDS) == 0
    stack.until_settled(SENT)
    assert by_source(stack.decisions()) == undisturbed
    assert scorer.process.poll() is None


def test_tallies_are_rebuilt_when_the_store_loses_them(stack: Stack, models: Models) -> None:
    stack.deploy(models.candidate, "candidate")
    stack.start("scorer", "run", ready=False)
    shadow = stack.start("shadow", "run", "--slot", "candidate", ready=False)
    stack.until_ready()
    stack.run("scorer", "replay", str(models.stream))
    whole = SENT - BAD - REPEATED
    wait_for("comparisons", lambda: compared(stack, "candidate") == whole)
    redis.Redis(port=stack.store.port).flushall()
    wait_for("comparisons again, while nothing new comes", lambda: compared(stack, "candidate") == whole)
    assert shadow.metric("shadow_went_back_total") == 4
    stack.run("scorer", "replay", str(models.stream), "--limit", "500")
    wait_for("more", lambda: compared(stack, "candidate") > whole)
    assert "equal" in stack.run("shadow", "verify").splitlines()


def test_books_can_be_checked_while_they_are_written(stack: Stack, models: Models) -> None:
    often = {"SHADOW_FLUSH_SECONDS": "0.01", "SHADOW_FETCH_WAIT_MS": "10"}
    stack.deploy(models.candidate, "candidate")
    stack.start("scorer", "run", ready=False)
    stack.start("shadow", "run", "--slot", "candidate", env=often, ready=False)
    stack.until_ready()
    sender = trickle(stack, models, seconds=15)
    wait_for("comparisons", lambda: compared(stack, "candidate") > 500)
    before = applied(stack, "candidate")
    told = stack.run("shadow", "verify").splitlines()
    assert applied(stack, "candidate") > before, "not in mid-stream"
    assert "equal" in told, told
    assert sender.wait(PATIENCE_SECONDS) == 0


def test_scorer_runs_where_neither_redis_nor_the_shadow_is_installed(
    stack: Stack, models: Models, undisturbed: Decisions, tmp_path: Path
) -> None:
    python = bare_python(tmp_path / "bare")
    for module in ("redis", "valkey", "shadow", "fastapi", "rich", "uvicorn"):
        tried = subprocess.run([python, "-I", "-c", f"import {module}"], capture_output=True, check=False)
        assert b"ModuleNotFoundError" in tried.stderr
    argv = [python, "-I", "-c", "from scorer.cli import main; main()", "run", "--http-port", "0"]
    with (stack.folder / "bare.log").open("wb") as log:
        scorer = subprocess.Popen(argv, env=stack.env, cwd=stack.folder, stderr=log)
    try:
        stack.run("scorer", "replay", str(models.stream))
        stack.until_settled(SENT)
        assert by_source(stack.decisions()) == undisturbed
    finally:
        scorer.terminate()
        assert scorer.wait(PATIENCE_SECONDS) == 0


def bare_python(folder: Path) -> str:
    """An interpreter that has the scorer and what it depends on, and nothing of the shadow's."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    here = Path(np.__file__).parents[1]
    there = folder / here.relative_to(sys.prefix)
    absent = ("redis", "valkey", "fastapi", "uvicorn", "rich", "starlette", "shadow_scorer", "__editable__")
    for entry in here.iterdir():
        if not entry.name.startswith(absent):
            (there / entry.name).symlink_to(entry)
    (info,) = here.glob("shadow_scorer-*.dist-info")
    shutil.copytree(info, there / info.name)
    (there / "scorer").symlink_to(ROOT / "scorer")
    return str(folder / "bin" / "python")


def test_dead_letters_say_why_and_go_again_once_they_are_mended(stack: Stack, models: Models) -> None:
    rows = [orjson.loads(line) for line in models.stream.read_bytes().splitlines()[:1000]]
    for at in range(0, 1000, 100):
        rows[at]["currency"] = "USD"
    refused = 10 + sum(row["amount"] < 0 for row in rows)
    file = write_lines(stack.folder / "rows.jsonl", rows)
    scorer = stack.start("scorer", "run")
    stack.run("scorer", "replay", str(file))
    stack.until_settled(1000)
    originals = {(r.partition, r.offset): r for r in stack.read("transactions")}
    letters = stack.read("transactions.rejected")
    assert len(letters) == refused
    for letter in letters:
        told = {name: value.decode() for name, value in letter.headers}
        source = originals[letter.partition, int(told["offset"])]
        assert (letter.key, letter.value) == (source.key, source.value)
        assert int(told["partition"]) == letter.partition
        at_fault = "currency" if orjson.loads(letter.value)["currency"] == "USD" else "amount"
        assert told["field"] == at_fault
        assert told["reason"].startswith(f"{at_fault}: ")
    assert stack.run("scorer", "replay", "--rejected").endswith(f"sent 0 again, {refused} are still refused")
    assert scorer.metric("scorer_rejected_total") == refused

    rate = {"SCORER_MONEY": '{"currency": "EUR", "rates": {"USD": {"2026-01-01": 0.5}}}'}
    assert scorer.stop() == 0
    stack.start("scorer", "run", env=rate)
    assert len(stack.run("scorer", "replay", "--rejected", "--dry-run", env=rate).splitlines()) == refused
    assert stack.run("scorer", "replay", "--rejected", env=rate).endswith(
        f"sent 10 again, {refused - 10} are still refused"
    )
    assert stack.run("scorer", "replay", "--rejected", env=rate).startswith("sent 0 again"), "sent a second time"
    stack.until_settled(1010)
    dollars = [d for d in stack.decisions() if d["transaction"]["currency"] == "USD"]
    assert [d["amount_minor"] for d in dollars] == [round(d["transaction"]["amount"] * 50) for d in dollars]
    assert len(dollars) == 10
    stack.run("scorer", "replay", "--rejected", "--export", "letters.jsonl", env=rate)
    exported = (stack.folder / "letters.jsonl").read_bytes().splitlines()
    assert sorted(exported) == sorted(letter.value for letter in letters if b"USD" not in letter.value)


def test_a_dead_letter_with_a_masked_card_number_is_never_sent_again(stack: Stack, models: Models) -> None:
    rows = [orjson.loads(line) for line in models.stream.read_bytes().splitlines()[:50]]
    rows = [{**row, "amount": abs(row["amount"])} for row in rows]
    rows[3]["note"] = "paid with 4111-1111-1111-1111"
    rows[4]["card_id"] = "5500 0000 0000 0004"
    rows[5]["currency"] = "USD"
    file = write_lines(stack.folder / "rows.jsonl", rows)
    scorer = stack.start("scorer", "run")
    stack.run("scorer", "replay", str(file))
    stack.until_settled(50)
    letters = stack.read("transactions.rejected")
    assert len(letters) == 3
    assert sum(dict(letter.headers).get("masked") == b"true" for letter in letters) == 2
    for name in ("transactions.rejected", "decisions", "velocity"):
        for record in stack.read(name):
            for part in (record.key, record.value, *(value for _, value in record.headers)):
                assert b"4111-1111-1111-1111" not in (part or b"")
                assert b"5500 0000 0000 0004" not in (part or b"")
    assert scorer.stop() == 0
    lenient = {
        "SCORER_MONEY": '{"currency": "EUR", "rates": {"USD": {"2026-01-01": 0.5}}}',
        "SCORER_CARD_NUMBER_FIELDS": "note,card_id",
    }
    told = stack.run("scorer", "replay", "--rejected", "--dry-run", env=lenient)
    assert told.count("the number is masked here") == 2
    assert stack.run("scorer", "replay", "--rejected", env=lenient).endswith("sent 1 again, 2 are still refused")
    assert stack.run("scorer", "replay", "--rejected", env=lenient).startswith("sent 0 again")
    told = stack.run("scorer", "replay", "--rejected", "--export", "letters.jsonl", env=lenient)
    assert "in 2 of them a card number is masked" in told
    exported = (stack.folder / "letters.jsonl").read_text()
    assert "4111-11**-****-1111" in exported
    assert "5500 00** **** 0004" in exported
