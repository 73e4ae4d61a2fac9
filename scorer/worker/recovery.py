"""Reads what a scorer needs to take a partition over: card states, and how far the earlier owner had published."""

from __future__ import annotations

import logging
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition

from scorer import metrics
from scorer.errors import BrokerError
from scorer.kafka.aiokafka_internals import keep_parsed
from scorer.kafka.reading import read_to_end
from scorer.pipeline import decision_avro
from scorer.pipeline.batch import Published
from scorer.pipeline.card_row import LAYOUT, ROW
from scorer.pipeline.card_states import CardStates
from scorer.pipeline.changelog import ChangelogReader, is_card
from scorer.pipeline.exploration import END_OF_DAYS, Budget, Release, recovered, release_of
from scorer.pipeline.instants import DAY_MS
from scorer.settings import ScorerSettings

log = logging.getLogger(__name__)

#: Fetches that a worker may hold at once: one is published and its card states are not yet written, one is being
#: published, one is being settled. A fourth would make nothing faster, and leave more to read at a take-over.
IN_FLIGHT = 3
#: How many full batches of a topic's end are read: more than an earlier owner, taken for dead, may have appended since.
TAIL_BATCHES = IN_FLIGHT + 1
#: Share of card states that have one length if they are of one version.
ONE_VERSION = 0.9
#: Beyond every offset.
NO_END = 2**62


@dataclass(frozen=True)
class Recovered:
    """State of a partition at its take-over. erasures: ids of requests that an earlier owner has carried out. budget:
    what was released, if exploration is on."""

    states: CardStates
    published: Published
    budget: Budget
    erasures: frozenset[str] = frozenset()


@dataclass
class _Tail:
    """What the last decisions of a partition tell of releases. lowest: the lowest source offset, None for none."""

    releases: list[Release] = field(default_factory=list)
    lowest: int | None = None

    def fold(self, partition: int, records: Sequence[Any], sources: Sequence[int], end: int) -> None:
        """Take in records, in log order. sources: their source offsets, -1 for what is no decision. end: of these."""
        known = [source for source in sources if source >= 0]
        if known:
            self.lowest = min(known) if self.lowest is None else min(self.lowest, *known)
        found = (release_of(record.value, partition) for record in records)
        self.releases += [release for release in found if release is not None and release.offset < end]


async def recover(
    consumer: AIOKafkaConsumer,
    partitions: Sequence[int],
    settings: ScorerSettings,
    has_read: Callable[[], None] = lambda: None,
    new_states: Callable[[int], CardStates] = CardStates,
) -> dict[int, Recovered]:
    """Read card states of partitions and how far each is published; returns them by partition.

    consumer: started, without a group. has_read: called for each chunk of records. new_states: makes the states that
    they are read into, of the digits of the reporting currency.

    How far a partition is published is the highest source offset among the last records, not that of the last record:
    an earlier owner that was taken for dead may have appended old ones. A card state is written after decisions and
    dead letters of its batch are acknowledged, so both are published at least up to the highest offset of any card
    state.

    Records that this product did not write are passed over, counted and logged. Raises BrokerError if the card states
    are of another version, KafkaError if a fetch fails.
    """
    topics = settings.topics
    states = {p: new_states(settings.money.digits) for p in partitions}
    decided, rejected = dict.fromkeys(partitions, -1), dict.fromkeys(partitions, -1)
    marked: set[int] = set()
    windows: dict[TopicPartition, int | None] = {}
    for p in partitions:
        windows[TopicPartition(topics.velocity, p)] = None
        windows[TopicPartition(topics.decisions, p)] = TAIL_BATCHES * settings.batch_records
        windows[TopicPartition(topics.rejected, p)] = TAIL_BATCHES * settings.batch_records
    ends = await _ends(consumer, partitions, settings)
    changelogs = {p: ChangelogReader(states[p], ends[p]) for p in partitions}
    tails = {p: _Tail() for p in partitions}
    lengths: Counter[int] = Counter()
    keep_parsed(consumer)
    async for (topic, p), records in read_to_end(consumer, windows):
        has_read()
        if topic == topics.velocity:
            changelogs[p].fold(records)
            lengths.update([len(record.value) for record in records if is_card(record)])
        elif topic == topics.decisions:
            sources = [source if source < ends[p] else -1 for source in map(_source, records)]
            decided[p] = max(decided[p], *sources)
            if settings.explore_probability is not None:
                tails[p].fold(p, records, sources, ends[p])
        else:
            rejected[p] = max([rejected[p], *_below(ends[p], map(_header, records))])
            marked.add(p)
    # Where the end holds only marks of `scorer replay --rejected`, read the whole partition for its dead letters.
    blind = {TopicPartition(topics.rejected, p): None for p in marked if rejected[p] < 0}
    async for (_, p), records in read_to_end(consumer, blind):
        has_read()
        rejected[p] = max([rejected[p], *_below(ends[p], map(_header, records))])
    whole = await _whole(consumer, partitions, settings) if settings.explore_probability is not None else set()
    foreign = {p: changelog.passed_over for p, changelog in changelogs.items()}
    _check_foreign(topics.velocity, foreign, lengths, states, settings)
    out = {}
    for p in partitions:
        changelogs[p].finish()
        absorbed = states[p].highest_offset
        published = Published(max(decided[p], absorbed), max(rejected[p], absorbed))
        budget = Budget()
        if settings.explore_probability is not None:
            budget = _budget(p, tails[p], p in whole, changelogs[p], published, settings)
        out[p] = Recovered(states[p], published, budget, frozenset(changelogs[p].erasures))
        log.info("partition %d: %d cards, decided up to %d, absorbed up to %d", p, len(states[p]), decided[p], absorbed)
    return out


async def _whole(consumer: AIOKafkaConsumer, partitions: Sequence[int], settings: ScorerSettings) -> set[int]:
    """Of which partitions the tail holds every decision that there ever was."""
    topic, window = settings.topics.decisions, TAIL_BATCHES * settings.batch_records
    places = [TopicPartition(topic, p) for p in partitions]
    begins, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
    return {at.partition for at in places if begins[at] == 0 and ends[at] <= window}


def _budget(
    partition: int,
    tail: _Tail,
    is_whole: bool,
    changelog: ChangelogReader,
    published: Published,
    settings: ScorerSettings,
) -> Budget:
    """What a partition has released. Where that is not known, as exploration was off, the days so far are not explored:
    a wall clock tells which these are, an event clock none."""
    unknown = END_OF_DAYS
    if settings.clock == "wall":
        unknown = int((time.time() + settings.ahead_seconds) * 1000) // DAY_MS + 1
    kept, through = changelog.spending, changelog.spent_through
    spending = recovered(kept, through, tail.releases, tail.lowest, is_whole, unknown)
    if spending.floor == unknown:
        log.warning(
            "partition %d: it is not known what was released so far, as exploration was off; explored from %s on",
            partition,
            "no day" if unknown == END_OF_DAYS else f"{date(1970, 1, 1) + timedelta(days=unknown)} (UTC)",
        )
    return Budget(spending, max(through, published.decisions))


async def _ends(consumer: AIOKafkaConsumer, partitions: Sequence[int], settings: ScorerSettings) -> dict[int, int]:
    """Offset after the last transaction of each partition: no record of ours can speak of one beyond it."""
    if not settings.require_idempotence:  # the embedded broker says that a log ends where its last batch begins
        return dict.fromkeys(partitions, NO_END)
    ends = await consumer.end_offsets([TopicPartition(settings.topics.transactions, p) for p in partitions])
    return {at.partition: end for at, end in ends.items()}


def _check_foreign(
    topic: str,
    foreign: Mapping[int, int],
    lengths: Counter[int],
    states: Mapping[int, CardStates],
    settings: ScorerSettings,
) -> None:
    """Say which card states are none of ours. lengths: how many values of each length there are.

    Raises BrokerError if none is ours, and nearly all are of one length, as those of another version are. What somebody
    else wrote beside ours, and be it more, must not keep live from starting.
    """
    if lengths and any(foreign.values()) and not any(map(len, states.values())):
        ((_, most),) = lengths.most_common(1)
        if most >= ONE_VERSION * lengths.total():
            raise BrokerError(
                f"topic {topic}: its card states are of another version (expected layout {LAYOUT} of {ROW.itemsize} "
                f"bytes); to rebuild them, recreate the topic and reset group {settings.group} to the oldest offsets"
            )
    for p, n in foreign.items():
        if n:
            metrics.FOREIGN.labels(topic).inc(n)
            log.error("partition %d: passed over %d records of topic %s that are no card states", p, n, topic)


def _below(end: int, offsets: Iterable[int]) -> Iterator[int]:
    """Offsets that a transaction of the partition can have: a foreign record with another must not stop decisions."""
    return (offset for offset in offsets if offset < end)


#: How a decision ends as the pipeline writes it, and in how many bytes: at most 77, with the largest numbers.
END = re.compile(rb'"source":\{"partition":\d+,"offset":(\d+)\}(?:,"(?:repeat|refund)":true)?\}$')
_END_BYTES = 100


def _source(record: Any) -> int:
    return source_of(record.value)


def source_of(value: bytes | None) -> int:
    """Source offset of a decision, -1 if it has none. Looks at the end of JSON first, which is faster than to parse it
    all."""
    value = value or b""
    if decision_avro.is_avro(value):
        try:
            return decision_avro.source_offset(value)
        except ValueError:
            return -1
    end = END.search(value, max(0, len(value) - _END_BYTES))
    if end is not None:
        return int(end[1])
    try:
        return int(orjson.loads(value)["source"]["offset"])
    except (ValueError, KeyError, TypeError, OverflowError):
        return -1


def _header(record: Any) -> int:
    """Source offset of a dead letter, -1 if it has none."""
    found = next((value for name, value in record.headers if name == "offset"), b"")
    return int(found) if found is not None and found.isdigit() and len(found) < 20 else -1
