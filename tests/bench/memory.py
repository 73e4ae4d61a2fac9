"""What card velocity takes: memory of a worker that holds n cards, and how fast it takes over and writes them."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from aiokafka.partitioner import murmur2

from bench.stage import SCORER, Stage, stage
from bench.workload import CARDS, PARTITIONS, START_MS, Workload
from scorer.pipeline.card_states import CardStates
from scorer.pipeline.velocity import observe

EVENTS = 3
#: Not `card-…`: none of these is a card of the workload.
NAME = "c{:09}"
PATIENCE_SECONDS = 120.0
assert NAME.format(0) != f"card-{CARDS}"


@dataclass(frozen=True)
class Velocity:
    """bytes_per_card: resident, beyond a worker without cards. recovery_cards_per_s: read from the changelog and taken
    in. changelog_cards_per_s: written and acknowledged."""

    cards: int
    bytes_per_card: float
    recovery_s: float
    recovery_cards_per_s: float
    changelog_cards_per_s: float


def states(n: int) -> Iterator[CardStates]:
    """The cards of each partition, each with a few events behind it."""
    rng = np.random.default_rng(5)
    names = [NAME.format(i) for i in range(n)]
    of = np.array([(murmur2(name.encode()) & 0x7FFFFFFF) % PARTITIONS for name in names])
    for partition in range(PARTITIONS):
        mine = [names[i] for i in np.flatnonzero(of == partition).tolist()]
        cards = CardStates(2)
        for event in range(EVENTS):
            at = START_MS + event * 3_600_000 + np.zeros(len(mine), np.int64)
            hashes = rng.integers(1, 2**63, len(mine)).astype(np.uint64)
            offsets = event * len(mine) + np.arange(len(mine))
            minor, trusted = rng.integers(100, 10_000, len(mine)), np.ones(len(mine), dtype=bool)
            observe([cards], [slice(0, len(mine))], mine, hashes, at, minor, offsets, trusted)
        yield cards


def held(folder: Path, work: Workload, n: int, empty_bytes: float = 0.0) -> tuple[Velocity, float]:
    """A worker that takes over n cards; and its resident bytes."""
    with stage(folder, work, is_filled=False) as on:
        wrote = 0.0
        if n:
            rows = [cards.packed(list(cards._places)) for cards in states(n)]
            started = time.perf_counter()
            asyncio.run(on.write("velocity", rows))
            wrote = time.perf_counter() - started
            del rows
        log = on.folder / "worker.log"
        log.unlink(missing_ok=True)
        with on.worker(SCORER) as worker:
            took = _taken_over(on, log)
            time.sleep(1.0)
            pages = int(Path(f"/proc/{worker.pid}/statm").read_text().split()[1])
    resident = float(pages * os.sysconf("SC_PAGE_SIZE"))
    per_card = (resident - empty_bytes) / n if n else 0.0
    return Velocity(n, per_card, took, n / took if took else 0.0, n / wrote if wrote else 0.0), resident


def _taken_over(on: Stage, log: Path) -> float:
    """Seconds that the worker says it took to get its partitions ready."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        said = re.search(r"owns \d+ partitions \(0 kept\), ready in ([0-9.]+) s", log.read_text())
        if said:
            return float(said[1])
        time.sleep(0.05)
    raise SystemExit(f"no take-over:\n{on.log()}")
