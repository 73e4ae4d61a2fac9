"""The floor: the pure pipeline in memory - decode, features, one predict, encode - without any Kafka."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from bench.workload import READING, VIEW, Workload
from scorer.deployments import Slot
from scorer.live import live_model
from scorer.pipeline import Incoming, LiveModel, Published, Rules, settle
from scorer.store import BundleStore
from scorer.velocity import CardStates

RULES = Rules(VIEW, READING, None)


def model(folder: Path, digest: str) -> LiveModel:
    """The bundle of a workload as the live model, warm."""
    bundle = BundleStore(str(folder / "bundles"), folder / "cache").fetch(digest)
    bundle.warm()
    return live_model(Slot(1, bundle.digest, bundle.threshold), bundle, VIEW)


def run(folder: Path, work: Workload, batch: int) -> tuple[float, float]:
    """Settle the whole workload in batches of one partition; seconds and CPU seconds of this process."""
    live, states, n = model(folder, work.digest), CardStates(2), len(work.values)
    wall, cpu = time.perf_counter(), time.process_time()
    for start in range(0, n, batch):
        end = min(n, start + batch)
        offsets, unknown = np.arange(start, end, dtype=np.int64), np.full(end - start, -1, dtype=np.int64)
        incoming = Incoming(0, work.keys[start:end], work.values[start:end], offsets, unknown)
        settle(incoming, states, Published(), live, RULES, None)
    return time.perf_counter() - wall, time.process_time() - cpu
