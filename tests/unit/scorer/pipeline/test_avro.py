"""Avro as `fastavro` writes it, read by our own reader; and what damaged and hostile bytes and schemas come to."""

from __future__ import annotations

import io
import json
import time
import tracemalloc
from contextlib import suppress
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.varint import zigzag
from scorer.pipeline.avro import ITEMS, DamagedError, reader
from scorer.pipeline.avro_schema import SchemaError

fastavro = pytest.importorskip("fastavro")

PLAIN = ["null", "boolean", "int", "long", "double", "string"]


def record(**fields: Any) -> dict[str, Any]:
    """A schema of a record with these fields."""
    return {"type": "record", "name": "T", "fields": [{"name": n, "type": kind} for n, kind in fields.items()]}


def written(schema: Any, row: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(json.loads(json.dumps(schema))), row)
    return out.getvalue()


def read(schema: Any, value: bytes) -> dict[str, Any]:
    return reader(orjson.dumps(schema))(value, 0)


def cells_of(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a type, as `fastavro` writes them and our reader must give them back."""
    if isinstance(kind, list):
        return st.one_of(*(cells_of(one) for one in kind))
    if isinstance(kind, dict):
        if kind["type"] == "array":
            return st.lists(cells_of(kind["items"]), max_size=4)
        if kind["type"] == "map":
            return st.dictionaries(st.text(max_size=4), cells_of(kind["values"]), max_size=4)
        if kind["type"] == "enum":
            return st.sampled_from(kind["symbols"])
        return st.fixed_dictionaries({one["name"]: cells_of(one["type"]) for one in kind["fields"]})
    return {
        "null": st.none(),
        "boolean": st.booleans(),
        "int": st.integers(-(2**31), 2**31 - 1),
        "long": st.integers(-(2**63), 2**63 - 1),
        "double": st.floats(allow_nan=False),
        "string": st.text(max_size=200),
    }[kind]


@st.composite
def schemas(draw: st.DrawFn) -> dict[str, Any]:
    """Schemas of records, with every name once."""
    names = iter(range(1000))

    def kind(depth: int) -> Any:
        chosen = draw(
            st.sampled_from(["plain"] * 6 + (["array", "map", "record", "union", "enum"] if depth < 3 else []))
        )
        if chosen == "plain":
            return draw(st.sampled_from(PLAIN[1:]))
        if chosen == "array":
            return {"type": "array", "items": kind(depth + 1)}
        if chosen == "map":
            return {"type": "map", "values": kind(depth + 1)}
        if chosen == "enum":
            return {
                "type": "enum",
                "name": f"N{next(names)}",
                "symbols": [f"s{i}" for i in range(draw(st.integers(1, 70)))],
            }
        if chosen == "record":
            return fields(depth + 1)
        # a number and a text are told apart by whoever writes them; two containers, or an int and a float, may not be
        number = draw(st.sampled_from(["long", "double"]))
        some = draw(st.lists(st.sampled_from(["boolean", number, "string"]), unique=True, max_size=3))
        return draw(st.permutations(["null", *some]))

    def fields(depth: int) -> dict[str, Any]:
        n = draw(st.integers(1, 6))
        return {
            "type": "record",
            "name": f"N{next(names)}",
            "fields": [{"name": f"f{i}", "type": kind(depth)} for i in range(n)],
        }

    return fields(0)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(st.data())
def test_what_fastavro_writes_is_read_as_it_was(data: st.DataObject) -> None:
    schema = data.draw(schemas())
    row = data.draw(cells_of(schema))
    found = read(schema, written(schema, row))
    assert orjson.dumps(found) == orjson.dumps(fastavro.schemaless_reader(io.BytesIO(written(schema, row)), schema))
    assert found == row


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_records_are_read_or_refused_and_nothing_else(data: st.DataObject) -> None:
    schema = data.draw(schemas())
    value = bytearray(written(schema, data.draw(cells_of(schema))))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(value)))
        change = data.draw(st.sampled_from(["cut", "flip", "add"]))
        if change == "cut":
            del value[at:]
        elif change == "flip" and at < len(value):
            value[at] ^= data.draw(st.integers(1, 255))
        else:
            value[at:at] = data.draw(st.binary(max_size=12))
    one = reader(orjson.dumps(schema))
    with suppress(DamagedError):
        assert isinstance(one(bytes(value), 0), dict)


#: Type, what is written, and what it is as JSON.
LOGICAL = [
    ({"type": "long", "logicalType": "timestamp-millis"}, 1769860800123, "2026-01-31T12:00:00.123Z"),
    ({"type": "long", "logicalType": "timestamp-millis"}, -1, "1969-12-31T23:59:59.999Z"),
    ({"type": "long", "logicalType": "timestamp-micros"}, 1769860800123456, "2026-01-31T12:00:00.123Z"),
    ({"type": "long", "logicalType": "timestamp-nanos"}, 1769860800123456789, "2026-01-31T12:00:00.123Z"),
    ({"type": "long", "logicalType": "local-timestamp-millis"}, 1769860800123, "2026-01-31T12:00:00.123"),
    ({"type": "long", "logicalType": "local-timestamp-micros"}, 1769860800123456, "2026-01-31T12:00:00.123"),
    ({"type": "int", "logicalType": "date"}, 20484, "2026-01-31"),
    ({"type": "int", "logicalType": "time-millis"}, 43_200_000, "12:00:00.000"),
    ({"type": "long", "logicalType": "time-micros"}, 43_200_000_001, "12:00:00.000"),
    ({"type": "string", "logicalType": "uuid"}, "9b2d3c54-0000-4000-8000-000000000001", None),
    ({"type": "long", "logicalType": "of-somebody"}, 7, 7),
    ("float", 12.3, 12.3),
    ("float", 16777216.0, 16777216.0),
    ("bytes", b"\x04\xe2", "BOI="),
    ({"type": "fixed", "name": "F", "size": 2}, b"\x04\xe2", "BOI="),
    ({"type": "enum", "name": "E", "symbols": ["web", "pos"]}, "pos", "pos"),
    (["null", {"type": "long", "logicalType": "timestamp-millis"}], 0, "1970-01-01T00:00:00.000Z"),
]


@pytest.mark.parametrize(("kind", "cell", "want"), LOGICAL)
def test_cells_are_as_json_has_them(kind: Any, cell: Any, want: Any) -> None:
    bare = json.loads(json.dumps(kind).replace("logicalType", "ignored"))
    assert read(record(x=kind, y="string"), written(record(x=bare, y="string"), {"x": cell, "y": "z"})) == {
        "x": cell if want is None else want,
        "y": "z",
    }


@pytest.mark.parametrize(
    ("amount", "precision", "scale", "want"),
    [("12.50", 9, 2, 12.5), ("-0.07", 9, 2, -0.07), ("1234", 9, 0, 1234), ("12345678901234567890", 30, 0, None)],
)
@pytest.mark.parametrize("is_fixed", [False, True])
def test_decimals_are_numbers(amount: str, precision: int, scale: int, want: Any, is_fixed: bool) -> None:
    kind: dict[str, Any] = {"type": "bytes"} if not is_fixed else {"type": "fixed", "name": "D", "size": 16}
    schema = record(x=kind | {"logicalType": "decimal", "precision": precision, "scale": scale})
    found = read(schema, written(schema, {"x": Decimal(amount)}))["x"]
    assert (found, type(found)) == ((amount, str) if want is None else (want, type(want)))


HOSTILE = {
    "negative length": (record(x="string"), zigzag(-5) + b"abc"),
    "endless length": (record(x="string"), zigzag(2**62) + b"abc"),
    "union below": (record(x=["null", "string"]), zigzag(-1) + zigzag(1) + b"a"),
    "union beyond": (record(x=["null", "string"]), zigzag(2) + zigzag(1) + b"a"),
    "union far beyond": (record(x=["null", "string"]), zigzag(2**40)),
    "enum below": (record(x={"type": "enum", "name": "E", "symbols": ["a", "b"]}), zigzag(-1)),
    "enum beyond": (record(x={"type": "enum", "name": "E", "symbols": ["a", "b"]}), zigzag(2)),
    "boolean of 2": (record(x="boolean"), b"\x02"),
    "two booleans of 2": (record(x="boolean", y="boolean"), b"\x01\x02"),
    "endless number": (record(x="long"), b"\xff" * 40 + b"\x01"),
    "number of 65 bits": (record(x="long"), b"\xff" * 9 + b"\x02"),
    "items without end": (record(x={"type": "array", "items": ["null"]}), zigzag(2**62) + bytes(100)),
    "negative items": (record(x={"type": "array", "items": "int"}), zigzag(-(2**63)) + zigzag(1) + bytes(9)),
    "too many items": (record(x={"type": "array", "items": "int"}), zigzag(ITEMS + 1) + bytes(ITEMS + 2)),
    "too many blocks": (record(x={"type": "array", "items": "int"}), (zigzag(1) + b"\x00") * 20_000 + b"\x00"),
    "too deep": (record(n=["null", "T"]), zigzag(1) * 260_000 + zigzag(0)),
    "deep lists": (
        {"type": "record", "name": "T", "fields": [{"name": "x", "type": {"type": "array", "items": "T"}}]},
        zigzag(1) * 260_000,
    ),
    "not UTF-8": (record(x="string"), zigzag(2) + b"\xff\xfe"),
    "surrogate": (record(x="string"), zigzag(3) + b"\xed\xa0\x80"),
    "cut": (record(x="double"), bytes(7)),
    "left over": (record(x="double"), bytes(9)),
    "nothing": (record(x="double"), b""),
    "time beyond": (record(x={"type": "long", "logicalType": "timestamp-millis"}), zigzag(2**62)),
    "day beyond": (record(x={"type": "int", "logicalType": "date"}), zigzag(2**30)),
    "hour beyond": (record(x={"type": "int", "logicalType": "time-millis"}), zigzag(86_400_000)),
    "decimal of nothing": (record(x={"type": "bytes", "logicalType": "decimal", "precision": 4}), zigzag(0)),
    "long decimal": (record(x={"type": "bytes", "logicalType": "decimal", "precision": 4}), zigzag(200) + bytes(200)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bytes_are_refused_at_once(name: str) -> None:
    schema, value = HOSTILE[name]
    one = reader(orjson.dumps(schema))
    tracemalloc.start()
    began = time.process_time()
    with pytest.raises(DamagedError, match=r"^damaged: "):
        one(value, 0)
    took, (_, peak) = time.process_time() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert took < 1
    assert peak < 8_000_000


def deep(n: int) -> Any:
    kind: Any = "int"
    for _ in range(n):
        kind = {"type": "array", "items": kind}
    return record(x=kind)


BAD_SCHEMAS = {
    "not JSON": (b"{", "is not JSON"),
    "no record": (b'"string"', "is no record"),
    "list of nulls": (orjson.dumps(record(x={"type": "array", "items": "null"})), "outside of a union"),
    "null field": (orjson.dumps(record(x="null")), "outside of a union"),
    "empty record": (orjson.dumps(record(x={"type": "record", "name": "E", "fields": []})), "outside of a union"),
    "no bytes": (orjson.dumps(record(x={"type": "fixed", "name": "E", "size": 0})), "outside of a union"),
    "unknown": (orjson.dumps(record(x="Card")), "nothing says what Card is"),
    "twice": (orjson.dumps(record(x=record(y="int"))), "T is there twice"),
    "two of one name": (orjson.dumps({**record(x="int"), "fields": [{"name": "x", "type": "int"}] * 2}), "one name"),
    "deep": (orjson.dumps(deep(150)), "nested deeper"),
    "large": (b" " * 1_000_001, "more than 1000000 bytes"),
    "many fields": (orjson.dumps(record(**{f"f{i}": "int" for i in range(6000)})), "more than 5000"),
    "no symbols": (orjson.dumps(record(x={"type": "enum", "name": "E", "symbols": []})), "no symbols"),
    "nested union": (orjson.dumps(record(x=["null", ["int"]])), "a union"),
    "a number": (orjson.dumps(record(x=3)), "neither a name nor an object"),
    "negative size": (orjson.dumps(record(x={"type": "fixed", "name": "E", "size": -1})), "no size"),
    "scale": (
        orjson.dumps(record(x={"type": "bytes", "logicalType": "decimal", "scale": 10**9})),
        "a scale that is none",
    ),
}


@pytest.mark.parametrize("name", BAD_SCHEMAS)
def test_schemas_that_nothing_can_be_read_with_say_why(name: str) -> None:
    schema, why = BAD_SCHEMAS[name]
    with pytest.raises(SchemaError, match=why):
        reader(schema)


def test_texts_of_a_schema_are_never_code() -> None:
    name = "x'\"]}\n__import__('os').abort()#\\"
    schema = {"type": "record", "name": name, "fields": [{"name": name, "type": "int"}]}
    assert read(schema, b"\x02") == {name: 1}
    schema = record(x={"type": "enum", "name": name, "symbols": [name, "b"]})
    assert read(schema, b"\x00") == {"x": name}


def test_names_are_looked_up_as_the_specification_says() -> None:
    card = {"type": "record", "name": "com.bank.Card", "fields": [{"name": "token", "type": "string"}]}
    other = {"type": "record", "name": "Card", "namespace": "org", "fields": [{"name": "n", "type": "int"}]}
    schema = {
        "type": "record",
        "name": "Payment",
        "namespace": "com.bank",
        "fields": [{"name": "card", "type": "Card"}, {"name": "other", "type": "org.Card"}],
    }
    one = reader(orjson.dumps(schema), [orjson.dumps(card), orjson.dumps(other)])
    assert one(b"\x02a\x04", 0) == {"card": {"token": "a"}, "other": {"n": 2}}


def test_a_type_within_a_type_is_read() -> None:
    assert read(record(x={"type": {"type": "string"}}), b"\x02a") == {"x": "a"}


def test_a_record_within_itself_is_read() -> None:
    schema = record(n="int", next=["null", "T"])
    row = {"n": 1, "next": {"n": 2, "next": {"n": 3, "next": None}}}
    assert read(schema, written(schema, row)) == row


@pytest.mark.parametrize(
    ("kind", "n", "value"),
    [
        ("boolean", 4990, b"\1"),
        ("float", 4990, bytes(4)),
        ("double", 4990, bytes(8)),
        ("long", 4990, b"\2"),
        ("string", 4990, b"\0"),
        (["null", "boolean"], 1660, b"\0"),
    ],
)
def test_a_schema_with_as_many_fields_as_may_be_is_read(kind: Any, n: int, value: bytes) -> None:
    found = read(record(**{f"f{i}": kind for i in range(n)}), value * n)
    assert len(found) == n
    assert len(set(map(repr, found.values()))) == 1


def test_booleans_that_are_read_at_once_are_all_checked() -> None:
    schema = record(**{f"f{i}": "boolean" for i in range(250)})
    for wrong in (0, 99, 100, 249):
        value = bytearray(b"\1" * 250)
        value[wrong] = 2
        with pytest.raises(DamagedError, match="a boolean is neither 0 nor 1"):
            read(schema, bytes(value))


def test_a_schema_with_as_many_branches_as_may_be_is_read() -> None:
    branches = [{"type": "record", "name": f"R{i}", "fields": [{"name": "x", "type": "int"}]} for i in range(2400)]
    assert read(record(a=["null", *branches]), zigzag(2400) + b"\2") == {"a": {"x": 1}}
