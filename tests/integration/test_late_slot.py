"""A slot that gets its first shadow when much is on the topic: it begins with what it may count."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson
import pytest
import redis
from aiokafka import AIOKafkaProducer

from harness.kafka import Kafka
from harness.models import Models
from harness.stack import Stack, wait_for
from shadow.comparison.memory import REMEMBERED
from shadow.store.keys import Keys
from shadow.worker.candidate import CLOCKS_MS

#: Decisions of partition 0 before the slot is filled, and after.
OLD, NEW = REMEMBERED + 6000, 500


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def append(stack: Stack, like: dict[str, Any], first: int, n: int, at_ms: int) -> None:
    """Decisions on n transactions of partition 0, appended by one whose clock shows `at_ms`."""

    async def go() -> None:
        async with AIOKafkaProducer(bootstrap_servers=stack.broker.address, linger_ms=20) as producer:
            for source in range(first, first + n):
                one = like["transaction"] | {"transaction_id": f"more-{source}"}
                row = like | {"transaction": one, "source": {"partition": 0, "offset": source}}
                await producer.send("decisions", orjson.dumps(row), b"c", 0, timestamp_ms=at_ms)

    asyncio.run(go())


@contextmanager
def redis_of(stack: Stack) -> Iterator[Any]:
    client = redis.Redis(port=stack.store.port, decode_responses=True)
    try:
        yield client
    finally:
        client.close()


def fence(stack: Stack, slot: str) -> dict[str, int]:
    """Numbers in the fence of partition 0, read past our own code."""
    with redis_of(stack) as client:
        found = client.hgetall(Keys("shadow", slot, 0).fence)
    return {name: int(found.get(name, 0)) for name in ("first", "next", "skipped")}


@pytest.fixture
def filled(stack: Stack, models: Models) -> tuple[Stack, int]:
    """A slot that was filled between old decisions of partition 0 and new ones, and where these begin."""
    scorer = stack.start("scorer", "run")
    stack.run("scorer", "replay", str(models.stream), "--limit", "400")
    stack.until_settled(400)
    scorer.stop()
    mine = [record for record in stack.read("decisions") if record.partition == 0]
    like = next(row for row in (orjson.loads(record.value) for record in mine) if not row.get("repeat"))
    last = max(orjson.loads(record.value)["source"]["offset"] for record in mine)
    append(stack, like, last + 1, OLD, now_ms() - 2 * CLOCKS_MS)
    stack.deploy(models.candidate, "late")
    append(stack, like, last + 1 + OLD, NEW, now_ms())
    return stack, int([record for record in stack.read("decisions") if record.partition == 0][-NEW].offset)


def test_a_slot_that_is_new_reads_what_it_may_count_and_no_more_than_it_has_to_remember_before(
    filled: tuple[Stack, int],
) -> None:
    stack, begin = filled
    shadow = stack.start("shadow", "run", "--slot", "late")
    wait_for("all read", lambda: fence(stack, "late")["next"] == begin + NEW)
    at = fence(stack, "late")
    assert at["first"] == begin - REMEMBERED > 0
    assert at["skipped"] == REMEMBERED, "what it remembers counts for no candidate"
    assert shadow.metric("shadow_compared_total") == NEW
    assert "equal" in stack.run("shadow", "verify", "--slot", "late").splitlines()

    with redis_of(stack) as client:
        client.flushall()
    wait_for("all read again", lambda: fence(stack, "late") == at)
    assert "equal" in stack.run("shadow", "verify", "--slot", "late").splitlines()


def test_a_slot_that_is_empty_begins_with_what_comes_and_is_filled_without_a_hole(
    filled: tuple[Stack, int], models: Models
) -> None:
    stack, begin = filled
    stack.start("shadow", "run", "--slot", "empty")
    wait_for("all read", lambda: fence(stack, "empty")["next"] == begin + NEW)
    first = fence(stack, "empty")["first"]  # the embedded broker goes by its own clock, for which nothing is old
    assert first == (begin - REMEMBERED if isinstance(stack.broker, Kafka) else 0)
    assert fence(stack, "empty")["skipped"] == begin + NEW - first
    stack.deploy(models.candidate, "empty")
    like = orjson.loads(next(record for record in stack.read("decisions") if record.partition == 0).value)
    append(stack, like, 10**6, NEW, now_ms())
    wait_for("the rest", lambda: fence(stack, "empty")["next"] == begin + 2 * NEW)
    verified = stack.run("shadow", "verify", "--slot", "empty")
    assert f"{NEW} compared" in verified
    assert "equal" in verified.splitlines()
