"""Fences partitions: once a scorer takes a partition over, the broker refuses records of its earlier owner.

Each partition has its own transactional id, `<group>-<partition>`, and its records carry that id's producer id and
epoch. To take a partition over, a scorer

1. has the transaction coordinator raise the epoch (InitProducerId);
2. has it abort an empty transaction over that partition of each topic that a scorer writes. This appends markers,
   control records that consumers never see. They carry the new epoch into the logs, whose leaders from then on refuse
   an older one;
3. asks for another epoch, which the coordinator grants only once the markers are on all in-sync replicas.

So what is read after step 3 is everything that the earlier owner ever wrote. Batches are not transactions: each would
take five more round trips for each partition, and readers would have to wait for it to end. That a log refuses an older
epoch is Kafka's rule for idempotent producers (KIP-98) and holds without a transaction, too.
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
from aiokafka.producer.transaction_manager import PidAndEpoch
from aiokafka.protocol.transaction import AddPartitionsToTxnRequest, EndTxnRequest, InitProducerIdRequest

from scorer import metrics
from scorer.errors import BrokerError
from scorer.kafka.aiokafka_internals import PartitionEpochs, number_with
from scorer.kafka.producer import BatchProducer
from scorer.settings import ScorerSettings

log = logging.getLogger(__name__)

#: After this time the coordinator aborts a transaction whose owner died while it was open. As it is empty, no reader
#: waits for it, and a successor aborts it at once.
TRANSACTION_MS = 60_000
#: A broker whose coordinator has not answered after this time, at a start, counts as one that cannot fence.
PROBE_SECONDS = 10.0
RETRY_SECONDS = 0.02
#: By default the broker forgets an epoch that it has not seen for a day, and a transactional id after a week.
RENEW_SECONDS = 6 * 3600.0
ABORT = 0
_SUPERSEDED = (InvalidProducerEpoch, InvalidProducerIdMapping, InvalidTxnState)
_NOT_YET = (ConcurrentTransactions, OperationNotAttempted)


class FencedProducer(BatchProducer):
    """Appends batches to the partitions that it took over, and raises ProducerFenced once another took one over.

    is_fencing: whether the broker supports this, known after `start`. Without it, this is a plain BatchProducer.
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
            number_with(producer, self._epochs)
        return producer

    async def start(self, require_idempotence: bool) -> None:
        """Connect, and find out whether the broker can fence.

        Raises BrokerError as `BatchProducer.start` does, or if the broker cannot fence and the setting `fence` is `on`.
        """
        await super().start(require_idempotence)
        if self._settings.fence != "off":
            trouble = await self._probe() if self.is_idempotent else "no idempotent producers"
            self.is_fencing = trouble is None
            if trouble is not None and self._settings.fence == "on":
                await self.stop()
                raise BrokerError(
                    f"kafka {self._settings.bootstrap}: cannot fence ({trouble}), as SCORER_FENCE=on requires; check "
                    "its transaction coordinator, and that this user may write transactional ids that begin with "
                    f"{self._settings.group}-"
                )
            if trouble is not None:
                log.warning("no fence (%s): a scorer that lost its partitions may write some records twice", trouble)
        metrics.FENCE.set(self.is_fencing)

    async def _probe(self) -> str | None:
        """Why the broker cannot fence, None if it can."""
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                await self._next_epoch(f"{self._settings.group}-probe")
        except TimeoutError:
            return f"no answer from its transaction coordinator within {PROBE_SECONDS:g} s"
        except KafkaError as error:
            return str(error)
        return None

    async def take_over(self, partitions: Sequence[int]) -> None:
        """Fence off the earlier owners of partitions. When this returns, all that they wrote can be read.

        Does nothing without `is_fencing`. Raises ProducerFenced if another scorer takes one of the partitions over at
        the same time, BrokerError if the coordinator does not answer within `request_seconds`, KafkaError for
        any other refusal.
        """
        if self._epochs is None or not self.is_fencing:
            return
        try:
            async with asyncio.timeout(self._settings.request_seconds):
                taking = (self._take_over(partition, self._epochs) for partition in partitions)
                # Waits for all of them: what goes on after an error would raise the epoch of a later take-over.
                ends = await asyncio.gather(*taking, return_exceptions=True)
        except TimeoutError:
            raise BrokerError(
                f"kafka {self._settings.bootstrap}: no answer from its transaction coordinator within "
                f"{self._settings.request_seconds:g} s (request_seconds); look at the broker's log"
            ) from None
        errors = [end for end in ends if end is not None]
        for error in sorted(errors, key=lambda error: isinstance(error, ProducerFenced)):
            raise error

    async def _take_over(self, partition: int, epochs: PartitionEpochs) -> None:
        name = self._name(partition)
        await self._mark(partition, await self._next_epoch(name))
        epochs.begin(self._written(partition), await self._next_epoch(name))

    async def renew(self, partitions: Iterable[int]) -> None:
        """Write the epochs of owned partitions again, so that the broker does not forget them.

        Call it more often than once a day. Raises KafkaError; a later call may succeed.
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
        """Abort an empty transaction, whose markers carry an epoch into the logs."""
        name, parts = self._name(partition), [(topic, [partition]) for topic in self._topics]
        add = AddPartitionsToTxnRequest(name, *epoch, parts)
        await self._ask(name, add, lambda it: [code for _, errors in it.errors for _, code in errors])
        await self._ask(name, EndTxnRequest(name, *epoch, ABORT), lambda it: [it.error_code])

    async def _ask(self, name: str, request: Any, codes: Callable[[Any], list[int]]) -> Any:
        """Ask the coordinator of a transactional id, and again while it is not ready; returns its answer.

        codes: reads the error codes, 0 for none, from an answer. Raises ProducerFenced if another scorer holds the id,
        KafkaError if the coordinator refuses for good.
        """
        if self._producer is None:
            raise BrokerError("producer: not started; call start() first")
        client = self._producer.client
        while True:
            try:
                node = await client.coordinator_lookup(CoordinationType.TRANSACTION, name)
                answer = await client.send(node, request, group=ConnectionGroup.COORDINATION)
                # If one topic is refused, the others are told OPERATION_NOT_ATTEMPTED: the refusal counts.
                errors = [for_code(code) for code in codes(answer) if code]
                for error in sorted(errors, key=lambda error: issubclass(error, _NOT_YET)):
                    raise error()
            except _SUPERSEDED:
                raise ProducerFenced(f"another scorer has taken over transactional id {name}") from None
            except _NOT_YET:
                pass
            except KafkaError as error:
                if not error.retriable:
                    raise
                client.force_metadata_update()
            else:
                return answer
            await asyncio.sleep(RETRY_SECONDS)
