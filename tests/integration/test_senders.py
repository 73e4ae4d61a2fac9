"""Senders as they are: other partitioners than ours, keys that are not cards. kcat stands for those on librdkafka."""

from __future__ import annotations

import asyncio
import os
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka.admin import NewTopic

from harness.kafka import Kafka
from harness.patience import PATIENCE_SECONDS
from harness.places import ROOT
from harness.stack import Stack, by_source, wait_for, write_lines
from scorer.kafka.topics import admin
from shadow.local.process import die_with_parent

pytestmark = pytest.mark.needs("kafka", "kcat")
CARDS = 40


@pytest.fixture
def broker_in() -> Callable[[Path], Kafka]:
    """Apache Kafka alone."""
    return Kafka


def row(name: str, card: int, **more: Any) -> dict[str, Any]:
    plain = {"transaction_id": name, "occurred_at": f"2026-02-01T12:00:{card:02}Z", "card_id": f"card-{card}"}
    return {**plain, "merchant_id": "m", "amount": 12.5, "currency": "EUR", **more}


async def create(stack: Stack, topic: str, count: int) -> None:
    async with admin(stack.settings()) as client:
        await client.create_topics([NewTopic(topic, count, 1)])


def by_kcat(stack: Stack, rows: Sequence[dict[str, Any]], key: str = "card_id", topic: str = "transactions") -> None:
    """Send as a client on librdkafka does that nobody told anything about partitions."""
    lines = b"".join(row[key].encode() + b"\t" + orjson.dumps(row) + b"\n" for row in rows)
    argv = ["kcat", "-P", "-b", stack.broker.address, "-t", topic, "-K", "\t"]
    subprocess.run(argv, input=lines, check=True, timeout=PATIENCE_SECONDS)


def partitions(stack: Stack, prefix: str) -> dict[str, int]:
    """Where the transactions of a sender are, by card."""
    found: dict[str, int] = {}
    for record in stack.read("transactions"):
        sent = orjson.loads(record.value)
        if sent["transaction_id"].startswith(prefix):
            assert found.setdefault(sent["card_id"], record.partition) == record.partition
    return found


def test_a_replay_reaches_the_partitions_of_the_senders_own_client(stack: Stack) -> None:
    stack.run("scorer", "topics")
    by_kcat(stack, [row(f"k-{card}", card) for card in range(CARDS)])
    scorer = stack.start("scorer", "run")
    stack.until_settled(CARDS)
    assert scorer.metric("scorer_split_cards_total") == 0
    theirs = partitions(stack, "k-")
    assert len(set(theirs.values())) > 1

    file = write_lines(stack.folder / "same.jsonl", [row(f"s-{card}", card) for card in range(CARDS)])
    stack.run("scorer", "replay", str(file), "--partitioner", "crc32")
    assert partitions(stack, "s-") == theirs
    stack.until_settled(2 * CARDS)
    assert scorer.metric("scorer_split_cards_total") == 0

    other = write_lines(stack.folder / "other.jsonl", [row(f"o-{card}", card) for card in range(CARDS)])
    stack.run("scorer", "replay", str(other))
    moved = {card for card, at in partitions(stack, "o-").items() if at != theirs[card]}
    assert moved
    wait_for("each is counted", lambda: scorer.metric("scorer_split_cards_total") == len(moved))
    assert scorer.log.read_text().count("the velocity of such cards is split") == 1
    assert scorer.metric("scorer_miskeyed_total") == 0


def test_a_dead_letter_goes_back_to_its_own_partition(stack: Stack) -> None:
    """The setting is the default, and wrong for this sender; a record whose key was not its card follows it."""
    stack.run("scorer", "topics")
    by_kcat(stack, [row(f"k-{card}", card, currency="USD") for card in range(CARDS)])
    by_kcat(stack, [row("other", 3, currency="USD")], key="merchant_id")
    theirs = partitions(stack, "k-")
    scorer = stack.start("scorer", "run")
    stack.until_settled(CARDS + 1)
    assert scorer.stop() == 0
    rate = {"SCORER_MONEY": '{"currency": "EUR", "rates": {"USD": {"2026-01-01": 0.5}}}'}
    assert stack.run("scorer", "replay", "--rejected", env=rate).startswith(f"sent {CARDS + 1} again")
    assert len([r for r in stack.read("transactions") if r.value]) == 2 * (CARDS + 1)
    assert partitions(stack, "k-") == theirs, "one went where its key's murmur2 is"
    (again,) = [r for r in stack.read("transactions") if b'"other"' in r.value and r.key == b"card-3"]
    sent = write_lines(stack.folder / "by-key.jsonl", [row("by-key", 3)])
    stack.run("scorer", "replay", str(sent))
    assert partitions(stack, "by-key") == {"card-3": again.partition}


def test_the_step_of_the_documentation_keys_by_card_and_loses_and_repeats_nothing(stack: Stack) -> None:
    """It is killed again and again while it works; what it made of each record is compared with what was sent."""
    page = (ROOT / "docs" / "records.md").read_text()
    (step,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    stack.run("scorer", "topics")
    asyncio.run(create(stack, "payments", 3))
    rows = [row(f"p-{i}", i % CARDS, merchant_id=f"m-{i % 11}") for i in range(3000)]
    scorer = stack.start("scorer", "run")

    by_kcat(stack, [row(f"direct-{i}", i % CARDS, merchant_id=f"m-{i % 11}") for i in range(200)], key="merchant_id")
    wait_for("wrong keys are counted", lambda: scorer.metric("scorer_miskeyed_total") == 200)
    assert scorer.log.read_text().count("whose record key is not their card") == 1

    rng = random.Random(5)
    env = {**os.environ, "KAFKA": stack.broker.address}
    for start in range(0, 3000, 500):
        by_kcat(stack, rows[start : start + 500], key="merchant_id", topic="payments")
        with subprocess.Popen([sys.executable, "-c", step], env=env, preexec_fn=die_with_parent) as process:
            time.sleep(rng.uniform(1.2, 3.5))
            process.kill()
    by_kcat(stack, [{"merchant_id": "m", "amount": 1}], key="merchant_id", topic="payments")
    with subprocess.Popen([sys.executable, "-c", step], env=env, preexec_fn=die_with_parent) as process:
        wait_for("all are decided or refused", lambda: len(stack.settled()) >= 3201)
        assert process.poll() is None
        process.kill()
    time.sleep(1)
    decided = Counter(d["transaction"]["transaction_id"] for d in by_source(stack.decisions()).values())
    assert {name: n for name, n in decided.items() if n > 1} == {}
    assert len(decided) == 3200
    assert [d.get("repeat") for d in stack.decisions() if d.get("repeat")] == []
    assert scorer.metric("scorer_miskeyed_total") == 200
    keyed = [record for record in stack.read("transactions") if b'"p-' in record.value]
    assert all(record.key.decode() == orjson.loads(record.value)["card_id"] for record in keyed)
    assert len({(record.key, record.partition) for record in keyed}) == CARDS
    order = {record.value: (record.partition, record.offset) for record in stack.read("payments")}
    for _, records in groupby(keyed, key=lambda record: record.partition):
        last: dict[int, int] = {}
        for record in records:
            source, offset = order[record.value]
            assert last.get(source, -1) < offset, "two of one partition changed places"
            last[source] = offset
