"""A card that was erased is in no file of the archive any more, whoever dies meanwhile, and nobody else's rows go."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest
from aiokafka import AIOKafkaProducer
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from harness.decisions import a_decision
from harness.stack import PARTITIONS, Stack, Worker, wait_for
from scorer.pipeline.erasure import ErasureAnswer, ErasureRequest, read_for_archive

QUICK = {"SHADOW_ARCHIVE_SECONDS": "0.3", "SHADOW_NICENESS": "0"}
CARD, OTHERS = "tok-4f9a1c77", ("tok-4f9a1c778", "tok-11", "4f9a1c77")
Sent = tuple[str, int, bytes | None, bytes | None, Sequence[tuple[str, bytes]]]


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """Topics on a broker, without a scorer."""
    with Stack(tmp_path, dict(QUICK)) as stack:
        stack.run("scorer", "topics")
        yield stack


def send(stack: Stack, records: Sequence[Sent]) -> None:
    async def go() -> None:
        async with AIOKafkaProducer(bootstrap_servers=stack.broker.address) as producer:
            waits = [
                await producer.send(topic, value, key=key, partition=partition, headers=list(headers))
                for topic, partition, key, value, headers in records
            ]
            await asyncio.gather(*waits)

    asyncio.run(go())


def a_day_of(card: str, first: int, count: int) -> list[Sent]:
    """Decisions of a card, with a dead letter and a label for every fourth, on all partitions."""
    out: list[Sent] = []
    told = (("reason", b"no"), ("field", b"amount"), ("offset", b"1"), ("partition", b"0"))
    for i in range(first, first + count):
        n = i % PARTITIONS
        body = orjson.dumps(a_decision(i, card_id=card, source={"partition": n, "offset": i}))
        out.append(("decisions", n, card.encode(), body, ()))
        if i % 4 == 0:
            label = {"transaction_id": f"t{i}", "source": "chargeback", "verdict": "fraud", "by": "acquirer"}
            label |= {"at": "2026-02-03T00:00:00Z"} | ({"card_id": card} if i % 8 else {})
            out.append(("labels", n, b"k", orjson.dumps(label), ()))
            letter = orjson.dumps({"card": card, "transaction_id": f"t{i}", "amount": "x"})
            out.append(("transactions.rejected", n, card.encode(), letter, told))
    return out


def odd_ones(card: str) -> list[Sent]:
    """Records that name a card where nobody would look for it."""
    named = card.encode()
    other = a_decision(9000, card_id="tok-else", source={"partition": 0, "offset": 9000})
    other["transaction"]["paid_by"] = card
    return [
        ("decisions", 0, b"k", b"no JSON: " + named + b".", ()),
        ("decisions", 1, b"k", b"\x00\x00\x00\x00\x01\x18" + named + b"\xff\xfe", ()),
        ("decisions", 0, b"k", orjson.dumps(other), ()),
        ("transactions.rejected", 0, named, b"", (("reason", b"no"), ("field", b"x"), ("offset", b"1"))),
        ("transactions.rejected", 0, b"k", b"x", (("note", b"card " + named),)),
        ("labels", 0, b"k", b'{"card_id": "' + named + b'", "broken', ()),
    ]


def rows(stack: Stack, name: str) -> list[dict[str, Any]]:
    """All rows of a table; none if it is not there yet."""
    try:
        found: list[dict[str, Any]] = DeltaTable(stack.folder / "archive" / name).to_pyarrow_table().to_pylist()
    except (TableNotFoundError, FileNotFoundError):
        return []
    return found


def everything_in(folder: Path) -> Iterator[tuple[Path, str]]:
    """What is in each file: the cells of Parquet, in whatever version of its table, and the text of all else."""
    for path in folder.rglob("*"):
        if path.is_file() and path.name.endswith(".parquet"):
            yield path, str(pq.ParquetFile(path).read().to_pylist())
        elif path.is_file():
            yield path, path.read_bytes().decode(errors="replace")


def holding(stack: Stack, card: str) -> list[str]:
    """The files that have a card by itself: as a text of its own, or within others."""
    found = []
    for path, text in everything_in(stack.folder / "archive"):
        places = [at for at in range(len(text)) if text.startswith(card, at)]
        if any(not (text[at - 1 : at] + text[at + len(card) :][:1]).strip("'\" .:\\xf").isalnum() for at in places):
            found.append(path.name)
    return found


def is_answered(stack: Stack) -> bool:
    """Whether every request to the archive has an answer."""
    said: dict[str, bool] = {}
    for record in stack.read("erasures"):
        try:
            name, one = read_for_archive(record.key, record.value)
        except ValueError:
            continue
        said[name] = said.get(name, False) or isinstance(one, ErasureAnswer)
    return bool(said) and all(said.values())


def ask(stack: Stack, card: str) -> str:
    """Ask to erase a card, where no scorer answers."""
    return stack.run("shadow", "erase", "--card", card, "--wait", "0", expect=1)


def test_no_file_holds_a_card_that_was_erased_and_the_rows_of_others_stay(stack: Stack) -> None:
    send(stack, [*a_day_of(CARD, 0, 100), *odd_ones(CARD)])
    kept = [record for n, card in enumerate(OTHERS) for record in a_day_of(card, 1000 * (n + 1), 60)]
    send(stack, kept)
    worker = stack.start("shadow", "archive", "run")
    wait_for("all rows", lambda: len(rows(stack, "decisions")) == 100 + 180 + 3)
    wait_for("all labels", lambda: len(rows(stack, "labels")) == 25 + 45 + 1)
    wait_for("all letters", lambda: len(rows(stack, "rejected")) == 25 + 45 + 2)
    assert holding(stack, CARD), "this would not find it"
    assert "the archive, if there is one, is asked as well" in ask(stack, CARD)
    wait_for("the answer", lambda: is_answered(stack))
    assert holding(stack, CARD) == []
    for name, count in (("decisions", 180), ("labels", 45), ("rejected", 45)):
        left = rows(stack, name)
        assert len(left) == count, name
        assert len({(row["partition"], row["offset"]) for row in left}) == count, name
    told = stack.run("shadow", "archive", "status")
    assert "card erased" in told
    assert "103 decisions, 27 rejected, 26 labels" in told
    assert CARD not in told
    assert CARD not in worker.log.read_text()
    assert worker.metric("shadow_archive_erasure_open_seconds") == 0
    # what the card does from now on is new
    send(stack, a_day_of(CARD, 5000, 8))
    wait_for("new rows", lambda: len(rows(stack, "decisions")) == 188)
    stack.run("shadow", "archive", "compact")
    assert len(rows(stack, "decisions")) == 188
    assert worker.stop() == 0
    again = stack.start("shadow", "archive", "run")
    send(stack, a_day_of(CARD, 5008, 4))
    wait_for("newer rows", lambda: len(rows(stack, "decisions")) == 192)
    assert again.metric("shadow_archive_errors_total") == 0


def test_what_was_not_archived_yet_when_it_was_asked_for_is_erased_too(stack: Stack) -> None:
    stack.run("shadow", "archive", "run", "--http-port", "0", "--once")
    send(stack, [*a_day_of(CARD, 0, 40), *a_day_of(OTHERS[0], 100, 40)])
    ask(stack, CARD)
    assert "archived all" in stack.run("shadow", "archive", "run", "--http-port", "0", "--once")
    assert is_answered(stack)
    assert holding(stack, CARD) == []
    assert len(rows(stack, "decisions")) == 40
    assert "decisions" in stack.run("shadow", "archive", "status")


def test_a_card_that_nobody_knows_takes_nothing_with_it(stack: Stack) -> None:
    records = a_day_of(CARD, 0, 40)
    for n, (topic, partition, key, value, headers) in enumerate(records):
        if topic == "decisions":
            body = orjson.loads(value or b"")
            body["transaction"]["channel"] = "contactless"
            records[n] = (topic, partition, key, orjson.dumps(body), headers)
    send(stack, records)
    stack.start("shadow", "archive", "run")
    wait_for("all rows", lambda: len(rows(stack, "decisions")) == 40)
    for card in ("contactless", "DE", "allow", "tok-4f9a1c7", "'; DROP TABLE decisions; --", "fraud"):
        ask(stack, card)
    wait_for("the answers", lambda: is_answered(stack))
    assert [len(rows(stack, name)) for name in ("decisions", "rejected", "labels")] == [40, 10, 10]
    assert len(rows(stack, "erasures")) == 6
    assert all(not row["decisions"] and not row["labels"] for row in rows(stack, "erasures"))


def test_kills_and_two_racing_archivers_leave_no_file_with_the_card(stack: Stack) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    done = threading.Event()
    sent = [0]

    def stream() -> None:
        while not done.is_set():
            send(stack, a_day_of(OTHERS[0], 100_000 + sent[0], 40))
            sent[0] += 40
            time.sleep(0.3)

    def writer(group: str) -> Worker:
        # groups of their own: both own every partition, and both carry out every request
        return stack.start("shadow", "archive", "run", env={"SHADOW_ARCHIVE_GROUP": group}, ready=False)

    send(stack, a_day_of(CARD, 0, 400))
    sender = threading.Thread(target=stream)
    sender.start()
    try:
        racing = {group: writer(group) for group in ("one", "two")}
        wait_for("all rows", lambda: sum(row["card_id"] == CARD for row in rows(stack, "decisions")) == 400)
        ask(stack, CARD)
        for kill in range(6):
            group = ("one", "two")[kill % 2]
            time.sleep(rng.uniform(0, 1.5))
            racing[group].kill()
            racing[group] = writer(group)
        stack.run("shadow", "archive", "compact")
        wait_for("the answer", lambda: is_answered(stack))
    finally:
        done.set()
        sender.join()
    wait_for("the rest", lambda: sum(row["card_id"] == OTHERS[0] for row in rows(stack, "decisions")) == sent[0])
    for one in racing.values():
        assert one.stop() == 0
    assert holding(stack, CARD) == []
    left = rows(stack, "decisions")
    assert len({(row["partition"], row["offset"]) for row in left}) == len(left) == sent[0]
    assert len(rows(stack, "erasures")) == 1


def test_the_request_names_the_card_only_until_it_is_answered(stack: Stack) -> None:
    stack.start("shadow", "archive", "run")
    ask(stack, CARD)
    wait_for("the answer", lambda: is_answered(stack))
    last: dict[bytes, Any] = {}
    for record in stack.read("erasures"):
        if record.key.startswith(b"archive/"):
            last[record.key] = read_for_archive(record.key, record.value)[1]
    (said,) = last.values()
    assert not isinstance(said, ErasureRequest)
    assert said.done == "nothing"
