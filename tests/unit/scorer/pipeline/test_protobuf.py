"""Protobuf as its own library writes it, and what damaged and hostile bytes come to."""

from __future__ import annotations

import base64
import time
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.transactions import EUROS
from harness.varint import varint
from scorer.pipeline.avro import ITEMS, DamagedError
from scorer.pipeline.avro_schema import SchemaError
from scorer.pipeline.decode import decode
from scorer.pipeline.encoding import Encoding
from scorer.pipeline.mapping import FieldNames
from scorer.pipeline.protobuf import reader
from scorer.pipeline.transaction import Reading
from scorer.pipeline.view import Attribute
from scorer.pipeline.wire import Wire

pytest.importorskip("google.protobuf")
pytest.importorskip("grpc_tools")

PAYMENT = b"""
syntax = "proto3";
package com.bank;
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
import "com/bank/card.proto";
message Payment {
  string id = 1;
  google.protobuf.Timestamp at = 2;
  Card card = 3;
  google.protobuf.StringValue merchant = 4;
  double amount = 5;
  Currency currency = 6;
  optional int64 age = 7;
  bool recurring = 8;
  repeated string tags = 9;
  map<string, int64> more = 10;
  bytes raw = 11;
  float rate = 12;
  oneof kind { string mcc = 13; int32 code = 14; }
  Payment before = 15;
  map<bool, Card> cards = 16;
  repeated double numbers = 17;
  enum Currency { NONE = 0; EUR = 1; USD = 2; }
  message Other { string id = 1; message Deep { string id = 2; } }
}
message Second { string id = 1; }
"""
CARD = b'syntax = "proto3"; package com.bank; message Card { string token = 1; }'
FIELDS = {"transaction_id": "id", "occurred_at": "at", "card_id": "card.token", "merchant_id": "merchant"}
#: 2026-01-31 12:00 UTC.
NOON = 1769860800


@pytest.fixture(scope="module")
def files() -> bytes:
    from scorer.schemas.compiling import SchemaText, _descriptors

    return _descriptors(SchemaText(PAYMENT, (("com/bank/card.proto", CARD),)))


@pytest.fixture(scope="module")
def payment(files: bytes) -> Any:
    """The class of the message."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    found, pool = descriptor_pb2.FileDescriptorSet.FromString(files), descriptor_pool.DescriptorPool()
    for file in found.file:
        pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("com.bank.Payment"))


def test_a_message_is_as_json_has_it(files: bytes, payment: Any) -> None:
    message = payment(
        id="p1",
        at={"seconds": NOON, "nanos": 123_456_789},
        card={"token": "c1"},
        merchant={"value": "m1"},
        amount=12.5,
        currency=2,
        tags=["a", "b"],
        more={"x": 2**62},
        raw=b"\x04\xe2",
        rate=12.3,
        code=5411,
        before={"id": "p0"},
        cards={True: {"token": "t"}},
    )
    found = reader(files, has_indexes=True)(b"\x00" + message.SerializeToString(), 0)
    before = found.pop("before")
    assert found == {
        "id": "p1",
        "at": "2026-01-31T12:00:00.123Z",
        "card": {"token": "c1"},
        "merchant": "m1",
        "amount": 12.5,
        "currency": "USD",
        "recurring": False,
        "tags": ["a", "b"],
        "more": {"x": 2**62},
        "raw": "BOI=",
        "rate": 12.3,
        "code": 5411,
        "cards": {"true": {"token": "t"}},
        "numbers": [],
    }
    assert before["id"] == "p0"
    assert before["currency"] == "NONE"
    assert not before.keys() & {"at", "card", "merchant", "age", "mcc", "code", "before"}, "absent, with presence"


def test_the_indexes_before_a_message_choose_it(files: bytes) -> None:
    read = reader(files, has_indexes=True)
    text = b"\x0a\x01x"
    assert read(b"\x02\x02" + text, 0) == {"id": "x"}  # 1 index: the second message
    assert read(b"\x04\x00\x00" + text, 0) == {"id": "x"}  # 2 indexes: the first one's Other
    assert read(b"\x06\x00\x00\x00\x12\x01x", 0) == {"id": "x"}
    for bad in (b"", b"\x02", b"\x02\x08", b"\x04\x00\x09", b"\x01", b"\x80" * 9, b"\x50" * 60, b"\x02\x01"):
        with pytest.raises(DamagedError, match=r"^damaged: "):
            read(bad, 0)


def test_a_file_of_several_messages_needs_the_name_of_one(files: bytes) -> None:
    with pytest.raises(SchemaError, match=r"has 2 messages; name one as `message` \(com.bank.Payment, com.bank.Second"):
        reader(files)
    with pytest.raises(SchemaError, match="has no message Third; it has com"):
        reader(files, "Third")
    assert reader(files, "com.bank.Second")(b"\x0a\x01x", 0) == {"id": "x"}
    for bad in (b"", b"hello", files[: len(files) // 2], files[len(files) // 2 :]):
        with pytest.raises(SchemaError, match="is no descriptor set"):
            reader(bad)


texts = st.text(max_size=6)
payments = st.fixed_dictionaries(
    {
        "id": texts,
        "at": st.integers(-(10**9), 10**10),
        "card": texts,
        "merchant": st.none() | texts,
        "amount": st.floats(0, 1e6),
        "currency": st.sampled_from(["EUR", "USD"]),
        "age": st.none() | st.integers(-(2**63), 2**63 - 1),
        "recurring": st.booleans(),
        "tags": st.lists(texts, max_size=3),
        "raw": st.binary(max_size=5),
    }
)


@settings(max_examples=100, deadline=None)
@given(st.lists(payments, max_size=4))
def test_protobuf_and_json_of_a_record_are_the_same_transaction(files: bytes, payment: Any, rows: list[Any]) -> None:
    protobuf, bare = [], []
    for row in rows:
        codes = {"EUR": 1, "USD": 2}
        message = payment(**row | {"at": {"seconds": row["at"]}, "card": {"token": row["card"]}} | {
            "currency": codes[row["currency"]],
            "merchant": None if row["merchant"] is None else {"value": row["merchant"]},
        })  # fmt: skip
        protobuf.append(b"\0\0\0\0\x07\0" + message.SerializeToString())
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(row["at"]))
        as_json = row | {"at": f"{moment.zfill(19)}.000Z", "card": {"token": row["card"]}}
        as_json |= {"raw": base64.b64encode(row["raw"]).decode(), "more": {}, "rate": 0.0, "cards": {}, "numbers": []}
        bare.append(orjson.dumps({name: cell for name, cell in as_json.items() if cell is not None}))
    wire = Wire(Encoding(kind="protobuf", registry="http://127.0.0.1:1"), {7: reader(files, has_indexes=True)})
    attributes = (Attribute(name="age", kind="number"), Attribute(name="recurring", kind="boolean"))
    mapping = FieldNames.model_validate({"fields": FIELDS, "defaults": {"merchant_id": "-"}})
    one = decode(protobuf, Reading(EUROS, mapping, attributes, (), wire))
    other = decode(bare, Reading(EUROS, mapping, attributes))
    assert [(r.position, r.reason) for r in one.refusals] == [(r.position, r.reason) for r in other.refusals]
    assert list(map(orjson.loads, one.events.documents)) == list(map(orjson.loads, other.events.documents))
    assert one.events.occurred_ms.tolist() == other.events.occurred_ms.tolist()
    assert one.events.amount.tolist() == other.events.amount.tolist()


def within(n: int) -> bytes:
    """A payment within payments."""
    inner = b""
    for _ in range(n):
        inner = b"\x7a" + varint(len(inner)) + inner
    return inner


HOSTILE = {
    "deep": within(40),
    "deeper than any parser": within(5000),
    "groups": b"\xa3\x06" * 100_000,
    "endless length": b"\x0a" + varint(2**40),
    "negative length": b"\x0a" + b"\xff" * 9 + b"\x01",
    "field 0": b"\x02\x01x",
    "not UTF-8": b"\x0a\x02\xff\xfe",
    "many items": b"\x4a\x00" * (ITEMS + 1),
    "many numbers": b"\x8a\x01" + varint(8 * (ITEMS + 1)) + bytes(8 * (ITEMS + 1)),
    "cut": b"\x29" + bytes(7),
    "time beyond": b"\x12\x0a\x08" + varint(2**62),
    "fraction": b"\x12\x06\x10" + varint(2**31),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bytes_are_refused_at_once(files: bytes, name: str) -> None:
    read = reader(files, has_indexes=True)
    began = time.process_time()
    with pytest.raises(DamagedError, match=r"^damaged: "):
        read(b"\x00" + HOSTILE[name], 0)
    assert time.process_time() - began < 1


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=80))
def test_any_bytes_are_a_message_or_refused(files: bytes, value: bytes) -> None:
    read = reader(files, has_indexes=True)
    try:
        orjson.dumps(read(value, 0))
    except DamagedError:
        return


def test_what_a_schema_imports_stays_in_its_folder(tmp_path: Path) -> None:
    from scorer.schemas.compiling import SchemaText, compiled, of_file

    encoding = Encoding(kind="protobuf", registry="http://127.0.0.1:1")
    for name in ("../x.proto", "/etc/x.proto", "a/../../x.proto", "x\0.proto"):
        with pytest.raises(SchemaError, match="which is no name of a file"):
            compiled(SchemaText(CARD, ((name, CARD),)), encoding)
    with pytest.raises(SchemaError, match="does not compile"):
        compiled(SchemaText(b"message {"), encoding)
    with pytest.raises(SchemaError, match="does not compile"):
        compiled(SchemaText(PAYMENT), encoding)
    file = tmp_path / "card.proto"
    file.write_bytes(CARD)
    assert of_file(Encoding(kind="protobuf", file=str(file)))(b"\x0a\x01x", 0) == {"token": "x"}
