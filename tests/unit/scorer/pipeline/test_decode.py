"""The fast decoder and the contract give the same answer, and bad input is named, never dropped."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from scorer.events import Mapping, Reading, decode, instant_ms, instants_ms, looks_like_card_number
from scorer.money import Money
from scorer.view import Attribute

ATTRIBUTES = (
    Attribute(name="country", kind="category", values=("DE", "FR")),
    Attribute(name="age", kind="number"),
    Attribute(name="recurring", kind="boolean"),
)
EUROS = Money.model_validate({"currency": "EUR", "rates": {"USD": {"2026-01-01": 0.5, "2026-02-01": 0.8}}})
READING = Reading(money=EUROS, attributes=ATTRIBUTES)


def a_transaction(**changes: Any) -> dict[str, Any]:
    fields = {
        "transaction_id": "t1",
        "occurred_at": "2026-01-15T12:00:00Z",
        "card_id": "card-1",
        "merchant_id": "m1",
        "amount": 12.5,
        "currency": "EUR",
    } | changes
    return {name: value for name, value in fields.items() if value is not ...}


anything = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False),
    st.text(max_size=3),
    st.sampled_from(["4111111111111111", "2026-01-15T12:00:00+01:00", "2026-13-01T00:00:00Z", "USD", "GBP", "x" * 129]),
    st.lists(st.integers(-5, 5), max_size=1),
)
field_names = st.sampled_from([*a_transaction(), "country", "age", "recurring", "note"])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.dictionaries(field_names, st.one_of(st.just(...), anything), max_size=3), min_size=1, max_size=4))
def test_fast_decoder_accepts_just_what_the_contract_accepts(changes: list[dict[str, Any]]) -> None:
    records = [orjson.loads(orjson.dumps(a_transaction(**_json(change)))) for change in changes]
    decoded = decode([orjson.dumps(record) for record in records], READING)
    accepted = set(decoded.positions.tolist())
    refused = {refusal.position: refusal for refusal in decoded.refusals}
    assert accepted | refused.keys() == set(range(len(records)))
    assert not accepted & refused.keys()
    for position, record in enumerate(records):
        try:
            READING.contract.model_validate(record)
            in_contract = record["currency"] == "EUR" or record["occurred_at"] >= "2026"
            in_contract &= record["currency"] in ("EUR", "USD")
        except ValidationError:
            in_contract = False
        assert (position in accepted) == in_contract, refused.get(position, record)


def _json(change: dict[str, Any]) -> dict[str, Any]:
    """A change as JSON can carry it: integers beyond 64 bits become floats, infinities do not exist."""
    fit = {}
    for name, value in change.items():
        if isinstance(value, float) and not np.isfinite(value):
            value = 1e300
        if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**64:
            value = float(value)
        if isinstance(value, str):
            value = value.encode("utf-8", "replace").decode()
        fit[name] = value
    return fit


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
        (orjson.dumps(a_transaction(country=7)), "country", "string"),
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
    mapping = Mapping(
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


def test_mapping_twice_changes_nothing_more() -> None:
    mapping = Mapping(fields={"transaction_id": "ID"}, defaults={"currency": "EUR"}, drop=("X",), label=None)
    once = mapping.apply({"ID": "a", "X": 1, "amount": 2})
    assert mapping.apply(once) == once


@given(st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2200, 1, 1)))  # noqa: DTZ001
def test_instants_are_whole_milliseconds_since_1970(moment: datetime) -> None:
    moment = moment.replace(tzinfo=UTC)
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    expected = (delta.days * 86_400 + delta.seconds) * 1000 + delta.microseconds // 1000
    assert instant_ms(moment.isoformat()) == expected


TEXTS = st.one_of(
    st.from_regex(r"[0-2]\d{3}-[01]\d-[0-3]\dT[0-2]\d:[0-5]\d:[0-6]\d(\.\d{3})?Z", fullmatch=True),
    st.sampled_from(["2024-02-29T00:00:00Z", "2023-02-29T00:00:00Z", "2024-01-01T24:00:00Z", "0000-01-01T00:00:00Z"]),
    st.sampled_from(["2024-01-01 00:00:00Z", "2024-01-01T00:00:00+01:00", "\u0661" + "024-01-01T00:00:00Z", ""]),
)


@settings(max_examples=300)
@given(st.lists(TEXTS, max_size=4))
def test_times_read_at_once_are_those_read_one_by_one(texts: list[str]) -> None:
    try:
        expected = [instant_ms(text) for text in texts]
    except ValueError:
        with pytest.raises(ValueError, match=r"RFC 3339|must be in|out of range|isoformat"):
            instants_ms(texts)
    else:
        assert instants_ms(texts).tolist() == expected


@pytest.mark.parametrize("text", ["4111111111111111", "5500-0000-0000-0004", "340000000000009", "6011 0000 0000 0004"])
def test_test_card_numbers_are_recognised(text: str) -> None:
    assert looks_like_card_number(text)


@pytest.mark.parametrize("text", ["4111111111111112", "tok_4111111111111111", "1234", "0" * 25])
def test_tokens_are_not_card_numbers(text: str) -> None:
    assert not looks_like_card_number(text)


def test_minor_units_follow_the_currency() -> None:
    amounts = np.array([12.345, 0.005])
    assert Money(currency="JPY", rates={}).minor(amounts).tolist() == [12, 0]
    assert Money(currency="KWD", rates={}).minor(amounts).tolist() == [12345, 5]


def test_rates_refuse_nonsense() -> None:
    with pytest.raises(ValidationError, match="three capitals"):
        Money(currency="euro", rates={})
    with pytest.raises(ValidationError, match="above 0"):
        Money(currency="EUR", rates={"USD": {date(2026, 1, 1): 0.0}})
