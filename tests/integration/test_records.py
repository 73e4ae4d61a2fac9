"""Records as a topic has them, through a real broker: fields beside the value, and what becomes of other records."""

from __future__ import annotations

import asyncio
import json
import subprocess
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import orjson
import yaml
from aiokafka import AIOKafkaProducer

from harness.models import Models
from harness.stack import BIN, Stack, by_source, wait_for
from scorer.kafka.partitioner import partition_of

#: 2026-01-31 12:00 UTC.
NOON = 1769860800000


def send(stack: Stack, records: Sequence[dict[str, Any]]) -> None:
    """Append records: what AIOKafkaProducer.send takes."""

    async def go() -> None:
        async with AIOKafkaProducer(bootstrap_servers=stack.broker.address) as producer:
            for record in records:
                await producer.send_and_wait("transactions", **record)

    asyncio.run(go())


def rows(models: Models, n: int) -> list[dict[str, Any]]:
    """Transactions with the attributes of the models' view."""
    found = [orjson.loads(line) for line in models.stream.read_bytes().splitlines()[:n]]
    return [row | {"amount": abs(row["amount"])} for row in found]


def test_fields_come_from_headers_key_and_timestamp_and_dead_letters_keep_them(stack: Stack, models: Models) -> None:
    mapping = {"fields": {"card_id": "$key", "transaction_id": "$header.id", "occurred_at": "$timestamp"}}
    env = {"SCORER_MAPPING": json.dumps(mapping)}
    records = []
    for at, row in enumerate(rows(models, 40)):
        value = {k: v for k, v in row.items() if k not in ("card_id", "transaction_id", "occurred_at")}
        if at % 4 == 0:
            value["currency"] = "USD"
        records.append(
            {
                "key": f"card-{at}".encode(),
                "value": orjson.dumps(value),
                "headers": [("id", b"t%d" % at), ("other", b"x")],
                "timestamp_ms": NOON + at,
            }
        )
    scorer = stack.start("scorer", "run", env=env)
    send(stack, records)
    stack.until_settled(40)
    assert scorer.metric("scorer_miskeyed_total") == 0
    assert scorer.stop() == 0
    rate = {**env, "SCORER_MONEY": '{"currency": "EUR", "rates": {"USD": {"2026-01-01": 0.5}}}'}
    assert stack.run("scorer", "replay", "--rejected", env=rate).endswith("sent 10 again, 0 are still refused")
    stack.start("scorer", "run", env=rate)
    stack.until_settled(50)
    found = by_source(stack.decisions())
    told = {
        (d["transaction"]["transaction_id"], d["transaction"]["card_id"], d["transaction"]["occurred_at"])
        for d in found.values()
    }
    assert told == {(f"t{at}", f"card-{at}", f"2026-01-31T12:00:00.{at:03d}Z") for at in range(40)}
    assert len(found) == 40
    file = stack.folder / "some.jsonl"
    file.write_bytes(b"{}\n")
    line = stack.fails("scorer", "replay", str(file), **env)
    assert "mapping.fields.card_id: records on a topic have a $key" in line
    wrong = stack.fails("scorer", "run", SCORER_MAPPING='{"fields": {"card_id": "$headers.card"}}')
    assert "mapping.fields.card_id" in wrong
    assert "$header.NAME" in wrong


def test_changes_and_tombstones_are_passed_over_and_counted_by_setting(stack: Stack, models: Models) -> None:
    env = {"SCORER_MAPPING": json.dumps({"envelope": "debezium", "changes": "skip"})}
    records: list[dict[str, Any]] = []
    for row in rows(models, 30):
        key = row["card_id"].encode()
        records += [
            {"key": key, "value": orjson.dumps({"op": "c", "before": None, "after": row})},
            {"key": key, "value": orjson.dumps({"op": "u", "before": row, "after": row})},
            {"key": key, "value": orjson.dumps({"op": "d", "before": row, "after": None})},
            {"key": key, "value": None},
        ]
    records += [{"key": b"x", "value": orjson.dumps({"op": "z"})}]
    scorer = stack.start("scorer", "run", env=env)
    send(stack, records)
    stack.until_settled(31)
    wait_for("all are counted", lambda: scorer.metric("scorer_transactions_total") == 121)
    assert len(stack.decisions()) == 30
    (letter,) = stack.read("transactions.rejected")
    assert dict(letter.headers)["reason"].startswith(b"op: unknown; expected one of c, r, ")
    assert scorer.metric("scorer_skipped_records_total") == 90
    assert scorer.stop() == 0
    again = stack.start("scorer", "run", env=env)
    send(stack, [{"key": b"x", "value": None}] * 5)
    wait_for("the rest is passed over", lambda: again.metric("scorer_skipped_records_total") == 5)
    assert len(stack.decisions()) == 30
    assert len(stack.read("transactions.rejected")) == 1
    assert again.stop() == 0
    stack.start("scorer", "run", env={"SCORER_MAPPING": '{"envelope": "debezium"}'})
    send(stack, [{"key": b"x", "value": None}])
    stack.until_settled(32)
    assert stack.run("scorer", "replay", "--rejected", env=env) == "sent 0 again, 2 are still refused"


def test_refunds_are_decided_without_a_score_and_the_shadow_counts_them_apart(stack: Stack, models: Models) -> None:
    env = {"SCORER_MAPPING": json.dumps({"negative": "refund"})}
    some = rows(models, 60)
    for at in range(0, 60, 6):
        some[at]["amount"] = -some[at]["amount"] - 1
    scorer = stack.start("scorer", "run", env=env)
    stack.deploy(models.candidate, "candidate")
    shadow = stack.start("shadow", "run", "--slot", "candidate")
    send(stack, [{"key": row["card_id"].encode(), "value": orjson.dumps(row)} for row in some])
    stack.until_settled(60)
    refunds = [decision for decision in stack.decisions() if decision.get("refund")]
    assert len(refunds) == scorer.metric("scorer_refunds_total") == 10
    assert {(d["decision"], d["score"], d["transaction"]["amount"] < 0) for d in refunds} == {("allow", None, True)}
    assert all(d["amount_minor"] == round(100 * d["transaction"]["amount"]) for d in refunds)
    wait_for("all are read", lambda: shadow.metric("shadow_lag_records") == 0)
    told = ""

    def is_equal() -> bool:
        nonlocal told
        told = stack.run("shadow", "verify", "--slot", "candidate")
        return "60 decisions = 50 compared" in told

    wait_for("all are counted", is_equal)
    assert "+ 0 repeats + 10 refunds + 0 duplicates + 0 skipped" in told
    assert told.endswith("\nequal")


def test_a_trace_is_carried_from_a_transaction_to_its_decision(stack: Stack, models: Models) -> None:
    env = {"SCORER_CARRIED_HEADERS": "traceparent, x-shop"}
    some = rows(models, 20)
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-{:016x}-01"
    stack.start("scorer", "run", env=env)
    send(
        stack,
        [
            {
                "key": row["card_id"].encode(),
                "value": orjson.dumps(row),
                "headers": [("traceparent", trace.format(at).encode()), ("tracestate", b"x")] if at % 2 else None,
            }
            for at, row in enumerate(some)
        ],
    )
    stack.until_settled(20)
    sent = {(record.partition, record.offset): list(record.headers) for record in stack.read("transactions")}
    decided = stack.read("decisions")
    assert len(decided) == 20
    assert sum(len(record.headers) for record in decided) == 10
    for record in decided:
        offset = orjson.loads(record.value)["source"]["offset"]
        assert list(record.headers) == sent[record.partition, offset][:1]


def test_a_look_at_a_topic_tells_whose_partitioner_and_which_key_its_senders_have(stack: Stack, models: Models) -> None:
    some = rows(models, 60)
    cards = sorted({row["card_id"] for row in some})
    assert len(cards) > 10
    at = NOON  # the newest are looked at

    def told(key: Callable[[Any], str], where: Callable[[bytes], int]) -> list[str]:
        nonlocal at
        at += 1_000
        records = [{"key": key(row).encode(), "value": orjson.dumps(row), "timestamp_ms": at} for row in some]
        send(stack, [one | {"partition": where(one["key"])} for one in records])
        argv = [BIN / "scorer", "mapping", "try", "--records", "60"]
        done = subprocess.run(argv, env=stack.env, cwd=stack.folder, capture_output=True, text=True, check=True)
        return [line for line in done.stderr.splitlines() if line.startswith("check ")]

    def card(row: Any) -> str:
        return str(row["card_id"])

    assert not told(card, lambda key: partition_of(key, 4))
    (line,) = told(card, lambda key: zlib.crc32(key) % 4)  # as librdkafka's clients
    assert "lie where crc32 puts them" in line
    assert "SCORER_PARTITIONER=crc32" in line
    (line,) = told(card, lambda key: len(key) % 2)
    assert "lie where neither murmur2 nor crc32 puts them" in line
    (line,) = told(lambda row: str(row["merchant_id"]), lambda key: partition_of(key, 4))
    assert "60 of 60 records have another key than their card" in line


def test_a_mapping_is_proposed_from_a_topic_and_then_decides_it(stack: Stack, models: Models) -> None:
    """What a new user does first: look, write, run."""
    records = []
    for at, row in enumerate(rows(models, 60)):
        inner = {name: cell for name, cell in row.items() if name not in ("card_id", "transaction_id", "occurred_at")}
        inner |= {"txnId": f"t{at}", "card": {"token": row["card_id"]}, "amount": round(100 * row["amount"]) + 1}
        event = {"before": None, "after": inner, "op": "c", "ts_ms": NOON + at}
        records.append({"key": b"k%d" % at, "value": orjson.dumps(event), "timestamp_ms": NOON + at})
    assert "has no records" in stack.fails("scorer", "mapping", "try")
    assert "topic nothing: is missing" in stack.fails("scorer", "mapping", "try", "--topic", "nothing")
    send(stack, records)
    before = [(r.topic, r.partition, r.offset) for r in stack.read("transactions")]
    told = stack.run("scorer", "mapping", "try", "--topic", "transactions", "--write", "mapped.yaml")
    assert yaml.safe_load(told) == {
        "mapping": {
            "envelope": "debezium",
            "fields": {"card_id": "card.token", "occurred_at": "$.ts_ms", "transaction_id": "txnId"},
            "formats": {
                "amount": {"kind": "minor_units"},
                "occurred_at": {"kind": "epoch", "unit": "ms"},
            },
        }
    }
    assert [(r.topic, r.partition, r.offset) for r in stack.read("transactions")] == before
    stack.start("scorer", "run", env={"SCORER_SETTINGS": "mapped.yaml"})
    stack.until_settled(60)
    found = {d["transaction"]["transaction_id"]: d for d in stack.decisions()}
    assert len(found) == 60
    assert found["t59"]["transaction"]["occurred_at"] == "2026-01-31T12:00:00.059Z"
    assert found["t0"]["amount_minor"] == round(100 * rows(models, 1)[0]["amount"]) + 1
