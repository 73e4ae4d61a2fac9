"""Slots of one process: each counts what it would count in a process of its own, whatever happens to the others."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import redis

from harness.models import BAD, REPEATED, STREAM, Models
from harness.stack import Stack, Worker, get, wait_for
from shadow.store.keys import Keys

SENT = STREAM + REPEATED
WHOLE = SENT - BAD - REPEATED
TOGETHER = ("shadow", "run", "--slot", "control", "--slot", "candidate")
#: What differs between slots that have compared the same: where a flush fell, with the rows of an index in that order
#: and the cards of days that are over, and which samples are explained by now.
OWN = re.compile(rb":(fence|why|s:.*|x:.*:\d+|cards:.*)$")


def compared(stack: Stack, slot: str) -> int:
    """Comparisons that the tallies of a slot hold, read past our own code."""
    with redis.Redis(port=stack.store.port, decode_responses=True) as client:
        keys = client.scan_iter(f"shadow:{{{slot}:*}}:2:t:*:total:all", count=1000)
        return sum(int(count or 0) for key in keys for count in client.hmget(key, [f"c{i}" for i in range(4)]))


def applied(stack: Stack, slot: str) -> int:
    """Decisions that are behind the fences of a slot."""
    with redis.Redis(port=stack.store.port, decode_responses=True) as client:
        return sum(int(client.hget(Keys("shadow", slot, p).fence, "next") or 0) for p in range(4))


def held(stack: Stack, slot: str) -> dict[bytes, Any]:
    """Whatever Redis holds of a slot's tallies, by key without the slot."""
    found: dict[bytes, Any] = {}
    with redis.Redis(port=stack.store.port) as client:
        for key in client.scan_iter(f"shadow:{{{slot}:*", count=1000):
            name = key.replace(slot.encode(), b"SLOT")
            if not OWN.search(key):
                kind = client.type(key).decode()
                read = {
                    "hash": client.hgetall,
                    "string": client.get,
                    "set": client.smembers,
                    "zset": lambda key: client.zrange(key, 0, -1, withscores=True),
                }[kind]
                found[name] = read(key)
    return found


def metric(worker: Worker, name: str, slot: str) -> float:
    """A metric of one slot, 0 where it is missing."""
    page = (get(f"http://127.0.0.1:{worker.port}/metrics") or b"").decode()
    values = re.findall(rf'^{name}{{[^}}]*slot="{slot}"[^}}]*}} (\S+)$', page, re.MULTILINE)
    return sum(map(float, values))


def is_right(stack: Stack, *slots: str) -> bool:
    return all(stack.run("shadow", "verify", "--slot", slot).splitlines()[-1] == "equal" for slot in slots)


def test_two_slots_of_a_process_hold_what_they_would_hold_alone(stack: Stack, models: Models) -> None:
    for slot, bundle in (("candidate", models.candidate), ("alone", models.candidate), ("control", models.control)):
        stack.deploy(bundle, slot)
    stack.start("scorer", "run", ready=False)
    both = stack.start(*TOGETHER, ready=False)
    stack.start("shadow", "run", "--slot", "alone", ready=False)
    stack.until_ready()
    stack.run("scorer", "replay", str(models.stream))
    wait_for("comparisons", lambda: all(compared(stack, slot) == WHOLE for slot in ("candidate", "alone", "control")))
    assert is_right(stack, "candidate", "alone", "control")
    together, apart = held(stack, "candidate"), held(stack, "alone")
    assert len(apart) > 100
    assert together == apart
    assert held(stack, "control") != apart, "another model"
    for slot in ("candidate", "control"):
        assert metric(both, "shadow_comparisons_total", slot) == WHOLE
        assert metric(both, "shadow_stage_seconds_count", slot) > 0
    wait_for("explanations", lambda: stack.run("shadow", "disagreements", "--slot", "control", "--output", "jsonl"))
    assert stack.run("shadow", "disagreements", "--limit", "1", "--output", "jsonl")


def test_what_happens_to_one_slot_does_not_touch_the_other(stack: Stack, models: Models) -> None:
    """Its place in Redis is lost, its process killed; it moves to a process of its own, and another one moves in."""
    stack.deploy(models.candidate, "candidate")
    stack.deploy(models.control, "control")
    stack.start("scorer", "run", ready=False)
    both = stack.start(*TOGETHER, ready=False)
    stack.until_ready()
    half = WHOLE // 2
    stack.run("scorer", "replay", str(models.stream), "--limit", str(half))
    wait_for("comparisons", lambda: min(compared(stack, "candidate"), compared(stack, "control")) > 0.9 * half)
    first = stack.until_settled(half)
    wait_for("all of it", lambda: applied(stack, "candidate") == applied(stack, "control") >= len(first) - BAD)

    before = held(stack, "candidate")
    with redis.Redis(port=stack.store.port) as client:
        client.delete(*client.scan_iter("shadow:{control:*", count=1000))
    wait_for("control again", lambda: applied(stack, "control") == applied(stack, "candidate"))
    assert metric(both, "shadow_went_back_total", "control") == 4
    assert metric(both, "shadow_went_back_total", "candidate") == 0
    assert held(stack, "candidate") == before
    assert is_right(stack, "candidate", "control")

    both.kill()
    stack.deploy(models.candidate, "challenger")
    alone = stack.start("shadow", "run", "--slot", "control", ready=False)
    others = stack.start("shadow", "run", "--slot", "candidate", "--slot", "challenger", ready=False)
    stack.until_ready()
    stack.run("scorer", "replay", str(models.stream), "--skip", str(half))
    stack.until_settled(SENT)
    wait_for("the rest", lambda: compared(stack, "candidate") == compared(stack, "control") == WHOLE)
    wait_for("challenger", lambda: applied(stack, "challenger") == applied(stack, "candidate"))
    assert 0 < compared(stack, "challenger") < WHOLE, "it counts from when its slot was filled"
    assert is_right(stack, "candidate", "control", "challenger")
    assert (others.stop(), alone.stop()) == (0, 0)


@contextmanager
def a_store(folder: Path, missing: str) -> Iterator[tuple[str, Callable[[], None]]]:
    """The address of a store of bundles that answers 503 for one of them, and what ends that."""
    is_back = threading.Event()

    class Handler(SimpleHTTPRequestHandler):
        def send_head(self) -> Any:
            if f"/{missing}/" in self.path and not is_back.is_set():
                return self.send_error(503)
            return super().send_head()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", is_back.set
    finally:
        server.shutdown()
        server.server_close()


def test_a_bundle_that_cannot_be_used_is_an_error_of_its_own_slot(stack: Stack, models: Models, tmp_path: Path) -> None:
    stack.deploy(models.candidate, "candidate")
    stack.deploy(models.control, "control")
    store = tmp_path / "bundles"
    env = {"SHADOW_STORE": str(store), "SHADOW_CACHE": str(tmp_path / "cache")}
    shutil.copytree(models.env["SCORER_STORE"], store)
    with (store / models.control / "model.txt").open("a") as model:
        model.write("x")
    stack.start("scorer", "run", ready=False)
    both = stack.start(*TOGETHER, ready=False, env=env)
    stack.until_ready()
    stack.run("scorer", "replay", str(models.stream))
    wait_for("comparisons", lambda: compared(stack, "candidate") == WHOLE)
    wait_for("errors", lambda: metric(both, "shadow_candidate_errors_total", "control") == WHOLE)
    assert metric(both, "shadow_candidate_errors_total", "candidate") == 0
    assert is_right(stack, "candidate")


def test_a_bundle_that_cannot_be_had_keeps_only_its_own_slot_waiting(
    stack: Stack, models: Models, tmp_path: Path
) -> None:
    stack.deploy(models.candidate, "candidate")
    stack.deploy(models.control, "control")
    stack.start("scorer", "run", ready=False)
    with a_store(Path(models.env["SCORER_STORE"]), models.control) as (store, come_back):
        env = {"SHADOW_STORE": store, "SHADOW_CACHE": str(tmp_path / "cache")}
        both = stack.start(*TOGETHER, ready=False, env=env)
        stack.until_ready()
        stack.run("scorer", "replay", str(models.stream), "--limit", "3000")
        wait_for("comparisons", lambda: compared(stack, "candidate") > 2500)
        assert (compared(stack, "control"), applied(stack, "control")) == (0, 0)
        assert "its transactions wait" in both.log.read_text()
        come_back()
        wait_for("control, while nothing new comes", lambda: compared(stack, "control") == compared(stack, "candidate"))
    assert metric(both, "shadow_skipped_total", "control") == 0
    stack.run("scorer", "replay", str(models.stream), "--skip", "3000")
    wait_for("the rest", lambda: compared(stack, "candidate") == compared(stack, "control") == WHOLE)
    assert is_right(stack, "candidate", "control")


def test_live_or_a_slot_twice_is_refused(stack: Stack) -> None:
    assert "--slot live: has no shadow" in stack.fails("shadow", "run", "--slot", "candidate", "--slot", "live")
    assert "--slot candidate: is named twice" in stack.fails("shadow", "run", *["--slot", "candidate"] * 2)
