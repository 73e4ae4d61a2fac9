"""The fast decoder and the contract give the same answer, and bad input is named, never dropped."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.transactions import LENIENT, READING, a_transaction, anything, as_sent, field_names
from scorer.pipeline import card_number
from scorer.pipeline.decode import decode
from scorer.pipeline.lenient import mended
from scorer.pipeline.mapping import FieldNames
from scorer.pipeline.transaction import LONGEST_VALUE, Reading

#: 260 kB that take a million when they are written out.
LONG = b'"x":[' + b"1e15," * 52_000 + b"1]}"


@pytest.mark.parametrize(
    ("value", "mapping"),
    [
        (b"\n" + orjson.dumps(a_transaction())[:-1] + b"," + LONG, {}),
        (orjson.dumps(a_transaction())[:-1] + b"," + LONG, {"defaults": {"z": 1}}),
        (orjson.dumps(a_transaction(transaction_id=7))[:-1] + b"," + LONG, {}),
        (b'{"payload":' + orjson.dumps(a_transaction())[:-1] + b"," + LONG + b"}", {"envelope": "connect"}),
        (
            orjson.dumps(a_transaction(n={"note": "x" * 100_000})),
            {"fields": {"a": "n.note", "b": "n.note"}},
        ),
    ],
)
def test_a_record_that_grows_beyond_a_decision_is_refused(value: bytes, mapping: dict[str, Any]) -> None:
    good = orjson.dumps(a_transaction())
    assert len(value) < LONGEST_VALUE
    decoded = decode([good, value, good], Reading(mapping=FieldNames.model_validate(mapping)))
    (refusal,) = decoded.refusals
    assert (refusal.position, refusal.field) == (1, "value")
    assert refusal.reason.endswith(f"bytes once read, at most {LONGEST_VALUE} expected")
    assert decoded.positions.tolist() == [0, 2]


@pytest.mark.slow
@settings(max_examples=600, deadline=None)
@given(
    st.lists(st.dictionaries(field_names, st.one_of(st.just(...), anything), max_size=3), min_size=1, max_size=4),
    st.sampled_from([READING, LENIENT]),
    st.booleans(),
)
def test_fast_decoder_accepts_just_what_the_contract_accepts_once_mended(
    changes: list[dict[str, Any]], reading: Reading, is_ascii: bool
) -> None:
    records = [orjson.loads(orjson.dumps(a_transaction(**as_sent(change)))) for change in changes]
    decoded = decode([json.dumps(record, ensure_ascii=is_ascii).encode() for record in records], reading)
    accepted = set(decoded.positions.tolist())
    refused = {refusal.position: refusal for refusal in decoded.refusals}
    assert accepted | refused.keys() == set(range(len(records)))
    assert not accepted & refused.keys()
    for position, record in enumerate(records):
        try:
            for name, cell in record.items():  # what looks like a card number is not read as anything else
                if name not in reading.card_number_fields and card_number.contains([name, cell]):
                    raise ValueError(name)
            record = reading.contract.model_validate(mended(record, reading.attributes)).model_dump()
            in_contract = record["currency"] == "EUR" or record["occurred_at"] >= "2026"
            in_contract &= record["currency"] in ("EUR", "USD")
        except ValueError:
            in_contract = False
        assert (position in accepted) == in_contract, refused.get(position, record)


@pytest.mark.parametrize(
    ("value", "field", "words"),
    [
        (b"{", "value", "not JSON"),
        (b'{"a": "\xff"}', "value", "not JSON"),
        (b"[]", "value", "expected a JSON object"),
        (None, "value", "found nothing"),
        (orjson.dumps(a_transaction(amount="12")), "amount", "number"),
        (orjson.dumps(a_transaction(amount=-1)), "amount", "greater than or equal to 0"),
        (orjson.dumps(a_transaction(amount=True)), "amount", "number"),
        (orjson.dumps(a_transaction(card_id=...)), "card_id", "Field required"),
        (orjson.dumps(a_transaction(card_id="4111 1111-1111 1111")), "card_id", "card number"),
        (orjson.dumps(a_transaction(occurred_at="2026-01-15T12:00:00")), "occurred_at", "offset"),
        (orjson.dumps(a_transaction(occurred_at="2026-02-30T12:00:00Z")), "occurred_at", "day"),
        (orjson.dumps(a_transaction(currency="GBP")), "currency", "no rate"),
        (orjson.dumps(a_transaction(currency="USD", occurred_at="2025-12-31T23:59:59Z")), "currency", "no rate"),
        (orjson.dumps(a_transaction(age="old")), "age", "number"),
        (orjson.dumps(a_transaction(country=[7])), "country", "string"),
        (orjson.dumps(a_transaction(transaction_id="t-4111.1111.1111.1111")), "transaction_id", "card number"),
        (orjson.dumps(a_transaction(merchant_id="4111111111111111")), "merchant_id", "card number"),
        (orjson.dumps(a_transaction(country="4111_1111_1111_1111")), "country", "card number"),
        (orjson.dumps(a_transaction(note="paid by 4111111111111111")), "value", "value: note looks like a card number"),
        (orjson.dumps(a_transaction(a=[{"b": "4111\t1111\t1111\t1111"}])), "value", "value: a looks like"),
        (orjson.dumps(a_transaction(a={"4111111111111111": 1})), "value", "the name of a field looks like"),
        (orjson.dumps({**a_transaction(), "4111111111111111": 1}), "value", "the name of a field looks like"),
        (orjson.dumps(a_transaction(card_id="4111111111111111", amount=-1)), "card_id", "card number"),
        (orjson.dumps(a_transaction(card_id="c\x00")), "card_id", "control characters"),
        (orjson.dumps(a_transaction(transaction_id="t\u2028")), "transaction_id", "control characters"),
        (orjson.dumps(a_transaction(transaction_id="t\x9f1")), "transaction_id", "control characters"),
        (orjson.dumps(a_transaction(merchant_id=" m")), "merchant_id", "begins or ends with a blank"),
        (orjson.dumps(a_transaction(merchant_id="m\u00a0")), "merchant_id", "begins or ends with a blank"),
        (orjson.dumps(a_transaction(card_id="\ufeffc")), "card_id", "begins or ends with a blank"),
    ],
)
def test_refusal_names_the_field_and_never_the_value(value: bytes | None, field: str, words: str) -> None:
    decoded = decode([orjson.dumps(a_transaction()), value], READING)
    assert decoded.positions.tolist() == [0]
    (refusal,) = decoded.refusals
    assert (refusal.position, refusal.field) == (1, field)
    assert words in refusal.reason
    assert "4111" not in refusal.reason


def test_unknown_fields_and_bytes_are_passed_on_as_they_came() -> None:
    value = b' {"transaction_id":"t1","occurred_at":"2026-01-15T12:00:00Z","card_id":"c","merchant_id":"m",' + (
        b'"amount":1.50,"currency":"EUR","note":{"deep":[1,2]}} '
    )
    assert decode([value], READING).events.documents == [value]


def test_amounts_are_converted_at_the_rate_of_their_day() -> None:
    values = [
        orjson.dumps(a_transaction(currency="USD", occurred_at=f"2026-{day}T00:00:00Z")) for day in ("01-31", "02-01")
    ]
    events = decode(values, READING).events
    assert events.minor.tolist() == [625, 1000]
    assert events.amount.tolist() == [6.25, 10.0]


def test_mapping_renames_adds_and_drops() -> None:
    mapping = FieldNames(
        fields={"transaction_id": "ID", "amount": "AMT"}, defaults={"currency": "EUR"}, drop=("SECRET",), label="FRAUD"
    )
    theirs = {
        "ID": "t9",
        "AMT": 3,
        "SECRET": 1,
        "FRAUD": 1,
        **a_transaction(transaction_id=..., amount=..., currency=...),
    }
    decoded = decode([orjson.dumps(theirs)], Reading(mapping=mapping))
    assert decoded.events.ids == ["t9"]
    document = orjson.loads(decoded.events.documents[0])
    assert document["amount"] == 3
    assert document["currency"] == "EUR"
    assert not {"SECRET", "FRAUD", "ID", "AMT"} & document.keys()


def test_numbers_that_are_no_card_numbers_pass() -> None:
    fields = {
        "transaction_id": "20260131000000000017", "merchant_id": "DE89370400440532013000", "ms": 1767225600000,
        "pan": 4111111111111111, "epoch": "1767225600000", "phone": "+4915123456789", "a b": "a b",
    }  # fmt: skip
    assert len(decode([orjson.dumps(a_transaction(**fields))], READING).events) == 1


@pytest.mark.parametrize("key", [b"4111111111111111", b"4111-1111-1111-1111", b'{"card":"4111111111111111"}'])
@pytest.mark.parametrize("value", [orjson.dumps(a_transaction()), None, b"{", orjson.dumps(a_transaction(amount=-1))])
def test_a_record_with_a_card_number_for_a_key_is_refused_whatever_it_holds(key: bytes, value: bytes | None) -> None:
    good = orjson.dumps(a_transaction())
    decoded = decode([good, value, good], READING, [b"card-1", key, None])
    assert decoded.positions.tolist() == [0, 2]
    assert [(refusal.position, refusal.field) for refusal in decoded.refusals] == [(1, "key")]
    allowed = Reading(money=READING.money, card_number_fields=("card_id",))
    assert len(decode([good], allowed, [key]).events) == 1


def test_a_card_number_in_a_field_that_is_left_out_does_no_harm() -> None:
    mapping = FieldNames(fields={"note": "MEMO"}, drop=("PAN",))
    reading = Reading(money=READING.money, mapping=mapping, card_number_fields=("note",))
    for fields, n in (
        ({"PAN": "4111111111111111"}, 1),
        ({"MEMO": "4111111111111111"}, 1),
        ({"x": "4111111111111111"}, 0),
    ):
        decoded = decode([orjson.dumps(a_transaction(**fields))], reading)
        assert len(decoded.events) == n
        assert all(b"PAN" not in document for document in decoded.events.documents)


def test_a_field_sent_twice_hides_no_card_number() -> None:
    value = orjson.dumps(a_transaction()).replace(b'"card_id"', b'"card_id":"4111111111111111","card_id"')
    (refusal,) = decode([value], READING).refusals
    assert refusal.field == "card_id"


def test_times_in_lower_case_are_read_and_passed_on() -> None:
    upper, lower = "2026-01-15T12:00:00.250Z", "2026-01-15t12:00:00.250z"
    decoded = decode([orjson.dumps(a_transaction(occurred_at=text)) for text in (upper, lower)], READING)
    assert decoded.events.occurred_ms[0] == decoded.events.occurred_ms[1]
    assert lower.encode() in decoded.events.documents[1]


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_values_decoded_some_at_a_time_are_those_decoded_together(data: st.DataObject) -> None:
    odd = [
        None,
        b"not JSON",
        b'{"a":1}',
        b"[]",
        orjson.dumps(a_transaction(amount="1,5")),
        orjson.dumps(a_transaction()),
    ]
    odd.append(orjson.dumps(a_transaction(occurred_at=1_769_860_800, card_id=7)))
    odd.append(orjson.dumps(a_transaction(), option=orjson.OPT_INDENT_2))
    values = data.draw(st.lists(st.sampled_from(odd), max_size=12))
    keys = data.draw(st.sampled_from([(), [b"4111111111111111" if n % 3 == 1 else b"k" for n in range(len(values))]]))
    mapping = data.draw(
        st.sampled_from([{}, {"fields": {"merchant_id": "card_id"}}, {"envelope": "x.y", "changes": "skip"}])
    )
    reading = Reading(money=READING.money, mapping=FieldNames.model_validate(mapping), attributes=READING.attributes)
    together = decode(values, reading, keys, at_a_time=100)
    parts = decode(values, reading, keys, at_a_time=data.draw(st.integers(1, 5)))
    assert parts.refusals == together.refusals
    assert parts.skipped == together.skipped
    assert parts.positions.tolist() == together.positions.tolist()
    assert parts.positions.dtype == together.positions.dtype
    for name in ("ids", "cards", "merchants", "documents"):
        assert getattr(parts.events, name) == getattr(together.events, name)
    for name in ("occurred_ms", "amount", "minor"):
        one, other = getattr(parts.events, name), getattr(together.events, name)
        assert one.dtype == other.dtype
        assert one.tolist() == other.tolist()
    for name, column in together.events.attributes.items():
        found = parts.events.attributes[name]
        assert type(found) is type(column)
        assert str(list(found)) == str(list(column)), "NaN is no number, and the same text"
