"""What one more slot costs: slots compare one backlog at once on one core, in a process for each or in one for all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from bench.scale.found import Slotted
from bench.stage import SHADOW, SLOTS, cpu_seconds, stage
from bench.workload import Workload
from scorer.deployments.deploy import fill
from scorer.pipeline.batch import Record

LIMIT_SECONDS = 240.0


def measure(
    folder: Path, work: Workload, made: Sequence[Sequence[Record]], slots: int, together: bool = False
) -> Slotted:
    """So many slots, with one Valkey and one broker. together: in one process."""
    names = [*SLOTS, *(f"slot-{at}" for at in range(len(SLOTS), slots))][:slots]
    n = sum(map(len, made))
    with stage(folder, work, with_redis=True, is_filled=False) as on, ExitStack() as stack:
        for name in names[len(SLOTS) :]:
            asyncio.run(fill(on.settings, name, work.candidate, None, None, "bench", "bench"))
        argvs = [[*SHADOW, *" --slot ".join(names).split()]] if together else [[*SHADOW, name] for name in names]
        workers = [stack.enter_context(on.worker(argv)) for argv in argvs]
        began = time.monotonic()
        while any(None in on.fences(name) for name in names):
            assert time.monotonic() - began < LIMIT_SECONDS, f"a shadow does not begin:\n{on.log()}"
            time.sleep(0.05)

        def spent() -> list[float]:
            return [sum(map(cpu_seconds, pids)) for pids in ([one.pid for one in workers], on.stores, on.brokers)]

        before = spent()
        asyncio.run(on.write("decisions", made))
        while sum(sum(fence or 0 for fence in on.fences(name)) for name in names) < 0.9 * n * slots:
            assert time.monotonic() - began < LIMIT_SECONDS, f"a shadow does not end:\n{on.log()}"
            time.sleep(0.02)
        shadow, store, broker = (1000 * (b - a) / (0.9 * n) for a, b in zip(before, spent(), strict=True))
        used = on.used_bytes()
    return Slotted(slots, len(workers), shadow, store, broker, used)
