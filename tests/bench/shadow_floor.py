"""The shadow's own floor: decode, predict, compare and tally in memory, without Kafka and Redis."""

from __future__ import annotations

import time
from pathlib import Path

from bench.floor import bundle
from bench.workload import VIEW, Workload
from scorer.deployments.records import PublishedView
from scorer.pipeline.batch import Record
from scorer.pipeline.money import Currency
from shadow.comparison.absorb import absorb
from shadow.comparison.decisions import read
from shadow.comparison.increment import Increment, add
from shadow.comparison.memory import Memory
from shadow.comparison.sampling import Thresholds
from shadow.gate import criteria
from shadow.worker.candidate import Candidate

#: Segments of the workload: 19 with `all`.
RELEASE = """
schema: 1
segments:
  kind: {field: kind_0, values: [v0, v1, v2, v3, v4, v5, v6, v7, v8, v9, v10, v11]}
  amount: {field: amount, bands: [20, 50, 100]}
"""


def views() -> dict[str, PublishedView]:
    """The feature view as it is on the ledger."""
    currency = Currency(code="EUR", digits=2)
    return {VIEW.id: PublishedView(names=VIEW.names, definitions=VIEW.definitions(VIEW.names), currency=currency)}


def absorb_all(folder: Path, work: Workload, made: list[list[Record]], size: int) -> tuple[float, float]:
    """Compare every decision with the candidate's; seconds and CPU seconds of this process."""
    held = bundle(folder, work.candidate, "auto")
    candidate = Candidate(held.digest, 2, held.threshold, held, views())
    segments = criteria.parse(RELEASE).segments
    wall, cpu = time.perf_counter(), time.process_time()
    for records in made:
        memory, pending, taus = Memory(), Increment(), Thresholds()
        for start in range(0, len(records), size):
            part = [value for _, value in records[start : start + size]]
            found, _ = read(part, range(start, start + len(part)))
            increment = absorb(found, candidate, memory, segments, taus.known, 100.0, 50_000)
            add(pending, increment)
            taus.note(increment.samples)
    return time.perf_counter() - wall, time.process_time() - cpu
