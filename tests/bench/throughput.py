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

from bench import floor, shadow_floor
from bench.stage import BROKER_CORE, SCORER, SHADOW, WORKER_CORE, Watcher, cpu_seconds, stage
from bench.workload import PARTITIONS, Workload
from harness.places import ROOT
from scorer.pipeline.batch import Record

BATCH = 5000
LIMIT_SECONDS = 300.0
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

    Timed from when a batch of each partition is decided until two batches before the end: a contender that takes one of
    each before it decides the first has then as many on their way at either moment. All decisions must be those of the
    floor, byte for byte.
    """
    values: list[bytes] = []
    n = len(work) - tail
    since, upto = min(PARTITIONS * BATCH, n // 4), n - min(2 * BATCH, n // 5)
    seen_first: float | None = None
    with stage(folder, work) as on, closing(Watcher(on.settings.bootstrap)) as watcher:
        started = time.perf_counter()
        marks: list[tuple[float, float, int]] = []  # moment, CPU seconds, seen
        with on.worker(argv, env=env) as worker:
            while len(values) < n:
                values += [message.value() for message in watcher.look(0.01)]
                now = time.perf_counter()
                if worker.poll() is not None or now - started > LIMIT_SECONDS:
                    raise SystemExit(f"{' '.join(argv[-3:])}: no end; {on.log()}")
                if values and seen_first is None:
                    seen_first = now
                if len(values) >= (upto if marks else since) and len(marks) < 2:
                    marks.append((now, cpu_seconds(worker.pid), len(values)))
    is_wrong = len(set(values)) != len(values) or not {value for part in made for _, value in part}.issuperset(values)
    assert not is_wrong, f"{' '.join(argv[-3:])}: its decisions are not those of the floor"
    (first, cpu, at_first), (last, cpu_then, then) = marks
    assert then > at_first, "too few transactions to time"
    assert seen_first is not None
    return Measured(
        (then - at_first) / (last - first), (cpu_then - cpu) / (then - at_first) * 1000, seen_first - started
    )


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

    def run(argv: Sequence[str], tail: int = 0, work: Workload = work) -> Callable[[], Measured]:
        return lambda: deciding(argv, folder, work, made, tail)

    return {
        "floor": lambda: on_the_floor(lambda: floor.settle_all(folder, work, BATCH), len(work)),
        "handwritten": run([python, "-m", "bench.handwritten"]),
        "scorer": run(SCORER),
        "shadow_floor": lambda: on_the_floor(lambda: shadow_floor.absorb_all(folder, work, made, BATCH), len(work)),
        "shadow": lambda: shadowing(folder, work, made),
        "bytewax": run([str(PEERS), "-m", "bench.on_bytewax"]),
        "quix": run([str(PEERS), "-m", "bench.on_quix"], tail=PARTITIONS * WINDOW),
        "faust": run([python, "-m", "bench.on_faust", "worker", "--without-web", "-l", "warn"], work=some),
    }
