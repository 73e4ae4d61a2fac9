"""Creates and checks topics, counts their partitions, lists the members of a consumer group."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from scorer.errors import BrokerError
from scorer.kafka.connection import connection, unreachable
from scorer.kafka.stopping import stop
from scorer.settings import CommonSettings, ScorerSettings, Topics

log = logging.getLogger(__name__)

#: How long a broker may take to find the coordinator of a group.
COORDINATOR_SECONDS = 15.0
#: How long one may take to list the partitions that it has just created.
KNOWN_SECONDS = 10.0
#: Of the topics that keep the last record of each key; segments of 1 hour.
COMPACTED = {"cleanup.policy": "compact", "segment.ms": "3600000"}
#: What is replaced or dropped is gone from the log after a day, however little is written. Kafka's default is never.
SOON = {"max.compaction.lag.ms": "86400000"}
#: Requests and answers are deleted after 30 days, whether or not a scorer has run in the meantime.
ERASURES = {"cleanup.policy": "compact,delete", "retention.ms": str(30 * 86_400_000)}
#: 2 MiB: a dead letter holds the transaction as it was sent, however long.
REJECTED = {"max.message.bytes": "2097152"}
#: Snapshots that no scorer will ever use again, as their feature view is gone, are deleted after 30 days.
RISK = {"cleanup.policy": "compact,delete", "retention.ms": str(30 * 86_400_000)}
#: 180 days, as long as the shadow keeps labels (its setting `label_days`). Chargebacks take months, and after a loss of
#: Redis labels are read again from this topic. Kafka's default of 7 days would drop them before they are needed.
LABELS = {"retention.ms": str(180 * 86_400_000)}


@asynccontextmanager
async def admin(settings: CommonSettings) -> AsyncIterator[AIOKafkaAdminClient]:
    """A started admin client. Raises BrokerError if no broker answers."""
    client = AIOKafkaAdminClient(**connection(settings), client_id=settings.worker_id)
    try:
        await client.start()
    except (KafkaError, OSError) as error:
        await stop(client)
        raise await unreachable(settings, error) from None
    try:
        yield client
    finally:
        await stop(client)


async def partition_counts(client: AIOKafkaAdminClient, topics: Sequence[str]) -> dict[str, int]:
    """Number of partitions by topic, without topics that do not exist. Raises KafkaError."""
    there = set(await client.list_topics())  # describing a topic that does not exist may create it
    known = [name for name in topics if name in there]
    described = await client.describe_topics(known) if known else []
    return {t["topic"]: len(t["partitions"]) for t in described if t["error_code"] == 0 and t["partitions"]}


async def partitions_of(settings: CommonSettings, *topics: str) -> list[TopicPartition]:
    """Every partition of those topics that exist. Raises BrokerError if no broker answers."""
    async with admin(settings) as client:
        counts = await partition_counts(client, topics)
    return [TopicPartition(topic, partition) for topic, count in counts.items() for partition in range(count)]


def beside(names: Topics) -> tuple[str, ...]:
    """The topics whose partition p belongs to partition p of the transactions."""
    return names.decisions, names.rejected, names.velocity, names.erasures


async def ensure_topics(
    settings: ScorerSettings, only: str | None = None, must_fit: bool = False, has_risk: bool = False
) -> int:
    """Create missing topics and check the others; returns the number of partitions of `transactions`.

    only: the one topic to see to. The number returned is then that of the settings. must_fit: whether a topic with
    fewer partitions than `transactions` is an error; else it is logged, and scorers decide the partitions that all
    topics have. has_risk: whether there must be the topic of merchant risk, too.

    Raises BrokerError if no broker answers, a topic is missing and must not or cannot be created, or has more
    partitions than it should.
    """
    names = settings.topics
    every = (names.transactions, *beside(names), names.labels, names.deployments) if only is None else (only,)
    if has_risk:
        every = (*every, names.risk)
    single = (names.deployments, names.risk)
    async with admin(settings) as client:
        found = await partition_counts(client, every)
        count = found.get(names.transactions, settings.partitions)
        wanted = {name: 1 if name in single else count for name in every}
        for name in every:
            if name not in found or name not in (*beside(names), *single) or found[name] == wanted[name]:
                continue
            told = f"topic {name}: has {found[name]} partitions, {wanted[name]} expected; "
            if name in single:
                raise BrokerError(f"{told}recreate it with one partition")
            if found[name] > wanted[name]:
                raise BrokerError(f"{told}give {names.transactions} as many, or recreate {name}")
            if must_fit:
                raise BrokerError(f"{told}run `scorer topics --add-partitions`")
            log.warning("%srun `scorer topics --add-partitions`; until then only the others are decided", told)
        missing = [name for name in every if name not in found]
        if missing and not settings.create_topics:
            raise BrokerError(
                f"topic {missing[0]}: is missing, or this user may not describe it; create it, or set "
                "SCORER_CREATE_TOPICS=true"
            )
        configs = configs_of(settings)
        new = [
            NewTopic(name, wanted[name], settings.replication, topic_configs=configs.get(name, {})) for name in missing
        ]
        if new:
            answer = await client.create_topics(new)
            for name, code, *_ in answer.topic_errors:
                if code and for_code(code) is not TopicAlreadyExistsError:
                    raise BrokerError(
                        f"topic {name}: cannot be created ({for_code(code).__name__}); have the broker's operator "
                        "create it"
                    )
            await _until_known(client, missing)
    return count


async def add_partitions(settings: ScorerSettings) -> dict[str, int]:
    """Give the topics beside `transactions` as many partitions as it has; returns those raised, with their old counts.

    Workers may run meanwhile. Raises BrokerError if no broker answers, or one refuses.
    """
    names = settings.topics
    async with admin(settings) as client:
        found = await partition_counts(client, (names.transactions, *beside(names)))
        count = found.get(names.transactions, 0)
        short = {name: found[name] for name in beside(names) if found.get(name, count) < count}
        for name in short:
            try:
                answer = await client.create_partitions({name: NewPartitions(count)})
                code, told = next(((code, told) for _, code, told in answer.topic_errors if code), (0, None))
            except KafkaError as error:
                code, told = -1, str(error)
            # somebody else may have raised it meanwhile
            if code and (await partition_counts(client, [name])).get(name) != count:
                raise BrokerError(
                    f"topic {name}: cannot get {count} partitions ({told or for_code(code).__name__}); have the "
                    "broker's operator raise it"
                )
        deadline = time.monotonic() + KNOWN_SECONDS
        while short and set((await partition_counts(client, list(short))).values()) != {count}:
            if time.monotonic() > deadline:
                raise BrokerError(
                    f"topic {next(iter(short))}: was raised, but the broker does not list the new partitions; look at "
                    "the broker's log"
                )
            await asyncio.sleep(0.05)
    return short


def configs_of(settings: ScorerSettings) -> dict[str, dict[str, str]]:
    """Kafka's settings for the topics that we create, by name: ours, and over them those of `topic_configs`."""
    names = settings.topics
    configs: dict[str, dict[str, str]] = {
        names.deployments: COMPACTED,
        names.velocity: {**COMPACTED, **SOON},
        names.erasures: {**COMPACTED, **SOON, **ERASURES},
        names.rejected: REJECTED,
        names.labels: LABELS,
        names.risk: {**COMPACTED, **SOON, **RISK},
    }
    for role, chosen in settings.topic_configs.items():
        topic = getattr(names, role)
        configs[topic] = {**configs.get(topic, {}), **chosen}
    return configs


async def _until_known(client: AIOKafkaAdminClient, names: Sequence[str]) -> None:
    for _ in range(100):
        listed = await partition_counts(client, names)
        missing = [name for name in names if name not in listed]
        if not missing:
            return
        await asyncio.sleep(0.05)
    raise BrokerError(
        f"topic {missing[0]}: was created, but the broker does not list it; look at the broker's log; may this user "
        "describe the topic?"
    )


async def group_members(settings: CommonSettings, group: str) -> list[str]:
    """Ids of the workers in a consumer group right now.

    Raises BrokerError if no broker answers, or none will say: not to know the members is not to have none.
    """
    deadline = time.monotonic() + COORDINATOR_SECONDS
    async with admin(settings) as client:
        while True:
            try:
                answers = await client.describe_consumer_groups([group])
                groups = [found for answer in answers for found in answer.groups]
                failed = next((for_code(found[0]) for found in groups if found[0]), None)
            except KafkaError as error:
                failed = type(error)
            if failed is None:
                break
            if not failed.retriable or time.monotonic() > deadline:
                raise BrokerError(
                    f"group {group}: the broker does not tell its members ({failed.__name__}); "
                    "may this user describe the group?"
                )
            await asyncio.sleep(0.2)  # a new cluster has no coordinator until somebody asks for one
    members: Iterable[tuple[Any, ...]] = (member for found in groups for member in found[5])
    # A member's id is the client's id, a dash and a UUID. An embedded broker omits the separate client id.
    return [member[1] or member[0][:-37] for member in members]
