"""Records on `decisions` that somebody else wrote, with any source offset, take nothing from the true ones."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from aiokafka import AIOKafkaProducer

from harness.models import BAD, REPEATED, STREAM, Models
from harness.stack import PARTITIONS, Stack, wait_for
from shadow.store.connection import connect
from shadow.store.reader import TallyReader


def append(stack: Stack, rows: list[tuple[int, dict[str, Any]]]) -> None:
    """Append decisions to given partitions."""

    async def go() -> None:
        async with AIOKafkaProducer(bootstrap_servers=stack.broker.address) as producer:
            for partition, row in rows:
                await producer.send_and_wait("decisions", orjson.dumps(row), partition=partition)

    asyncio.run(go())


def counted(stack: Stack) -> tuple[int, int, int]:
    """Transactions compared, duplicates, and unreadable records, in all partitions."""

    async def go() -> tuple[int, int, int]:
        redis = connect(stack.env["SHADOW_REDIS"])
        reader = TallyReader(redis, "candidate", ("all",), "shadow")
        books = [await reader.books(partition) for partition in await reader.partitions()]
        await redis.aclose()
        runs = [totals for book in books for _, totals in book.runs]
        return (
            sum(totals.compared for totals in runs),
            sum(totals.duplicates for totals in runs),
            sum(book.progress.unreadable for book in books),
        )

    return asyncio.run(go())


def test_a_claimed_offset_far_ahead_turns_no_later_decision_into_a_duplicate(stack: Stack, models: Models) -> None:
    stack.deploy(models.candidate, "candidate")
    stack.start("scorer", "run", ready=False)
    shadow = stack.start("shadow", "run", "--slot", "candidate", ready=False)
    stack.until_ready()
    sent, cut = STREAM + REPEATED, 4000
    stack.run("scorer", "replay", str(models.stream), "--limit", str(cut))
    stack.until_settled(cut)
    wait_for("the first comparisons", lambda: counted(stack)[0] >= cut - 2 * (BAD + REPEATED))

    last = {row["source"]["partition"]: row for row in stack.decisions()}
    assert set(last) == set(range(PARTITIONS))
    claims = [10**6, 2**31, 10**15, 2**62]
    foreign = [(p, {**row, "source": {"partition": p, "offset": claim}}) for p, row in last.items() for claim in claims]
    elsewhere = [(p, {**row, "source": {"partition": p + 1, "offset": 10**9}}) for p, row in last.items()]
    append(stack, foreign + elsewhere)
    stack.run("scorer", "replay", str(models.stream), "--skip", str(cut), "--limit", str(cut))
    wait_for("comparisons after them", lambda: counted(stack)[0] >= 2 * cut - 2 * (BAD + REPEATED))
    shadow.stop()  # what is decided is also known after a restart
    stack.start("shadow", "run", "--slot", "candidate")
    stack.run("scorer", "replay", str(models.stream), "--skip", str(2 * cut))
    true = sent - BAD - REPEATED
    wait_for("every comparison", lambda: counted(stack)[0] >= true + len(foreign))
    assert counted(stack) == (true + len(foreign), 0, len(elsewhere)), (
        "a foreign record counts as itself, and only once"
    )
    assert "equal" in stack.run("shadow", "verify").splitlines()
