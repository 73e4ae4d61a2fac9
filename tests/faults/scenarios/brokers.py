"""Kafka restarts, loses a leader, or is away."""

from __future__ import annotations

import time
from functools import partial

from faults.arena import PART, Arena
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
    _expect_no_end(arena)


@scenario(env={"SCORER_REQUEST_SECONDS": "5", "SHADOW_REQUEST_SECONDS": "5"})
def kafka_away_often(arena: Arena) -> None:
    """The only broker stops in good order, or is killed, and comes back, ten times: after a moment, or after longer
    than any request lasts. No shadow ends by it."""
    arena.scorer()
    arena.shadow()
    arena.shadow("control", arena.models.control)
    arena.ready()

    def away() -> None:
        arena.rng.choice([arena.kafka.stop, arena.kafka.kill])()
        time.sleep(arena.rng.choice([arena.rng.uniform(0, 3), arena.rng.uniform(5, 12)]))  # the fault itself
        arena.kafka.start()

    for _ in range(10):
        arena.strike(away, part=PART)
        arena.until("all through", lambda: arena.behind_live() <= 0)
        for slot in arena.slots:
            arena.until(f"slot {slot} has read all", partial(_has_read_all, arena, slot))
    _expect_no_end(arena)


def _has_read_all(arena: Arena, slot: str) -> bool:
    return arena.behind_shadow(slot) <= 0


def _expect_no_end(arena: Arena) -> None:
    """No shadow ended, be it by its watchdog: it can wait for a broker. A scorer may, as its writes fail at last."""
    for member in arena.members:
        if member.argv[0] == "shadow" and member.revivals:
            arena.problems.append(f"{' '.join(member.argv)} ended {member.revivals} times")
