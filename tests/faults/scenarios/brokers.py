"""Kafka restarts, loses a leader, or is away."""

from __future__ import annotations

import time

from faults.arena import Arena
from faults.scenario import scenario


@scenario()
def broker_restart(arena: Arena) -> None:
    """The only broker restarts in good order, and after a kill -9."""
    arena.scorer()
    arena.shadow()
    arena.ready()
    for stop in (arena.kafka.stop, arena.kafka.kill):

        def restart(stop=stop) -> None:  # type: ignore[no-untyped-def]
            stop()
            arena.kafka.start()

        arena.strike(restart, part=3000)


@scenario(brokers=3, env={"SCORER_REPLICATION": "3"})
def leader_loss(arena: Arena) -> None:
    """Of three brokers, the one that leads a partition of `decisions` is killed, and comes back."""
    arena.scorer()
    arena.shadow()
    arena.ready()
    for partition in (0, 1, 2):
        leader = arena.wire.leaders("decisions")[partition]
        node = next(node for node in arena.kafka.nodes if node.id == leader)
        arena.strike(node.kill, part=3000)
        arena.until("the others go on", lambda: arena.behind_live() <= 0)
        assert arena.wire.leaders("decisions")[partition] != leader, "no other broker leads"
        arena.kafka.start()


@scenario()
def kafka_away_60s(arena: Arena) -> None:
    """The only broker is killed, and comes back after a minute."""
    arena.scorer()
    arena.shadow()
    arena.ready()

    def away() -> None:
        arena.kafka.kill()
        time.sleep(60)  # the fault itself
        arena.kafka.start()

    arena.strike(away, part=3000)
