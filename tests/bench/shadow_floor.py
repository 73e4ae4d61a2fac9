"""The shadow's own floor: decode, predict, compare and tally in memory, without Kafka and Redis."""

from __future__ import annotations

import time
from pathlib import Path

from bench.workload import VIEW, Workload
from scorer.pipeline import Record
from scorer.store import BundleStore
from shadow import criteria
from shadow.absorb import Memory, absorb
from shadow.advance import Advance, add
from shadow.candidate import Candidate
from shadow.decisions import read

#: Segments of the workload: 19 with `all`.
RELEASE = """
schema: 1
segments:
  kind: {field: kind_0, values: [v0, v1, v2, v3, v4, v5, v6, v7, v8, v9, v10, v11]}
  amount: {field: amount, bands: [20, 50, 100]}
"""


def views() -> dict[str, dict[str, object]]:
    """The feature view as it is on the ledger."""
    return {VIEW.id: {"names": VIEW.names, "definitions": VIEW.definitions(VIEW.names)}}


def absorb_all(folder: Path, work: Workload, made: list[list[Record]], size: int) -> tuple[float, float]:
    """Compare every decision with the candidate's; seconds and CPU seconds of this process."""
    bundle = BundleStore(str(folder / "bundles"), folder / "cache").fetch(work.candidate)
    bundle.warm()
    candidate = Candidate(bundle.digest, 2, bundle.threshold, bundle, views())
    segments = criteria.parse(RELEASE).segments
    wall, cpu = time.perf_counter(), time.process_time()
    for records in made:
        memory, pending = Memory(), Advance()
        for start in range(0, len(records), size):
            part = [value for _, value in records[start : start + size]]
            found, _ = read(part, range(start, start + len(part)))
            add(pending, absorb(found, candidate, memory, segments, {}, 100.0, 50_000))
    return time.perf_counter() - wall, time.process_time() - cpu
