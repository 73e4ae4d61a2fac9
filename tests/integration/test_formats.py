"""Avro, Protobuf and JSON behind a header, through a real broker and a real Schema Registry."""

from __future__ import annotations

import asyncio
import io
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from aiokafka import AIOKafkaProducer

from harness.models import Models
from harness.registry import Registry
from harness.stack import Stack, by_source, wait_for
from harness.varint import varint

fastavro = pytest.importorskip("fastavro")
pytest.importorskip("grpc_tools")

pytestmark = [pytest.mark.needs("registry")]


def send(stack: Stack, records: Sequence[tuple[bytes, bytes]]) -> None:
    """Append keys and values."""

    async def go() -> None:
        async with AIOKafkaProducer(bootstrap_servers=stack.broker.address) as producer:
            for key, value in records:
                await producer.send_and_wait("transactions", value, key)

    asyncio.run(go())


def rows(models: Models, n: int) -> list[dict[str, Any]]:
    """Transactions with the attributes of the models' view, each once, and all with the same fields."""
    found = [orjson.loads(line) for line in models.stream.read_bytes().splitlines()[:n]]
    return [row | {"transaction_id": f"f{at}", "amount": abs(row["amount"])} for at, row in enumerate(found)]


def kinds(some: Sequence[dict[str, Any]]) -> dict[str, set[type]]:
    """By field, the types of its cells."""
    return {name: {type(row.get(name)) for row in some} for row in some for name in row}


def avro_of(some: Sequence[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """A schema in which every attribute may be null."""
    names = {bool: "boolean", int: "double", float: "double", str: "string", type(None): "null"}
    fields: list[dict[str, Any]] = []
    for name, types in kinds(some).items():
        if name == "card_id":
            fields.append({"name": "card", "type": "com.bank.Card"})
        elif name == "occurred_at":
            fields.append({"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}})
        else:
            told = sorted({names[kind] for kind in types})
            fields.append({"name": name, "type": told[0] if len(told) == 1 else told})
    return {"type": "record", "name": "Payment", "fields": fields, **more}


CARD = {"type": "record", "name": "Card", "namespace": "com.bank", "fields": [{"name": "token", "type": "string"}]}
MAPPING = {"fields": {"card_id": "card.token", "occurred_at": "at"}}


def ms(text: str) -> int:
    from scorer.pipeline.instants import instant_ms

    return instant_ms(text)


def written(schema: dict[str, Any], row: dict[str, Any], number: int) -> tuple[bytes, bytes]:
    """Key and value of a record in Avro."""
    known: dict[str, Any] = {}
    fastavro.parse_schema(json.loads(json.dumps(CARD)), known)
    out = io.BytesIO()
    out.write(b"\0" + number.to_bytes(4, "big"))
    row = row | {"card": {"token": row["card_id"]}, "at": ms(row["occurred_at"])}
    fastavro.schemaless_writer(out, fastavro.parse_schema(json.loads(json.dumps(schema)), known), row)
    return row["card_id"].encode(), out.getvalue()


def test_avro_of_a_registry_is_decided_as_json_is_and_outlives_it(stack: Stack, models: Models, tmp_path: Path) -> None:
    some = rows(models, 60)
    schema = avro_of(some)
    newer = avro_of(some)
    newer["fields"] = [*newer["fields"][::-1], {"name": "note", "type": ["null", "string"], "default": None}]
    with Registry(tmp_path) as registry:
        registry.register("card", json.dumps(CARD))
        reference = [{"name": "com.bank.Card", "subject": "card", "version": 1}]
        first = registry.register("transactions-value", json.dumps(schema), references=reference)
        second = registry.register("transactions-value", json.dumps(newer), references=reference)
        assert first != second
        encoding = {"kind": "avro", "registry": registry.address, "wait_seconds": 2}
        env = {"SCORER_MAPPING": json.dumps({"encoding": encoding} | MAPPING)}
        scorer = stack.start("scorer", "run", env=env)
        send(stack, [written(schema, row, first) for row in some[:20]])
        send(stack, [(b"c", b"\0\0\0\x7f\xff" + b"x")])  # an id that the registry does not have
        stack.until_settled(21)
        registry.kill()
        send(stack, [written(schema, row, first) for row in some[20:30]])
        stack.until_settled(31)
        send(stack, [written(newer, row, second) for row in some[30:40]])  # in vain: its schema is not known yet
        stack.until_settled(41)
        told = Counter((letter["field"], letter["reason"].partition(" (")[0]) for letter in letters(stack))
        assert told == {
            ("schema", "schema: the registry has no schema 32767"): 1,
            ("schema", f"schema: {second} is not known, and the registry is away"): 10,
        }
        registry.start()  # empty: the ids are given anew, in the same order
        registry.register("card", json.dumps(CARD))
        assert registry.register("transactions-value", json.dumps(schema), references=reference) == first
        assert registry.register("transactions-value", json.dumps(newer), references=reference) == second
        wait_for("the registry is back", lambda: "answers again" in scorer.log.read_text())
        send(stack, [written(newer, row, second) for row in some[40:]])
        stack.until_settled(61)
        assert stack.run("scorer", "replay", "--rejected", env=env).endswith("sent 10 again, 1 are still refused")
        stack.until_settled(71)
        found = by_source(stack.decisions())
        assert len(found) == 60
        assert {d["transaction"]["transaction_id"] for d in found.values()} == {row["transaction_id"] for row in some}
        by_id = {d["transaction"]["transaction_id"]: d["transaction"] for d in found.values()}
        for row in some:
            decided = by_id[row["transaction_id"]]
            assert ms(decided["occurred_at"]) == ms(row["occurred_at"])
            assert {name: decided.get(name) for name in row if name != "occurred_at"} == {
                name: cell for name, cell in row.items() if name != "occurred_at"
            }
        proposed = yaml.safe_load(
            stack.run("scorer", "mapping", "try", env={"SCORER_MAPPING": json.dumps({"encoding": encoding})})
        )["mapping"]
        assert proposed["encoding"] == encoding
        assert proposed["fields"] == MAPPING["fields"]
        assert scorer.stop() == 0


PROTO = """
syntax = "proto3";
package com.bank;
import "google/protobuf/timestamp.proto";
import "card.proto";
message Unused { string x = 1; }
message Payment {
  string transaction_id = 1;
  google.protobuf.Timestamp at = 2;
  Card card = 3;
  string merchant_id = 4;
  double amount = 5;
  string currency = 6;
}
"""
CARD_PROTO = 'syntax = "proto3"; package com.bank; message Card { string token = 1; }'


def field(number: int, value: bytes) -> bytes:
    return bytes([number << 3 | 2, len(value)]) + value


def protobuf(row: dict[str, Any], number: int) -> tuple[bytes, bytes]:
    """Key and value of a record in Protobuf, written by hand."""
    import struct

    key = row["card_id"].encode()
    whole, rest = divmod(ms(row["occurred_at"]), 1000)
    value = b"\0" + number.to_bytes(4, "big") + b"\x02\x02"  # the second message
    value += field(1, row["transaction_id"].encode())
    value += field(2, b"\x08" + varint(whole) + b"\x10" + varint(rest * 10**6))
    value += field(3, field(1, key)) + field(4, row["merchant_id"].encode())
    value += b"\x29" + struct.pack("<d", row["amount"]) + field(6, row["currency"].encode())
    return key, value


def test_protobuf_and_json_behind_a_header_are_decided(stack: Stack, models: Models, tmp_path: Path) -> None:
    some = rows(models, 30)
    with Registry(tmp_path) as registry:
        registry.register("card", CARD_PROTO, "PROTOBUF")
        reference = [{"name": "card.proto", "subject": "card", "version": 1}]
        number = registry.register("transactions-value", PROTO, "PROTOBUF", reference)
        encoding = {"kind": "protobuf", "registry": registry.address}
        env = {"SCORER_MAPPING": json.dumps({"encoding": encoding} | MAPPING)}
        scorer = stack.start("scorer", "run", env=env)
        send(stack, [protobuf(row, number) for row in some[:20]])
        stack.until_settled(20)
        assert scorer.stop() == 0
    scorer = stack.start("scorer", "run", env={"SCORER_MAPPING": json.dumps({"encoding": {"kind": "json"}})})
    send(stack, [(row["card_id"].encode(), b"\0\0\0\0\x07" + orjson.dumps(row)) for row in some[20:]])
    stack.until_settled(30)
    found = by_source(stack.decisions())
    told = {d["transaction"]["transaction_id"]: d["transaction"] for d in found.values()}
    assert told.keys() == {row["transaction_id"] for row in some}
    for row in some:
        decided = told[row["transaction_id"]]
        for name in ("card_id", "merchant_id", "amount", "currency"):
            assert decided[name] == row[name]
        assert ms(decided["occurred_at"]) == ms(row["occurred_at"])
    line = stack.fails("scorer", "run", SCORER_MAPPING='{"encoding": {"kind": "avro", "file": "none.avsc"}}')
    assert line.startswith("error: mapping.encoding.file: none.avsc: ")


def letters(stack: Stack) -> list[dict[str, str]]:
    """Headers of every dead letter."""
    return [{name: value.decode() for name, value in record.headers} for record in stack.read("transactions.rejected")]
