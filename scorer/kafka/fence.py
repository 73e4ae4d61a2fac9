"""Has the broker refuse whoever had a partition before, as soon as another takes it over.

Each partition has a transactional id of its own, `<group>-<partition>`, and its records bear that id's producer number
and epoch. Who takes a partition over

1. has the transaction coordinator raise the epoch (InitProducerId);
2. has it end an empty transaction over the partition of each topic that is written: the markers, control records that
   no reader is shown, carry the epoch into the logs, and from then on their leaders refuse an older one;
3. asks for the next epoch, which the coordinator gives only when the markers are written on every replica that counts.

What is read after 3 is therefore all that a predecessor ever wrote. No batch is a transaction: that would take five
more round trips a batch and partition, and readers would wait for each (README). The rule that a log refuses an older
epoch is Kafka's for idempotent producers (KIP-98), within a transaction or not.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.client import ConnectionGroup, CoordinationType
from aiokafka.errors import (
    ConcurrentTransactions,
    InvalidProducerEpoch,
    InvalidProducerIdMapping,
    InvalidTxnState,
    KafkaError,
    OperationNotAttempted,
    ProducerFenced,
    for_code,
)
from aiokafka.producer.transaction_manager import PidAndEpoch, TransactionManager
from aiokafka.protocol.transaction import AddPartitionsToTxnRequest, EndTxnRequest, InitProducerIdRequest

from scorer import metrics
from scorer.errors import BrokerError
from scorer.producer import BatchProducer
from scorer.settings import ScorerSettings

log = logging.getLogger(__name__)

#: After so long the coordinator ends a transaction whose owner died between its beginning and its end. It is empty, so
#: no reader waits for it, and a successor ends it at once.
TRANSACTION_MS = 60_000
#: How long the coordinator may take to answer at a start before the broker counts as one that cannot fence.
PROBE_SECONDS = 10.0
RETRY_SECONDS = 0.02
#: The broker forgets an epoch that it has not seen for a day, and a transactional id after a week (its defaults).
RENEW_SECONDS = 6 * 3600.0
ABORT = 0
_SUPERSEDED = (InvalidProducerEpoch, InvalidProducerIdMapping, InvalidTxnState)
_NOT_YET = (ConcurrentTransactions, OperationNotAttempted)


class PartitionEpochs(TransactionManager):  # type: ignore[misc]
    """Producer number, epoch and sequence of each partition; aiokafka knows one number and epoch for all.

    Its accumulator counts a partition's sequence on, and asks for number and epoch right after.
    """

    def __init__(self) -> None:
        super().__init__(None, 2**31 - 1)
        self._own: dict[TopicPartition, PidAndEpoch] = {}
        self._counted: TopicPartition | None = None

    def begin(self, tps: Iterable[TopicPartition], epoch: PidAndEpoch) -> None:
        """Number what is sent to these partitions anew. Nothing may be on its way to them."""
        for tp in tps:
            self._own[tp] = epoch
            self._sequence_numbers[tp] = 0

    def of(self, tp: TopicPartition) -> PidAndEpoch:
        """Producer number and epoch for a partition: its own, else that of everything else."""
        return self._own.get(tp, self._pid_and_epoch)

    def increment_sequence_number(self, tp: TopicPartition, increment: int) -> None:
        super().increment_sequence_number(tp, increment)
        self._counted = tp

    @property
    def producer_id(self) -> int:
        return int(self.of(self._counted).pid)

    @property
    def producer_epoch(self) -> int:
        return int(self.of(self._counted).epoch)


class FencedProducer(BatchProducer):
    """A producer of batches to owned partitions, whose earlier owners the broker refuses (ProducerFenced).

    is_fencing: whether it does so, known after the start; if not, it is a BatchProducer and no more.
    """

    def __init__(self, settings: ScorerSettings) -> None:
        super().__init__(settings, settings.compression)
        self._settings: ScorerSettings = settings
        names = settings.topics
        self._topics = (names.decisions, names.rejected, names.velocity)
        self._epochs: PartitionEpochs | None = None
        self.is_fencing = False

    def _make(self, idempotent: bool) -> AIOKafkaProducer:
        producer = super()._make(idempotent)
        if idempotent:
            self._epochs = PartitionEpochs()
            for part in (producer, producer._message_accumulator, producer._sender):
                part._txn_manager = self._epochs
        return producer

    async def start(self, require_idempotence: bool) -> None:
        """Connect, and find out whether the broker can fence. Raises BrokerError if it cannot and `fence` is on."""
        await super().start(require_idempotence)
        if self._settings.fence != "off":
            trouble = await self._probe() if self.is_idempotent else "it has no idempotent producers"
            self.is_fencing = trouble is None
            if trouble is not None and self._settings.fence == "on":
                await self.stop()
                raise BrokerError(
                    f"kafka {self._settings.bootstrap}: cannot fence ({trouble}); mend that, or set SCORER_FENCE=auto"
                )
            if trouble is not None:
                log.warning("no fence (%s): a scorer that was thought dead may write records once more", trouble)
        metrics.FENCE.set(self.is_fencing)

    async def _probe(self) -> str | None:
        """Why the broker cannot fence, None if it can."""
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                await self._next_epoch(f"{self._settings.group}-probe")
        except TimeoutError:
            return f"no answer of its transaction coordinator in {PROBE_SECONDS:g} s"
        except KafkaError as error:
            return str(error)
        return None

    async def take_over(self, partitions: Sequence[int]) -> None:
        """Fence off the earlier owners of partitions; what they wrote is there to be read when this returns.

        Raises ProducerFenced if another scorer takes one of them over at the same time, BrokerError if the coordinator
        does not answer.
        """
        if self._epochs is None or not self.is_fencing:
            return
        try:
            async with asyncio.timeout(self._settings.request_seconds):
                await asyncio.gather(*(self._take_over(partition, self._epochs) for partition in partitions))
        except TimeoutError:
            raise BrokerError(
                f"kafka {self._settings.bootstrap}: no answer of its transaction coordinator in "
                f"{self._settings.request_seconds:g} s; mend it, or set SCORER_FENCE=off"
            ) from None

    async def _take_over(self, partition: int, epochs: PartitionEpochs) -> None:
        name = self._name(partition)
        await self._mark(partition, await self._next_epoch(name))
        epochs.begin(self._written(partition), await self._next_epoch(name))

    async def renew(self, partitions: Iterable[int]) -> None:
        """Remind the broker of the epochs of partitions that are owned, so that it forgets none of them.

        Raises KafkaError; may be tried again.
        """
        if self._epochs is None or not self.is_fencing:
            return
        for partition in partitions:
            await self._mark(partition, self._epochs.of(self._written(partition)[0]))

    def _name(self, partition: int) -> str:
        return f"{self._settings.group}-{partition}"

    def _written(self, partition: int) -> list[TopicPartition]:
        return [TopicPartition(topic, partition) for topic in self._topics]

    async def _next_epoch(self, name: str) -> PidAndEpoch:
        answer = await self._ask(name, InitProducerIdRequest(name, TRANSACTION_MS), lambda it: [it.error_code])
        return PidAndEpoch(answer.producer_id, answer.producer_epoch)

    async def _mark(self, partition: int, epoch: PidAndEpoch) -> None:
        """An empty transaction: its markers take an epoch into the logs."""
        name, parts = self._name(partition), [(topic, [partition]) for topic in self._topics]
        add = AddPartitionsToTxnRequest(name, *epoch, parts)
        await self._ask(name, add, lambda it: [code for _, errors in it.errors for _, code in errors])
        await self._ask(name, EndTxnRequest(name, *epoch, ABORT), lambda it: [it.error_code])

    async def _ask(self, name: str, request: Any, codes: Callable[[Any], list[int]]) -> Any:
        """The answer of the coordinator of a transactional id, asked again while it is not ready for the request."""
        if self._producer is None:
            raise BrokerError("producer: used before start")
        client = self._producer.client
        while True:
            try:
                node = await client.coordinator_lookup(CoordinationType.TRANSACTION, name)
                answer = await client.send(node, request, group=ConnectionGroup.COORDINATION)
                for error in map(for_code, filter(None, codes(answer))):
                    raise error()
            except _SUPERSEDED:
                raise ProducerFenced(f"{name} belongs to another scorer") from None
            except _NOT_YET:
                pass
            except KafkaError as error:
                if not error.retriable:
                    raise
                client.force_metadata_update()
            else:
                return answer
            await asyncio.sleep(RETRY_SECONDS)
