"""Partitions that are added to `transactions` while everything runs: live goes on, and takes them up without a gap."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import orjson
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewPartitions

from harness.kafka import Kafka
from harness.models import Models
from harness.stack import PARTITIONS, Stack, by_source, wait_for
from scorer.kafka.topics import admin

pytestmark = pytest.mark.needs("kafka")
BEFORE, AFTER = PARTITIONS, PARTITIONS + 2
#: What is on the wire of each partition.
Sent = Counter[int]


@pytest.fixture
def broker_in() -> Callable[[Path], Kafka]:
    """Apache Kafka alone."""
    return Kafka


@pytest.fixture
def stack(stack: Stack, models: Models) -> Stack:
    """Live and candidate are deployed."""
    stack.deploy(models.candidate, "candidate")
    return stack


def send(stack: Stack, sent: Sent, more: Mapping[int, int]) -> None:
    """Send transactions to partitions, as many as asked for to each."""

    async def go() -> None:
        async with AIOKafkaProducer(bootstrap_servers=stack.broker.address) as producer:
            for partition, n in more.items():
                for i in range(sent[partition], sent[partition] + n):
                    card = f"card-{partition}-{i % 7}"
                    row = {"transaction_id": f"{partition}-{i}", "card_id": card, "merchant_id": "m", "amount": 5.0}
                    row |= {"currency": "EUR", "occurred_at": f"2026-02-01T12:{i // 60:02}:{i % 60:02}Z"}
                    await producer.send("transactions", orjson.dumps(row), key=card.encode(), partition=partition)
                sent[partition] += n

    asyncio.run(go())


def raise_transactions(stack: Stack) -> None:
    async def go() -> None:
        async with admin(stack.settings()) as client:
            await client.create_partitions({"transactions": NewPartitions(AFTER)})

    asyncio.run(go())


def decided(stack: Stack) -> Sent:
    return Counter(partition for partition, _ in by_source(stack.decisions()))


def test_live_goes_on_and_takes_up_added_partitions_once_the_other_topics_have_them(stack: Stack) -> None:
    first, second = stack.start("scorer", "run"), stack.start("scorer", "run")
    shadow = stack.start("shadow", "run", "--slot", "candidate")
    sent: Sent = Counter()
    old, new = dict.fromkeys(range(BEFORE), 20), dict.fromkeys(range(BEFORE, AFTER), 20)
    send(stack, sent, old)
    wait_for("decided", lambda: decided(stack) == sent)

    raise_transactions(stack)
    send(stack, sent, new)
    waiting = lambda: sum(one.metric("scorer_waiting_partitions") for one in (first, second))  # noqa: E731
    wait_for("the added ones are seen", lambda: waiting() == 2)
    send(stack, sent, old)
    expected = Counter(old) + Counter(old)
    wait_for("the old ones go on", lambda: decided(stack) == expected)
    told = stack.fails("scorer", "topics")
    assert "has 4 partitions, 6 expected; run `scorer topics --add-partitions`" in told

    # a scorer that starts anew in between goes on as well
    first.kill()
    first = stack.start("scorer", "run")
    send(stack, sent, old)
    wait_for("the old ones go on", lambda: decided(stack) == Counter(old) + expected)
    wait_for("all are seen", lambda: waiting() == 2)

    told = stack.run("scorer", "topics", "--add-partitions")
    assert told.count("has 6 partitions now, 4 before") == 4
    wait_for("taken up", lambda: waiting() == 0)
    wait_for("from their first record on", lambda: decided(stack) == sent)
    send(stack, sent, {**old, **new})
    wait_for("all go on", lambda: decided(stack) == sent)
    assert stack.run("scorer", "topics").endswith("transactions has 6 partitions")

    said = "".join(one.log.read_text() for one in stack.workers if one is not shadow)
    assert "are not decided, as a topic beside it lacks them" in said
    assert said.count("Run `scorer topics --add-partitions`") <= 6, "once for each rebalance of each scorer, at most"
    assert second.process.poll() is None
    total = sum(sent.values())
    wait_for("all are compared", lambda: shadow.metric("shadow_comparisons_total") == total)
    assert stack.run("shadow", "verify", "--slot", "candidate").endswith("equal")
    assert stack.run("shadow", "erase", "--card", f"card-{BEFORE}-1").strip()

    # whoever takes them over finds their states
    for one in (first, second):
        assert one.stop() == 0
    stack.start("scorer", "run")
    send(stack, sent, new)
    wait_for("all go on", lambda: decided(stack) == sent)
