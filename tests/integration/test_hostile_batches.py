"""Batches that a real broker takes, and that ended or filled who read them: nobody stops, and no neighbour is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from harness.kafka import Kafka
from harness.models import Models
from harness.raw_batches import NAME, Row, batch, send, spoiled
from harness.stack import Stack, Worker, wait_for

pytestmark = pytest.mark.needs("kafka")
#: Memory that a scorer may have used at most, in MiB: three times what it has at its start.
MOST_MIB = 500


@pytest.fixture
def broker_in() -> Callable[[Path], Kafka]:
    """Apache Kafka alone."""
    return Kafka


def good(name: str, pad: int = 0, headers: tuple[tuple[str, bytes], ...] = ()) -> Row:
    """A transaction, with so many blanks in it."""
    row = {"transaction_id": name, "occurred_at": "2026-02-01T12:00:00Z", "card_id": "c-1", "merchant_id": "m"}
    text = orjson.dumps(row | {"amount": 12.5, "currency": "EUR"})
    return b"c-1", text[:-1] + b" " * pad + b"}", list(headers)


def decided(stack: Stack) -> list[str]:
    return [d["transaction"]["transaction_id"] for d in stack.decisions()]


def letters(stack: Stack) -> list[dict[str, Any]]:
    """Headers of the dead letters, with their sizes."""
    return [
        {name: value.decode() for name, value in record.headers} | {"size": len(record.value or b"")}
        for record in stack.read("transactions.rejected")
    ]


def peak_mib(worker: Worker) -> int:
    status = Path(f"/proc/{worker.process.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) // 1024


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_a_batch_that_decompresses_to_a_multiple_of_the_memory_is_a_dead_letter(stack: Stack, codec: str) -> None:
    scorer = stack.start("scorer", "run")
    bomb = batch([good("bomb", 200 * 2**20)], codec)
    assert len(bomb) < 2**20, "the broker takes it"
    near = [batch([good(f"near-{i}", 60 * 2**20)], codec) for i in range(10)]
    asyncio.run(send(stack.settings(), "transactions", 0, [batch([good("a")]), bomb, *near, batch([good("b")])]))
    stack.until_settled(13)
    assert decided(stack) == ["a", "b"]
    told = letters(stack)
    assert [letter["offset"] for letter in told] == [str(offset) for offset in range(1, 12)]
    assert told[0]["field"] == "record"
    assert "offsets 1 to 1 are one batch, which cannot be read" in told[0]["reason"]
    assert "it decompresses to more than 64 MiB" in told[0]["reason"]
    assert {letter["reason"].partition(":")[0] for letter in told[1:]} == {"value"}
    assert max(letter["size"] for letter in told) < 2**20
    assert scorer.process.poll() is None
    assert peak_mib(scorer) < MOST_MIB
    assert scorer.metric("scorer_rejected_total") == 11
    assert scorer.stop() == 0


@pytest.mark.parametrize("codec", ["none", "lz4"])
def test_a_header_of_any_name_spoils_no_record(stack: Stack, codec: str) -> None:
    scorer = stack.start("scorer", "run")
    rows = [good("a"), good("b", headers=((NAME, b"x"),)), good("c")]
    made = batch(rows, codec)
    asyncio.run(send(stack.settings(), "transactions", 0, [spoiled(made) if codec == "none" else made]))
    stack.until_settled(3)
    assert decided(stack) == ["a", "b", "c"]
    assert letters(stack) == []
    assert scorer.stop() == 0


def test_the_kill_switch_works_behind_what_cannot_be_read(stack: Stack, models: Models) -> None:
    stack.deploy(models.candidate, "candidate")
    scorer = stack.start("scorer", "run")
    shadow = stack.start("shadow", "run", "--slot", "candidate")
    serve = stack.start("shadow", "serve")
    hostile = [spoiled(batch([(b"slot/live", b"{}", [(NAME, b"x")])])), batch([(b"k", b" " * 200 * 2**20, [])], "zstd")]
    for topic in ("deployments", "labels", "decisions", "velocity", "erasures"):
        asyncio.run(send(stack.settings(), topic, 0, hostile))
    told = stack.run("scorer", "deploy", "--block-all", "--by", "ann", "--reason", "attack")
    assert "block_all" in told
    asyncio.run(send(stack.settings(), "transactions", 0, [batch([good("a")])]))
    wait_for("decided", lambda: scorer.metric("scorer_decisions_total"))
    wait_for("compared", lambda: shadow.metric("shadow_comparisons_total"))
    again = stack.start("scorer", "run")
    for worker in (scorer, shadow, serve, again):
        assert worker.process.poll() is None, worker.log.read_text()[-2000:]
        assert peak_mib(worker) < MOST_MIB
