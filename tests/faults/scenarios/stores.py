"""Redis restarts, freezes, is full, loses everything, or loses its last acknowledged writes."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from faults.arena import Arena, Member
from faults.scenario import scenario
from harness.stack import get
from harness.stores import RedisServer


def _stage(arena: Arena) -> Member:
    arena.scorer()
    shadow = arena.shadow()
    arena.ready()
    return shadow


@scenario()
def redis_restart(arena: Arena) -> None:
    """kill -9 of Redis with an append-only file that is synced once a second, and a clean restart."""
    _stage(arena)
    for stop in (arena.store.kill, arena.store.stop, arena.store.kill):

        def restart(stop=stop) -> None:  # type: ignore[no-untyped-def]
            stop()
            arena.store.start()

        arena.strike(restart, backlog=arena.behind_shadow, part=2000)


@scenario()
def redis_frozen_60s(arena: Arena) -> None:
    """Redis does not answer for a minute, and keeps its connections."""
    shadow = _stage(arena)

    def freeze() -> None:
        arena.store.freeze()
        time.sleep(60)  # the fault itself
        if get(f"http://127.0.0.1:{shadow.alive.port}/livez") is None:
            arena.problems.append("/livez calls a shadow dead that waits for Redis")
        arena.store.thaw()

    arena.strike(freeze, backlog=arena.behind_shadow, part=3000)


@scenario()
def redis_oom(arena: Arena) -> None:
    """Redis has no memory left and evicts nothing: it refuses every write until it is given more."""
    shadow = _stage(arena)

    def fill() -> None:
        before = shadow.alive.metric("shadow_redis_errors_total")
        with arena.store.client() as client:
            client.config_set("maxmemory-policy", "noeviction")
            client.config_set("maxmemory", "1mb")
            arena.until("refused writes", lambda: shadow.alive.metric("shadow_redis_errors_total") > before + 2)
            client.config_set("maxmemory", "0")

    with arena.pouring(400):
        arena.strike(fill, backlog=arena.behind_shadow, times=2, part=2000)


@scenario(appendonly=False)
def redis_wiped(arena: Arena) -> None:
    """Redis loses everything: FLUSHALL, and a restart without a file."""
    _stage(arena)

    def flush() -> None:
        with arena.store.client() as client:
            client.flushall()

    def restart() -> None:
        arena.store.kill()
        arena.store.start()

    arena.strike(flush, backlog=arena.behind_shadow, part=2000)
    arena.strike(restart, backlog=arena.behind_shadow, part=2000)


def _is_in_step(replica: Any) -> bool:
    return bool(replica.info("replication")["master_link_status"] == "up")


def _has_applied_beyond(arena: Arena, before: int) -> bool:
    return arena.applied() > before


@scenario()
def redis_failover_rollback(arena: Arena) -> None:
    """A replica that had not got the last acknowledged writes takes the place of its primary."""
    _stage(arena)
    for turn in range(2):
        primary = arena.store
        replica = RedisServer(arena.folder / f"replica-{turn}", primary.binary, appendonly=True)
        arena.enter(replica)
        with replica.client() as client:
            client.replicaof("127.0.0.1", primary.port)
            arena.until("in step", partial(_is_in_step, client))
            arena.send(2000)
            arena.until("some of it applied", lambda: arena.behind_shadow() < 1500)
            client.replicaof("NO", "ONE")
            before = arena.applied()
            arena.send(500)  # the shadow may have had all that came before
            arena.until("writes that will be lost", partial(_has_applied_beyond, arena, before))

            def fail_over(primary: RedisServer = primary, replica: RedisServer = replica, client: Any = client) -> None:
                acknowledged = arena.applied()
                primary.kill()
                client.config_set("port", primary.port)
                replica.port = primary.port
                arena.store = replica
                assert arena.applied() < acknowledged, "the replica had everything"

            arena.strike(fail_over, backlog=arena.behind_shadow)
