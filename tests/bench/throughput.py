"""How many transactions a second each contender decides on one core, and how much CPU a thousand of them take."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import redis

from bench import floor, shadow_floor
from bench.stage import BROKER_CORE, SCORER, SHADOW, WORKER_CORE, Watcher, cpu_seconds, stage
from bench.workload import PARTITIONS, Workload
from harness.places import ROOT
from scorer.pipeline import Record
from shadow.keys import Keys

BATCH = 5000
LIMIT_SECONDS = 300.0
PEERS = ROOT / ".venv" / "peers" / "bin" / "python"


@dataclass(frozen=True)
class Measured:
    """One run of a contender: transactions a second, CPU seconds for a thousand, seconds to the first decision."""

    rate: float
    cpu_per_1000: float
    start_s: float = 0.0


def on_the_floor(run: Callable[[], tuple[float, float]], n: int) -> Measured:
    """A pure pipeline in this process, on the workers' core."""
    os.sched_setaffinity(0, {WORKER_CORE})
    try:
        wall, cpu = run()
    finally:
        os.sched_setaffinity(0, {BROKER_CORE})
    return Measured(n / wall, cpu / n * 1000)


def deciding(argv: Sequence[str], folder: Path, work: Workload, tail: int = 0) -> Measured:
    """A worker that decides all transactions but a `tail`, from its first decision on; a fresh broker."""
    with stage(folder, work) as on:
        watcher = Watcher(on.settings.bootstrap)
        started = time.perf_counter()
        with on.worker(argv) as worker:
            seen = at_first = 0
            first = last = cpu = 0.0
            while seen < len(work) - tail:
                found = watcher.look(0.01).total()
                if worker.poll() is not None or time.perf_counter() - started > LIMIT_SECONDS:
                    raise SystemExit(f"{' '.join(argv[-3:])}: no end; {(folder / 'worker.log').read_text()[-3000:]}")
                if found:
                    last = time.perf_counter()
                    if not seen:
                        first, at_first, cpu = last, found, cpu_seconds(worker.pid)
                    seen += found
            cpu = cpu_seconds(worker.pid) - cpu
        watcher.close()
    assert seen <= len(work), f"{seen} decisions for {len(work)} transactions"
    n = seen - at_first
    return Measured(n / (last - first), cpu / n * 1000, first - started)


def shadowing(folder: Path, work: Workload, made: list[list[Record]]) -> Measured:
    """A shadow that compares all decisions, between its first and its last writing to Redis."""
    with stage(folder, work, redis=True, is_filled=False) as on:
        asyncio.run(on.write("decisions", made))
        assert on.redis is not None
        client = redis.Redis.from_url(on.redis)
        fences = [Keys("shadow", "candidate", p).fence for p in range(PARTITIONS)]

        def applied() -> int:
            return sum(int(client.hget(fence, "next") or 0) for fence in fences)  # type: ignore[arg-type]

        started = time.perf_counter()
        with on.worker([*SHADOW, "candidate"]) as worker:
            seen = at_first = 0
            first = last = cpu = 0.0
            while seen < len(work):
                time.sleep(0.01)
                now = applied()
                if worker.poll() is not None or time.perf_counter() - started > LIMIT_SECONDS:
                    raise SystemExit(f"shadow: no end; {(folder / 'worker.log').read_text()[-3000:]}")
                if now > seen:
                    last = time.perf_counter()
                    if not seen:
                        first, at_first, cpu = last, now, cpu_seconds(worker.pid)
                    seen = now
            cpu = cpu_seconds(worker.pid) - cpu
    n = seen - at_first
    return Measured(n / (last - first), cpu / n * 1000, first - started)


def contenders(folder: Path, work: Workload, is_quick: bool) -> dict[str, Callable[[], Measured]]:
    """Every contender's one run."""
    made = floor.decisions(folder, work, BATCH)
    python = sys.executable
    some = work.first(min(len(work), 10_000 if is_quick else 50_000))
    return {
        "floor": lambda: on_the_floor(lambda: floor.settle_all(folder, work, BATCH), len(work)),
        "handwritten": lambda: deciding([python, "-m", "bench.handwritten"], folder, work),
        "scorer": lambda: deciding(SCORER, folder, work),
        "shadow_floor": lambda: on_the_floor(
            lambda: shadow_floor.absorb_all(folder, work, made, BATCH), len(work)
        ),
        "shadow": lambda: shadowing(folder, work, made),
        "bytewax": lambda: deciding([str(PEERS), "-m", "bytewax.run", "bench.on_bytewax"], folder, work),
        "quix": lambda: deciding([str(PEERS), "-m", "bench.on_quix"], folder, work, tail=PARTITIONS * 1000),
        "faust": lambda: deciding(
            [python, "-m", "bench.on_faust", "worker", "--without-web", "-l", "warn"], folder, some
        ),
    }
