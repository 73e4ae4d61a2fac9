"""What a flush costs Valkey, alone and as a cluster of three masters: the real script, driven directly, without Kafka.

Each flush has comparisons of one partition. Partitions take turns, several flushes are on their way at once, as from
several shadows. All of a partition's keys lie on one master, so a cluster shares partitions out, not flushes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.reckoning import quantile
from bench.redis_memory import THRESHOLD, decisions
from bench.scale.found import Flushed
from bench.stage import cpu_seconds
from bench.workload import START_MS
from harness.stores import RedisServer, cluster, valkey
from scorer.errors import SettingsError
from scorer.pipeline.batch import Scores
from shadow.comparison.absorb import absorb
from shadow.comparison.decisions import Decisions
from shadow.comparison.increment import Increment
from shadow.comparison.memory import Memory
from shadow.comparison.segments import Segments
from shadow.gate import criteria
from shadow.store.connection import connect
from shadow.store.tallies import Applied, Fence, TallyStore

#: Flushes on their way at once.
AT_ONCE = 8
MERCHANTS = 997
HOUR_MS = 3_600_000
#: Different flushes that are made beforehand, and applied again and again at other offsets.
MADE = 8


@dataclass(frozen=True)
class _Given:
    scores: Scores
    digest: str = "c" * 64
    epoch: int = 2
    threshold: float = THRESHOLD

    def score(self, view: str, matrix: Any) -> Scores:
        return self.scores


def segments_of(n: int) -> Segments:
    """So many segments by merchant, with `all`, the other merchants and three of the amount.

    Raises SettingsError if a release file may not declare so many.
    """
    names = ", ".join(f"m{at}" for at in range(n - 5))
    found = criteria.parse(f"schema: 1\nsegments:\n  merchant: {{field: merchant_id, values: [{names}]}}\n").segments
    assert len(found.names) == n, f"{len(found.names)} segments instead of {n}"
    return found


def refusal(n: int) -> str | None:
    """Why so many segments are refused, None if they are not."""
    try:
        segments_of(n)
    except SettingsError as error:
        return str(error)
    return None


def made(segments: Segments, comparisons: int) -> tuple[list[Increment], float]:
    """Sums of so many comparisons each, and CPU milliseconds to sum one up."""
    rng, spent = np.random.default_rng(8), 0.0
    found: list[Increment] = []
    for at in range(MADE):
        few, theirs = decisions(at * comparisons, comparisons, rng)
        times = START_MS + HOUR_MS * at + rng.integers(0, HOUR_MS, comparisons)  # a flush is of one hour, as in life
        few = replace(few, occurred_ms=times, scored_ms=times)
        for row, merchant in zip(few.rows, rng.integers(0, MERCHANTS, comparisons).tolist(), strict=True):
            row["transaction"]["merchant_id"] = f"m{merchant}"
        spent += _absorb(few, theirs, segments, found)
    assert all(one.tallies for one in found), "nothing was counted"
    return found, 1000 * spent / MADE / comparisons


def _absorb(few: Decisions, theirs: Scores, segments: Segments, into: list[Increment]) -> float:
    began = time.thread_time()
    into.append(absorb(few, _Given(theirs), Memory(), segments, {}, 100.0, 50_000))
    return time.thread_time() - began


def measure(folder: Path, servers: int, partitions: int, segments: int, comparisons: int, seconds: float) -> Flushed:
    """As many flushes as there is time for, of so many comparisons each, in turn from all partitions."""
    with ExitStack() as stack:
        if servers == 1:
            running = [stack.enter_context(RedisServer(folder / "alone", valkey()))]
            address = f"redis://{running[0].address}/0"
        else:
            running = stack.enter_context(cluster(folder / "cluster", valkey(), servers))
            address = f"redis+cluster://{running[0].address}/0"
        return asyncio.run(_driven(running, address, partitions, segments, comparisons, seconds))


async def _driven(
    running: Sequence[RedisServer], address: str, partitions: int, segments: int, comparisons: int, seconds: float
) -> Flushed:
    divided = segments_of(segments)
    increments, absorb_ms = made(divided, comparisons)
    client = connect(address)
    store = TallyStore(client, "candidate", divided.names)
    fences = {p: await store.open_partition(p, 0) for p in range(partitions)}
    took: list[float] = []
    todo: asyncio.Queue[int] = asyncio.Queue()
    for partition in fences:
        todo.put_nowait(partition)

    async def flush() -> None:
        while time.perf_counter() < end:
            partition = todo.get_nowait()
            fence = fences[partition]
            to, began = fence.next + comparisons, time.perf_counter()
            applied = await store.apply(partition, fence, to, increments[len(took) % MADE])
            assert isinstance(applied, Applied), applied
            took.append(1000 * (time.perf_counter() - began))
            fences[partition] = Fence(fence.nonce, to, to - 1, False)
            todo.put_nowait(partition)

    for partition in list(fences)[: min(partitions, 2 * AT_ONCE)]:  # the script is sent and compiled before
        applied = await store.apply(partition, fences[partition], comparisons, increments[0])
        assert isinstance(applied, Applied)
        fences[partition] = Fence(fences[partition].nonce, comparisons, comparisons - 1, False)
    commands, cpu = _commands(running), _cpu(running)
    began = time.perf_counter()
    end = began + seconds
    await asyncio.gather(*(flush() for _ in range(min(AT_ONCE, partitions))))
    elapsed = time.perf_counter() - began
    spent = [after - before for before, after in zip(cpu, _cpu(running), strict=True)]
    n = len(took)
    used = 0
    for server in running:
        with server.client() as one:
            used += int(one.info("memory")["used_memory"])
    await client.aclose()
    return Flushed(
        servers=len(running),
        segments=len(divided.names),
        comparisons=comparisons,
        rate=n / elapsed,
        p50=quantile(took, 0.5),
        p99=quantile(took, 0.99),
        cpu_ms=1000 * sum(spent) / n,
        commands=(_commands(running) - commands) / n,
        shares=tuple(one / sum(spent) for one in spent),
        absorb_ms=absorb_ms,
        used_bytes=used,
    )


def _cpu(running: Sequence[RedisServer]) -> list[float]:
    return [cpu_seconds(server.process.pid) for server in running if server.process is not None]


def _commands(running: Sequence[RedisServer]) -> int:
    """Calls of commands so far, those of scripts included; not the commands that ask for it."""
    total = 0
    for server in running:
        with server.client() as one:
            stats = one.info("commandstats")
        total += sum(int(told["calls"]) for name, told in stats.items() if name != "cmdstat_info")
    return total
