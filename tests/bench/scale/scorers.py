"""What a scorer does on its core when another one of its group is on the other: the same backlog for one and for two.

The scorers stand still (SIGSTOP) while the backlog is written, and go on together. Two cores: the broker has a part of
the second one, so what counts is transactions for each CPU second of the scorers.
"""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import ExitStack, closing
from pathlib import Path

from bench.scale.found import Shared
from bench.scale.partitions import _owns, _until
from bench.stage import BROKER_CORE, SCORER, WORKER_CORE, Watcher, cpu_seconds, stage
from bench.workload import PARTITIONS, Workload
from scorer.sources.replay import send_all

LIMIT_SECONDS = 180.0
CHUNK = 10_000
#: Nobody leaves the group while it stands still.
PATIENT = {"SCORER_SESSION_SECONDS": "40", "SCORER_HEARTBEAT_SECONDS": "1", "SCORER_STALL_SECONDS": "0"}


def measure(folder: Path, work: Workload, scorers: int) -> Shared:
    """So many scorers, each on a core of its own as long as there are any, decide the whole workload."""
    (folder / "worker.log").unlink(missing_ok=True)
    with stage(folder, work, is_filled=False) as on, ExitStack() as stack:
        cores = (WORKER_CORE, BROKER_CORE)
        workers = [stack.enter_context(on.worker(SCORER, cores[at % 2], PATIENT)) for at in range(scorers)]
        _until(on, "shared", lambda: sum(int(owns[0]) for owns in _owns(on)[-scorers:]) == PARTITIONS)
        for worker in workers:
            worker.send_signal(signal.SIGSTOP)
        n = len(work)
        chunks = [(work.keys[at : at + CHUNK], work.values[at : at + CHUNK]) for at in range(0, n, CHUNK)]
        asyncio.run(send_all(on.settings, chunks, None, lambda n: None))
        seen, broker = 0, sum(map(cpu_seconds, on.brokers))
        with closing(Watcher(on.settings.bootstrap)) as watcher:
            began, cpu = time.perf_counter(), sum(cpu_seconds(worker.pid) for worker in workers)
            for worker in workers:
                worker.send_signal(signal.SIGCONT)
            while seen < n:
                seen += len(watcher.look(0.01))
                assert time.perf_counter() - began < LIMIT_SECONDS, f"{seen} of {n} decided:\n{on.log()}"
            took = time.perf_counter() - began
            spent = sum(cpu_seconds(worker.pid) for worker in workers) - cpu
            broker = sum(map(cpu_seconds, on.brokers)) - broker
    return Shared(scorers, n / took, 1000 * spent / n, 1000 * broker / n)
