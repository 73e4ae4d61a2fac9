"""The only module that touches underscored names of aiokafka; checks at import that they all exist.

Each function says why aiokafka's public interface is not enough. The check covers undocumented classes and functions
that other modules of this package import, too: `scorer/kafka/__init__.py` imports this module first.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    InconsistentGroupProtocolError,
    InvalidGroupIdError,
    InvalidSessionTimeoutError,
    KafkaError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
)

from scorer.kafka.private_names import require
from scorer.pipeline.batch import Record
from scorer.settings import Isolation

#: The version that our tests run with.
TESTED = "0.14.0"
#: Names that are underscored or undocumented, by aiokafka's module.
NAMES = {
    "aiokafka.client": (
        "AIOKafkaClient.coordinator_lookup",
        "AIOKafkaClient.force_metadata_update",
        "AIOKafkaClient._sync_task",
        "AIOKafkaClient.send",
        "ConnectionGroup.COORDINATION",
        "CoordinationType.TRANSACTION",
    ),
    "aiokafka.conn": ("create_conn", "AIOKafkaConnection.authenticator_oauth", "OAuthAuthenticator.step"),
    "aiokafka.consumer.consumer": (
        "AIOKafkaConsumer._client",
        "AIOKafkaConsumer._coordinator",
        "AIOKafkaConsumer._fetch_max_wait_ms",
        "AIOKafkaConsumer._fetcher",
        "AIOKafkaConsumer._isolation_level",
        "AIOKafkaConsumer._max_poll_records",
        "AIOKafkaConsumer._subscription",
    ),
    "aiokafka.consumer.fetcher": (
        "MemoryRecords",
        "Fetcher._fetch_max_wait_ms",
        "Fetcher._fetch_min_bytes",
        "Fetcher._fetch_task",
        "Fetcher._proc_fetch_request",
        "Fetcher._records",
        "FetchResult._partition_records",
        "PartitionRecords._consumer_record",
    ),
    "aiokafka.consumer.group_coordinator": (
        "GroupCoordinator._closing",
        "GroupCoordinator._coordination_task",
        "GroupCoordinator._do_heartbeat",
        "GroupCoordinator._group_instance_id",
        "GroupCoordinator._maybe_leave_group",
        "GroupCoordinator._push_error_to_user",
        "GroupCoordinator._send_req",
        "GroupCoordinator.fetch_committed_offsets",
        "GroupCoordinator.request_rejoin",
        "JoinGroupRequest",
        "SyncGroupRequest",
    ),
    "aiokafka.consumer.subscription_state": ("TopicPartitionState._position",),
    "aiokafka.partitioner": ("murmur2",),
    "aiokafka.producer.message_accumulator": (
        "BatchBuilder._builder",
        "BatchBuilder._relative_offset",
        "MessageAccumulator._append_batch",
        "MessageAccumulator._batches",
        "MessageAccumulator._closed",
        "MessageAccumulator._exception",
        "MessageAccumulator._txn_manager",
        "MessageBatch.future",
    ),
    "aiokafka.producer.producer": (
        "AIOKafkaProducer._message_accumulator",
        "AIOKafkaProducer._sender",
        "AIOKafkaProducer._txn_manager",
    ),
    "aiokafka.producer.sender": ("Sender._txn_manager",),
    "aiokafka.producer.transaction_manager": (
        "PidAndEpoch",
        "TransactionManager._pid_and_epoch",
        "TransactionManager._sequence_numbers",
        "TransactionManager.increment_sequence_number",
        "TransactionManager.producer_epoch",
        "TransactionManager.producer_id",
    ),
    "aiokafka.record.default_records": (
        "DefaultRecordBatch",
        "gzip_decode",
        "lz4_decode",
        "snappy_decode",
        "zstd_decode",
    ),
    "aiokafka.record.legacy_records": ("LegacyRecordBatch", "gzip_decode", "lz4_decode", "snappy_decode"),
    "aiokafka.record.memory_records": ("MemoryRecords",),
    "aiokafka.record.util": ("decode_varint",),
    "aiokafka.protocol.transaction": ("AddPartitionsToTxnRequest", "EndTxnRequest", "InitProducerIdRequest"),
}


def check() -> None:
    """Raises LibraryError if the installed aiokafka lacks one of `NAMES`."""
    require("aiokafka", TESTED, NAMES)


check()  # before the next import, which would fail without naming the version to install

import aiokafka.conn  # noqa: E402
from aiokafka.consumer.group_coordinator import JoinGroupRequest, SyncGroupRequest  # noqa: E402
from aiokafka.producer.transaction_manager import PidAndEpoch, TransactionManager  # noqa: E402

log = logging.getLogger(__name__)

#: What a cluster's metadata tells of a partition that has no leader now.
NO_LEADER = -1
#: Pause before a member that got an error joins its group again.
REJOIN_SECONDS = 0.5

Headers = Sequence[tuple[str, bytes]]


class BearerAuthenticator(aiokafka.conn.OAuthAuthenticator):  # type: ignore[misc]
    """Takes a challenge for what it is: the broker's refusal of a token (RFC 7628, 3.2.3).

    aiokafka takes it for a login. The broker then answers no request, and says nothing that one could tell a person.
    """

    async def step(self, payload: bytes | None) -> tuple[bytes, bool] | None:
        if payload:
            raise SaslAuthenticationFailed("the broker does not take the token; its log says why")
        answer: tuple[bytes, bool] | None = await super().step(payload)
        return answer


aiokafka.conn.OAuthAuthenticator = BearerAuthenticator


def as_parsed(tp: TopicPartition, record: Any) -> Any:
    """A record as the parser left it, in place of a ConsumerRecord."""
    return record


def keep_parsed(consumer: AIOKafkaConsumer) -> None:
    """Have a started consumer return records as its parser made them, without building a ConsumerRecord for each.

    Such a record has `offset`, `timestamp`, `key`, `value` and `headers`. aiokafka has no option for this, and building
    the ConsumerRecord costs more than parsing did.
    """
    fetcher = consumer._fetcher
    fetch = fetcher._proc_fetch_request

    async def fetched(*args: Any) -> Any:
        came = await fetch(*args)
        for result in fetcher._records.values():
            unread = getattr(result, "_partition_records", None)  # a FetchError has none
            if unread is not None:
                unread._consumer_record = as_parsed
        return came

    fetcher._proc_fetch_request = fetched


def set_longest_wait(consumer: AIOKafkaConsumer, wait_ms: int) -> None:
    """Set how long a fetch of a consumer waits, before the consumer is started.

    For a consumer that Faust makes: it fixes the option `fetch_max_wait_ms` at 1,500 ms.
    """
    consumer._fetch_max_wait_ms = wait_ms


def isolate(consumer: AIOKafkaConsumer, isolation: Isolation) -> None:
    """Set which records a consumer gets, before it is started.

    For a consumer that Faust makes: it reads uncommitted records unless all that it does is in transactions.
    """
    consumer._isolation_level = isolation


def unread(consumer: AIOKafkaConsumer, tp: TopicPartition) -> int | None:
    """Offsets from where a consumer reads on to the end of the partition, as of its last fetch; None if it does not
    know. For any thread.

    aiokafka tells the place from which it reads only on its own loop. It is behind markers of transactions, which
    nobody gets; so this is 0 where nothing but markers follows.
    """
    state = _state(consumer, tp)
    if state is None:
        return None
    end, position = state.highwater, state._position  # read once each: they change in the consumer's own thread
    return None if end is None or position is None else max(0, int(end) - int(position))


def end(consumer: AIOKafkaConsumer, tp: TopicPartition) -> int | None:
    """Offset after the last record of a partition, as of the consumer's last fetch; None if it does not know. For any
    thread.

    aiokafka's own `highwater` raises for a partition that was taken away a moment ago, in the consumer's own thread.
    """
    state = _state(consumer, tp)
    return None if state is None or state.highwater is None else int(state.highwater)


def _state(consumer: AIOKafkaConsumer, tp: TopicPartition) -> Any | None:
    """What a consumer keeps of a partition that it is assigned; None if it is not."""
    subscription = consumer._subscription.subscription
    assignment = None if subscription is None else subscription.assignment
    return assignment.state_value(tp) if assignment is not None and tp in assignment.tps else None


async def committed(consumer: AIOKafkaConsumer, tps: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
    """What a consumer's group has committed, of partitions of which it has. On the consumer's own loop.

    Asks for all at once; aiokafka's own `committed` asks for one partition at a time.
    """
    found = await consumer._coordinator.fetch_committed_offsets(list(tps))
    return {tp: int(one.offset) for tp, one in found.items()}


def gather(consumer: AIOKafkaConsumer, least_bytes: int, wait_ms: int) -> None:
    """Have the next fetches of a started consumer wait for that many bytes, for at most `wait_ms` milliseconds.

    aiokafka takes both as options, fixed for a consumer's life.
    """
    fetcher = consumer._fetcher
    fetcher._fetch_min_bytes = least_bytes
    fetcher._fetch_max_wait_ms = wait_ms


def most_records(consumer: AIOKafkaConsumer) -> int:
    """How many records one `getmany` of a consumer returns at most: its option `max_poll_records`."""
    return int(consumer._max_poll_records)


def note_heartbeats(consumer: AIOKafkaConsumer, note: Callable[[float], None]) -> None:
    """Call `note` after each heartbeat that the group's coordinator accepted.

    `note` gets the monotonic time, in seconds, at which the heartbeat was sent. aiokafka does not report heartbeats.
    The consumer must be started.
    """
    coordinator = consumer._coordinator
    beat = coordinator._do_heartbeat

    async def noted() -> bool:
        sent = time.monotonic()
        accepted = bool(await beat())
        if accepted:
            note(sent)
        return accepted

    coordinator._do_heartbeat = noted


def note_joins(consumer: AIOKafkaConsumer, begun: Callable[[], None], ended: Callable[[], None]) -> None:
    """Call `begun` before and `ended` after each request to join the group of a started consumer."""
    coordinator = consumer._coordinator
    send = coordinator._send_req

    async def noted(request: Any) -> Any:
        if not isinstance(request, (JoinGroupRequest, SyncGroupRequest)):
            return await send(request)
        begun()
        try:
            return await send(request)
        finally:
            ended()

    coordinator._send_req = noted


#: What a group's coordinator refuses for good.
FATAL = (
    GroupAuthorizationFailedError,
    InconsistentGroupProtocolError,
    InvalidGroupIdError,
    InvalidSessionTimeoutError,
    TopicAuthorizationFailedError,
)


def outlive_errors(consumer: AIOKafkaConsumer, fail: Callable[[BaseException], None]) -> None:
    """Have a group member join again after an error of its group, such as that the coordinator is still loading.

    aiokafka keeps such an error for who next calls `getmany` of the consumer, and does nothing for the group until
    then. Faust calls something else, so that the member would stand still for ever, without a heartbeat or a line in
    the log. fail: called with an error that will not pass. The consumer must be started.
    """
    coordinator = consumer._coordinator

    async def outlived(error: BaseException) -> None:
        if isinstance(error, FATAL):
            fail(error)
            await coordinator._closing
        else:
            log.warning("the group answers with an error, joining again: %s", error)
            coordinator.request_rejoin()
            await asyncio.wait([coordinator._closing], timeout=REJOIN_SECONDS)

    coordinator._push_error_to_user = outlived


def notice_end(consumer: AIOKafkaConsumer, fail: Callable[[BaseException], None]) -> None:
    """Call `fail` once a background task of a started consumer ends by an error. aiokafka tells nobody."""

    def ended(task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and task.exception() is not None:
            fail(KafkaError(f"a task of aiokafka ended: {task.exception()!r}"))

    for task in _tasks(consumer):
        task.add_done_callback(ended)


def require_tasks(consumer: AIOKafkaConsumer) -> None:
    """Raises KafkaError if a background task of a started consumer has ended: it would wait for records for ever."""
    for task in _tasks(consumer):
        if task.done():
            why = "cancelled" if task.cancelled() else repr(task.exception())
            raise KafkaError(f"a task of aiokafka ended: {why}")


def _tasks(consumer: AIOKafkaConsumer) -> list[asyncio.Task[Any]]:
    """Tasks without which a consumer gets no records: for metadata, fetches, and its group if it has one."""
    group = getattr(consumer._coordinator, "_coordination_task", None)
    return [task for task in (consumer._client._sync_task, consumer._fetcher._fetch_task, group) if task is not None]


def leave_when_stopped(consumer: AIOKafkaConsumer) -> None:
    """Have a static member leave its group when it is stopped, so that another takes over at once.

    aiokafka only falls silent then, and the partitions stand still until the session ends. A static name is for coming
    back after a crash. The consumer must be started.
    """
    coordinator = consumer._coordinator
    leave = coordinator._maybe_leave_group

    async def left() -> None:
        name, coordinator._group_instance_id = coordinator._group_instance_id, None
        try:
            await leave()
        finally:
            coordinator._group_instance_id = name

    coordinator._maybe_leave_group = left


def fill(
    batch: Any, records: Sequence[Record], headers: Sequence[Headers], stamps_ms: Sequence[int] | None = None
) -> int:
    """Put as many records as fit into a producer's batch and close it; returns how many, at least 1.

    Calls the builder inside the batch, with one timestamp for all: the batch's own `append` does several times the work
    for each record. A builder accepts its first record whatever its size. headers: one for each record, or none at all.
    stamps_ms: timestamp of each record, milliseconds since 1970; None for the time of now.
    """
    append, now_ms, none = batch._builder.append, int(time.time() * 1000), []  # type: ignore[var-annotated]
    n = 0
    for (key, value), stamp_ms in zip(records, repeat(now_ms) if stamps_ms is None else stamps_ms, strict=False):
        if append(n, stamp_ms, key, value, list(headers[n]) if headers else none) is None:
            break
        n += 1
    batch._relative_offset = n
    batch.close()
    return n


def queue(producer: AIOKafkaProducer, batch: Any, tp: TopicPartition) -> asyncio.Future[Any] | None:
    """Queue a closed batch of a started producer; returns its acknowledgement, which nobody may cancel.

    Does what `send_batch` does where it has nothing to wait for, and None where it has: the partition's leader is not
    known, another batch waits for the partition, or the producer has ended. `send_batch` copies the topic's set of
    partitions twice for each batch, and makes two futures more.
    """
    accumulator = producer._message_accumulator
    if accumulator._closed or accumulator._exception is not None or accumulator._batches.get(tp):
        return None
    if producer.client.cluster.leader_for_partition(tp) in (None, NO_LEADER):
        return None
    return accumulator._append_batch(batch, tp).future  # type: ignore[no-any-return]


class PartitionEpochs(TransactionManager):  # type: ignore[misc]
    """Keeps producer id, epoch and sequence of each partition, where aiokafka keeps one id and epoch for all.

    Relies on the order of aiokafka's accumulator: it advances a partition's sequence, then reads id and epoch.
    """

    def __init__(self) -> None:
        super().__init__(None, 2**31 - 1)
        self._own: dict[TopicPartition, PidAndEpoch] = {}
        self._counted: TopicPartition | None = None

    def begin(self, tps: Iterable[TopicPartition], epoch: PidAndEpoch) -> None:
        """Give partitions a new id and epoch and restart their sequences. Nothing may be in flight to them."""
        for tp in tps:
            self._own[tp] = epoch
            self._sequence_numbers[tp] = 0

    def of(self, tp: TopicPartition) -> PidAndEpoch:
        """Producer id and epoch of a partition: its own if it has one, otherwise the producer's."""
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


def number_with(producer: AIOKafkaProducer, epochs: PartitionEpochs) -> None:
    """Have a producer that is not started number its batches with `epochs`. aiokafka lets nobody choose this."""
    for part in (producer, producer._message_accumulator, producer._sender):
        part._txn_manager = epochs
