"""Records as payment companies have them: each becomes the right transaction, by settings alone, or a refusal."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.transactions import EUROS, a_transaction
from scorer.pipeline.decode import decode
from scorer.pipeline.mapping import FieldNames
from scorer.pipeline.transaction import Reading
from scorer.pipeline.view import Attribute

ATTRIBUTES = (
    Attribute(name="mcc", kind="category", values=("5411", "fuel")),
    Attribute(name="age", kind="number"),
    Attribute(name="recurring", kind="boolean"),
)
#: 2026-01-31 12:00 UTC.
NOON = 1769860800000
PLAIN = a_transaction(occurred_at="2026-01-31T12:00:00Z")


def reading(mapping: dict[str, Any] | None = None, *allowed: str) -> Reading:
    return Reading(EUROS, FieldNames.model_validate(mapping or {}), ATTRIBUTES, allowed)


def read(record: Any, mapping: dict[str, Any] | None = None) -> dict[str, Any]:
    """The only event of a record, and its document; it stands between two plain ones, which must not mind."""
    value = record if isinstance(record, bytes) else orjson.dumps(record)
    plain = orjson.dumps(PLAIN)
    decoded = decode([plain, value, plain], reading(mapping))
    assert decoded.refusals == []
    events = decoded.events
    assert events.ids[0] == events.ids[2] == "t1"
    assert b"\n" not in events.documents[1], "a decision is one line"
    document = orjson.loads(events.documents[1])
    assert document["transaction_id"] == events.ids[1]
    assert document["card_id"] == events.cards[1]
    return {
        "transaction_id": events.ids[1],
        "card_id": events.cards[1],
        "merchant_id": events.merchants[1],
        "ms": int(events.occurred_ms[1]),
        "amount": round(float(events.amount[1]), 9),
        **{name: column[1] for name, column in events.attributes.items()},
        "document": document,
    }


def refused(record: Any, mapping: dict[str, Any] | None = None) -> str:
    value = record if isinstance(record, bytes) else orjson.dumps(record)
    (refusal,) = decode([value], reading(mapping)).refusals
    return refusal.reason


TIME = {"formats": {"occurred_at": {"kind": "time", "zone": "Europe/Berlin"}}}
ROME = {"formats": {"occurred_at": {"kind": "time", "zone": "Europe/Rome", "pattern": "%d.%m.%Y %H:%M:%S"}}}


def epoch(unit: str) -> dict[str, Any]:
    return {"formats": {"occurred_at": {"kind": "epoch", "unit": unit}}}


@pytest.mark.parametrize(
    ("cell", "mapping", "ms"),
    [
        ("2026-01-31T12:00:00Z", None, NOON),
        ("2026-01-31t12:00:00z", None, NOON),
        ("2026-01-31 12:00:00Z", None, NOON),
        ("2026-01-31T13:00:00+01:00", None, NOON),
        ("2026-01-31T12:00:00.123456789Z", None, NOON + 123),
        ("2026-01-31T12:00Z", None, NOON),
        ("2026-01-31T12:00:00.000+0000", None, NOON),
        ("2026-01-31T13:00:00+0100", None, NOON),
        ("2026-01-31T07:00:00-0500", None, NOON),
        ("2026-01-31 12:00:00+00", None, NOON),
        ("2026-01-31 12:00:00.5+00", None, NOON + 500),
        ("2026-01-31 17:30:00+05:30", None, NOON),
        ("2026-01-31 12:00:00 +0000", None, NOON),
        ("2026-01-31 12:00:00 UTC", None, NOON),
        ("2026-01-31T13:00:00+01:00[Europe/Paris]", None, NOON),
        ("2026-01-31T12:00Z[UTC]", None, NOON),
        ("2026-01-31T12:00:00,250Z", None, NOON + 250),
        (NOON // 1000, None, NOON),
        (NOON, None, NOON),
        (NOON * 1000, None, NOON),
        (NOON * 1_000_000, None, NOON),
        (NOON / 1000 + 0.25, None, NOON + 250),
        (str(NOON // 1000), None, NOON),
        (str(NOON), None, NOON),
        (str(NOON * 1_000_000), None, NOON),
        ("1769860800.250", None, NOON + 250),
        (NOON // 1000, epoch("s"), NOON),
        (NOON, epoch("ms"), NOON),
        (str(NOON), epoch("ms"), NOON),
        (NOON * 1000, epoch("us"), NOON),
        (NOON * 1_000_000 + 999_999, epoch("ns"), NOON),
        (86_400, epoch("s"), 86_400_000),
        (-86_400, epoch("s"), -86_400_000),
        ("2026-01-31T12:00:00Z", epoch("ms"), NOON),
        ("2026-01-31T13:00:00", TIME, NOON),
        ("2026-01-31 13:00:00.5", TIME, NOON + 500),
        ("20260131T130000", TIME, NOON),
        ("2026-07-31T14:00:00", TIME, 1785499200000),
        ("2026-01-31T12:00:00Z", TIME, NOON),
        ("2026-10-25T02:30:00", TIME, int(datetime(2026, 10, 25, 0, 30, tzinfo=UTC).timestamp() * 1000)),
        ("31.01.2026 13:00:00", ROME, NOON),
        (NOON, TIME | {"formats": {"occurred_at": {"kind": "epoch", "unit": "ms"}}}, NOON),
    ],
)
def test_times(cell: Any, mapping: dict[str, Any] | None, ms: int) -> None:
    found = read(PLAIN | {"occurred_at": cell}, mapping)
    assert found["ms"] == ms
    text = found["document"]["occurred_at"].upper().replace("Z", "+00:00")
    assert int(datetime.fromisoformat(text).timestamp() * 1000) == ms, "as the decision says it"


@pytest.mark.parametrize(
    ("cell", "mapping"),
    [
        ("2026-01-31T12:00:00", None),
        ("2026-02-30T12:00Z", None),
        ("31/01/2026", None),
        ("tomorrow", None),
        (12, None),
        (NOON * 100, None),
        (True, None),
        (None, None),
        ([], None),
        ("13:00", TIME),
        ("31.13.2026 13:00:00", ROME),
        ("many", epoch("ms")),
        (10**18, epoch("s")),
        ("", epoch("ns")),
    ],
)
def test_what_is_no_time_is_refused(cell: Any, mapping: dict[str, Any] | None) -> None:
    assert refused(PLAIN | {"occurred_at": cell}, mapping).startswith("occurred_at: ")


def amounts(**form: Any) -> dict[str, Any]:
    return {"formats": {"amount": form}}


@pytest.mark.parametrize(
    ("cell", "mapping", "amount"),
    [
        (12.5, None, 12.5),
        (12, None, 12.0),
        ("12.50", amounts(kind="decimal"), 12.5),
        (" 12 ", amounts(kind="decimal"), 12.0),
        ("1,234.50", amounts(kind="decimal"), 1234.5),
        ("1.234,50", amounts(kind="decimal", comma=True), 1234.5),
        ("12,5", amounts(kind="decimal", comma=True), 12.5),
        (12.5, amounts(kind="decimal"), 12.5),
        (1250, amounts(kind="minor_units"), 12.5),
        ("1250", amounts(kind="minor_units"), 12.5),
        (12500, amounts(kind="minor_units", digits=3), 12.5),
        ("BOI=", amounts(kind="base64_decimal", scale=2), 12.5),
        (base64.b64encode((1250).to_bytes(8, "big")).decode(), amounts(kind="base64_decimal", scale=2), 12.5),
        ("AA==", amounts(kind="base64_decimal", scale=2), 0.0),
    ],
)
def test_amounts(cell: Any, mapping: dict[str, Any] | None, amount: float) -> None:
    found = read(PLAIN | {"amount": cell}, mapping)
    assert found["amount"] == amount
    assert found["document"]["amount"] == amount


def test_minor_units_are_those_of_the_currency() -> None:
    yen = Reading(
        type(EUROS).model_validate({"currency": "JPY", "rates": {"KWD": {"2020-01-01": 1.0}}}),
        FieldNames.model_validate(amounts(kind="minor_units")),
    )
    values = [orjson.dumps(PLAIN | {"amount": 1250, "currency": code}) for code in ("JPY", "jpy", "KWD")]
    assert decode(values, yen).events.amount.tolist() == [1250.0, 1250.0, 1.25]


@pytest.mark.parametrize(
    ("cell", "mapping"),
    [
        ("12.50", None),
        ("12.50.1", amounts(kind="decimal")),
        ("1,2,3", amounts(kind="decimal")),
        ("1,23.5", amounts(kind="decimal")),
        ("1 23.5", amounts(kind="decimal")),
        ("1 234'567", amounts(kind="decimal")),
        ("12 34", amounts(kind="decimal")),
        ("-12", amounts(kind="decimal")),
        ("NaN", amounts(kind="decimal")),
        ("1e5", amounts(kind="decimal")),
        (True, amounts(kind="minor_units")),
        (-1250, amounts(kind="minor_units")),
        ("=BOI", amounts(kind="base64_decimal", scale=2)),
        ("", amounts(kind="base64_decimal", scale=2)),
        ("+x4=", amounts(kind="base64_decimal", scale=2)),
        ({"value": 1}, None),
        (None, None),
    ],
)
def test_what_is_no_amount_is_refused(cell: Any, mapping: dict[str, Any] | None) -> None:
    assert refused(PLAIN | {"amount": cell}, mapping).startswith("amount: ")


@pytest.mark.parametrize(
    ("name", "cell", "want"),
    [
        ("transaction_id", 123456789, "123456789"),
        ("transaction_id", "000123", "000123"),
        ("transaction_id", 2**53 + 1, str(2**53 + 1)),
        ("card_id", 42, "42"),
        ("merchant_id", 7.0, "7"),
        ("mcc", 5411, "5411"),
        ("mcc", 5411.0, "5411"),
        ("mcc", True, "true"),
        ("recurring", 0, False),
        ("recurring", 1, True),
        ("recurring", "true", True),
        ("recurring", "No", False),
        ("recurring", "Y", True),
        ("recurring", "", None),
        ("age", "3.5", 3.5),
        ("age", "1e3", 1000.0),
    ],
)
def test_cells_of_other_types(name: str, cell: Any, want: Any) -> None:
    found = read(PLAIN | {name: cell})
    assert found[name] == want
    assert type(found[name]) is type(want) or isinstance(want, float)
    assert found["document"][name] == want


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("transaction_id", 1.5),
        ("transaction_id", True),
        ("card_id", None),
        ("card_id", {"token": "x"}),
        ("card_id", ""),
        ("recurring", 2),
        ("recurring", "maybe"),
        ("age", "old"),
        ("age", "0x10"),
        ("age", "1_000"),
        ("mcc", ["5411"]),
        ("mcc", 5.5),
        ("currency", "euro"),
        ("currency", 978),
        ("card_id", 4111111111111111),
    ],
)
def test_cells_that_have_no_one_meaning_are_refused(name: str, cell: Any) -> None:
    told = refused(PLAIN | {name: cell})
    assert told.startswith(f"{name}: ") or "card number" in told
    assert "4111" not in told


def test_currencies() -> None:
    assert read(PLAIN | {"currency": "eur"})["document"]["currency"] == "EUR"
    words = {"formats": {"currency": {"kind": "words", "words": {"978": "EUR"}}}}
    for cell in ("978", 978, "EUR"):
        assert read(PLAIN | {"currency": cell}, words)["document"]["currency"] == "EUR"
    without = {name: cell for name, cell in PLAIN.items() if name != "currency"}
    assert read(without, {"defaults": {"currency": "EUR"}})["document"]["currency"] == "EUR"


INNER = {name: cell for name, cell in PLAIN.items() if name != "card_id"}


@pytest.mark.parametrize(
    ("record", "mapping"),
    [
        ({"schema": {"type": "struct"}, "payload": PLAIN}, {"envelope": "connect"}),
        ({"before": None, "after": PLAIN, "op": "c", "ts_ms": NOON}, {"envelope": "debezium"}),
        ({"after": PLAIN, "op": "r"}, {"envelope": "debezium"}),
        ({"schema": {}, "payload": {"after": PLAIN, "op": "c"}}, {"envelope": "debezium"}),
        ({"specversion": "1.0", "id": "e", "data": PLAIN}, {"envelope": "cloudevents"}),
        ({"event": {"body": PLAIN}}, {"envelope": "event.body"}),
        ({"events": [PLAIN]}, {"envelope": "events[0]"}),
        (PLAIN, {"envelope": "connect"}),
        (PLAIN, {"envelope": "debezium"}),
        (INNER | {"card": {"token": "card-1"}}, {"fields": {"card_id": "card.token"}}),
        (INNER | {"cards": [{"id": "x"}, {"id": "card-1"}]}, {"fields": {"card_id": "cards[1].id"}}),
        (INNER | {"card.token": "card-1"}, {"fields": {"card_id": "card.token"}}),
        (INNER | {"card.token": "card-1", "card": {"token": "no"}}, {"fields": {"card_id": "card.token"}}),
        ({"meta": {"card": "card-1"}, "data": INNER}, {"envelope": "data", "fields": {"card_id": "$.meta.card"}}),
        (INNER | {"PAN_TOKEN": "card-1"}, {"fields": {"card_id": "PAN_TOKEN"}}),
        (INNER | {"card_id": "stray", "PAN_TOKEN": "card-1"}, {"fields": {"card_id": "PAN_TOKEN"}}),
        ({"PAN_TOKEN": "card-1", **INNER, "card_id": "stray"}, {"fields": {"card_id": "PAN_TOKEN"}}),
        (INNER | {"card_id": "stray", "card": {"token": "card-1"}}, {"fields": {"card_id": "card.token"}}),
        (PLAIN, {"fields": {"card_id": "card.token"}}),
    ],
)
def test_envelopes_and_paths(record: dict[str, Any], mapping: dict[str, Any]) -> None:
    found = read(record, mapping)
    assert (found["transaction_id"], found["card_id"], found["ms"], found["amount"]) == ("t1", "card-1", NOON, 12.5)


def test_one_source_field_may_serve_two_of_ours_and_outer_fields_one() -> None:
    record = {"id": "t9", "ts_ms": NOON, "op": "c", "after": {"n": "x7", **PLAIN}}
    mapping = {
        "envelope": "debezium",
        "fields": {"transaction_id": "n", "merchant_id": "n", "occurred_at": "$.ts_ms"},
    }
    found = read(record, mapping)
    assert (found["transaction_id"], found["merchant_id"], found["ms"]) == ("x7", "x7", NOON)


def test_an_amount_with_its_currency() -> None:
    record = PLAIN | {"amount": {"value": "12.50", "currency": "EUR"}}
    mapping = {"fields": {"amount": "amount.value", "currency": "amount.currency"}, **amounts(kind="decimal")}
    assert read(record, mapping)["amount"] == 12.5


@pytest.mark.parametrize(
    ("record", "mapping", "told"),
    [
        ({"before": PLAIN, "after": None, "op": "d"}, {"envelope": "debezium"}, "op: a deletion"),
        ({"before": PLAIN, "after": PLAIN, "op": "u"}, {"envelope": "debezium"}, "op: an update"),
        ({"after": PLAIN, "op": 7}, {"envelope": "debezium"}, "op: unknown"),
        ({"after": "x", "op": "c"}, {"envelope": "debezium"}, "after: expected an object"),
        ({"payload": [1]}, {"envelope": "connect"}, "payload: expected an object"),
        ({"data": None}, {"envelope": "cloudevents"}, "data: expected an object"),
        ({"payload": PLAIN | {"note": "4111-1111-1111-1111"}}, {"envelope": "connect"}, "card number"),
        (
            {"payload": PLAIN | {"card_id": "4111-1111-1111-1111"}},
            {"envelope": "connect"},
            "card_id: looks like a card",
        ),
        (INNER | {"card": {"token": "4111 1111 1111 1111"}}, {"fields": {"card_id": "card.token"}}, "card number"),
        (INNER | {"card": {}}, {"fields": {"card_id": "card.token"}}, "card_id: Field required"),
        (INNER | {"cards": {"0": 1}}, {"fields": {"card_id": "cards[0]"}}, "card_id: Field required"),
    ],
)
def test_what_is_in_no_envelope_is_refused(record: dict[str, Any], mapping: dict[str, Any], told: str) -> None:
    assert told in refused(record, mapping)
    assert "4111" not in refused(record, mapping)


def test_ids_of_an_envelope_may_look_like_card_numbers_where_the_settings_say_so() -> None:
    rules = reading({"envelope": "connect"}, "transaction_id")
    record = {"payload": PLAIN | {"transaction_id": "4111111111111111"}}
    assert decode([orjson.dumps(record)], rules).events.ids == ["4111111111111111"]


@pytest.mark.parametrize(
    "value",
    [
        b"\xef\xbb\xbf" + orjson.dumps(PLAIN),
        orjson.dumps(PLAIN, option=orjson.OPT_INDENT_2),
        json.dumps(PLAIN, indent=1).replace("\n", "\r\n").encode(),
        json.dumps(PLAIN | {"age": float("nan")}).encode(),
        json.dumps(PLAIN | {"age": float("-inf"), "x": [float("nan")]}).encode(),
        json.dumps(PLAIN, ensure_ascii=True).encode(),
        b" " + orjson.dumps(PLAIN) + b" ",
    ],
    ids=["BOM", "several lines", "CRLF", "NaN", "infinity", "ASCII", "blanks"],
)
def test_json_as_others_write_it(value: bytes) -> None:
    found = read(value)
    assert (found["card_id"], found["ms"]) == ("card-1", NOON)
    assert found["age"] != found["age"], "no age"


def test_the_last_of_two_equal_keys_counts() -> None:
    assert read(b'{"card_id":"x",\n' + orjson.dumps(PLAIN)[1:])["card_id"] == "card-1"


@pytest.mark.parametrize("value", [b"\xef\xbb\xbf", b"\xef\xbb\xbf[]", b"NaN", b"[NaN]", b'{"a":NaN', b"{'a':1}"])
def test_what_is_no_json_to_anybody_is_refused(value: bytes) -> None:
    assert refused(value).startswith("value: ")


def test_a_card_number_is_found_whatever_the_json_is_like() -> None:
    for value in (
        b"\xef\xbb\xbf" + orjson.dumps(PLAIN | {"card_id": "4111 1111 1111 1111"}),
        json.dumps(PLAIN | {"note": "4111111111111111", "age": float("nan")}).encode(),
        json.dumps(PLAIN | {"note": "4111.1111.1111.1111"}, indent=2).encode(),
    ):
        assert "card number" in refused(value)


@pytest.mark.parametrize(
    "mapping",
    [
        {"envelope": "a..b"},
        {"envelope": "."},
        {"envelope": "a["},
        {"formats": {"amount": {"kind": "decimals"}}},
        {"formats": {"occurred_at": {"kind": "time", "zone": "Mars/Base"}}},
        {"formats": {"occurred_at": {"kind": "epoch", "unit": "weeks"}}},
        {"formats": {"occurred_at": {"kind": "time", "pattern": "%d.%m.%Q"}}},
        {"formats": {"occurred_at": {"kind": "time", "pattern": "%Y%"}}},
        {"formats": {"amount": {"kind": "base64_decimal"}}},
        {"envelop": "connect"},
    ],
)
def test_a_mapping_that_makes_no_sense_is_refused(mapping: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"path|kind|zone|unit|scale|envelop|pattern"):
        FieldNames.model_validate(mapping)


names = st.sampled_from([*PLAIN, "mcc", "age", "recurring", "x", "card", "payload"])
cells = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**62)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(names, cells, max_size=5),
    st.sampled_from(
        [
            {"envelope": "connect"},
            {"envelope": "debezium", "fields": {"card_id": "card.token"}},
            {"fields": {"card_id": "card.card_id", "amount": "x"}, **amounts(kind="decimal")},
            {"fields": {"mcc": "x"}, "defaults": {"merchant_id": "-"}, "drop": ("age",)},
            TIME,
        ]
    ),
)
def test_decoding_by_a_mapping_is_plain_decoding_of_the_mapped_record(
    change: dict[str, Any], mapping: dict[str, Any]
) -> None:
    record = PLAIN | change
    if "payload" not in change and mapping.get("envelope") == "connect":
        record = {"payload": record}
    rules = reading(mapping)
    decoded = decode([orjson.dumps(record)], rules)
    try:
        ours = orjson.loads(orjson.dumps(rules.mapping.apply(record)))
    except ValueError:
        assert len(decoded.refusals) == 1
        return
    plain = decode([orjson.dumps(ours)], reading())
    assert decoded.positions.tolist() == plain.positions.tolist()
    assert [r.reason for r in decoded.refusals] == [r.reason for r in plain.refusals]
    assert list(map(orjson.loads, decoded.events.documents)) == list(map(orjson.loads, plain.events.documents))


def test_a_field_that_serves_two_of_ours_may_hold_what_both_may() -> None:
    for fields in ({"transaction_id": "n", "merchant_id": "n"}, {"merchant_id": "n", "transaction_id": "n"}):
        for envelope in (None, "connect"):
            inner = PLAIN | {"n": "4111111111111111"}
            value = orjson.dumps(inner if envelope is None else {"payload": inner})
            mapping = {"fields": fields, "envelope": envelope}
            (refusal,) = decode([value], reading(mapping, "transaction_id")).refusals
            assert refusal.field == "merchant_id"
            assert decode([value], reading(mapping, "transaction_id", "merchant_id", "n")).refusals == []


def test_what_may_be_in_a_field_of_ours_may_not_be_in_one_of_theirs_of_that_name() -> None:
    """Their card_id is our transaction_id, which may look like a card number; our card_id may not."""
    mapping = {"envelope": "connect", "fields": {"transaction_id": "card_id", "card_id": "token"}}
    record = {"payload": PLAIN | {"card_id": "t-77", "token": "4111111111111111"}}
    (refusal,) = decode([orjson.dumps(record)], reading(mapping, "transaction_id")).refusals
    assert refusal.field == "card_id"
