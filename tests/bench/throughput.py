"""How many transactions a second each contender decides on one core, and how much CPU a thousand of them take."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from bench import floor, shadow_floor, sockets
from bench.reckoning import Mark, begin, between
from bench.sockets import received
from bench.stage import BROKER_CORE, SCORER, SHADOW, WORKER_CORE, Watcher, cpu_seconds, stage
from bench.workload import BYTES, PARTITIONS, Workload
from harness.places import ROOT
from scorer.pipeline.batch import Record

BATCH = 5000
LIMIT_SECONDS = 300.0
#: A worker receives so much while it starts, and hundreds of times as much of the workload.
NOTHING_BYTES = 200_000
#: Quix Streams waits for whole windows of so many records.
WINDOW = 1000
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


def deciding(
    argv: Sequence[str],
    folder: Path,
    work: Workload,
    made: list[list[Record]],
    tail: int = 0,
    env: Mapping[str, str] | None = None,
) -> Measured:
    """A worker that decides all transactions but a `tail`; a fresh broker.

    Timed from the moment when the first of them is on its way to the worker until the last is decided: at both, none is
    in flight. A later first moment would count what the worker had taken by then as done in no time, and how much that
    is differs from one to the other. All decisions must be those of the floor, byte for byte.
    """
    values: list[bytes] = []
    n = len(work) - tail
    seen_first: float | None = None
    marks: list[Mark] = []  # until something is on its way
    with stage(folder, work) as on, closing(Watcher(on.settings.bootstrap)) as watcher:
        port = int(on.settings.bootstrap.rpartition(":")[2])
        started = time.perf_counter()
        with on.worker(argv, env=env) as worker:
            while len(values) < n:
                if not values and (not marks or marks[-1].received <= NOTHING_BYTES):
                    came = received(worker.pid, port) if sockets.are_told() else 0
                    marks.append(Mark(time.perf_counter(), cpu_seconds(worker.pid), 0, came))
                values += [message.value() for message in watcher.look(0.01)]
                now = time.perf_counter()
                if worker.poll() is not None or now - started > LIMIT_SECONDS:
                    raise SystemExit(f"{' '.join(argv[-3:])}: no end; {on.log()}")
                if values and seen_first is None:
                    seen_first = now
            last = Mark(now, cpu_seconds(worker.pid), len(values), len(values) * BYTES)
    is_wrong = len(set(values)) != len(values) or not {value for part in made for _, value in part}.issuperset(values)
    assert not is_wrong, f"{' '.join(argv[-3:])}: its decisions are not those of the floor"
    assert seen_first is not None
    rate, cpu = between(begin(marks, NOTHING_BYTES), last)
    return Measured(rate, cpu, seen_first - started)


def shadowing(folder: Path, work: Workload, made: list[list[Record]]) -> Measured:
    """A shadow that compares all decisions, from when its partitions are open until four fifths are in Redis: the last
    ones wait for half a second, for more to come."""
    n = len(work)
    with stage(folder, work, with_redis=True, is_filled=False) as on:
        asyncio.run(on.write("decisions", made))
        started = time.perf_counter()
        marks: list[tuple[float, float, int]] = []  # moment, CPU seconds, applied
        with on.worker([*SHADOW, "candidate"]) as worker:
            applied = 0
            while applied < n:
                fences = on.fences("candidate")
                applied, now = sum(fence or 0 for fence in fences), time.perf_counter()
                if worker.poll() is not None or now - started > LIMIT_SECONDS:
                    raise SystemExit(f"shadow: no end; {on.log()}")
                if (not marks and None not in fences) or (len(marks) == 1 and applied >= 0.8 * n):
                    marks.append((now, cpu_seconds(worker.pid), applied))
                time.sleep(0.01)
    (first, cpu, _), (last, cpu_then, then) = marks
    return Measured(then / (last - first), (cpu_then - cpu) / then * 1000, first - started)


def contenders(folder: Path, work: Workload, is_quick: bool) -> dict[str, Callable[[], Measured]]:
    """Every contender's one run."""
    made = floor.decisions(folder, work, BATCH)
    python = sys.executable
    some = work.first(min(len(work), 10_000 if is_quick else 50_000))

    def run(
        argv: Sequence[str], tail: int = 0, work: Workload = work, env: Mapping[str, str] | None = None
    ) -> Callable[[], Measured]:
        return lambda: deciding(argv, folder, work, made, tail, env)

    peers: dict[str, tuple[list[str], int, Workload]] = {
        "handwritten": ([python, "-m", "bench.handwritten"], 0, work),
        "bytewax": ([str(PEERS), "-m", "bench.on_bytewax"], 0, work),
        "quix": ([str(PEERS), "-m", "bench.on_quix"], PARTITIONS * WINDOW, work),
        "faust": ([python, "-m", "bench.on_faust", "worker", "--without-web", "-l", "warn"], 0, some),
    }
    every: dict[str, Callable[[], Measured]] = {
        "floor": lambda: on_the_floor(lambda: floor.settle_all(folder, work, BATCH), len(work)),
        "scorer": run(SCORER),
        "shadow_floor": lambda: on_the_floor(lambda: shadow_floor.absorb_all(folder, work, made, BATCH), len(work)),
        "shadow": lambda: shadowing(folder, work, made),
    }
    every |= {name: run(*peer) for name, peer in peers.items()}
    if not is_quick:
        ours = {"BENCH_PREDICTOR": "auto"}
        every |= {f"{name}, our predictor": run(*peer, env=ours) for name, peer in peers.items()}
    return every
