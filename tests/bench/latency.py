"""From the append of a transaction to the append of its decision, under an open loop at a fixed rate.

Both times are the broker's: Apache Kafka stamps what it appends, to the millisecond. (The embedded broker keeps no
append times, and looks through all batches at each fetch: with a batch every millisecond it falls behind by itself.)
Transactions are sent when they are due whatever becomes of them, so a worker that stalls is charged for every one that
came meanwhile.
"""

from __future__ import annotations

import asyncio
import pickle
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.load import FILE
from bench.stage import BROKER_CORE, SHADOW, SLOTS, Stage, Watcher, stage
from bench.workload import PARTITIONS, Workload

WARM_SECONDS = 8.0
#: How long a worker may take to its first decision, and after the load to its last.
PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class Latency:
    """rate: decisions appended a second while the load was on. p50, p99, p999: milliseconds.

    late_ms: how late the generator sent the 99th percentile of the transactions; no part of the latency.
    """

    rate: float
    p50: float
    p99: float
    p999: float
    late_ms: float


def median(runs: Sequence[Latency]) -> Latency:
    """The median of several runs, figure by figure."""
    return Latency(*map(statistics.median, zip(*map(astuple, runs), strict=True)))


def under_load(
    argv: Sequence[str], folder: Path, work: Workload, rate: float, seconds: float, shadows: int = 0
) -> Latency:
    """One worker on its core, with shadows beside it on whatever is left of both cores (SCHED_IDLE, long sessions)."""
    (folder / FILE).write_bytes(pickle.dumps(work))
    idle = {"SHADOW_SESSION_SECONDS": "20", "SHADOW_HEARTBEAT_SECONDS": "5", "SHADOW_NICENESS": "19"}
    with stage(folder, work, is_real=True, with_redis=shadows > 0, is_filled=False) as on, ExitStack() as stack:
        stack.enter_context(on.worker(argv))
        for slot in SLOTS[:shadows]:
            stack.enter_context(on.worker([*SHADOW, slot], core=None, env=idle))
        few = [list(zip(*(column[:1] for column in work.of(p)), strict=True)) for p in range(PARTITIONS)]
        asyncio.run(on.write("transactions", few))
        appended(on, "decisions", PARTITIONS)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while any(sum(fence or 0 for fence in on.fences(slot)) < PARTITIONS for slot in SLOTS[:shadows]):
            assert time.monotonic() < deadline, f"a shadow does not begin:\n{on.log()}"
            time.sleep(0.1)
        load = [sys.executable, "-m", "bench.load", str(rate), str(WARM_SECONDS + seconds)]
        process = stack.enter_context(on.worker(load, core=BROKER_CORE, stdout=subprocess.PIPE))
        assert process.stdout is not None
        sent, late = process.stdout.readline().split()
        n = PARTITIONS + int(sent)
        decided, came = appended(on, "decisions", n), appended(on, "transactions", n)
    return reckoned(came, decided, seconds, float(late))


def reckoned(
    came: Sequence[npt.NDArray[np.int64]], decided: Sequence[npt.NDArray[np.int64]], seconds: float, late: float
) -> Latency:
    """From append times of transactions and decisions by partition, milliseconds, once the worker is warm.

    The decisions of a partition come in the order of its transactions; the first of each began the run.
    """
    waited = np.concatenate([(after - before)[1:] for after, before in zip(decided, came, strict=True)])
    start = min(int(part[1]) for part in came if len(part) > 1) + 1000 * WARM_SECONDS
    counted = np.concatenate([part[1:] >= start for part in came])
    after = np.concatenate([part[1:] for part in decided])
    in_time = (after >= start) & (after < start + 1000 * seconds)
    p50, p99, p999 = np.quantile(waited[counted], [0.5, 0.99, 0.999])
    return Latency(float(in_time.sum() / seconds), float(p50), float(p99), float(p999), 1000 * late)


def appended(on: Stage, topic: str, n: int) -> list[npt.NDArray[np.int64]]:
    """Append times of the first n records of a topic by partition, milliseconds since 1970; waits for them."""
    times: list[list[int]] = [[] for _ in range(PARTITIONS)]
    deadline = time.monotonic() + PATIENCE_SECONDS
    with closing(Watcher(on.settings.bootstrap, topic)) as watcher:
        while sum(map(len, times)) < n:
            for message in watcher.look(0.1):
                times[message.partition()].append(message.timestamp()[1])
            assert time.monotonic() < deadline, f"{sum(map(len, times))} of {n} on {topic}:\n{on.log()}"
    return [np.array(part, dtype=np.int64) for part in times]
