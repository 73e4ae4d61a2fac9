"""Reads the decisions of a worker's partitions once for all of its slots, each of which has its own place in Redis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from aiokafka import TopicPartition
from faust.types import TP

from scorer.streaming.app import BatchApp
from scorer.streaming.fetch import Batch
from shadow.comparison.memory import REMEMBERED


class Reader(Protocol):
    """One slot of the worker."""

    def position(self, partition: int) -> int | None:
        """Offset of the next decision that it wants of a partition; None if it does not have the partition."""


@dataclass
class _Open:
    """A batch that some slots are not done with. is_dropped: one of them has given it up."""

    slots: set[str]
    is_dropped: bool = False


class Reading:
    """What a worker reads. A batch is finished once every slot has written its sums, and dropped if one gave it up.

    slots: the names of all of them.
    """

    def __init__(self, app: BatchApp, topic: str, slots: Sequence[str]) -> None:
        self.app, self.topic, self._slots = app, topic, frozenset(slots)
        self.readers: list[Reader] = []
        self._open: dict[Batch, _Open] = {}

    def take(self, batch: Batch) -> None:
        """Begin work on a batch: from now on, each slot has to finish or drop it."""
        self._open[batch] = _Open(set(self._slots))

    def finish(self, slot: str, batch: Batch) -> None:
        """A slot is done with a batch: all that it takes from it is in Redis, or was before."""
        if batch in self._open:
            self._leave(slot, batch, self._open[batch])

    def drop(self, slot: str, batch: Batch) -> None:
        """A slot gives a batch up without acknowledging it: this worker or the partition's next owner reads it anew."""
        if batch in self._open:
            self._open[batch].is_dropped = True
            self._leave(slot, batch, self._open[batch])

    def _leave(self, slot: str, batch: Batch, state: _Open) -> None:
        state.slots.discard(slot)
        if state.slots:
            return
        del self._open[batch]
        if state.is_dropped or self.is_outdated(batch):
            self.app.consumer.drop(batch)
        else:
            self.app.consumer.finish(batch)

    def is_outdated(self, batch: Batch) -> bool:
        """Whether its partition was rewound since a batch was read, so that it comes again."""
        return bool(batch.turn != self.app.consumer.turns[batch.tp])

    def rewind(self, partition: int) -> None:
        """Read a partition again, from where the hindmost slot is. The others pass over what they have."""
        positions = [at for reader in self.readers if (at := reader.position(partition)) is not None]
        self.app.consumer.rewind(TP(self.topic, partition), min(positions))

    async def oldest(self, partition: int) -> int:
        """First offset of a partition that is still retained."""
        tp = TopicPartition(self.topic, partition)
        oldest: int = (await self.app.consumer.earliest_offsets(tp))[tp]
        return oldest

    async def begin(self, partition: int, since_ms: int, oldest: int) -> int:
        """Where to begin with a partition of which nothing counts that came before `since_ms`: as many records before
        the first that does as a slot remembers, to know what they have decided. oldest: first offset still retained."""
        first: int = await self.app.consumer.first_since(TP(self.topic, partition), since_ms, oldest)
        return max(oldest, first - REMEMBERED)

    def end(self, partition: int) -> int | None:
        """Offset after a partition's last record, None if unknown."""
        end: int | None = self.app.consumer.highwater(TP(self.topic, partition))
        return end
