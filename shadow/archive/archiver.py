"""Brings the archived topics into their tables: reads, makes rows, commits them with the offsets that they reach.

Where to read from is in the tables and nowhere else; the consumer group only shares the partitions out. Whoever still
writes for a partition that another has taken over loses the race for the commit, sees what the table has reached, and
drops what is there already.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError

from scorer.errors import BrokerError, UserError
from scorer.kafka.aiokafka_internals import require_tasks
from scorer.kafka.reading import reader
from scorer.kafka.topics import partitions_of
from scorer.process.health import Health
from shadow import metrics
from shadow.archive.erasures import CardErasures
from shadow.archive.rows import KINDS, Kind
from shadow.archive.tables import FAILED, UNREADABLE, Archive, Chunk, Gaps, TopicTable
from shadow.settings import ShadowSettings

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

#: Longest wait of one fetch, in milliseconds.
WAIT_MS = 500
#: Pause after Kafka or the store of the tables was unavailable.
RETRY_SECONDS = 2.0
#: Bytes of rows of one topic, as Arrow has them, that wait for a commit at most, and those of one fetch.
WAITING_BYTES, FETCH_BYTES = 64 * 2**20, 16 * 2**20


class TopicReplacedError(UserError):
    """A topic has fewer records than were archived from it."""


class _WentBackError(Exception):
    """A table has come less far than it had."""


@dataclass
class _Part:
    """A partition that this process reads. next: offset of the next record to read.

    waiting: rows that are not in the table yet. oldest_ms: the broker's timestamp of the first of them.
    """

    next: int
    waiting: list[Chunk] = field(default_factory=list)
    oldest_ms: int | None = None


@dataclass
class _Topic:
    """A topic and its table. since: when the first row that waits came, by the monotonic clock."""

    kind: Kind
    name: str
    table: TopicTable
    parts: dict[int, _Part] = field(default_factory=dict)
    since: float | None = None

    @property
    def records(self) -> int:
        return sum(chunk.rows.num_rows for part in self.parts.values() for chunk in part.waiting)

    @property
    def bytes(self) -> int:
        return sum(chunk.rows.nbytes for part in self.parts.values() for chunk in part.waiting)

    def clear(self) -> None:
        """Forget the partitions, and the rows that wait: whoever gets them next reads them again."""
        self.parts, self.since = {}, None


class Archiver(ConsumerRebalanceListener):  # type: ignore[misc]
    """Archives until it is told to stop. once: until it has what there is."""

    def __init__(self, settings: ShadowSettings, health: Health, once: bool = False) -> None:
        self._settings, self._health, self._once = settings, health, once
        options = {name: secret.get_secret_value() for name, secret in settings.archive_options.items()}
        self._archive = Archive(settings.archive, options)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="archive")
        self._topics: dict[str, _Topic] = {}
        self._gaps: Gaps | None = None
        self._erasures = CardErasures(settings, self._archive, self._has_first)
        self._generation, self._opened, self._is_joined = 0, -1, False
        self.stopping = asyncio.Event()

    async def run(self) -> None:
        """Archive until `stopping`, through whatever Kafka and the store do meanwhile.

        Raises UserError: the topics or the place of the tables are not as they must be.
        """
        await self._open()
        for topic in self._topics.values():
            metrics.begin_archive(topic.name)
        if not self._once:
            erasing = asyncio.create_task(self._erasures.run(), name="erasures")
            archiving = asyncio.create_task(self._archive_on(), name="archiving")
            await asyncio.wait({erasing, archiving}, return_when=asyncio.FIRST_COMPLETED)
            self.stopping.set()  # if one of them has failed, the other ends, too
            self._erasures.stopping.set()
            try:
                await archiving
            finally:
                await erasing
        else:
            await self._archive_on()
            try:
                await self._erasures.once()
            except (KafkaError, *UNREADABLE) as error:
                raise UserError(f"erasures: were not all carried out ({_line(error)}); run it again") from None

    def _has_first(self) -> bool:
        """Whether this process has the first partition of decisions, and with it what only one of many is to do."""
        topic = self._topics[self._settings.topics.decisions]
        return self._opened == self._generation and 0 in topic.parts

    async def _archive_on(self) -> None:
        while not self.stopping.is_set():
            try:
                await self._follow()
            except _WentBackError as error:
                log.error("%s; reading again from there", error)
            except (KafkaError, BrokerError) as error:
                self._health.not_ready = "Kafka is away"
                log.warning("cannot read, trying again: %s", error)
                await self._pause()
            for topic in self._topics.values():
                topic.clear()

    def refresh(self) -> None:
        """Bring the gauges up to date: for each scrape."""
        metrics.ARCHIVE_ERASURE_OPEN.set(self._erasures.oldest_seconds)
        now_ms = time.time() * 1000
        for topic in list(self._topics.values()):
            oldest = [part.oldest_ms for part in list(topic.parts.values()) if part.oldest_ms is not None]
            metrics.ARCHIVE_BEHIND.labels(topic.name).set(max(0.0, now_ms - min(oldest)) / 1000 if oldest else 0.0)

    async def _open(self) -> None:
        """Open every table. Raises UserError if that fails, or a topic is missing."""
        for kind in KINDS:
            name = getattr(self._settings.topics, kind.role)
            if not await partitions_of(self._settings, name):
                raise BrokerError(
                    f"topic {name}: is missing, or this user may not describe it; create it with `scorer topics`"
                )
            try:
                table = await self._call(partial(self._archive.table, kind, name))
            except FAILED as error:
                raise UserError(
                    f"archive {self._archive.uri}: cannot be opened ({_line(error)}); correct SHADOW_ARCHIVE or "
                    "SHADOW_ARCHIVE_OPTIONS"
                ) from None
            self._topics[name] = _Topic(kind, name, table)
        self._gaps = await self._call(self._archive.gaps)

    async def _call(self, work: Callable[[], Answer]) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    async def _pause(self) -> None:
        try:
            await asyncio.wait_for(self.stopping.wait(), RETRY_SECONDS)
        except TimeoutError:
            return

    async def _follow(self) -> None:
        settings = self._settings
        async with reader(
            settings,
            group_id=settings.archive_group,
            group_instance_id=settings.instance_id,
            session_timeout_ms=int(settings.session_seconds * 1000),
            heartbeat_interval_ms=int(settings.heartbeat_seconds * 1000),
            request_timeout_ms=int(settings.request_seconds * 1000),
            fetch_max_bytes=FETCH_BYTES,
        ) as consumer:
            self._generation, self._opened, self._is_joined = self._generation + 1, -1, False
            consumer.subscribe(list(self._topics), listener=self)
            while not self.stopping.is_set():
                fetched = await consumer.getmany(timeout_ms=WAIT_MS, max_records=settings.batch_records)
                require_tasks(consumer)
                if self._opened != self._generation:
                    if self._is_joined:
                        await self._begin(consumer)
                    continue  # what was fetched was fetched from elsewhere
                for tp, records in fetched.items():
                    await self._take(consumer, tp, records)
                for topic in self._topics.values():
                    if self._is_due(topic):
                        await self._flush(consumer, topic)
                    self._count_lag(consumer, topic)
                if self._once and not fetched and await self._is_at_end(consumer):
                    self.stopping.set()
            for topic in self._topics.values():
                await self._flush(consumer, topic)

    async def on_partitions_revoked(self, revoked: Sequence[TopicPartition]) -> None:
        """Drop what waits: its commit could only lose against that of the next owner."""
        self._generation += 1
        for topic in self._topics.values():
            topic.clear()

    async def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None:
        """Have `_follow` look up where to read from: aiokafka would hide an error here."""
        self._generation += 1
        self._is_joined = True

    async def _begin(self, consumer: AIOKafkaConsumer) -> None:
        """Seek every partition to where its table has come to; keeps trying while the store is away."""
        generation = self._generation
        mine = sorted(consumer.assignment())
        for topic in self._topics.values():
            topic.clear()
            while not await self._refreshed(topic):
                if generation != self._generation or self.stopping.is_set():
                    return
        oldest = await consumer.beginning_offsets(mine) if mine else {}
        if generation != self._generation or consumer.assignment() != set(mine):
            return
        for tp in mine:
            position = self._topics[tp.topic].table.position(tp.partition)
            if position is not None and position < oldest[tp]:
                await self._lost(tp, position, oldest[tp])
        if generation != self._generation:
            return
        for tp in mine:
            topic = self._topics[tp.topic]
            start = max(topic.table.position(tp.partition) or 0, oldest[tp])
            topic.parts[tp.partition] = _Part(start)
            consumer.seek(tp, start)
        self._opened = generation
        self._health.not_ready = None
        log.info("archiving %d partitions into %s", len(mine), self._archive.uri)

    async def _refreshed(self, topic: _Topic) -> bool:
        try:
            await self._call(topic.table.refresh)
        except FAILED as error:
            self._failed(topic, error)
            await self._pause()
            return False
        return True

    def _failed(self, topic: _Topic, error: BaseException) -> None:
        metrics.ARCHIVE_ERRORS.labels(topic.name).inc()
        self._health.not_ready = f"the table of {topic.name} cannot be read or written"
        log.warning("table of %s: trying again: %s", topic.name, _line(error))

    async def _take(self, consumer: AIOKafkaConsumer, tp: TopicPartition, records: list[Any]) -> None:
        """Add a fetch of a partition to what waits."""
        topic, generation = self._topics[tp.topic], self._generation
        part = topic.parts.get(tp.partition)
        if part is None or not records:
            return
        if records[0].offset < part.next:
            if await consumer.position(tp) < part.next:
                raise TopicReplacedError(
                    f"topic {tp.topic}, partition {tp.partition}: has offset {records[0].offset} where the archive "
                    f"expects {part.next}; it was deleted and made anew, or its brokers lost records: archive into "
                    "another place (SHADOW_ARCHIVE)"
                )
            # a flush since this fetch has found that another process was faster, and has sought ahead
            records = [record for record in records if record.offset >= part.next]
            if not records or generation != self._generation:
                return
        if records[0].offset > part.next:  # the broker's own records take offsets, too
            oldest = (await consumer.beginning_offsets([tp]))[tp]
            if oldest > part.next:
                await self._lost(tp, part.next, min(oldest, records[0].offset))
        build, fields = topic.kind.build, self._settings.card_number_fields
        rows = await self._call(partial(build, tp.partition, records, fields))
        if generation != self._generation:
            return
        part.waiting.append(Chunk(tp.partition, part.next, records[-1].offset + 1, rows))
        part.next = records[-1].offset + 1
        if part.oldest_ms is None:
            stamp = records[0].timestamp
            part.oldest_ms = stamp if stamp > 0 else int(time.time() * 1000)
        if topic.since is None:
            topic.since = time.monotonic()
        if topic.records >= self._settings.archive_records or topic.bytes >= WAITING_BYTES:
            await self._flush(consumer, topic)

    async def _lost(self, tp: TopicPartition, first: int, after: int) -> None:
        log.error(
            "topic %s, partition %d: retention deleted offsets %d to %d before they were archived",
            tp.topic,
            tp.partition,
            first,
            after - 1,
        )
        gaps = self._gaps
        while gaps is not None:
            try:
                if await self._call(partial(gaps.add, tp.topic, tp.partition, first, after)):
                    metrics.ARCHIVE_LOST.labels(tp.topic).inc(after - first)
                return
            except FAILED as error:
                self._failed(self._topics[tp.topic], error)
                if self.stopping.is_set():
                    return
                await self._pause()

    def _is_due(self, topic: _Topic) -> bool:
        return topic.since is not None and time.monotonic() - topic.since >= self._settings.archive_seconds

    async def _flush(self, consumer: AIOKafkaConsumer, topic: _Topic) -> None:
        """Commit what waits, however often another commit comes first or the store fails.

        Gives up if the partitions are shared out anew, or the process is told to stop while the store is away.
        """
        generation = self._generation
        chunks = [chunk for part in topic.parts.values() for chunk in part.waiting]
        while chunks:
            try:
                rows = await self._call(partial(topic.table.append, chunks))
            except FAILED as error:
                failure = error
            else:
                metrics.ARCHIVE_ROWS.labels(topic.name).inc(rows)
                metrics.ARCHIVE_COMMITS.labels(topic.name).inc()
                metrics.ARCHIVE_PROBLEMS.labels(topic.name).inc(_problems(chunks))
                self._health.not_ready = None
                break
            before = topic.table.version
            if not await self._refreshed(topic):
                if self.stopping.is_set() or generation != self._generation:
                    return
                continue
            left = self._left(topic, chunks)
            if len(left) == len(chunks) and all(a is b for a, b in zip(left, chunks, strict=True)):
                if topic.table.version > before:  # something else was committed: rows erased, or files put together
                    continue
                self._failed(topic, failure)
                if self.stopping.is_set():
                    return
                await self._pause()
            else:
                metrics.ARCHIVE_CONFLICTS.labels(topic.name).inc()
                log.warning("table of %s: another process has committed the same records first", topic.name)
            if generation != self._generation:
                return
            chunks = left
        if generation != self._generation:
            return
        topic.since = None
        for partition, part in topic.parts.items():
            part.waiting, part.oldest_ms = [], None
            position = topic.table.position(partition)
            if position is not None and position > part.next:
                part.next = position
                consumer.seek(TopicPartition(topic.name, partition), position)

    def _left(self, topic: _Topic, chunks: Sequence[Chunk]) -> list[Chunk]:
        """What of some chunks the table does not have. Raises _WentBackError if it lacks what was before them, too."""
        left: list[Chunk] = []
        reached: dict[int, int] = {}
        for chunk in chunks:
            position = topic.table.position(chunk.partition)
            before = reached.setdefault(chunk.partition, chunk.start)
            if position is not None and position < before:
                raise _WentBackError(
                    f"table of {topic.name}: has come to offset {position} of partition {chunk.partition}, not {before}"
                )
            rest = chunk if position is None else chunk.from_offset(position)
            if rest.start < rest.after:
                left.append(rest)
        return left

    async def _is_at_end(self, consumer: AIOKafkaConsumer) -> bool:
        """Whether every partition of this process is read to its present end; it may have none."""
        for tp in consumer.assignment():
            end = consumer.highwater(tp)
            if end is None or await consumer.position(tp) < end:
                return False
        return True

    def _count_lag(self, consumer: AIOKafkaConsumer, topic: _Topic) -> None:
        """Tell how many records are not in the table yet."""
        lag = 0
        for partition, part in topic.parts.items():
            end = consumer.highwater(TopicPartition(topic.name, partition))
            first = part.waiting[0].start if part.waiting else part.next
            lag += max(0, (end or part.next) - first)
        metrics.ARCHIVE_LAG.labels(topic.name).set(lag)


def _problems(chunks: Sequence[Chunk]) -> int:
    return sum(chunk.rows.num_rows - int(chunk.rows["problem"].null_count) for chunk in chunks)


def _line(error: BaseException) -> str:
    told = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return " ".join(told.split())[:300]
