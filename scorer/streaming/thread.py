"""Faust's consumer thread, driving aiokafka our way: how long a fetch waits, heartbeats, leaving the group."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import aiokafka
from aiokafka import TopicPartition
from aiokafka.errors import ConsumerStoppedError, IllegalStateError, KafkaTimeoutError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode.utils.futures import maybe_async

from scorer.kafka.aiokafka_internals import (
    committed,
    end,
    gather,
    isolate,
    keep_parsed,
    leave_when_stopped,
    most_records,
    note_heartbeats,
    note_joins,
    notice_end,
    outlive_errors,
    set_longest_wait,
    unread,
)
from scorer.kafka.connection import FORBIDDEN, forbidden
from scorer.streaming.faust_internals import client_of
from scorer.streaming.pace import Pace

log = logging.getLogger(__name__)

_Answer = TypeVar("_Answer")
#: How long a worker that is to stop may try to commit. What is not committed is read again.
LAST_COMMIT_SECONDS = 5.0


def _size(record: Any) -> int:
    """Approximate bytes of a record: key, value and 10 of its own."""
    return len(record.key or b"") + len(record.value or b"") + 10


@dataclass
class Joins:
    """Requests to join the group. open: not answered yet. answered: so far, in whatever way."""

    open: int = 0
    answered: int = 0

    def begun(self) -> None:
        self.open += 1

    def ended(self) -> None:
        self.open -= 1
        self.answered += 1


class ConsumerThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    """Faust's thread around one aiokafka consumer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.joins = Joins()
        # Half of what one fetch may bring of a partition: with a backlog, every partition has that much.
        settings, most_bytes = self.app.settings, self.app.conf.consumer_max_fetch_size // 2
        self._pace = Pace(settings.fetch_wait_ms / 2000, most_bytes, settings.is_eager)
        self._owned: tuple[Any, frozenset[TP]] = (None, frozenset())

    def assignment(self) -> frozenset[TP]:
        """The partitions that are owned. For any thread.

        Faust makes the set anew in each call, and calls once for each partition that it commits: their number squared.
        """
        theirs, ours = self._owned
        now = client_of(self).assignment()
        if now is not theirs:
            ours = frozenset(TP(*tp) for tp in now)
            self._owned = now, ours
        return ours

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        # With Faust's 1,500 ms, a record on an idle stream waits for hundreds of milliseconds.
        set_longest_wait(consumer, self.app.settings.fetch_wait_ms)
        isolate(consumer, self.app.settings.reads)
        return consumer

    async def on_start(self) -> None:
        await super().on_start()
        client = client_of(self)
        note_heartbeats(client, self._heartbeat)
        leave_when_stopped(client)
        keep_parsed(client)
        note_joins(client, self.joins.begun, self.joins.ended)
        outlive_errors(client, self._fail)
        notice_end(client, self._fail)

    def _fail(self, error: BaseException) -> None:
        self.app.end(forbidden(self.app.settings, error) if isinstance(error, FORBIDDEN) else error)

    def _heartbeat(self, sent: float) -> None:
        self.consumer.last_heartbeat = sent

    async def getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:  # noqa: ASYNC109
        """Fetch records on the thread's loop. Faust's queue of calls would add five tasks to each fetch."""
        client = client_of(self)
        fetching = self._fetch_records(client, active_partitions, timeout=timeout, max_records=most_records(client))
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(fetching, self.thread_loop))

    async def _fetch_records(self, consumer: aiokafka.AIOKafkaConsumer, *args: Any, **options: Any) -> Any:
        came = await super()._fetch_records(consumer, *args, **options)
        if came:
            size = sum(len(records) * _size(records[-1]) for records in came.values())
            self._pace.came(size, time.monotonic(), self.consumer.is_behind, time.process_time())
        else:
            self._pace.quiet()
        gather(consumer, self._pace.least_bytes, max(1, round(1000 * self._pace.longest)))
        return came

    def unread(self, tp: TP) -> int | None:
        """Offsets between what the client has read and the end of a partition; None if nobody knows."""
        return unread(client_of(self), TopicPartition(*tp))

    def highwater(self, tp: TP) -> int | None:
        """Offset after the last record of a partition; None if nobody knows, as when it was just taken away."""
        return end(client_of(self), TopicPartition(*tp))

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Read a partition from an offset. Does nothing if it was just taken away, in the client's own thread: whoever
        gets it seeks anew."""
        with suppress(IllegalStateError, AssertionError):
            super().seek(partition, offset)

    async def call_thread(self, fun: Any, *args: Any, **kwargs: Any) -> Any:
        """Call something on the thread's loop. Raises ConsumerStoppedError if the thread ends before it answers.

        Faust would wait for ever: its queue of calls is no longer served once the worker has crashed. Such a worker
        wants to commit before it ends. It would neither work nor be started anew.
        """

        async def call() -> Any:
            return await maybe_async(fun(*args, **kwargs))

        calling = call()
        try:
            answer = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(calling, self.thread_loop))
        except RuntimeError:  # its loop is closed
            calling.close()
            raise ConsumerStoppedError from None
        ended = asyncio.ensure_future(self._shutdown.wait())
        try:
            await asyncio.wait({answer, ended}, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done() or answer.cancelled():  # a thread that ends cancels what it has not done
                raise ConsumerStoppedError
            return answer.result()
        finally:
            ended.cancel()
            if not self.thread_loop.is_closed():
                answer.cancel()

    def _start_thread(self) -> None:
        """Runs the thread. Says that it has ended, however that came: Faust does not if it was cancelled."""
        try:
            super()._start_thread()
        finally:
            with suppress(RuntimeError):  # the worker's own loop is closed already
                self.set_shutdown()

    def _stopped_set(self) -> None:
        with suppress(RuntimeError):  # a thread that crashed has closed its loop, and needs not be told
            super()._stopped_set()

    async def commit(self, offsets: Mapping[TP, int]) -> bool:
        """Commit offsets; returns whether that was done. A worker that is to stop does not wait long for a broker."""
        try:
            async with asyncio.timeout(LAST_COMMIT_SECONDS if self.app.should_stop else None):
                return bool(await super().commit(offsets))
        except (ConsumerStoppedError, TimeoutError):
            return False

    async def earliest_offsets(self, *partitions: TP) -> Mapping[TP, int]:
        """First offsets that are still there. Waits while no broker answers."""
        ask = super().earliest_offsets
        return dict(await self._answered("the oldest offsets", lambda: ask(*partitions)))

    async def first_since(self, tp: TP, moment_ms: int, oldest: int) -> int:
        """Offset of a partition's first record that came at a time or later, whatever came after that one; the end if
        there is none. `oldest` if its broker finds no records by time. Waits while no broker answers.

        moment_ms: by the records' timestamps, milliseconds since 1970. oldest: the first offset that is still there.
        """
        part, client = TopicPartition(*tp), client_of(self)

        async def found(moment: int) -> int | None:
            ask = client.offsets_for_times
            at = (await self._answered("offsets by time", lambda: self.call_thread(ask, {part: moment})))[part]
            return None if at is None else int(at.offset)

        # asked first: what comes meanwhile is after it
        ends = await self._answered("the ends", lambda: self.call_thread(client.end_offsets, [part]))
        first = await found(moment_ms)
        if first is not None:
            return max(oldest, first)
        return oldest if await found(0) is None else max(oldest, int(ends[part]))

    async def _answered(self, what: str, ask: Callable[[], Awaitable[_Answer]]) -> _Answer:
        """Ask brokers until one answers, however long that is. aiokafka gives up after `request_seconds`, but an outage
        is no reason for a worker to end."""
        while True:
            try:
                return await ask()
            except KafkaTimeoutError as error:
                if self.app.should_stop:
                    raise
                log.warning("no broker tells %s, asking again: %s", what, error)

    async def committed(self, tps: Iterable[TP]) -> dict[TP, int | None]:
        """Committed offset of each partition, None where nothing is committed."""
        every = list(tps)
        found = await self.call_thread(committed, client_of(self), [TopicPartition(*tp) for tp in every])
        return {tp: found.get(TopicPartition(*tp)) for tp in every}
