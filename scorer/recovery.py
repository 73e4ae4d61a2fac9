"""What a scorer reads before it takes over a partition: card states, and how far its predecessor had published."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition

from scorer.errors import BrokerError
from scorer.parsed import keep_parsed
from scorer.pipeline import Published
from scorer.settings import ScorerSettings
from scorer.topics import read_to_end
from scorer.velocity import CardStates, LayoutError

log = logging.getLogger(__name__)

#: Fetches that a worker may have settled, or settle, and not acknowledged yet: one is published and waits for its card
#: states, one is being published, one settled. A fourth is no faster, and more of a tail to read.
IN_FLIGHT = 3
#: How much of a tail is looked at, in full batches: more than one who was thought dead may have appended.
TAIL_BATCHES = IN_FLIGHT + 1


@dataclass(frozen=True)
class Recovered:
    """State of a partition at its take-over."""

    states: CardStates
    published: Published


async def recover(
    consumer: AIOKafkaConsumer, partitions: Sequence[int], settings: ScorerSettings
) -> dict[int, Recovered]:
    """Read the changelogs of partitions and the tails of what was published from them.

    A published mark is the highest source offset among the last records, never that of the last record: one who was
    thought dead may have appended old ones at the end. A card state is written after the decisions and dead letters of
    its batch are acknowledged, so its offset bounds both marks from below. Raises BrokerError for a changelog that this
    version cannot read.
    """
    topics = settings.topics
    states = {p: CardStates(settings.money.digits) for p in partitions}
    decided, rejected = dict.fromkeys(partitions, -1), dict.fromkeys(partitions, -1)
    marked: set[int] = set()
    windows: dict[TopicPartition, int | None] = {}
    for p in partitions:
        windows[TopicPartition(topics.velocity, p)] = None
        windows[TopicPartition(topics.decisions, p)] = TAIL_BATCHES * settings.batch_records
        windows[TopicPartition(topics.rejected, p)] = TAIL_BATCHES * settings.batch_records
    keep_parsed(consumer)
    try:
        async for (topic, p), records in read_to_end(consumer, windows):
            if topic == topics.velocity:
                kept = [record for record in records if record.value is not None]
                states[p].load([record.key for record in kept], [record.value for record in kept])
            elif topic == topics.decisions:
                decided[p] = max([decided[p], *(_source(record.value) for record in records)])
            else:
                rejected[p] = max([rejected[p], *(_header(record) for record in records)])
                marked.add(p)
        # A tail of nothing but marks of `scorer replay --rejected` says nothing of the dead letters before it.
        blind = {TopicPartition(topics.rejected, p): None for p in marked if rejected[p] < 0}
        async for (_, p), records in read_to_end(consumer, blind):
            rejected[p] = max([rejected[p], *(_header(record) for record in records)])
    except LayoutError as error:
        raise BrokerError(
            f"topic {topics.velocity}: card states of another version ({error}); "
            "recreate the topic and reset the group to the oldest offset, so that they are built again"
        ) from None
    recovered = {}
    for p in partitions:
        absorbed = states[p].highest_offset
        recovered[p] = Recovered(states[p], Published(max(decided[p], absorbed), max(rejected[p], absorbed)))
        log.info("partition %d: %d cards, decided up to %d, absorbed up to %d", p, len(states[p]), decided[p], absorbed)
    return recovered


#: How a decision ends, as `scorer.pipeline` writes it, and in how many bytes at most: 77 with the largest numbers.
_END = re.compile(rb'"source":\{"partition":\d+,"offset":(\d+)\}(?:,"repeat":true)?\}$')
_END_BYTES = 100


def _source(value: bytes | None) -> int:
    """Source offset of a decision, -1 if it has none. To look for it at the end saves 2.8 us of reading the whole."""
    value = value or b""
    end = _END.search(value, max(0, len(value) - _END_BYTES))
    if end is not None:
        return int(end[1])
    try:
        return int(orjson.loads(value)["source"]["offset"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return -1


def _header(record: Any) -> int:
    return next((int(value) for name, value in record.headers if name == "offset"), -1)
