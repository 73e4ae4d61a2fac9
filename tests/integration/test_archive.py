"""The archive has every record of its topics once, whatever happens to those who write it, and other tools read it."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import RecordsToDelete
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from harness.decisions import a_decision
from harness.kafka import Kafka
from harness.stack import PARTITIONS, Stack, Worker, wait_for
from scorer.kafka.topics import admin

TOPICS = {"decisions": "decisions", "rejected": "transactions.rejected", "labels": "labels"}
QUICK = {"SHADOW_ARCHIVE_SECONDS": "0.3"}
KILLS = 20


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """Topics on a broker, without a scorer."""
    with Stack(tmp_path, dict(QUICK)) as stack:
        stack.run("scorer", "topics")
        yield stack


async def _sent(producer: AIOKafkaProducer, first: int, count: int, rng: random.Random) -> None:
    """Records of every topic. A decision lies in its transaction's partition; some records are not what they ought to
    be."""
    sending = []
    for i in range(first, first + count):
        partition = i % PARTITIONS
        value = orjson.dumps(a_decision(i, source={"partition": partition, "offset": i}))
        if rng.random() < 0.02:
            value = rng.choice([b"no JSON", b"{}", b"\x00\x00\x00\x00\x01\x02broken", b""])
        sending.append(await producer.send("decisions", value, key=b"card", partition=partition))
        if i % 10 == 0:
            label = {"transaction_id": f"t{i}", "source": "chargeback", "verdict": "fraud", "by": "acquirer"}
            body = {**label, "at": "2026-02-03T00:00:00Z"} if i % 30 else {"source": "nobody"}
            sending.append(await producer.send("labels", orjson.dumps(body), partition=partition))
            told = [("reason", b"no"), ("field", b"amount"), ("offset", b"%d" % i), ("partition", b"0")]
            sending.append(
                await producer.send("transactions.rejected", b"{}", partition=partition, headers=told if i % 20 else [])
            )
            sending.append(await producer.send("deployments", orjson.dumps({"kind": "x"}), key=b"k%d" % i))
    await asyncio.gather(*sending)


def send(stack: Stack, first: int, count: int, seed: int = 1) -> None:
    async def go() -> None:
        async with AIOKafkaProducer(bootstrap_servers=stack.broker.address) as producer:
            await _sent(producer, first, count, random.Random(seed + first))

    asyncio.run(go())


def table(stack: Stack, name: str) -> pa.Table:
    """All rows of a table; none if it is not there yet."""
    try:
        return DeltaTable(stack.folder / "archive" / name).to_pyarrow_table()
    except TableNotFoundError:
        return pa.table({"partition": [], "offset": []})


def rows_of(stack: Stack, name: str) -> int:
    """How many rows a table has, from its log alone."""
    try:
        return int(DeltaTable(stack.folder / "archive" / name).count())
    except TableNotFoundError:
        return 0


def places(rows: pa.Table) -> list[tuple[int, int]]:
    return sorted(zip(rows["partition"].to_pylist(), rows["offset"].to_pylist(), strict=True))


def on_topic(stack: Stack, topic: str) -> list[tuple[int, int]]:
    return sorted((record.partition, record.offset) for record in stack.read(topic))


EVERY = {**TOPICS, "deployments": "deployments"}


def assert_archived_once(stack: Stack) -> None:
    """Rows = distinct places = the topic, in every table."""
    for name, topic in EVERY.items():
        wanted = on_topic(stack, topic)
        wait_for(f"every row of {name}", lambda n=name, w=wanted: rows_of(stack, n) >= len(w))
        assert places(table(stack, name)) == wanted, name


def test_twenty_kills_and_two_racing_writers_archive_each_record_once(stack: Stack) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    done = threading.Event()

    def stream() -> None:
        first = 0
        while not done.is_set():
            send(stack, first, 40, seed)
            first += 40
            time.sleep(0.2)

    def writer(group: str) -> Worker:
        # groups of their own: both own every partition all the time, as a zombie and its successor do for a moment
        env = {"SHADOW_ARCHIVE_GROUP": group, "SHADOW_ARCHIVE_SECONDS": "0.3", "SHADOW_ARCHIVE_RECORDS": "400"}
        return stack.start("shadow", "archive", "run", env=env, ready=False)

    sender = threading.Thread(target=stream)
    sender.start()
    conflicts = 0.0
    try:
        racing = {group: writer(group) for group in ("one", "two")}
        for kill in range(KILLS):
            group = ("one", "two")[kill % 2]
            wait_for("a writer", racing[group].is_ready)
            if kill % 4 < 3:  # while it writes; every fourth time while it begins
                rows = rows_of(stack, "decisions")
                wait_for("a commit", lambda n=rows: rows_of(stack, "decisions") > n)
            time.sleep(rng.uniform(0, 0.5))
            conflicts += racing[group].metric("shadow_archive_conflicts_total")
            racing[group].kill()
            racing[group] = writer(group)
        wait_for("a writer", racing["one"].is_ready)
        racing["one"].pause()  # a zombie: it holds rows of before, and comes back to commit them
        rows = rows_of(stack, "decisions")
        wait_for("the other goes on", lambda: rows_of(stack, "decisions") > rows + 100)
        racing["one"].resume()
    finally:
        done.set()
        sender.join()
    assert_archived_once(stack)
    conflicts += sum(one.metric("shadow_archive_conflicts_total") for one in racing.values())
    assert conflicts > 0, "nobody lost a race"
    for one in racing.values():
        assert one.stop() == 0
    assert_archived_once(stack)
    print(f"{rows_of(stack, 'decisions')} decisions, {conflicts:.0f} conflicts seen")
    log = DeltaTable(stack.folder / "archive" / "decisions")
    written = len(list((stack.folder / "archive" / "decisions").glob("day=*/*.parquet")))
    assert written > len(log.file_uris()), "no kill and no lost race left a file behind"
    stack.run("shadow", "archive", "compact")
    assert_archived_once(stack)


def test_what_a_group_shares_is_archived_once_through_starts_and_stops(stack: Stack) -> None:
    send(stack, 0, 1000)
    one = stack.start("shadow", "archive", "run")
    assert_archived_once(stack)
    two = stack.start("shadow", "archive", "run")
    send(stack, 1000, 1000)
    assert_archived_once(stack)
    assert one.stop() == 0
    send(stack, 2000, 1000)
    assert_archived_once(stack)
    assert two.stop() == 0
    send(stack, 3000, 200)
    three = stack.start("shadow", "archive", "run")
    assert_archived_once(stack)
    assert three.metric("shadow_archive_conflicts_total") == 0
    assert three.metric("shadow_archive_rows_total") == pytest.approx(200 + 3 * 20), (
        "it did not begin at the table's end"
    )


def test_rows_that_wait_are_archived_at_a_stop(stack: Stack) -> None:
    send(stack, 0, 500)
    worker = stack.start("shadow", "archive", "run", env={"SHADOW_ARCHIVE_SECONDS": "3600"})
    wait_for("everything is read", lambda: worker.metric("shadow_archive_behind_seconds") > 0)
    wait_for("all of it", lambda: worker.metric("shadow_archive_lag_records") >= 500 + 3 * 50)
    assert worker.stop() == 0
    assert_archived_once(stack)


def test_a_record_that_is_none_of_its_topic_keeps_its_bytes_and_the_reason(stack: Stack) -> None:
    async def go() -> None:
        async with AIOKafkaProducer(bootstrap_servers=stack.broker.address) as producer:
            for value in (b"{", b"4111 1111 1111 1111", b"\x00\x00\x00\x00\x01\x02", None, b'{"transaction": 1}'):
                await producer.send_and_wait("decisions", value, key=b"k", partition=1)
            await producer.send_and_wait("decisions", orjson.dumps(a_decision(7)), partition=0)
            await producer.send_and_wait("labels", b"[]", partition=0)
            await producer.send_and_wait("transactions.rejected", b"x", partition=0)
            await producer.send_and_wait("deployments", b"\xff", key=b"\xff")

    asyncio.run(go())
    worker = stack.start("shadow", "archive", "run")
    assert_archived_once(stack)
    rows = table(stack, "decisions").sort_by([("partition", "ascending"), ("offset", "ascending")]).to_pylist()
    assert [row["problem"] is None for row in rows] == [True] + [False] * 5
    assert rows[1]["raw"] == b"{"
    assert b"1111 1111" not in rows[2]["raw"], "a card number lies in the archive"
    assert "masked" in rows[2]["problem"]
    for name in ("labels", "rejected"):
        (row,) = table(stack, name).to_pylist()
        assert row["problem"], name
        assert row["raw"], name
    assert worker.metric("shadow_archive_problems_total") == 5 + 3


def test_old_days_go_and_small_files_become_large_ones_beside_the_writer(stack: Stack) -> None:
    worker = stack.start("shadow", "archive", "run")
    for first in range(0, 2000, 250):
        send(stack, first, 250)
        wait_for("rows", lambda n=first + 250: rows_of(stack, "decisions") >= n)
    before = len(DeltaTable(stack.folder / "archive" / "decisions").file_uris())
    told = stack.run("shadow", "archive", "compact")
    assert "decisions: dropped 0 days" in told
    assert len(DeltaTable(stack.folder / "archive" / "decisions").file_uris()) < before
    send(stack, 2000, 500)
    assert_archived_once(stack)
    assert worker.metric("shadow_archive_errors_total") == 0
    stack.run("shadow", "archive", "compact", env={"SHADOW_ARCHIVE_DAYS": "1"})
    left = table(stack, "decisions")
    assert pc.all(pc.is_valid(left["problem"])).as_py(), "decisions of January 2026 are still there"
    at = rows_of(stack, "decisions")
    send(stack, 2500, 500)
    wait_for("new rows", lambda: rows_of(stack, "decisions") >= at + 500)
    assert rows_of(stack, "decisions") == at + 500, "what was dropped came back"


@pytest.mark.needs("kafka")
@pytest.mark.variant
def test_what_retention_took_is_told_and_recorded_and_archiving_goes_on(tmp_path: Path) -> None:
    with Stack(tmp_path, dict(QUICK), broker=Kafka(tmp_path / "broker")) as stack:
        stack.run("scorer", "topics")
        send(stack, 0, 400)
        worker = stack.start("shadow", "archive", "run")
        assert_archived_once(stack)
        worker.stop()
        send(stack, 400, 400)

        async def delete() -> None:
            async with admin(stack.settings()) as client:
                await client.delete_records({TopicPartition("decisions", 2): RecordsToDelete(before_offset=150)})

        asyncio.run(delete())
        worker = stack.start("shadow", "archive", "run")
        wait_for("the gap", lambda: worker.metric("shadow_archive_lost_records_total") == 50)
        wait_for("the rest", lambda: rows_of(stack, "decisions") == 750)
        assert "retention deleted offsets 100 to 149" in worker.log.read_text()
        told = stack.run("shadow", "archive", "status")
        assert "decisions, partition 2: offsets 100 to 149 are LOST" in told
        worker.stop()
        again = stack.start("shadow", "archive", "run")
        assert again.metric("shadow_archive_lost_records_total") == 0, "a gap is told once"


def test_a_place_that_cannot_be_used_is_one_line(stack: Stack) -> None:
    (stack.folder / "taken").touch()
    assert "has no tables" in stack.fails("shadow", "archive", "status", SHADOW_ARCHIVE="nowhere")
    assert "SHADOW_ARCHIVE" in stack.fails("shadow", "archive", "run", "--http-port", "0", SHADOW_ARCHIVE="taken")
