"""A mapping is proposed that makes transactions of records as companies have them; each value is written by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from harness.transactions import EUROS
from scorer.pipeline.cells import CURRENCIES
from scorer.pipeline.decode import decode
from scorer.pipeline.likeness import rank
from scorer.pipeline.mapping import FieldNames
from scorer.pipeline.origin import Headers, Origin
from scorer.pipeline.proposal import Given, Proposal, propose
from scorer.pipeline.transaction import Reading
from scorer.pipeline.view import Attribute

#: 2026-01-31 12:00 UTC.
NOON = 1769860800000
PLAIN: dict[str, Any] = {
    "transaction_id": "t1",
    "occurred_at": "2026-01-31T12:00:00Z",
    "card_id": "tok-1",
    "merchant_id": "m1",
    "amount": 12.5,
    "currency": "EUR",
}
ATTRIBUTES = (
    Attribute(name="country", kind="category", values=("DE", "FR")),
    Attribute(name="merchant_category", kind="category", values=("fuel", "5541")),
    Attribute(name="cross_border", kind="boolean"),
    Attribute(name="device_age_days", kind="number"),
)


def a_record(**changes: Any) -> dict[str, Any]:
    """A plain one; a change to None leaves the field out."""
    return {name: cell for name, cell in (PLAIN | changes).items() if cell is not None}


def given_of(record: Any, key: bytes | None = None, headers: Headers = ()) -> Given:
    value = record if isinstance(record, bytes | None) else orjson.dumps(record)
    return Given(value, Origin(key, headers, NOON))


def become(records: list[Given], found: Proposal, *attributes: Attribute) -> list[tuple[str, str, str, int, float]]:
    """Id, card, merchant, time and amount of each transaction that the proposal makes."""
    mapping = FieldNames.model_validate(yaml.safe_load(yaml.safe_dump(found.section)))
    decoded = decode(
        [one.value for one in records],
        Reading(EUROS, mapping, attributes),
        [one.origin.key for one in records],
        [one.origin.headers for one in records],
        np.array([one.origin.timestamp_ms for one in records]),
    )
    events = decoded.events
    return [
        *zip(
            events.ids, events.cards, events.merchants, events.occurred_ms.tolist(), events.amount.tolist(), strict=True
        )
    ]


WANT = ("t1", "tok-1", "m1", NOON, 12.5)
ISO8583 = {
    "retrievalReferenceNumber": "t1", "transmissionDateTime": "2026-01-31T12:00:00Z", "panToken": "tok-1",
    "cardAcceptor": {"id": "m1", "name": "Shop", "country": "DE"}, "transactionAmount": 12.5, "currencyCode": "978",
}  # fmt: skip
NESTED = {
    "payment": {
        "id": "t1", "createdAt": NOON, "amount": {"value": "12.50", "currency": "EUR"},
        "card": {"token": "tok-1", "brand": "visa"}, "merchant": {"id": "m1", "name": "Shop", "mcc": 5541},
    }
}  # fmt: skip


@pytest.mark.parametrize(
    ("record", "section"),
    [
        (a_record(), {}),
        (a_record(occurred_at=NOON), {"formats": {"occurred_at": {"kind": "epoch", "unit": "ms"}}}),
        (a_record(occurred_at=str(NOON // 1000)), {"formats": {"occurred_at": {"kind": "epoch", "unit": "s"}}}),
        (a_record(occurred_at=NOON * 1000), {"formats": {"occurred_at": {"kind": "epoch", "unit": "us"}}}),
        (a_record(occurred_at="2026-01-31T12:00:00"), {"formats": {"occurred_at": {"kind": "time", "zone": "UTC"}}}),
        (a_record(occurred_at="2026-01-31 12:00:00.000000+00"), {}),
        (a_record(occurred_at="2026-01-31T12:00:00.000+0000"), {}),
        (
            a_record(occurred_at="31.01.2026 12:00:00"),
            {"formats": {"occurred_at": {"kind": "time", "zone": "UTC", "pattern": "%d.%m.%Y %H:%M:%S"}}},
        ),
        (
            a_record(occurred_at="01/31/2026 12:00"),
            {"formats": {"occurred_at": {"kind": "time", "zone": "UTC", "pattern": "%m/%d/%Y %H:%M"}}},
        ),
        (a_record(amount="12.50"), {"formats": {"amount": {"kind": "decimal"}}}),
        (a_record(amount="12,50"), {"formats": {"amount": {"kind": "decimal", "comma": True}}}),
        (a_record(amount=1250), {"formats": {"amount": {"kind": "minor_units"}}}),
        (a_record(amount="1250"), {"formats": {"amount": {"kind": "minor_units"}}}),
        (
            a_record(amount=None, amount_in_cents=1250),
            {"fields": {"amount": "amount_in_cents"}, "formats": {"amount": {"kind": "minor_units"}}},
        ),
        (a_record(amount="BOI="), {"formats": {"amount": {"kind": "base64_decimal", "scale": 2}}}),
        (
            a_record(amount={"value": "12.50", "currency": "EUR"}, currency=None),
            {
                "fields": {"amount": "amount.value", "currency": "amount.currency"},
                "formats": {"amount": {"kind": "decimal"}},
            },
        ),
        (a_record(currency="eur"), {}),
        (a_record(currency=978), {"formats": {"currency": {"kind": "words", "words": {"978": "EUR"}}}}),
        (a_record(currency=None), {"defaults": {"currency": "EUR"}}),
        (a_record(card_id=None, card={"token": "tok-1", "type": "debit"}), {"fields": {"card_id": "card.token"}}),
        (a_record(merchant_id=None, merchant={"id": "m1", "name": "n"}), {"fields": {"merchant_id": "merchant.id"}}),
        (a_record(transaction_id=None, txnId="t1"), {"fields": {"transaction_id": "txnId"}}),
        (a_record(transaction_id=None, id="t1"), {"fields": {"transaction_id": "id"}}),
        (a_record(amount=None, amt=12.5, amount_type="sale"), {"fields": {"amount": "amt"}}),
        (a_record(amount=None, amount_eur=12.5), {"fields": {"amount": "amount_eur"}}),
        (a_record(merchant_id=None, ends=[{"merchantId": "m1"}]), {"fields": {"merchant_id": "ends[0].merchantId"}}),
        ({"schema": {"type": "struct"}, "payload": PLAIN}, {"envelope": "connect"}),
        ({"before": None, "after": PLAIN, "op": "c", "ts_ms": NOON + 1}, {"envelope": "debezium"}),
        ({"schema": {}, "payload": {"after": PLAIN, "op": "r", "source": {}}}, {"envelope": "debezium"}),
        (
            {"after": a_record(occurred_at=None), "op": "c", "ts_ms": NOON, "source": {"ts_ms": 1, "table": "x"}},
            {
                "envelope": "debezium",
                "fields": {"occurred_at": "$.ts_ms"},
                "formats": {"occurred_at": {"kind": "epoch", "unit": "ms"}},
            },
        ),
        (
            {
                "specversion": "1.0", "type": "paid", "source": "x", "id": "t1", "time": "2026-01-31T12:00:00Z",
                "data": a_record(transaction_id=None, occurred_at=None),
            },
            {"envelope": "cloudevents", "fields": {"occurred_at": "$.time", "transaction_id": "$.id"}},
        ),
        (
            ISO8583,
            {
                "fields": {
                    "amount": "transactionAmount",
                    "card_id": "panToken",
                    "currency": "currencyCode",
                    "merchant_id": "cardAcceptor.id",
                    "occurred_at": "transmissionDateTime",
                    "transaction_id": "retrievalReferenceNumber",
                },
                "formats": {"currency": {"kind": "words", "words": {"978": "EUR"}}},
            },
        ),
        (
            NESTED,
            {
                "envelope": "payment",
                "fields": {
                    "amount": "amount.value",
                    "card_id": "card.token",
                    "currency": "amount.currency",
                    "merchant_id": "merchant.id",
                    "occurred_at": "createdAt",
                    "transaction_id": "id",
                },
                "formats": {"amount": {"kind": "decimal"}, "occurred_at": {"kind": "epoch", "unit": "ms"}},
            },
        ),
    ],
)  # fmt: skip
def test_a_record_is_recognised(record: dict[str, Any], section: dict[str, Any]) -> None:
    records = [given_of(record)] * 3
    found = propose(records)
    assert found.section == section
    assert become(records, found) == [WANT] * 3


def test_a_merchant_that_nobody_names_is_a_dash() -> None:
    records = [given_of(a_record(merchant_id=None))]
    found = propose(records)
    assert found.section == {"defaults": {"merchant_id": "-"}}
    assert become(records, found) == [("t1", "tok-1", "-", NOON, 12.5)]
    assert found.checks == ["defaults.merchant_id: no field looks like the merchant; '-' stands for none"]


def test_key_headers_and_timestamp_stand_in_for_what_the_value_has_not() -> None:
    inner = a_record(occurred_at=None, card_id=None, merchant_id=None)
    records = [given_of(inner, b"tok-1", [("merchant-id", b"m1"), ("traceparent", b"x")])] * 2
    found = propose(records)
    assert found.section == {
        "fields": {"merchant_id": "$header.merchant-id", "occurred_at": "$timestamp", "card_id": "$key"}
    }
    assert become(records, found) == [WANT] * 2
    of_file = propose([Given(orjson.dumps(inner))], is_topic=False)
    assert "fields" not in of_file.section, "a file has no keys and timestamps"
    assert sum(check.endswith("no field looks like it; name one") for check in of_file.checks) == 2


def test_an_event_in_binary_mode_is_recognised() -> None:
    headers = [("ce_specversion", b"1.0"), ("ce_id", b"t1"), ("ce_time", b"2026-01-31T12:00:00Z"), ("ce_type", b"paid")]
    records = [given_of(a_record(transaction_id=None, occurred_at=None), b"tok-1", headers)]
    found = propose(records)
    assert found.section == {
        "envelope": "cloudevents",
        "fields": {"occurred_at": "$.time", "transaction_id": "$.id"},
    }
    assert become(records, found) == [WANT]


def test_changes_and_tombstones_among_the_records_are_passed_over() -> None:
    records = [
        given_of({"op": "c", "after": PLAIN}),
        given_of({"op": "d", "before": PLAIN, "after": None}),
        given_of(None),
    ]
    found = propose(records)
    assert found.section == {"envelope": "debezium", "changes": "skip"}
    assert become(records, found) == [WANT]
    assert propose([given_of(PLAIN), given_of(None)]).section == {"changes": "skip"}


def test_attributes_of_the_view_are_found_by_their_names() -> None:
    record = a_record(shop={"Country": "DE"}, merchantCategory=5541, crossBorder=1, device={"age_days": 3})
    records = [given_of(record)]
    found = propose(records, ATTRIBUTES)
    assert (
        found.section
        == {
            "fields": {
                "merchant_category": "merchantCategory",
                "cross_border": "crossBorder",
                "country": "shop.Country",
                "device_age_days": "device.age_days",
            }
        }
        | {}
    )
    (row,) = become(records, found, *ATTRIBUTES)
    assert row == WANT


def test_what_a_person_should_check_is_said() -> None:
    told = propose([given_of(a_record(amount=-12.5)), given_of(PLAIN)]).checks
    assert told == ["1 amounts are negative, and refused: set `negative` to `refund` or `credit`"]
    told = propose([given_of(a_record(amount_eur=3))]).checks
    assert told == ["fields.amount: taken from amount; amount_eur is like it, too"]
    told = propose([given_of(a_record(country="Germany"))], ATTRIBUTES).checks
    assert told == ["country: the feature view lists no Germany; translate it with formats, or list it"]
    told = propose([given_of(b"\x00\x00\x00\x00\x07{}")]).checks
    began = "encoding: 1 values begin with a schema id (7); "
    assert told == [f"{began}they are JSON behind it: set mapping.encoding to {{kind: json}}, and try again"]
    told = propose([given_of(b"\x00\x00\x00\x00\x07\x02a")]).checks
    assert told == [f"{began}set mapping.encoding to {{kind: avro, registry: URL}}, or kind: protobuf, and try again"]
    (told_time,) = propose([given_of(a_record(occurred_at="03/04/2026"))]).checks
    assert "write %m/%d/%Y if it is the other way round" in told_time


@pytest.mark.parametrize(
    ("ours", "path"),
    [
        ("card_id", ("merchant", "id")),
        ("transaction_id", ("merchant", "id")),
        ("transaction_id", ("card", "id")),
        ("amount", ("card", "value")),
        ("merchant_id", ("merchant_category",)),
        ("card_id", ("card_type",)),
        ("amount", ("discount",)),
        ("currency", ("country",)),
        ("occurred_at", ("card", "expiry", "date")),
    ],
)
def test_a_name_of_something_else_is_not_like_ours(ours: str, path: tuple[str, ...]) -> None:
    assert rank(ours, path) is None


def test_cells_decide_where_names_do_not() -> None:
    """A field called amount that holds words, and one called id that holds an object."""
    record = a_record(amount="twelve", amt=12.5, transaction_id={"a": 1}, txn_id="t1")
    records = [given_of(record)]
    found = propose(records)
    assert found.section["fields"] == {"amount": "amt", "transaction_id": "txn_id"}
    assert become(records, found) == [WANT]


def test_times_and_currencies_are_known_by_their_looks_alone() -> None:
    record = a_record(occurred_at=None, currency=None, wann="2026-01-31T12:00:00Z", sikka="EUR", land="DE")
    records = [given_of(record)]
    found = propose(records)
    assert found.section == {"fields": {"occurred_at": "wann", "currency": "sikka"}}
    assert become(records, found) == [WANT]
    assert [check.partition(":")[0] for check in found.checks] == ["fields.occurred_at", "fields.currency"]
    two = propose([given_of(record | {"gebucht": "2026-02-01T00:00:00Z"})])
    assert two.section == {"fields": {"currency": "sikka", "occurred_at": "$timestamp"}}, "which of two is unknown"


def test_a_field_that_few_records_have_is_not_chosen() -> None:
    records = [given_of(a_record(card_id=None, card_token="tok-1", pan_token=None if at else "x")) for at in range(9)]
    assert propose(records).section == {"fields": {"card_id": "card_token"}}


def test_numeric_currencies_are_of_three_digits_and_once_each() -> None:
    assert all(len(number) == 3 and number.isdigit() for number in CURRENCIES)
    assert len(set(CURRENCIES.values())) == len(CURRENCIES)


cell = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False), st.text(max_size=12)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(
                st.text(max_size=8), st.sampled_from(["payload", "after", "op", "data", "specversion", "id", "amount"])
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)


@given(
    records=st.lists(st.one_of(st.none(), st.binary(max_size=12), cell.map(lambda one: orjson.dumps(one))), max_size=4),
    keys=st.one_of(st.none(), st.binary(max_size=4)),
)
def test_whatever_comes_a_mapping_is_proposed_that_can_be_loaded(
    records: list[bytes | None], keys: bytes | None
) -> None:
    given = [Given(value, Origin(keys, [("ce_id", b"x")], NOON)) for value in records]
    found = propose(given, ATTRIBUTES)
    become(given, found, *ATTRIBUTES)


WHEN = "2026-01-31T12:00:00Z"
#: Records in the shapes of well-known systems, written from their documentation; each is the transaction WANT.
STRANGERS: dict[str, dict[str, Any]] = {
    "Stripe": {
        "id": "t1", "object": "charge", "amount": 1250, "currency": "eur", "created": NOON // 1000, "merchant": "m1",
        "payment_method_details": {"type": "card", "card": {"fingerprint": "tok-1", "country": "DE", "brand": "visa"}},
    },
    "Adyen": {
        "pspReference": "t1", "eventCode": "AUTHORISATION", "eventDate": "2026-01-31T13:00:00+01:00", "success": "true",
        "merchantAccountCode": "m1", "amount": {"value": 1250, "currency": "EUR"},
        "additionalData": {"alias": "tok-1", "cardBin": "411111"},
    },
    "Square": {
        "payment": {
            "id": "t1", "created_at": WHEN, "amount_money": {"amount": 1250, "currency": "EUR"}, "location_id": "m1",
            "card_details": {"card": {"fingerprint": "tok-1", "card_brand": "VISA"}},
        },
    },
    "PayPal": {
        "id": "t1", "create_time": WHEN, "state": "approved",
        "payer": {"payment_method": "credit_card", "funding": {"card_token": "tok-1"}},
        "transaction": {"amount": {"total": "12.50", "currency": "EUR"}, "payee": {"merchant_id": "m1"}},
    },
    "UPI": {
        "txnId": "t1", "txnTime": WHEN, "vpa": "tok-1", "payeeVpa": "m1",
        "amount": {"currency": "EUR", "value": "12.50"},
    },
    "ISO 20022": {
        "Document": {"AcqrrAuthstnInitn": {"Hdr": {"CreDtTm": WHEN}, "AuthstnInitn": {
            "Envt": {"Mrchnt": {"Id": {"Id": "m1"}}, "Card": {"PmtTkn": {"Tkn": "tok-1"}}},
            "Tx": {"TxId": {"TxDtTm": WHEN, "TxRef": "t1"}, "TxDtls": {"Ccy": "EUR", "TtlAmt": 12.5}},
        }}},
    },
    "GoldenGate": {
        "table": "PAY.TXN", "op_type": "I", "op_ts": "2026-01-31 12:00:01.000000", "pos": "00000000000000000000",
        "after": {
            "TXN_ID": "t1", "CARD_HASH": "tok-1", "MERCH_NO": "m1", "TXN_AMT": "12.50", "CCY_CD": "EUR",
            "TXN_TS": "2026-01-31 12:00:00.000000000",
        },
    },
    "Maxwell": {
        "database": "shop", "table": "payments", "type": "insert", "ts": NOON // 1000 + 1, "xid": 3, "commit": True,
        "data": {
            "id": "t1", "card_ref": "tok-1", "shop_id": "m1", "total_cents": 1250, "cur": "EUR",
            "created_at": "2026-01-31 12:00:00",
        },
    },
    "DMS": {
        "data": {"payment_id": "t1", "cardToken": "tok-1", "merchant": "m1", "amount": 12.5, "currency": "EUR",
                 "ts": WHEN},
        "metadata": {"timestamp": "2026-01-31T12:00:02Z", "record-type": "data", "operation": "load"},
    },
    "Debezium, flattened": {**PLAIN, "__op": "c", "__deleted": "false"},
    "Debezium of MongoDB": {
        "after": orjson.dumps(PLAIN).decode(), "op": "c", "ts_ms": NOON + 1, "source": {"connector": "mongodb"},
    },
    "log shipper": {
        "@timestamp": "2026-01-31T12:00:09Z", "@version": "1",
        "message": '{"txn":"t1","card":"tok-1","amount":12.5,"merchant":"m1","ccy":"EUR",'
                   '"time":"2026-01-31T12:00:00Z"}',
    },
    "German": {
        "Buchungsnummer": "t1", "Zeitpunkt": "31.01.2026 12:00:00", "Kartentoken": "tok-1", "Händler": "m1",
        "Betrag": "12,50", "Währung": "EUR",
    },
    "French": {
        "identifiant": "t1", "date_operation": WHEN, "jeton_carte": "tok-1", "commerçant": "m1", "montant": 12.5,
        "devise": "EUR",
    },
    "Spanish": {
        "identificador": "t1", "fecha_hora": WHEN, "token_tarjeta": "tok-1", "comercio": "m1", "importe": "12,50",
        "moneda": "EUR",
    },
}  # fmt: skip


@pytest.mark.parametrize("name", STRANGERS)
def test_a_record_of_a_well_known_system_is_recognised(name: str) -> None:
    records = [given_of(STRANGERS[name])] * 3
    assert become(records, propose(records)) == [WANT] * 3


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("GoldenGate", {"op_type": "U"}),
        ("GoldenGate", {"op_type": "D", "after": None, "before": {"TXN_ID": "t1"}}),
        ("Maxwell", {"type": "update", "old": {"total_cents": 1}}),
        ("Maxwell", {"type": "delete"}),
        ("DMS", {"metadata": {"operation": "delete", "timestamp": WHEN}}),
        ("Debezium, flattened", {"__op": "u"}),
        ("Debezium, flattened", {"__op": "d", "__deleted": "true"}),
    ],
)
def test_changes_of_a_well_known_system_are_no_transactions(name: str, change: dict[str, Any]) -> None:
    first = STRANGERS[name]
    for several in ([first, first | change, first], [first | change, first]):
        records = [given_of(record) for record in several]
        found = propose(records)
        assert len(become(records, found)) == len(several) - 1
        assert found.section["changes"] == "skip"
        assert any(check.startswith("operation: ") for check in found.checks)
    only = [given_of(first | change)] * 2
    assert become(only, propose(only)) == [], "nothing new among them"


def test_a_type_that_is_no_operation_is_left_alone() -> None:
    records = [given_of(a_record(type=kind)) for kind in ("purchase", "insert")]
    assert propose(records).section == {}


def test_one_currency_that_is_not_the_settings_is_told() -> None:
    (told,) = propose([given_of(a_record(currency="inr"))]).checks
    assert told.startswith(
        "currency: all records are in INR, and the settings count in EUR: set `money: {currency: INR}`"
    )
    assert not propose([given_of(a_record(currency=one)) for one in ("INR", "EUR")]).checks
