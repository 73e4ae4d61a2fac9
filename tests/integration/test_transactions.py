"""Senders that write in transactions of Kafka: what is committed is decided, what is aborted never was."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaProducer

from harness.kafka import Kafka
from harness.stack import Stack, Worker, wait_for
from scorer.kafka.connection import connection
from scorer.pipeline.features import EVENT_FEATURES, VELOCITY_FEATURES

pytestmark = pytest.mark.needs("kafka")
#: Place of `card_count_1h` in the features of a decision.
COUNT = len(EVENT_FEATURES) + VELOCITY_FEATURES.index("card_count_1h")


@pytest.fixture
def broker_in() -> Callable[[Path], Kafka]:
    """Apache Kafka alone."""
    return Kafka


class Sender:
    """Sends transactions of one card, a second apart, in transactions of Kafka."""

    def __init__(self, stack: Stack, name: str) -> None:
        self.producer = AIOKafkaProducer(**connection(stack.settings()), transactional_id=name)
        self.sent = 0

    async def begin(self, *ids: str) -> None:
        """Begin a transaction, and send these in it."""
        await self.producer.begin_transaction()
        for name in ids:
            self.sent += 1
            row = {"transaction_id": name, "occurred_at": f"2026-02-01T12:00:{self.sent:02}Z", "card_id": "c-1"}
            row |= {"merchant_id": "m", "amount": 12.5, "currency": "EUR"}
            await self.producer.send_and_wait("transactions", orjson.dumps(row), key=b"c-1", partition=0)


def decided(stack: Stack) -> list[Any]:
    return [(d["transaction"]["transaction_id"], d["features"]) for d in stack.decisions()]


def lag(worker: Worker) -> float:
    return worker.metric("scorer_lag_records")


def test_what_is_aborted_is_never_decided_and_what_is_open_waits(stack: Stack) -> None:
    scorer = stack.start("scorer", "run", env={"SCORER_STALL_SECONDS": "1"})

    async def story() -> None:
        sender = Sender(stack, "bank")
        async with sender.producer as producer:
            await sender.begin("a-1", "a-2")
            await producer.commit_transaction()
            await sender.begin("b-1", "b-2")
            await producer.abort_transaction()
            await sender.begin("c-1")
            await producer.commit_transaction()
            await asyncio.to_thread(wait_for, "decided", lambda: len(decided(stack)) == 3)
            await asyncio.to_thread(wait_for, "nothing waits but a marker", lambda: lag(scorer) == 0)
            await sender.begin("d-1")
            await asyncio.to_thread(wait_for, "it is seen", lambda: lag(scorer) == 1)
            await asyncio.sleep(12)  # longer than a worker may stand still
            assert len(await asyncio.to_thread(decided, stack)) == 3
            await producer.commit_transaction()
            await asyncio.to_thread(wait_for, "decided", lambda: len(decided(stack)) == 4)
            await asyncio.to_thread(wait_for, "nothing waits", lambda: lag(scorer) == 0)

    asyncio.run(story())
    assert [name for name, _ in decided(stack)] == ["a-1", "a-2", "c-1", "d-1"]
    plain = decided(stack)
    assert scorer.process.poll() is None, "it waited for what it may not read"
    assert scorer.metric("scorer_missed_transactions_total") == 0
    assert scorer.stop() == 0
    counts = [features[COUNT] for _, features in plain]
    assert counts == [0, 1, 2, 3], "what was aborted left a trace in the velocity of its card"


def test_a_scorer_may_be_told_not_to_wait_for_commits(stack: Stack) -> None:
    scorer = stack.start("scorer", "run", env={"SCORER_ISOLATION": "read_uncommitted"})

    async def story() -> None:
        sender = Sender(stack, "bank")
        async with sender.producer as producer:
            await sender.begin("a-1")
            await asyncio.to_thread(wait_for, "decided", lambda: len(decided(stack)) == 1)
            await producer.abort_transaction()
            await asyncio.to_thread(wait_for, "nothing waits but a marker", lambda: lag(scorer) == 0)

    asyncio.run(story())
    assert [name for name, _ in decided(stack)] == ["a-1"]
