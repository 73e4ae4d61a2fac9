"""What a scorer reads before it takes over a partition: card states, and how far its predecessor had published."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition

from scorer.errors import BrokerError
from scorer.pipeline import Published
from scorer.settings import ScorerSettings
from scorer.topics import read_to_end, tail
from scorer.velocity import CardStates, LayoutError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recovered:
    """State of a partition at its take-over."""

    states: CardStates
    published: Published


async def recover(consumer: AIOKafkaConsumer, partition: int, settings: ScorerSettings) -> Recovered:
    """Read the changelog of a partition and the tails of what was published from it.

    A published mark is the highest source offset among the last records, never that of the last record: one who was
    thought dead may have appended old ones at the end. A card state is written after the decisions and dead letters of
    its batch are acknowledged, so its offset bounds both marks from below. Raises BrokerError for a changelog that this
    version cannot read.
    """
    topics = settings.topics
    states = CardStates(settings.money.digits)
    try:
        async for records in read_to_end(consumer, TopicPartition(topics.velocity, partition)):
            kept = [record for record in records if record.value is not None]
            states.load([record.key for record in kept], [record.value for record in kept])
    except LayoutError as error:
        raise BrokerError(
            f"topic {topics.velocity}: card states of another version ({error}); "
            "recreate the topic and reset the group to the oldest offset, so that they are built again"
        ) from None
    window = 4 * settings.batch_records
    decisions = [_source(r.value) for r in await tail(consumer, TopicPartition(topics.decisions, partition), window)]
    rejected = [_header(r) for r in await tail(consumer, TopicPartition(topics.rejected, partition), window)]
    absorbed = states.highest_offset
    published = Published(max([absorbed, *decisions]), max([absorbed, *rejected]))
    log.info(
        "partition %d: %d cards, decided up to %d, absorbed up to %d",
        partition,
        len(states),
        published.decisions,
        absorbed,
    )
    return Recovered(states, published)


def _source(value: bytes | None) -> int:
    try:
        return int(orjson.loads(value or b"")["source"]["offset"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return -1


def _header(record: Any) -> int:
    return next((int(value) for name, value in record.headers if name == "offset"), -1)
