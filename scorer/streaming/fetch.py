"""A fetch as one Faust message: a batch of consecutive records for each partition in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from faust.types import TP
from faust.types.tuples import ConsumerMessage

#: Bytes that wait in one fetch at most, unless a single answer of the broker brings more.
MOST_BYTES = 64 * 2**20


def size_of(records: list[Any]) -> int:
    """Bytes of the keys and values of records."""
    return sum([len(r.value or b"") + len(r.key or b"") for r in records])


@dataclass(frozen=True, eq=False)
class Batch:
    """Consecutive records of one partition, at least one.

    records: as aiokafka's parser made them, by ascending offset. offset: of the first record. next: offset after the
    last record. expected: the offset after the record read before. It is below `offset` where retention deleted records
    or the log holds control records. turn: how often `rewind` had been called for the partition when this was read.
    """

    tp: TP
    records: list[Any]
    next: int
    expected: int
    fetch: Fetch
    turn: int

    def __len__(self) -> int:
        return len(self.records)

    @property
    def topic(self) -> str:
        return str(self.tp.topic)

    @property
    def partition(self) -> int:
        return int(self.tp.partition)

    @property
    def offset(self) -> int:
        return int(self.records[0].offset)


class Fetch(ConsumerMessage):  # type: ignore[misc]
    """The records of one fetch, or of several in a row, by partition.

    open: batches that are neither finished nor dropped, set once the agent has taken this fetch. size: bytes of keys
    and values.
    """

    batches: dict[TP, Batch]
    open: set[Batch]
    size: int

    def __len__(self) -> int:
        return sum(map(len, self.batches.values()))

    def add(self, tp: TP, records: list[Any], expected: int, turn: int) -> None:
        """Append records to their partition's batch. expected, turn: as in `Batch`, for a partition without one yet."""
        before = self.batches.get(tp)
        if before is not None:
            records, expected = before.records + records, before.expected
        self.batches[tp] = Batch(tp, records, records[-1].offset + 1, expected, self, turn)

    def has_room_for(self, more: dict[TP, tuple[list[Any], int]], size: int, most: int) -> bool:
        """Whether records can be added: at most `most` and MOST_BYTES in all, and in each partition without missing
        offsets. size: bytes of the records."""
        follows = all(
            tp not in self.batches or self.batches[tp].next == records[0].offset for tp, (records, _) in more.items()
        )
        n = len(self) + sum(len(records) for records, _ in more.values())
        return follows and n <= most and self.size + size <= MOST_BYTES
