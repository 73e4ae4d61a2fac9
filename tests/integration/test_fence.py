"""Who takes a partition over has the broker refuse everybody before; and what is done where the broker cannot."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import orjson
import pytest
from aiokafka.errors import ProducerFenced
from aiokafka.protocol.transaction import AddPartitionsToTxnRequest

from harness.kafka import Kafka
from harness.patience import PATIENCE_SECONDS
from scorer.errors import BrokerError
from scorer.kafka import fence
from scorer.kafka.fence import FencedProducer
from scorer.kafka.producer import BATCH_BYTES, Write
from scorer.kafka.reading import read_to_end, reader, spans
from scorer.kafka.topics import ensure_topics, partitions_of
from scorer.pipeline.batch import Published, Record
from scorer.settings import ScorerSettings
from scorer.worker.recovery import recover
from shadow.local import embedded

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    with Kafka(tmp_path_factory.mktemp("kafka")) as kafka:
        yield kafka


@pytest.fixture
def settings(broker: Kafka, request: pytest.FixtureRequest) -> ScorerSettings:
    """Topics and a group of each test's own."""
    name = request.node.name.removeprefix("test_")[:100]
    topics = {topic: f"{name}.{topic}" for topic in ("transactions", "decisions", "rejected", "velocity")}
    return ScorerSettings(kafka=broker.address, partitions=2, group=name, topics=topics)  # type: ignore[arg-type]


@asynccontextmanager
async def scorers(settings: ScorerSettings, n: int = 2) -> AsyncIterator[list[FencedProducer]]:
    """Producers of as many scorers."""
    await ensure_topics(settings)
    async with AsyncExitStack() as stack:
        made = [FencedProducer(settings) for _ in range(n)]
        for producer in made:
            await producer.start(require_idempotence=False)
            stack.push_async_callback(producer.stop)
        yield made


def rows(*offsets: int) -> list[Record]:
    return [(b"c", orjson.dumps({"source": {"partition": 0, "offset": offset}})) for offset in offsets]


async def sources(settings: ScorerSettings, topic: str, partition: int = 0, **options: str) -> list[int]:
    """Source offsets of what a partition has."""
    parts = [tp for tp in await partitions_of(settings, topic) if tp.partition == partition]
    found = []
    async with reader(settings, **options) as consumer:
        async for _, records in read_to_end(consumer, dict.fromkeys(parts)):
            found += [orjson.loads(record.value)["source"]["offset"] for record in records]
    return found


@pytest.mark.needs("kafka")
@pytest.mark.variant
async def test_what_an_earlier_owner_writes_late_is_refused_on_every_topic(settings: ScorerSettings) -> None:
    topics = settings.topics
    async with scorers(settings) as (first, second):
        assert first.is_fencing
        await first.take_over([0, 1])
        for topic in (topics.decisions, topics.rejected, topics.velocity):
            await first.write(topic, 0, rows(1, 2))
        await second.take_over([0])
        for topic in (topics.decisions, topics.rejected, topics.velocity):
            with pytest.raises(ProducerFenced):
                await first.write(topic, 0, rows(2, 3))
            await second.write(topic, 0, rows(3, 4))
            assert await sources(settings, topic) == [1, 2, 3, 4]
        await first.write(topics.decisions, 1, rows(9))  # nobody took that one over
        assert await sources(settings, topics.decisions, 1) == [9]
        await first.take_over([0])
        await first.write(topics.decisions, 0, rows(5))
        with pytest.raises(ProducerFenced):
            await second.write(topics.decisions, 0, rows(5))
        assert await sources(settings, topics.decisions) == [1, 2, 3, 4, 5]


@pytest.mark.needs("kafka")
@pytest.mark.variant
async def test_a_refused_partition_does_not_cut_off_what_goes_to_others(settings: ScorerSettings) -> None:
    """Several batches each, so that the refusal comes while the other partition has more to send."""
    topic, wide = settings.topics.decisions, b"c" * 3000
    many = [(wide, value) for _, value in rows(*range(1000))]
    assert sum(len(key) for key, _ in many) > 3 * BATCH_BYTES
    async with scorers(settings) as (first, second):
        await first.take_over([0, 1])
        await first.write_all([Write(topic, 0, many), Write(topic, 1, many[:1]), Write(topic, 1, [])])
        assert await sources(settings, topic, 0) == list(range(1000))
        assert await sources(settings, topic, 1) == [0]
        await second.take_over([0])
        before = asyncio.all_tasks()
        with pytest.raises(ProducerFenced):
            await first.write_all([Write(topic, 0, many), Write(topic, 1, many[1:])])
        assert asyncio.all_tasks() <= before, "nothing is on its way any more"
        assert await sources(settings, topic, 0) == list(range(1000))
        assert await sources(settings, topic, 1) == list(range(1000))


@pytest.mark.needs("kafka")
@pytest.mark.variant
async def test_an_owner_that_writes_while_it_is_superseded_has_written_all_or_is_told(settings: ScorerSettings) -> None:
    """What the successor reads right after is all that its predecessor ever wrote, whatever was on its way."""
    topic = settings.topics.decisions
    async with scorers(settings) as producers:
        owner, written, told = 0, 0, 0
        await producers[owner].take_over([0])
        for _ in range(8):
            sent: list[int] = []

            async def write(producer: FencedProducer, start: int, sent: list[int] = sent) -> None:
                for offset in range(start, start + 10_000):
                    await producer.write(topic, 0, rows(offset))
                    sent.append(offset)

            writing = asyncio.create_task(write(producers[owner], written))
            while len(sent) < 20:
                await asyncio.sleep(0.001)
            owner = 1 - owner
            await producers[owner].take_over([0])
            found = await sources(settings, topic)
            with pytest.raises(ProducerFenced):
                await writing
            told += 1
            assert found == list(range(len(found)))
            assert sent[-1] <= found[-1] <= sent[-1] + 1  # the last may be there without its answer
            assert await sources(settings, topic) == found
            written = len(found)
        assert told == 8


@pytest.mark.needs("kafka")
@pytest.mark.variant
async def test_a_fence_is_renewed_while_its_owner_writes(settings: ScorerSettings) -> None:
    topic = settings.topics.decisions
    async with scorers(settings) as (first, second):
        await first.take_over([0, 1])

        async def write() -> None:
            for offset in range(300):
                await first.write(topic, 0, rows(offset))

        writing = asyncio.create_task(write())
        for _ in range(5):
            await first.renew([0, 1])
        await writing
        assert await sources(settings, topic) == list(range(300))
        await second.take_over([0])
        with pytest.raises(ProducerFenced):
            await first.write(topic, 0, rows(300))
        with pytest.raises(ProducerFenced):
            await first.renew([0])
        await second.write(topic, 0, rows(300))  # a renewal that came too late has no effect
        assert await sources(settings, topic) == list(range(301))


@pytest.mark.needs("kafka")
@pytest.mark.variant
async def test_one_who_died_while_it_took_over_holds_nobody_up(settings: ScorerSettings) -> None:
    """Not its successor, and not a reader of what is committed."""
    topic = settings.topics.decisions
    async with scorers(settings) as (first, second):
        await first.take_over([0])
        await first.write(topic, 0, rows(0))
        name = first._name(0)
        begun = AddPartitionsToTxnRequest(name, *(await first._next_epoch(name)), [(topic, [0])])
        await first._ask(name, begun, lambda it: [code for _, errors in it.errors for _, code in errors])
        assert await sources(settings, topic, isolation_level="read_committed") == [0]
        began = time.monotonic()
        await second.take_over([0])
        assert time.monotonic() - began < 5
        await second.write(topic, 0, rows(1))
        assert await sources(settings, topic, isolation_level="read_committed") == [0, 1]


@pytest.mark.needs("kafka")
@pytest.mark.variant
async def test_markers_alone_are_read_past(settings: ScorerSettings) -> None:
    async with scorers(settings) as (first, second):
        await first.take_over([0, 1])
        await second.take_over([0])
        async with reader(settings) as consumer:
            async with asyncio.timeout(PATIENCE_SECONDS):
                assert (await recover(consumer, [0, 1], settings))[0].published == Published(-1, -1)
        await second.write(settings.topics.transactions, 0, rows(*range(7)))  # or no decision on them is believed
        await second.write(settings.topics.decisions, 0, rows(*range(7)))
        await first.take_over([0])
        async with reader(settings) as consumer:
            async with asyncio.timeout(PATIENCE_SECONDS):
                assert (await recover(consumer, [0, 1], settings))[0].published == Published(6, -1)


@pytest.mark.needs("kafka")
@pytest.mark.variant
async def test_nobody_is_behind_for_markers_at_the_end(settings: ScorerSettings) -> None:
    async def span() -> dict[int, tuple[int, int]]:
        parts = await partitions_of(settings, settings.topics.decisions)
        async with reader(settings) as consumer:
            return await spans(consumer, parts)

    async with scorers(settings) as (first, second):
        assert await span() == {0: (0, 0), 1: (0, 0)}
        await first.take_over([0, 1])
        assert await span() == {0: (0, 0), 1: (0, 0)}
        await first.write(settings.topics.decisions, 0, rows(*range(7)))  # behind a marker, so offsets 1 to 7
        assert await span() == {0: (0, 8), 1: (0, 0)}
        await second.take_over([0, 1])
        await second.renew([0])
        assert await span() == {0: (0, 8), 1: (0, 0)}
        await second.write(settings.topics.decisions, 0, rows(*range(7, 3007)))
        assert await span() == {0: (0, 3010), 1: (0, 0)}


@pytest.fixture(
    params=[
        "no idempotent producers",
        pytest.param(
            "no answer from its transaction coordinator", marks=[pytest.mark.needs("kafka"), pytest.mark.variant]
        ),
    ]
)
def unable(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Address of a broker that cannot fence, and why: the embedded one, and a cluster that is too small for Kafka's own
    topic of transactions."""
    small = {"transaction.state.log.replication.factor": "3"}
    with embedded.broker() if "idempotent" in request.param else Kafka(tmp_path, settings=small) as broker:
        yield broker.address, request.param


async def test_a_broker_that_cannot_fence_is_said_to_or_refused(
    unable: tuple[str, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    address, reason = unable
    monkeypatch.setattr(fence, "PROBE_SECONDS", 3.0)
    settings = ScorerSettings(kafka=address, partitions=1)  # type: ignore[arg-type]
    caplog.set_level(logging.WARNING, "scorer.kafka.fence")
    async with scorers(settings, 1) as (producer,):
        assert not producer.is_fencing
        assert [record.getMessage() for record in caplog.records if reason in record.getMessage()]
        await producer.take_over([0])
        await producer.write("decisions", 0, rows(1))
        await producer.renew([0])
        assert await sources(settings, "decisions") == [1]
    caplog.clear()
    strict = FencedProducer(settings.model_copy(update={"fence": "on"}))
    with pytest.raises(BrokerError, match=f"cannot fence .*{reason}.*SCORER_FENCE=on"):
        await strict.start(require_idempotence=False)
    silent = FencedProducer(settings.model_copy(update={"fence": "off"}))
    await silent.start(require_idempotence=False)
    await silent.stop()
    assert not caplog.records
