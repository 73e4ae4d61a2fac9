"""Disks fill up, and clocks jump."""

from __future__ import annotations

import resource
import shutil
from functools import partial

import orjson

from faults.arena import Arena
from faults.recount import milliseconds
from faults.scenario import scenario
from harness.places import FAKETIME


@scenario()
def disk_full(arena: Arena) -> None:
    """No file can grow: Redis cannot append to its file, and a scorer cannot keep its copy of the next model."""
    arena.own_store()
    scorer, shadow = arena.scorer(CACHE=str(arena.folder / "small")), arena.shadow()
    arena.ready()
    store = arena.store.process
    assert store is not None

    def redis_full() -> None:
        before = shadow.alive.metric("shadow_redis_errors_total")
        resource.prlimit(store.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
        try:
            arena.until("refused writes", lambda: shadow.alive.metric("shadow_redis_errors_total") > before)
        finally:
            resource.prlimit(store.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    with arena.pouring(400):
        arena.strike(redis_full, backlog=arena.behind_shadow, part=2000)

    def scorer_full() -> None:
        resource.prlimit(scorer.alive.process.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
        elsewhere = {"SCORER_CACHE": str(arena.folder / "elsewhere")}
        arena.stack.deploy(arena.models.control, "live", discard=True, env=elsewhere)

    with arena.pouring(400):
        arena.strike_at_once(scorer_full, 2000)
        arena.until("the new model decides although its copy could not be kept", lambda: arena.last_epoch() == 2)
    resource.prlimit(scorer.alive.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    shutil.rmtree(arena.folder / "elsewhere", ignore_errors=True)


@scenario(clock="wall", needs=("faketime",))
def clock_jump(arena: Arena) -> None:
    """The clocks of scorer and shadow jump two hours ahead, three back, and to where they belong."""
    clock = arena.folder / "clock"
    clock.write_text("+0")
    arena.stack.env |= {"LD_PRELOAD": str(FAKETIME), "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_NO_CACHE": "1"}
    # libfaketime's mend of timed waits makes each hand-over of Python's lock slow: stalls of 4 s, without any jump.
    arena.stack.env |= {"FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_FORCE_MONOTONIC_FIX": "0"}
    arena.scorer()
    arena.shadow()
    arena.ready()
    arena.restamp()
    for jump in ("+2h", "-3h", "+0"):
        arena.strike(partial(clock.write_text, jump), part=2000)
        arena.send(2000)
        arena.until("decided", lambda: arena.behind_live() <= 0)
    ahead = {
        round((milliseconds(orjson.loads(record.value)["scored_at"]) - record.timestamp) / 3_600_000)
        for records in arena.wire.read("decisions")["decisions"].values()
        for record in records
    }
    assert {2, -3, 0} <= ahead, f"decisions were stamped so many hours ahead: {ahead}"
