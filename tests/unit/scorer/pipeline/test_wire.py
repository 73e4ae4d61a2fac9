"""Records in Avro, Protobuf and JSON behind a header become what the same records become as bare JSON."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.batches import MODEL, NOTHING, NOW, RULES, a_value, incoming
from harness.transactions import EUROS, a_transaction
from scorer.pipeline import avro
from scorer.pipeline.avro import Read
from scorer.pipeline.card_states import CardStates
from scorer.pipeline.decode import Decoded, decode
from scorer.pipeline.encode import masked_letters
from scorer.pipeline.encoding import Encoding
from scorer.pipeline.mapping import FieldNames
from scorer.pipeline.settle import settle
from scorer.pipeline.transaction import LONGEST_VALUE, Reading
from scorer.pipeline.view import Attribute
from scorer.pipeline.wire import ONLY, Wire

fastavro = pytest.importorskip("fastavro")

ATTRIBUTES = (
    Attribute(name="mcc", kind="category", values=("5411", "fuel")),
    Attribute(name="age", kind="number"),
    Attribute(name="recurring", kind="boolean"),
)
CARD = {"type": "record", "name": "Card", "fields": [{"name": "token", "type": "string"}]}
#: Of a payment as a bank's services send it.
PAYMENT = {
    "type": "record",
    "name": "Payment",
    "namespace": "com.bank",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "card", "type": CARD},
        {"name": "merchant", "type": ["null", "string"], "default": None},
        {"name": "amount", "type": {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}},
        {"name": "currency", "type": {"type": "enum", "name": "Currency", "symbols": ["EUR", "USD"]}},
        {"name": "mcc", "type": ["null", "int", "string"]},
        {"name": "age", "type": ["null", "double"]},
        {"name": "recurring", "type": "boolean"},
        {"name": "tags", "type": {"type": "array", "items": "string"}},
        {"name": "more", "type": {"type": "map", "values": ["null", "long", "string"]}},
        {"name": "raw", "type": "bytes"},
    ],
}
FIELDS = {"transaction_id": "id", "occurred_at": "at", "card_id": "card.token", "merchant_id": "merchant"}
MAPPING = {"fields": FIELDS, "defaults": {"merchant_id": "-"}, "negative": "credit"}
REGISTRY = {"kind": "avro", "registry": "http://127.0.0.1:1"}
#: 2026-01-31 12:00 UTC.
NOON = 1769860800000


def header(number: int, n: int = 4) -> bytes:
    return b"\0" + number.to_bytes(n, "big")


def written(schema: Any, row: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(json.loads(json.dumps(schema))), row)
    return out.getvalue()


def wire(encoding: dict[str, Any], reads: dict[int, Read] | None = None) -> Wire:
    return Wire(Encoding.model_validate(encoding), reads or {})


def reading(wire: Wire | None, mapping: dict[str, Any] | None = None) -> Reading:
    section = {"encoding": wire and wire.encoding} | (MAPPING if mapping is None else mapping)
    return Reading(EUROS, FieldNames.model_validate(section), ATTRIBUTES, (), wire)


def same(one: Decoded, other: Decoded) -> None:
    """Both are the same events and refusals."""
    assert [(r.position, r.field, r.reason) for r in one.refusals] == [
        (r.position, r.field, r.reason) for r in other.refusals
    ]
    assert one.positions.tolist() == other.positions.tolist()
    for name in ("ids", "cards", "merchants", "documents"):
        assert getattr(one.events, name) == getattr(other.events, name)
    for name in ("occurred_ms", "amount", "minor"):
        np.testing.assert_array_equal(getattr(one.events, name), getattr(other.events, name))
    for name, column in one.events.attributes.items():
        np.testing.assert_array_equal(np.array(column), np.array(other.events.attributes[name]))


texts = st.text(max_size=8)
payments = st.fixed_dictionaries(
    {
        "id": st.text(min_size=0, max_size=130),
        "at": st.integers(-(10**12), 10**13),
        "card": st.fixed_dictionaries({"token": st.text(max_size=5)}),
        "merchant": st.none() | texts,
        "amount": st.decimals(-9999999, 9999999, places=2),
        "currency": st.sampled_from(["EUR", "USD"]),
        "mcc": st.none() | st.integers(0, 9999) | st.sampled_from(["fuel", ""]),
        "age": st.none() | st.floats(allow_infinity=False),
        "recurring": st.booleans(),
        "tags": st.lists(texts | st.sampled_from(["4111111111111111"]), max_size=3),
        "more": st.dictionaries(texts, st.none() | st.integers(-(2**63), 2**63 - 1) | texts, max_size=3),
        "raw": st.binary(max_size=9),
    }
)


def as_json(row: dict[str, Any], mapping: dict[str, Any]) -> bytes:
    """The same payment as a service that sends JSON writes it, which leaves out what has a default."""
    row = {str(one["name"]): row[one["name"]] for one in PAYMENT["fields"]}  # type: ignore[attr-defined,index]
    if row["merchant"] is None and "merchant_id" in mapping.get("defaults", {}):
        row = {name: cell for name, cell in row.items() if name != "merchant"}
    moment = np.datetime_as_string(np.datetime64(row["at"], "ms"), unit="ms")
    age = None if row["age"] is None or row["age"] != row["age"] else row["age"]
    return orjson.dumps(
        row
        | {"at": f"{moment}Z", "amount": float(row["amount"]), "age": age}
        | {"raw": base64.b64encode(row["raw"]).decode()}
    )


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(st.lists(payments, max_size=5), st.sampled_from([MAPPING, {"fields": {"transaction_id": "id"}}, {}]))
def test_avro_and_json_of_a_record_are_the_same_transaction(
    rows: list[dict[str, Any]], mapping: dict[str, Any]
) -> None:
    read = avro.reader(orjson.dumps(PAYMENT))
    avro_of = [header(7) + written(PAYMENT, row) for row in rows]
    found = decode(avro_of, reading(wire(REGISTRY, {7: read}), mapping))
    same(found, decode([as_json(row, mapping) for row in rows], reading(None, mapping)))


def test_a_payment_becomes_the_transaction_that_it_is() -> None:
    row = {"id": "p1", "at": NOON, "card": {"token": "c1"}, "merchant": None, "currency": "USD", "mcc": 5411}
    row |= {"age": float("nan"), "recurring": True, "tags": [], "more": {}, "raw": b"", "amount": Decimal("12.50")}
    value = header(7) + written(PAYMENT, row)
    found = decode([value], reading(wire(REGISTRY, {7: avro.reader(orjson.dumps(PAYMENT))})))
    assert found.refusals == []
    events = found.events
    assert (events.ids, events.cards, events.merchants) == (["p1"], ["c1"], ["-"])
    assert events.occurred_ms.tolist() == [NOON]
    assert events.amount.tolist() == [6.25]
    assert events.attributes["mcc"] == ["5411"]


def test_two_schemas_of_one_topic_are_read_each_by_its_own() -> None:
    old = {"type": "record", "name": "T", "fields": [{"name": name, "type": "string"} for name in ("id", "at")]}
    new = {**old, "fields": [{"name": "at", "type": "string"}, {"name": "note", "type": "string"}, old["fields"][0]]}
    both = wire(REGISTRY, {1: avro.reader(orjson.dumps(old)), 2: avro.reader(orjson.dumps(new))})
    mapping = {
        "fields": {"transaction_id": "id", "occurred_at": "at"},
        "defaults": {"card_id": "c", "merchant_id": "m", "amount": 1, "currency": "EUR", "age": 30},
    }
    row = {"id": "x", "at": "2026-01-31T12:00:00Z", "note": "n"}
    found = decode([header(1) + written(old, row), header(2) + written(new, row)], reading(both, mapping))
    assert (found.events.ids, found.refusals) == (["x", "x"], [])
    assert [orjson.loads(document).get("note") for document in found.events.documents] == [None, "n"]
    assert found.events.attributes["age"].tolist() == [30, 30]  # type: ignore[union-attr]


PLAIN = orjson.dumps(a_transaction(occurred_at="2026-01-31T12:00:00Z"))
JSON = {"kind": "json"}
BARE = "value: expected a zero byte and the id of a schema, found"
#: Encoding, value, and None or the refusal.
SHAPES: list[tuple[dict[str, Any], bytes | None, str | None]] = [
    (JSON, header(7) + PLAIN, None),
    (JSON, header(2**32 - 1) + PLAIN, None),
    (JSON, PLAIN, None),
    (JSON | {"header": "apicurio"}, header(7, 8) + PLAIN, None),
    (JSON | {"header": "none"}, PLAIN, None),
    (JSON, header(7), "value: not JSON"),
    (JSON, header(7)[:3], "value: not JSON"),
    (JSON, header(7) + b"[1]", "value: expected a JSON object, found list"),
    (JSON, header(7, 8) + PLAIN, "value: not JSON"),
    (JSON, b"", "value: not JSON"),
    (JSON, None, "value: expected a JSON object, found nothing"),
    (REGISTRY, None, "value: expected a record, found nothing"),
    (REGISTRY, b"", f"{BARE} 0 bytes"),
    (REGISTRY, PLAIN, f"{BARE} JSON"),
    (REGISTRY, header(7)[:4], f"{BARE} 4 bytes"),
    (REGISTRY, b"\x01" + header(7), f"{BARE} 6 bytes"),
    (REGISTRY, header(7), "value: damaged: ends too early"),
    (REGISTRY, header(8) + b"\x00", "schema: the registry has no schema 8"),
    (REGISTRY, header(9) + b"\x00", "schema: 9 was not asked for"),
    (REGISTRY, header(7, 8), "schema: 0 was not asked for"),
]


@pytest.mark.parametrize(("encoding", "value", "why"), SHAPES)
def test_every_shape_is_read_or_refused_by_its_reason(
    encoding: dict[str, Any], value: bytes | None, why: str | None
) -> None:
    one = wire(encoding, {7: avro.reader(orjson.dumps(PAYMENT))} if encoding["kind"] == "avro" else {})
    one.reasons[8] = "the registry has no schema 8"
    decoded = decode([value], reading(one, {}))
    if why is None:
        assert decoded.events.documents == [PLAIN]
    else:
        (refusal,) = decoded.refusals
        assert refusal.reason.startswith(why)
        assert refusal.field == why.partition(":")[0]


@pytest.mark.parametrize(
    ("encoding", "why"),
    [
        ({"kind": "avro"}, "needs either registry or file"),
        ({"kind": "avro", "registry": "http://127.0.0.1:1", "file": "x.avsc"}, "needs either registry or file"),
        ({"kind": "avro", "registry": "r:8081"}, "is no address"),
        ({"kind": "avro", "registry": "http://me:secret@r"}, "registry_password"),
        ({"kind": "avro", "registry": "http://127.0.0.1:1", "header": "none"}, "name file instead"),
        ({"kind": "avro", "file": "x", "message": "M"}, "remove it"),
        ({"kind": "json", "registry": "http://127.0.0.1:1"}, "without its schema"),
        ({"kind": "xml"}, "'json', 'avro' or 'protobuf'"),
        ({"kind": "avro", "registry": "http://127.0.0.1:1", "wait_seconds": 9999}, "600"),
    ],
)
def test_an_encoding_that_contradicts_itself_says_how_to_mend_it(encoding: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why) as told:
        Encoding.model_validate(encoding)
    assert "secret" not in str(told.value.errors(include_input=False))  # type: ignore[attr-defined]


SMALL = {
    "type": "record",
    "name": "T",
    "fields": [
        *({"name": n, "type": "string"} for n in a_transaction() if n != "amount"),
        {"name": "amount", "type": "double"},
        {"name": "n", "type": ["null", "long"]},
        {"name": "list", "type": {"type": "array", "items": "double"}},
        {"name": "own", "type": ["null", "T"]},
    ],
}


def small(**changes: Any) -> bytes:
    return written(SMALL, a_transaction(n=None, own=None, list=[]) | changes)


def test_what_is_beyond_the_limits_of_json_is_refused_in_the_same_way() -> None:
    plain = wire({"kind": "avro", "file": "x.avsc"}, {ONLY: avro.reader(orjson.dumps(SMALL))})
    within: dict[str, Any] | None = None
    for _ in range(40):
        within = a_transaction(n=1, own=within, list=[])
    long = [-1.2345678901234567e-300] * 9_999  # 8 bytes each, and 25 as JSON with its comma
    values = [small(), small(own=within), small(list=long), small(list=long, merchant_id="x" * 30_000)]
    found = decode(values, reading(plain, {}))
    assert found.positions.tolist() == [0, 2]
    told = [refusal.reason for refusal in found.refusals]
    assert told[0] == "value: damaged: nested deeper than 32 levels"
    assert told[1].endswith(f"bytes once read, at most {LONGEST_VALUE} expected")
    assert len(values[3] or b"") < LONGEST_VALUE
    wide = {"type": "record", "name": "T", "fields": [{"name": f"f{i}", "type": "boolean"} for i in range(2500)]}
    plain.reads[ONLY] = avro.reader(orjson.dumps(wide))
    (refusal,) = decode([bytes(2500)], reading(plain, {})).refusals
    assert refusal.reason == "value: more than 2000 fields; send those that are needed"


def test_no_card_number_passes_in_any_writing() -> None:
    number = "4111111111111111"
    plain = wire({"kind": "avro", "file": "x.avsc"}, {ONLY: avro.reader(orjson.dumps(SMALL))})
    whole = reading(plain, {})
    for value, name in ((small(card_id=number), "card_id"), (small(merchant_id=f"x {number}"), "merchant_id")):
        (refusal,) = decode([value], whole).refusals
        assert "looks like a card number" in refusal.reason
        (letter,) = masked_letters([b"c"], [value], whole).values()
        assert number.encode() not in (letter[1] or b"")
        assert "1111" in orjson.loads(letter[1] or b"")[name]
    assert masked_letters([b"c"], [small()], whole) == {}


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=60) | st.none(), max_size=20), st.booleans())
def test_any_bytes_are_dead_letters_that_name_no_fault_of_the_scorer(
    values: list[bytes | None], has_header: bool
) -> None:
    read = avro.reader(orjson.dumps(SMALL))
    one = wire(REGISTRY, {7: read}) if has_header else wire({"kind": "avro", "file": "x"}, {ONLY: read})
    values = [header(7) + value if value is not None and has_header else value for value in values] + [
        (header(7) if has_header else b"") + small()
    ]
    rules = replace(RULES, reading=replace(RULES.reading, wire=one))
    made = settle(incoming(values), CardStates(), NOTHING, MODEL, rules, NOW)
    assert len(made.decisions) + len(made.rejected) == len(values)
    assert "raised" not in made.fields
    assert len(made.decisions) >= 1
    for (_, kept), at in zip(made.rejected, range(len(values)), strict=False):
        assert kept is None or isinstance(kept, bytes), at


def test_decisions_of_avro_are_those_of_json_byte_for_byte() -> None:
    names = ("transaction_id", "occurred_at", "card_id", "merchant_id", "amount", "currency", "country")
    schema = {
        "type": "record",
        "name": "T",
        "fields": [{"name": name, "type": "double" if name == "amount" else "string"} for name in names],
    }
    values: list[bytes | None] = [a_value(i) for i in range(50)]
    rules = replace(RULES, reading=replace(RULES.reading, wire=wire(REGISTRY, {3: avro.reader(orjson.dumps(schema))})))
    avro_of: list[bytes | None] = [header(3) + written(schema, orjson.loads(value or b"")) for value in values]
    one = settle(incoming(values), CardStates(), NOTHING, MODEL, RULES, NOW)
    other = settle(incoming(avro_of), CardStates(), NOTHING, MODEL, rules, NOW)
    assert (one.decisions, one.states) == (other.decisions, other.states)
    assert len(one.decisions) == 50
