"""What one transaction weighs: its records on Kafka's topics, and its row in the archive."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import floor
from bench.workload import START_MS, Workload
from scorer.pipeline.batch import Published, Record
from scorer.pipeline.card_states import CardStates
from scorer.pipeline.settle import settle

#: Kafka's own bytes of a record: length, attributes, time, offset and the lengths of key and value, as varints.
OVERHEAD = 10
#: Records of a batch, as a busy scorer makes them; a card's state is written once for each.
BATCH = 250


@dataclass(frozen=True)
class Weights:
    """Bytes for each transaction on `transactions`, `decisions` and `velocity`."""

    transaction: float
    decision: float
    state: float


def _bytes(records: Iterable[Record]) -> int:
    return sum(len(key or b"") + len(value or b"") + OVERHEAD for key, value in records)


def weights(folder: Path, work: Workload) -> Weights:
    """By deciding the workload in memory."""
    live, states = floor.model(folder, work.digest, "auto"), CardStates(2)
    n = decisions = written = 0
    for incoming in floor.batches(work, BATCH):
        settled = settle(incoming, states, Published(), live, floor.RULES, None)
        n += len(incoming.values)
        decisions += _bytes(settled.decisions)
        written += _bytes(settled.states)
    return Weights(_bytes(zip(work.keys, work.values, strict=True)) / n, decisions / n, written / n)


@dataclass(frozen=True)
class _Archived:
    """A record as the archive reads it."""

    offset: int
    value: bytes | None
    timestamp: int = START_MS
    key: bytes | None = None
    headers: tuple[()] = ()


def archived(made: Sequence[Sequence[Record]]) -> float:
    """Bytes of a decision in the archive's files, as the archive writes them."""
    from deltalake import write_deltalake

    from shadow.archive.rows import decisions
    from shadow.archive.tables import CONFIGURATION, written

    n = 0
    with tempfile.TemporaryDirectory() as folder:
        for partition, records in enumerate(made):
            rows = decisions(partition, [_Archived(at, value) for at, (_, value) in enumerate(records)])
            assert rows["problem"].null_count == rows.num_rows, "a decision that the archive cannot read"
            write_deltalake(
                folder,
                rows,
                mode="append",
                partition_by=["day"],
                configuration=CONFIGURATION,
                writer_properties=written(),
            )
            n += rows.num_rows
        size = sum(path.stat().st_size for path in Path(folder).rglob("*.parquet"))
    return size / n
