"""The floors: the pure pipelines of scorer and shadow in memory, without Kafka and Redis."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bench.workload import PARTITIONS, READING, VIEW, Workload
from scorer.deployments import Slot
from scorer.live import live_model
from scorer.pipeline import Incoming, LiveModel, Published, Record, Rules, settle
from scorer.store import BundleStore
from scorer.velocity import CardStates

RULES = Rules(VIEW, READING, None)


def model(folder: Path, digest: str) -> LiveModel:
    """The bundle of a workload as the live model, warm."""
    bundle = BundleStore(str(folder / "bundles"), folder / "cache").fetch(digest)
    bundle.warm()
    return live_model(Slot(1, bundle.digest, bundle.threshold), bundle, VIEW)


def batches(work: Workload, size: int) -> Iterator[Incoming]:
    """The workload as a worker would get it: batches of one partition, partitions in turn."""
    parts = [work.of(p) for p in range(PARTITIONS)]
    for start in range(0, max(len(keys) for keys, _ in parts), size):
        for p, (keys, values) in enumerate(parts):
            part = slice(start, start + size)
            offsets = np.arange(start, start + len(keys[part]), dtype=np.int64)
            if len(offsets):
                yield Incoming(p, keys[part], values[part], offsets, np.full(len(offsets), -1, dtype=np.int64))


def settle_all(folder: Path, work: Workload, size: int) -> tuple[float, float]:
    """Settle the whole workload; seconds and CPU seconds of this process."""
    live, states = model(folder, work.digest), [CardStates(2) for _ in range(PARTITIONS)]
    todo = list(batches(work, size))
    wall, cpu = time.perf_counter(), time.process_time()
    for incoming in todo:
        settle(incoming, states[incoming.partition], Published(), live, RULES, None)
    return time.perf_counter() - wall, time.process_time() - cpu


def decisions(folder: Path, work: Workload, size: int) -> list[list[Record]]:
    """Decisions of the workload by partition, as the scorer writes them."""
    live, states = model(folder, work.digest), [CardStates(2) for _ in range(PARTITIONS)]
    made: list[list[Record]] = [[] for _ in range(PARTITIONS)]
    for incoming in batches(work, size):
        p = incoming.partition
        made[p] += settle(incoming, states[p], Published(), live, RULES, None).decisions
    return made
