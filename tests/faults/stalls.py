"""How long decisions stand still when scorers restart, at the default timing: run by hand, for docs/operations.md.

Two scorers decide a steady stream. `rolling`: each gets SIGTERM and is started anew, one after the other. `crash`: one
gets kill -9 and is started anew at once. Both with and without static membership. A stall is the longest time in which
some partition had transactions waiting and none of them was decided.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

from faults.arena import Arena, Member
from faults.checker import stalls
from faults.run import BROKER
from faults.workload import prepared
from harness.kafka import Kafka
from harness.stores import RedisServer, debian_redis

RATE = 400


def rolling(arena: Arena, scorers: list[Member]) -> None:
    for scorer in scorers:
        scorer.stop()
        scorer.start()
        arena.ready()
        arena.until("caught up", lambda: arena.behind_live() < RATE)


def crash(arena: Arena, scorers: list[Member]) -> None:
    scorers[0].kill()
    scorers[0].start()
    arena.ready()
    arena.until("caught up", lambda: arena.behind_live() < RATE)


def measure(harm: Callable[[Arena, list[Member]], None], is_static: bool, session: float, heartbeat: float) -> float:
    """Seconds of the longest stall."""
    with tempfile.TemporaryDirectory(prefix="stalls-") as temporary:
        folder = Path(temporary)
        kafka = Kafka(folder / "kafka", settings=dict(BROKER))
        store = RedisServer(folder / "redis", str(debian_redis()))
        timing = {"SCORER_SESSION_SECONDS": str(session), "SCORER_HEARTBEAT_SECONDS": str(heartbeat)}
        with Arena(folder, prepared(), kafka, store, seed=1, env=timing) as arena:
            names = ({"INSTANCE_ID": f"scorer-{i}"} if is_static else {} for i in range(2))
            scorers = [arena.scorer(**name) for name in names]
            arena.ready()
            with arena.pouring(RATE):
                arena.until("a stream", lambda: arena.sent > 4 * RATE)
                harm(arena, scorers)
            arena.until("decided", lambda: arena.behind_live() <= 0)
            return max(stalls(arena))


def main() -> None:
    """Measure each a few times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--session", type=float, default=10.0)
    parser.add_argument("--heartbeat", type=float, default=3.0)
    parser.add_argument("what", nargs="*", default=["rolling", "crash"], choices=["rolling", "crash"])
    args = parser.parse_args()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    for name in args.what:
        for is_static in (False, True):
            harm = {"rolling": rolling, "crash": crash}[name]
            found = [measure(harm, is_static, args.session, args.heartbeat) for _ in range(args.times)]
            seconds = ", ".join(f"{stall:.1f}" for stall in found)
            kind = "static" if is_static else "ordinary"
            print(f"{name}, {kind} members: {seconds} s (median {statistics.median(found):.1f})", flush=True)


if __name__ == "__main__":
    main()
