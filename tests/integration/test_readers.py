"""Other people's tools read decisions by the lines of docs/contracts.md, and our own command gives features names."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator

import orjson
import pandas
import pytest
from aiokafka import AIOKafkaProducer

from harness.kafka import Kafka, write_tool
from harness.models import Models
from harness.patience import PATIENCE_SECONDS
from harness.places import ROOT
from harness.stack import BIN, Stack

pytestmark = pytest.mark.needs("kafka")
SHOWN = 400


@pytest.fixture(scope="module")
def stack(models: Models, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A scorer that has decided a stream, some of it sent in several lines."""
    at = tmp_path_factory.mktemp("stack")
    with Stack(at, dict(models.env), broker=Kafka(at / "broker")) as stack:
        stack.deploy(models.live, "live")
        stack.start("scorer", "run")
        stack.run("scorer", "replay", str(models.stream), "--limit", str(SHOWN))
        stack.until_settled(SHOWN)
        write_tool(at / "kafka-console-consumer.sh", "org.apache.kafka.tools.consumer.ConsoleConsumer")
        yield stack


def line(tool: str) -> str:
    """The documented line with a tool."""
    page = (ROOT / "docs" / "contracts.md").read_text()
    (block,) = [block for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) if "kcat" in block]
    (found,) = [line for line in block.splitlines() if tool in line]
    return found


def shell(stack: Stack, command: str) -> str:
    """What a line of the documentation prints, run as it stands."""
    path = f"{stack.folder}:{BIN}:{os.environ['PATH']}"
    env = {**os.environ, **stack.env, "KAFKA": stack.broker.address, "PATH": path}
    done = subprocess.run(
        ["bash", "-c", command], env=env, cwd=stack.folder, capture_output=True, timeout=PATIENCE_SECONDS, check=True
    )
    return done.stdout.decode()


def in_file(stack: Stack) -> list[bytes]:
    return sorted((stack.folder / "decisions.jsonl").read_bytes().splitlines())


def on_the_wire(stack: Stack) -> list[bytes]:
    return sorted(record.value for record in stack.read("decisions"))


@pytest.mark.parametrize("tool", [pytest.param("kcat", marks=pytest.mark.needs("kcat")), "kafka-console-consumer.sh"])
def test_a_console_writes_each_decision_on_a_line_of_its_own(stack: Stack, tool: str) -> None:
    shell(stack, line(tool))
    assert in_file(stack) == on_the_wire(stack)


@pytest.mark.needs("duckdb")
def test_duckdb_reads_the_file(stack: Stack) -> None:
    import duckdb

    (stack.folder / "decisions.jsonl").write_bytes(b"\n".join(on_the_wire(stack)) + b"\n")
    assert "decision" in shell(stack, line("duckdb"))
    (query,) = re.findall(r'\\"(.*?)\\"', line("duckdb"))
    rows = duckdb.sql(query.replace("decisions.jsonl", str(stack.folder / "decisions.jsonl"))).fetchall()
    expected = [orjson.loads(value) for value in on_the_wire(stack)]
    assert sorted(rows) == sorted((d["transaction"]["card_id"], d["decision"], d["score"]) for d in expected)


def test_pandas_reads_the_file_with_names(stack: Stack) -> None:
    shell(stack, line("scorer decisions"))
    assert "[400 rows x" in shell(stack, line("pandas")).replace(str(len(on_the_wire(stack))), "400")
    with (stack.folder / "decisions.jsonl").open() as lines:
        frame = pandas.json_normalize(list(map(json.loads, lines)))
    plain = {(d["source"]["partition"], d["source"]["offset"]): d for d in map(orjson.loads, on_the_wire(stack))}
    assert len(frame) == len(plain)
    views = {r.key.decode(): orjson.loads(r.value) for r in stack.read("deployments") if r.key.startswith(b"view/")}
    for row in frame.to_dict("records"):
        decision = plain[row["source.partition"], row["source.offset"]]
        names = views[f"view/{decision['view']}"]["names"]
        named = [
            None if row[f"features.{name}"] != row[f"features.{name}"] else row[f"features.{name}"] for name in names
        ]
        assert named == decision["features"]
        assert row["score"] == decision["score"]
        assert row["transaction.amount"] == decision["transaction"]["amount"]


def test_the_newest_come_in_order_of_time_and_without_names_as_they_are(stack: Stack) -> None:
    newest = sorted(stack.read("decisions"), key=lambda record: (record.timestamp, record.partition, record.offset))[
        -7:
    ]
    told = stack.run("scorer", "decisions", "--limit", "7").encode().splitlines()
    assert sorted(told) == sorted(record.value for record in newest)
    assert stack.run("scorer", "decisions", "--limit", "0") == ""
    first = orjson.loads(stack.run("scorer", "decisions", "--limit", "1", "--names"))
    assert first["features"]["amount"] == first["transaction"]["amount"]


def test_whoever_follows_gets_each_decision_to_come_once(stack: Stack, models: Models) -> None:
    before = len(on_the_wire(stack))
    following = stack.begin("scorer", "decisions", "--limit", "3", "--follow", "--names")
    assert following.stdout is not None
    seen = [following.stdout.readline() for _ in range(3)]
    settled = len(stack.settled())
    stack.run("scorer", "replay", str(models.stream), "--skip", str(SHOWN), "--limit", "50")
    stack.until_settled(settled + 50)
    more = len(on_the_wire(stack)) - before
    assert more > 40
    seen += [following.stdout.readline() for _ in range(more)]
    following.send_signal(signal.SIGINT)
    rest = following.stdout.read()
    assert following.wait(PATIENCE_SECONDS) in (1, 130)
    assert b"Traceback" not in rest, rest.decode()
    sources = {(d["source"]["partition"], d["source"]["offset"]) for d in map(orjson.loads, seen)}
    assert len(sources) == 3 + more


def test_topics_that_are_missing_are_named(stack: Stack) -> None:
    nowhere = ("scorer", "decisions", "--names", "--limit", "5")
    assert "topic others: is missing" in stack.fails(*nowhere, SCORER_TOPICS='{"deployments": "others"}')
    assert "topic others: is missing" in stack.fails(*nowhere, SCORER_TOPICS='{"decisions": "others"}')


def test_records_that_are_no_decisions_are_passed_over_and_reach_no_terminal(stack: Stack) -> None:
    """The last test of this stack: these records stay on its topic."""
    hostile = [b"\x1b]0;x\x07\x1b[2J", b"{\n}", b"\xff\xfe", b"[1]", b'{"view":"v","features":[1]}']

    async def send() -> None:
        async with AIOKafkaProducer(bootstrap_servers=stack.broker.address) as producer:
            for value in hostile:
                await producer.send_and_wait("decisions", value, key=b"x", partition=0)

    asyncio.run(send())
    for more in ((), ("--names",)):
        argv = [str(BIN / "scorer"), "decisions", "--limit", "6", *more]
        told = subprocess.run(
            argv, env={**os.environ, **stack.env}, capture_output=True, timeout=PATIENCE_SECONDS, check=True
        )
        assert b"\x1b" not in told.stdout + told.stderr
        assert len(list(map(orjson.loads, told.stdout.splitlines()))) == 2
        assert b"4 records that are no decisions were passed over" in told.stderr
