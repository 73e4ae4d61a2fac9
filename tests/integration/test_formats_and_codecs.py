"""Every format of records, in batches of every codec: the good ones are decided, and the bad one is a dead letter."""

from __future__ import annotations

import asyncio
import io
import json
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fastavro
import orjson
import pytest

from harness.kafka import Kafka
from harness.models import Models
from harness.raw_batches import CODECS, Row, batch
from harness.raw_batches import send as send_batches
from harness.registry import Registry
from harness.stack import Stack
from harness.varint import varint
from scorer.pipeline.instants import instant_ms

pytest.importorskip("grpc_tools")

pytestmark = [pytest.mark.needs("kafka", "registry")]
GOOD = 20
AVRO = {
    "type": "record",
    "name": "Payment",
    "fields": [
        {"name": name, "type": "double" if name == "amount" else "string"}
        for name in ("transaction_id", "occurred_at", "card_id", "merchant_id", "amount", "currency")
    ],
}
PROTO = """
syntax = "proto3";
message Payment {
  string transaction_id = 1;
  string occurred_at = 2;
  string card_id = 3;
  string merchant_id = 4;
  double amount = 5;
  string currency = 6;
}
"""


@pytest.fixture
def broker_in() -> Callable[[Path], Kafka]:
    """Apache Kafka alone, whose log holds batches as they were sent."""
    return Kafka


@dataclass(frozen=True)
class Format:
    """mapping: the setting. write: the value of a transaction. bad: a value that is none. field: at fault in it."""

    mapping: dict[str, Any]
    write: Callable[[dict[str, Any]], bytes]
    bad: bytes
    field: str


def avro(row: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(AVRO), row)
    return out.getvalue()


def protobuf(row: dict[str, Any]) -> bytes:
    """By hand: a tag, a length and the text of each field, and the amount in eight bytes."""
    found = b""
    for number, (name, cell) in enumerate(row.items(), 1):
        raw = struct.pack("<d", cell) if name == "amount" else cell.encode()
        found += (
            bytes([number << 3 | 1]) + raw if name == "amount" else bytes([number << 3 | 2]) + varint(len(raw)) + raw
        )
    return found


def nested(row: dict[str, Any]) -> bytes:
    """A payment in Debezium's envelope, its card nested, its time in milliseconds and its amount in minor units."""
    after = {
        "id": row["transaction_id"],
        "card": {"token": row["card_id"]},
        "shop": [{"id": row["merchant_id"]}],
        "money": {"value": round(row["amount"] * 100), "currency": row["currency"]},
        "at": instant_ms(row["occurred_at"]),
    }
    return orjson.dumps({"payload": {"before": None, "after": after, "op": "c"}})


def formats(folder: Path, registry: Registry) -> dict[str, Format]:
    (folder / "payment.avsc").write_text(json.dumps(AVRO))
    first = b"\0" + registry.register("avro-value", json.dumps(AVRO)).to_bytes(4, "big")
    second = b"\0" + registry.register("proto-value", PROTO, "PROTOBUF").to_bytes(4, "big") + b"\0"
    fields = {
        "transaction_id": "id",
        "card_id": "card.token",
        "merchant_id": "shop[0].id",
        "amount": "money.value",
        "currency": "money.currency",
        "occurred_at": "at",
    }
    deep = {
        "envelope": "debezium",
        "fields": fields,
        "formats": {"occurred_at": {"kind": "epoch", "unit": "ms"}, "amount": {"kind": "minor_units"}},
    }
    behind = {"encoding": {"kind": "json"}}
    of_file = {"encoding": {"kind": "avro", "file": str(folder / "payment.avsc")}}
    of_registry = {kind: {"encoding": {"kind": kind, "registry": registry.address}} for kind in ("avro", "protobuf")}
    headless = orjson.dumps({"payload": {"op": "c", "after": {"id": "x"}}})
    return {
        "json": Format({}, orjson.dumps, b'{"transaction_id": ', "value"),
        "header": Format(behind, lambda row: b"\0\0\0\0\7" + orjson.dumps(row), b"\0\0\0\0\7[]", "value"),
        "avro": Format(of_registry["avro"], lambda row: first + avro(row), first + b"\x02", "value"),
        "file": Format(of_file, avro, b"\xff\xff", "value"),
        "protobuf": Format(of_registry["protobuf"], lambda row: second + protobuf(row), second + b"\x0a\x7f", "value"),
        "nested": Format(deep, nested, headless, "occurred_at"),
    }


def rows(name: str) -> list[dict[str, Any]]:
    return [
        {
            "transaction_id": f"{name}-{at}",
            "occurred_at": f"2026-02-01T12:00:{at:02}Z",
            "card_id": f"card-{at % 5}",
            "merchant_id": "shop-1",
            "amount": 12.5 + at,
            "currency": "EUR",
        }
        for at in range(GOOD)
    ]


def test_every_format_in_every_codec_is_decided_but_for_its_bad_record(
    stack: Stack, models: Models, tmp_path: Path
) -> None:
    (tmp_path / "registry").mkdir()
    n = 0
    with Registry(tmp_path / "registry") as registry:
        every = formats(tmp_path, registry)
        for name, form in every.items():
            scorer = stack.start("scorer", "run", env={"SCORER_MAPPING": json.dumps(form.mapping)})
            for partition, codec in enumerate(CODECS):
                some: list[Row] = [
                    (row["card_id"].encode(), form.write(row), [("from", f"{name}-{codec}".encode())])
                    for row in rows(f"{name}-{codec}")
                ]
                some.insert(7, (b"card-0", form.bad, [("from", f"{name}-{codec}".encode())]))
                made = batch(some, codec)
                assert made[22] & 7 == CODECS[codec], "the batch is compressed"
                asyncio.run(send_batches(stack.settings(), "transactions", partition % 4, [made]))
                n += len(some)
            stack.until_settled(n)
            assert scorer.stop() == 0
    decided = {d["transaction"]["transaction_id"]: d for d in stack.decisions()}
    expected = {row["transaction_id"]: row for name in every for codec in CODECS for row in rows(f"{name}-{codec}")}
    assert decided.keys() == expected.keys()
    for name, row in expected.items():
        found = decided[name]["transaction"]
        assert instant_ms(found.pop("occurred_at")) == instant_ms(row.pop("occurred_at"))
        assert {field: found[field] for field in row} == row
        assert decided[name]["amount_minor"] == round(row["amount"] * 100)
    letters = [dict(record.headers) for record in stack.read("transactions.rejected")]
    told = Counter((letter["header.from"].decode(), letter["field"].decode()) for letter in letters)
    assert told == {(f"{name}-{codec}", form.field): 1 for name, form in every.items() for codec in CODECS}
    assert len(decided) + len(letters) == n == len(every) * len(CODECS) * (GOOD + 1)
