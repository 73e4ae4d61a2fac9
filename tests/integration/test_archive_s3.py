"""The archive on a store of objects: each record once although two writers race, and a card that was erased is gone."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
import pytest
from aiokafka import AIOKafkaProducer
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from harness.decisions import a_decision
from harness.objects import s3_with
from harness.stack import PARTITIONS, Stack, wait_for

pytestmark = [pytest.mark.needs("attack")]
CARD, PLACE = "tok-4f9a1c77", "s3://archived/tables"
LEAST_TURNS, MOST_TURNS = 5, 40
OPTIONS = {"AWS_ALLOW_HTTP": "true"}
S3 = tuple[subprocess.Popen[bytes], dict[str, str]]


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[S3]:
    with s3_with("archived", tmp_path) as found:
        yield found


@pytest.fixture
def stack(s3: S3, tmp_path: Path) -> Iterator[Stack]:
    """Topics on a broker, without a scorer, and an archive on the store."""
    own = {"SHADOW_ARCHIVE": PLACE, "SHADOW_ARCHIVE_OPTIONS": orjson.dumps(OPTIONS).decode()}
    own |= {"SHADOW_ARCHIVE_SECONDS": "0.3", "SHADOW_NICENESS": "0"}
    with Stack(tmp_path, own | s3[1]) as stack:
        stack.run("scorer", "topics")
        yield stack


def send(stack: Stack, first: int, count: int) -> None:
    async def go() -> None:
        async with AIOKafkaProducer(bootstrap_servers=stack.broker.address) as producer:
            waits = []
            for i in range(first, first + count):
                n = i % PARTITIONS
                card = CARD if i % 5 == 0 else f"tok-{i}"
                body = orjson.dumps(a_decision(i, card_id=card, source={"partition": n, "offset": i}))
                waits.append(await producer.send("decisions", body, key=b"k", partition=n))
            await asyncio.gather(*waits)

    asyncio.run(go())


def offsets(env: dict[str, str]) -> list[tuple[int, int]]:
    try:
        table = DeltaTable(f"{PLACE}/decisions", storage_options={**OPTIONS, **env})
    except TableNotFoundError:
        return []
    rows = table.to_pyarrow_table(columns=["partition", "offset"]).to_pylist()
    return [(row["partition"], row["offset"]) for row in rows]


def everything(env: dict[str, str]) -> Iterator[tuple[str, str]]:
    """What is in every object of the bucket, read by another client than the archive's."""
    where: Any = pyarrow.fs.S3FileSystem(
        access_key=env["AWS_ACCESS_KEY_ID"],
        secret_key=env["AWS_SECRET_ACCESS_KEY"],
        endpoint_override=env["AWS_ENDPOINT_URL"].removeprefix("http://"),
        scheme="http",
        region=env["AWS_DEFAULT_REGION"],
    )
    for info in where.get_file_info(pyarrow.fs.FileSelector("archived", recursive=True)):
        if info.type == pyarrow.fs.FileType.File:
            with where.open_input_file(info.path) as opened:
                content = opened.read()
            if info.path.endswith(".parquet"):
                yield info.path, str(pq.ParquetFile(pa.BufferReader(content)).read().to_pylist())
            else:
                yield info.path, content.decode(errors="replace")


def test_two_racing_writers_archive_each_record_once_and_an_erased_card_is_gone(stack: Stack, s3: S3) -> None:
    env = s3[1]
    racing = {
        group: stack.start("shadow", "archive", "run", env={"SHADOW_ARCHIVE_GROUP": group}) for group in ("one", "two")
    }
    sent = 0
    conflicts = 0.0
    for turn in range(MOST_TURNS):  # on a busy machine it takes a while until both commit at once
        send(stack, sent, 60)
        sent += 60
        wait_for("all of it", lambda n=sent: len(offsets(env)) >= n)
        assert len(set(offsets(env))) == len(offsets(env)) == sent
        if turn == 2:
            conflicts += racing["one"].metric("shadow_archive_conflicts_total")
            racing["one"].kill()
            racing["one"] = stack.start("shadow", "archive", "run", env={"SHADOW_ARCHIVE_GROUP": "one"})
        if turn >= LEAST_TURNS and " 412 " in (stack.folder / "s3.log").read_text():
            break
    conflicts += sum(one.metric("shadow_archive_conflicts_total") for one in racing.values())
    assert conflicts > 0, "nobody lost a race"
    refused = (stack.folder / "s3.log").read_text()
    assert " 412 " in refused, "the store never refused to overwrite a commit"
    assert any(CARD in text for _, text in everything(env)), "this would not find it"

    stack.run("shadow", "erase", "--card", CARD, "--wait", "0", expect=1)
    wait_for("the erasure", lambda: "card erased" in stack.run("shadow", "archive", "status"))
    for one in racing.values():
        assert one.stop() == 0
    assert [path for path, text in everything(env) if CARD in text] == []
    assert len(set(offsets(env))) == len(offsets(env)) == sent - sent // 5
    assert "deleted" in stack.run("shadow", "archive", "compact")
    assert len(set(offsets(env))) == len(offsets(env)) == sent - sent // 5


def test_a_store_that_is_away_is_one_line(stack: Stack, s3: S3) -> None:
    none = stack.fails("shadow", "archive", "status", SHADOW_ARCHIVE="s3://no-such-bucket/tables")
    assert "s3://no-such-bucket/tables" in none
    s3[0].kill()
    s3[0].wait()
    assert PLACE in stack.fails("shadow", "archive", "status")
