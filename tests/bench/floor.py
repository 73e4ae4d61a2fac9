"""The floors: the pure pipelines of scorer and shadow in memory, without Kafka and Redis."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bench.workload import PARTITIONS, READING, VIEW, Workload
from scorer.bundles.bundle import Bundle
from scorer.bundles.predictor import Wanted
from scorer.bundles.store import BundleStore
from scorer.deployments.slots import Slot
from scorer.pipeline.batch import Incoming, LiveModel, Published, Record, Rules
from scorer.pipeline.card_states import CardStates
from scorer.pipeline.settle import settle
from scorer.worker.live import live_model

RULES = Rules(VIEW, READING, None)


def bundle(folder: Path, digest: str, predictor: Wanted) -> Bundle:
    """A bundle of a workload, warm."""
    found = BundleStore(str(folder / "bundles"), folder / "cache", predictor=predictor).fetch(digest)
    found.warm()
    return found


def wanted() -> Wanted:
    """The predictor of a peer: LightGBM's predict, which its user would have, unless BENCH_PREDICTOR asks for ours."""
    return "auto" if os.environ.get("BENCH_PREDICTOR") == "auto" else "lightgbm"


def model(folder: Path, digest: str, predictor: Wanted = "lightgbm") -> LiveModel:
    """The bundle of a workload as the live model, warm."""
    held = bundle(folder, digest, predictor)
    return live_model(Slot(1, held.digest, held.threshold), held, VIEW)


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
    """Settle the whole workload as the scorer does; seconds and CPU seconds of this process."""
    live, states = model(folder, work.digest, "auto"), [CardStates(2) for _ in range(PARTITIONS)]
    todo = list(batches(work, size))
    wall, cpu = time.perf_counter(), time.process_time()
    for incoming in todo:
        settle(incoming, states[incoming.partition], Published(), live, RULES, None)
    return time.perf_counter() - wall, time.process_time() - cpu


def decisions(folder: Path, work: Workload, size: int, rules: Rules = RULES) -> list[list[Record]]:
    """Decisions of the workload by partition, as the scorer writes them, with LightGBM's scores."""
    live, states = model(folder, work.digest), [CardStates(2) for _ in range(PARTITIONS)]
    made: list[list[Record]] = [[] for _ in range(PARTITIONS)]
    for incoming in batches(work, size):
        p = incoming.partition
        made[p] += settle(incoming, states[p], Published(), live, rules, None).decisions
    return made
