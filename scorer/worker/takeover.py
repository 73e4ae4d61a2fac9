"""Takes partitions over: fences off earlier owners, reads where they stand, knows which cannot be decided yet."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from functools import partial

from aiokafka.errors import ProducerFenced

from scorer import metrics
from scorer.kafka.fence import FencedProducer
from scorer.kafka.reading import reader
from scorer.kafka.topics import beside
from scorer.pipeline.features import states_of
from scorer.pipeline.view import FeatureView
from scorer.settings import ScorerSettings
from scorer.streaming.app import Owned, SupersededError
from scorer.worker.recovery import Recovered, recover
from scorer.worker.writer import Partition

log = logging.getLogger(__name__)


class Takeover:
    """Takes over partitions of `transactions`.

    waiting: those that are ours, and that a topic beside `transactions` lacks. patient_until: monotonic time until
    which the brokers are waited for. read: how many chunks of records were read.
    """

    def __init__(self, settings: ScorerSettings, producer: FencedProducer, view: FeatureView) -> None:
        self._settings, self._producer, self._view = settings, producer, view
        self.waiting: frozenset[int] = frozenset()
        self.patient_until = 0.0
        self.read = 0

    async def there(self, partitions: Sequence[int]) -> frozenset[int]:
        """Which partitions every topic beside `transactions` has. Topics only ever grow. Raises KafkaError."""
        if not partitions:
            return frozenset()
        return frozenset(await self._producer.in_all(beside(self._settings.topics), partitions))

    def wait_for(self, partitions: frozenset[int]) -> None:
        """Note which partitions cannot be decided yet, and say so once."""
        if partitions - self.waiting:
            log.error(
                "partitions %s of %s are not decided, as a topic beside it lacks them; all others are. Run "
                "`scorer topics --add-partitions`: these are decided then, from their first record on",
                ", ".join(map(str, sorted(partitions))),
                self._settings.topics.transactions,
            )
        self.waiting = partitions
        metrics.WAITING.set(len(partitions))

    async def take(self, owned: Sequence[Owned]) -> dict[int, Partition]:
        """Take partitions over. Raises SupersededError if another scorer takes over the same ones, KafkaError."""
        taken: dict[int, Partition] = {}
        recovered: dict[int, Recovered] = {}
        try:
            self.patient_until = time.monotonic() + self._settings.request_seconds
            await self._producer.take_over([o.partition for o in owned])
            self.patient_until = 0.0
        except ProducerFenced as error:
            log.warning("overtaken: another scorer takes over the same partitions (%s)", error)
            raise SupersededError(str(error)) from error
        if owned:
            async with reader(self._settings) as consumer:
                recovered = await recover(
                    consumer,
                    [o.partition for o in owned],
                    self._settings,
                    self._has_read,
                    partial(states_of, self._view),
                )
        for o in owned:
            start = o.oldest if o.committed is None else o.committed
            if start < o.oldest:
                say_missed(o.partition, start, o.oldest)
                start = o.oldest
            found = recovered[o.partition]
            found.states.newcomers()  # none of these is new
            taken[o.partition] = Partition(
                found.states, found.published, start, erasures=set(found.erasures), budget=found.budget
            )
        return taken

    def _has_read(self) -> None:
        self.read += 1


def say_missed(partition: int, start: int, end: int) -> None:
    """Log and count the offsets from `start` to before `end`, which retention deleted before they were decided."""
    log.error("partition %d: retention took offsets %d to %d undecided", partition, start, end)
    metrics.MISSED.inc(end - start)
