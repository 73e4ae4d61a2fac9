"""What a fetch brought: a batch of consecutive records for each of some partitions, as one message for Faust."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from faust.types import TP
from faust.types.tuples import ConsumerMessage


@dataclass(frozen=True, eq=False)
class Batch:
    """Consecutive records of one partition: what a fetch brought, at least one.

    records: aiokafka ConsumerRecords, ascending. next: the offset after the last. expected: the offset that was to come
    first; `offset`, the first that came, is higher where retention or the log's own bookkeeping took some away. turn:
    how often the partition had been put back by `rewind` when this was read.
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
    """What one fetch or several in a row brought, as Faust's message, by partition.

    open: batches that are neither finished nor dropped yet, once the agent has taken it.
    """

    batches: dict[TP, Batch]
    open: set[Batch]

    def __len__(self) -> int:
        return sum(map(len, self.batches.values()))

    def add(self, tp: TP, records: list[Any], expected: int, turn: int) -> None:
        """Put records behind what there is of their partition."""
        before = self.batches.get(tp)
        if before is not None:
            records, expected = before.records + records, before.expected
        self.batches[tp] = Batch(tp, records, records[-1].offset + 1, expected, self, turn)

    def has_room_for(self, more: dict[TP, tuple[list[Any], int]], most: int) -> bool:
        """Whether further records fit: at most so many in all, each partition's without a hole before them."""
        follows = all(
            tp not in self.batches or self.batches[tp].next == records[0].offset for tp, (records, _) in more.items()
        )
        return follows and len(self) + sum(len(records) for records, _ in more.values()) <= most
