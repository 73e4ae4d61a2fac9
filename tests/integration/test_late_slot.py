"""A slot that gets its first shadow when much is on the topic: it begins with what it may count."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
import redis
from aiokafka import AIOKafkaProducer

from harness.models import Models
from harness.stack import Stack, wait_for
from shadow.comparison.memory import REMEMBERED
from shadow.store.keys import Keys

#: Decisions before the slot is filled, and after.
OLD, NEW = REMEMBERED + 6000, 500


@dataclass
class Filled:
    """A slot that was filled between OLD decisions of a partition and NEW ones, the first of which is at `begin`."""

    stack: Stack
    like: dict[str, Any]
    partition: int
    begin: int = 0
    sources: int = 0

    def append(self, n: int) -> None:
        """Decisions on n more transactions. The brokers stamp them as they append them."""

        async def go() -> None:
            async with AIOKafkaProducer(bootstrap_servers=self.stack.broker.address, linger_ms=20) as producer:
                for source in range(self.sources, self.sources + n):
                    one = self.like["transaction"] | {"transaction_id": f"more-{source}"}
                    row = self.like | {"transaction": one, "source": {"partition": self.partition, "offset": source}}
                    await producer.send("decisions", orjson.dumps(row), b"c", self.partition)

        asyncio.run(go())
        self.sources += n

    def fence(self, slot: str) -> dict[str, int]:
        """Numbers in the partition's fence, read past our own code."""
        with redis_of(self.stack) as client:
            found = client.hgetall(Keys("shadow", slot, self.partition).fence)
        return {name: int(found.get(name, 0)) for name in ("first", "next", "skipped")}


@contextmanager
def redis_of(stack: Stack) -> Iterator[Any]:
    client = redis.Redis(port=stack.store.port, decode_responses=True)
    try:
        yield client
    finally:
        client.close()


@pytest.fixture
def filled(stack: Stack, models: Models) -> Filled:
    scorer = stack.start("scorer", "run")
    stack.run("scorer", "replay", str(models.stream), "--limit", "1")
    stack.until_settled(1)
    scorer.stop()
    (one,) = stack.read("decisions")
    found = Filled(stack, orjson.loads(one.value), partition=1 if one.partition == 0 else 0)
    found.append(OLD)
    stack.deploy(models.candidate, "late")
    found.append(NEW)
    found.begin = [record for record in stack.read("decisions") if record.partition == found.partition][-NEW].offset
    return found


def test_a_slot_that_is_new_reads_what_it_may_count_and_no_more_than_it_has_to_remember_before(filled: Filled) -> None:
    stack, begin = filled.stack, filled.begin
    shadow = stack.start("shadow", "run", "--slot", "late")
    wait_for("all read", lambda: filled.fence("late")["next"] == begin + NEW)
    at = filled.fence("late")
    assert at["first"] == begin - REMEMBERED > 0
    assert at["skipped"] == REMEMBERED, "what it remembers counts for no candidate"
    wait_for("metrics", lambda: shadow.metric("shadow_comparisons_total") == NEW)
    assert "equal" in stack.run("shadow", "verify", "--slot", "late").splitlines()

    with redis_of(stack) as client:
        client.flushall()
    wait_for("all read again", lambda: filled.fence("late") == at)
    assert "equal" in stack.run("shadow", "verify", "--slot", "late").splitlines()


def test_a_slot_that_is_empty_begins_with_what_comes_and_is_filled_without_a_hole(
    filled: Filled, models: Models
) -> None:
    stack, begin = filled.stack, filled.begin
    shadow = stack.start("shadow", "run", "--slot", "empty")
    wait_for("all read", lambda: filled.fence("empty")["next"] == begin + NEW)
    at = filled.fence("empty")
    assert (at["first"], at["skipped"]) == (0, OLD + NEW), "all of it came within the hour that clocks may be apart"
    stack.deploy(models.candidate, "empty")
    wait_for("the candidate", lambda: "epoch 1" in shadow.log.read_text())
    filled.append(NEW)
    wait_for("the rest", lambda: filled.fence("empty")["next"] == begin + 2 * NEW)
    verified = stack.run("shadow", "verify", "--slot", "empty")
    assert f"{NEW} compared" in verified
    assert "equal" in verified.splitlines()
