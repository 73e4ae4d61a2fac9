"""Topics from outside any consumer group: create and check them, read partitions to their ends.

Ends come from the high water of a fetch: an embedded broker answers ListOffsets with the last batch's first offset.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from scorer.connection import connection, unreachable
from scorer.errors import BrokerError
from scorer.settings import CommonSettings, ScorerSettings

#: Settings of the topics that are kept for their keys.
COMPACTED = {"cleanup.policy": "compact", "segment.ms": "3600000"}
#: A rejected value is as long as its sender made it.
REJECTED = {"max.message.bytes": "2097152"}
#: Half a year, as long as the shadow keeps them (`label_days`): chargebacks take months, and a Redis that was lost has
#: them read again from here. Kafka's own week would forget them before the case they speak of is judged.
LABELS = {"retention.ms": str(180 * 86_400_000)}
#: Longest wait of one fetch while reading a log to its end, in milliseconds.
WAIT_MS = 250
#: More markers than ever stand behind the last record of a partition.
MARKERS = 64
#: Fetches until every partition has told its end.
SPAN_TRIES = 20


@asynccontextmanager
async def admin(settings: CommonSettings) -> AsyncIterator[AIOKafkaAdminClient]:
    """An admin client. Raises BrokerError if no broker answers."""
    client = AIOKafkaAdminClient(**connection(settings), client_id=settings.worker_id)
    try:
        await client.start()
    except (KafkaError, OSError) as error:
        await client.close()
        raise await unreachable(settings, error) from None
    try:
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def reader(settings: CommonSettings, **options: Any) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer without a group. Raises BrokerError if no broker answers."""
    consumer = AIOKafkaConsumer(
        **connection(settings),
        client_id=f"{settings.worker_id}-reader",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=WAIT_MS,
        max_partition_fetch_bytes=4 * 1024 * 1024,
        **options,
    )
    try:
        await consumer.start()
    except (KafkaError, OSError) as error:
        await consumer.stop()
        raise await unreachable(settings, error) from None
    await asyncio.sleep(0)  # aiokafka's stop leaks a CancelledError if it comes before its own tasks have begun
    try:
        yield consumer
    finally:
        await consumer.stop()


async def partition_counts(client: AIOKafkaAdminClient, topics: Sequence[str]) -> dict[str, int]:
    """Number of partitions by topic; a topic that does not exist is left out."""
    there = set(await client.list_topics())  # asking for one that is not there would create it
    known = [name for name in topics if name in there]
    described = await client.describe_topics(known) if known else []
    return {t["topic"]: len(t["partitions"]) for t in described if t["error_code"] == 0 and t["partitions"]}


async def partitions_of(settings: CommonSettings, *topics: str) -> list[TopicPartition]:
    """Every partition of the topics that exist. A consumer without a group knows only what it was assigned."""
    async with admin(settings) as client:
        counts = await partition_counts(client, topics)
    return [TopicPartition(topic, partition) for topic, count in counts.items() for partition in range(count)]


async def ensure_topics(settings: ScorerSettings) -> int:
    """Create the topics that are missing, check the others; returns the partitions of `transactions`.

    Raises BrokerError where a topic is missing and may not be created, or where partition counts differ.
    """
    names = settings.topics
    beside = (names.decisions, names.rejected, names.velocity)
    every = (names.transactions, *beside, names.labels, names.deployments)
    async with admin(settings) as client:
        found = await partition_counts(client, every)
        count = found.get(names.transactions, settings.partitions)
        wanted = {name: 1 if name == names.deployments else count for name in every}
        for name in every:
            if name in found and name in (*beside, names.deployments) and found[name] != wanted[name]:
                raise BrokerError(
                    f"topic {name}: has {found[name]} partitions, {wanted[name]} expected; "
                    + (
                        f"raise its partitions to those of {names.transactions}, or recreate it, with all workers down"
                        if name != names.deployments
                        else "recreate it with one partition"
                    )
                )
        missing = [name for name in every if name not in found]
        if missing and not settings.create_topics:
            raise BrokerError(f"topic {missing[0]}: is missing; create it or set SCORER_CREATE_TOPICS=true")
        configs: dict[str, dict[str, str]] = {
            names.deployments: COMPACTED,
            names.velocity: COMPACTED,
            names.rejected: REJECTED,
            names.labels: LABELS,
        }
        for role, chosen in settings.topic_configs.items():
            topic = getattr(names, role)
            configs[topic] = {**configs.get(topic, {}), **chosen}
        new = [
            NewTopic(name, wanted[name], settings.replication, topic_configs=configs.get(name, {})) for name in missing
        ]
        if new:
            answer = await client.create_topics(new)
            for name, code, *_ in answer.topic_errors:
                if code and for_code(code) is not TopicAlreadyExistsError:
                    raise BrokerError(
                        f"topic {name}: cannot be created ({for_code(code).__name__}); create it yourself"
                    )
            await _until_known(client, missing)
    return count


async def _until_known(client: AIOKafkaAdminClient, names: Sequence[str]) -> None:
    for _ in range(100):
        if len(await partition_counts(client, names)) == len(names):
            return
        await asyncio.sleep(0.05)
    raise BrokerError(f"topic {names[0]}: was created but is not seen; look at the broker's log")


async def read_to_end(
    consumer: AIOKafkaConsumer, windows: Mapping[TopicPartition, int | None]
) -> AsyncIterator[tuple[TopicPartition, list[Any]]]:
    """Records of partitions to their present ends, in chunks, each partition in log order.

    windows: how many of the last records are wanted at least, None for all. The consumer is left assigned to the
    partitions that have records, each at its end.
    """
    everything = list(windows)
    # Before any fetch is under way, which would hold these answers back on the same connection.
    oldest = await consumer.beginning_offsets(everything)
    bound = await consumer.end_offsets(everything)  # lower bounds, see above
    reading = {tp for tp in everything if bound[tp] > oldest[tp]}
    if not reading:
        return
    consumer.assign(list(reading))
    for tp in reading:
        window = windows[tp]
        consumer.seek(tp, oldest[tp] if window is None else max(oldest[tp], bound[tp] - window))
    while reading:
        fetched = await consumer.getmany(*reading, timeout_ms=WAIT_MS, max_records=20_000)
        for tp, records in fetched.items():
            yield tp, records
        for tp in list(reading):
            high = consumer.highwater(tp)
            if high is not None and await consumer.position(tp) >= high:
                reading.discard(tp)
                consumer.pause(tp)
    consumer.resume(*consumer.assignment())


async def spans(consumer: AIOKafkaConsumer, parts: Sequence[TopicPartition]) -> dict[int, tuple[int, int]]:
    """Of each partition of one topic, the oldest offset that is left and the one after the last record.

    Markers that Kafka keeps behind the last record (`scorer.fence`) are nothing that anybody waits for.
    """
    oldest = await consumer.beginning_offsets(parts)
    bound = await consumer.end_offsets(parts)  # lower bounds, as in `read_to_end`
    consumer.assign(parts)
    after = {tp: max(oldest[tp], bound[tp] - MARKERS) for tp in parts}
    for tp, start in after.items():
        consumer.seek(tp, start)
    ends: dict[TopicPartition, int] = {}
    reading = set(parts)
    for _ in range(SPAN_TRIES):
        for tp, records in (await consumer.getmany(timeout_ms=WAIT_MS)).items():
            after[tp] = records[-1].offset + 1
        for tp in list(reading):
            high = consumer.highwater(tp)
            if high is not None and await consumer.position(tp) >= ends.setdefault(tp, max(high, bound[tp])):
                reading.discard(tp)
        if not reading:
            break
    return {tp.partition: (oldest[tp], ends.get(tp, bound[tp]) if tp in reading else after[tp]) for tp in parts}


async def group_members(settings: CommonSettings, group: str) -> list[str]:
    """Ids of the workers in a consumer group right now."""
    async with admin(settings) as client:
        answers = await client.describe_consumer_groups([group])
    members: Iterable[tuple[Any, ...]] = (m for answer in answers for g in answer.groups for m in g[5])
    # A member's id is its client's id, a dash and a UUID; an embedded broker leaves the client's id out.
    return [member[1] or member[0][:-37] for member in members]
