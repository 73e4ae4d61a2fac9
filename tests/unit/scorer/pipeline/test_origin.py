"""Fields from a record's key, headers and timestamp, and events of CloudEvents in binary mode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from harness.batches import MODEL, NOTHING, NOW, RULES, VIEW, incoming
from harness.transactions import EUROS, a_transaction
from scorer.pipeline.batch import Incoming, Settled
from scorer.pipeline.card_states import CardStates
from scorer.pipeline.decode import decode
from scorer.pipeline.mapping import FieldNames
from scorer.pipeline.origin import Headers
from scorer.pipeline.settle import settle
from scorer.pipeline.transaction import Reading

#: 2026-01-31 12:00 UTC.
NOON = 1769860800000
PLAIN = a_transaction(occurred_at="2026-01-31T12:00:00Z")
CARD = "4111-1111-1111-1111"


def without(*names: str, **more: Any) -> bytes:
    return orjson.dumps({name: cell for name, cell in PLAIN.items() if name not in names} | more)


def read(
    value: bytes,
    mapping: dict[str, Any],
    key: bytes | None = None,
    headers: Headers = (),
    ms: int = NOON,
    allowed: Sequence[str] = (),
) -> dict[str, Any] | str:
    """The document of a record as its decision shows it, or why it is refused."""
    reading = Reading(EUROS, FieldNames.model_validate(mapping), (), tuple(allowed))
    decoded = decode([value], reading, [key], [headers], np.array([ms]))
    if decoded.refusals:
        return decoded.refusals[0].reason
    document = orjson.loads(decoded.events.documents[0])
    assert (document["transaction_id"], document["card_id"]) == (decoded.events.ids[0], decoded.events.cards[0])
    return dict(document)


@pytest.mark.parametrize(
    ("ours", "theirs", "key", "headers", "want"),
    [
        ("card_id", "$key", b"card-7", (), "card-7"),
        ("card_id", "$key", "kärt".encode(), (), "kärt"),
        ("card_id", "$key.id", b'{"id": "card-7"}', (), "card-7"),
        ("card_id", "$key.payload.ids[1]", b'{"payload": {"ids": [1, 2]}}', (), "2"),
        ("merchant_id", "$header.merchant", None, [("merchant", b"m7")], "m7"),
        ("merchant_id", "$header.x.y-z", None, [("x.y-z", b"m7")], "m7"),
        ("merchant_id", "$header.merchant", None, [("merchant", b"m1"), ("merchant", b"m2")], "m2"),
        ("transaction_id", "$header.id", None, [("id", b"123")], "123"),
        ("occurred_at", "$timestamp", None, (), "2026-01-31T12:00:00.000Z"),
        ("occurred_at", "$header.at", None, [("at", b"1769860800000")], "2026-01-31T12:00:00.000Z"),
        ("currency", "$header.currency", None, [("currency", b"eur")], "EUR"),
        ("arrived", "$timestamp", None, (), NOON),
    ],
)
def test_a_field_is_read_beside_the_value(
    ours: str, theirs: str, key: bytes | None, headers: Headers, want: Any
) -> None:
    found = read(without(ours), {"fields": {ours: theirs}}, key, headers)
    assert isinstance(found, dict)
    assert found[ours] == want
    stray = read(without(**{ours: "stray", theirs: "stray"}), {"fields": {ours: theirs}}, key, headers)
    assert isinstance(stray, dict)
    assert stray[ours] == want, "what is mapped wins over what has our name, or is called like the place"


@pytest.mark.parametrize(
    ("ours", "theirs", "key", "headers", "ms", "why"),
    [
        ("card_id", "$key", None, (), NOON, "card_id: Field required"),
        ("card_id", "$key", b"", (), NOON, "card_id: String should have at least 1 character"),
        ("card_id", "$key", b"\xff", (), NOON, "card_id: the record's key is not UTF-8"),
        ("card_id", "$key.id", b"card-7", (), NOON, "card_id: the record's key is no JSON"),
        ("card_id", "$key.id", b"[1]", (), NOON, "card_id: Field required"),
        ("card_id", "$key.id", b'{"id": ["x"]}', (), NOON, "card_id: the record's key has an object"),
        ("merchant_id", "$header.m", None, (), NOON, "merchant_id: Field required"),
        ("merchant_id", "$header.m", None, [("m", None)], NOON, "merchant_id: Field required"),
        ("merchant_id", "$header.m", None, [("M", b"m1")], NOON, "merchant_id: Field required"),
        ("merchant_id", "$header.m", None, [("m", b"\x80")], NOON, "merchant_id: the record's header m is not UTF-8"),
        ("occurred_at", "$timestamp", None, (), -1, "occurred_at: Field required"),
        ("occurred_at", "$timestamp", None, (), 2**62, "occurred_at: the record's timestamp is no time"),
        ("merchant_id", "$header.m", None, [("m", CARD.encode())], NOON, "merchant_id: looks like a card number"),
        ("card_id", "$key", CARD.encode(), (), NOON, "key: looks like a card number"),
        ("card_id", "$key.id", b'{"id": "%s"}' % CARD.encode(), (), NOON, "key: looks like a card number"),
    ],
)
def test_what_is_not_beside_the_value_is_refused(
    ours: str, theirs: str, key: bytes | None, headers: Headers, ms: int, why: str
) -> None:
    found = read(without(ours), {"fields": {ours: theirs}}, key, headers, ms)
    assert isinstance(found, str)
    assert found.startswith(why)
    assert "4111" not in found


def test_a_key_that_is_no_card_may_look_like_one_where_the_settings_say_so() -> None:
    mapping = {"fields": {"transaction_id": "$key"}}
    value = without("transaction_id")
    assert "card number" in read(value, mapping, CARD.encode())
    assert "card number" in read(value, mapping, CARD.encode(), allowed=["card_id"])
    found = read(value, mapping, CARD.encode(), allowed=["transaction_id"])
    assert isinstance(found, dict)
    assert found["transaction_id"] == CARD
    both = {"fields": {"transaction_id": "$key", "merchant_id": "$key"}}
    assert "card number" in read(without("merchant_id"), both, CARD.encode(), allowed=["transaction_id"])


def test_a_header_that_is_absent_leaves_our_field_and_defaults_alone() -> None:
    mapping = {"fields": {"merchant_id": "$header.m"}, "defaults": {"merchant_id": "-"}}
    kept, made = read(without(), mapping), read(without("merchant_id"), mapping)
    assert isinstance(kept, dict)
    assert isinstance(made, dict)
    assert (kept["merchant_id"], made["merchant_id"]) == (PLAIN["merchant_id"], "-")


#: What names an event in binary mode.
BINARY = [("ce_specversion", b"1.0"), ("ce_id", b"t7"), ("ce_time", b"2026-01-31T12:00:00Z"), ("ce_type", b"paid")]
EVENTS = {
    "envelope": "cloudevents",
    "fields": {"transaction_id": "$.id", "occurred_at": "$.time", "kind": "$.type"},
}


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        (without("transaction_id", "occurred_at"), BINARY),
        (without("transaction_id", "occurred_at"), [("content-type", b"application/json"), *BINARY]),
        (without("transaction_id", "occurred_at", id="no", time="no", data={"no": 1}), BINARY),
        (
            orjson.dumps(
                {
                    "specversion": "1.0",
                    "id": "t7",
                    "time": "2026-01-31T12:00:00Z",
                    "type": "paid",
                    "data": orjson.loads(without("transaction_id", "occurred_at")),
                }
            ),
            [("content-type", b"application/cloudevents+json; charset=UTF-8"), ("ce_specversion", b"1.0")],
        ),
    ],
)
def test_an_event_is_read_in_both_modes_by_one_mapping(value: bytes, headers: Headers) -> None:
    found = read(value, EVENTS, None, headers)
    assert isinstance(found, dict)
    told = found["transaction_id"], found["occurred_at"], found["kind"], found["card_id"]
    assert told == ("t7", "2026-01-31T12:00:00Z", "paid", "card-1")


def test_an_event_without_the_attribute_is_refused() -> None:
    found = read(without("transaction_id"), EVENTS, None, [("ce_specversion", b"1.0")])
    assert found == "transaction_id: Field required"


@pytest.mark.parametrize(
    "place", ["$header", "$header.", "$headers.x", "$timestmp", "$keys", "$key.", "$key.a..b", "$.", "$", "$id"]
)
def test_a_place_that_means_nothing_is_refused_at_start(place: str) -> None:
    with pytest.raises(ValidationError):
        FieldNames.model_validate({"fields": {"card_id": place}})


def test_a_field_whose_name_begins_with_a_dollar_is_a_path() -> None:
    found = read(without("card_id", **{"$id": "card-7"}), {"fields": {"card_id": "$.$id"}})
    assert isinstance(found, dict)
    assert found["card_id"] == "card-7"


def settled(batch: Incoming, mapping: dict[str, Any], allowed: Sequence[str] = ()) -> Settled:
    reading = Reading(EUROS, FieldNames.model_validate(mapping), VIEW.attributes, tuple(allowed))
    return settle(batch, CardStates(), NOTHING, MODEL, replace(RULES, reading=reading), NOW)


def test_each_record_of_a_batch_gets_its_own_headers_however_the_batch_is_cut() -> None:
    n = 1500  # more than are decided at once
    values: list[bytes | None] = [without("transaction_id", "card_id") for _ in range(n)]
    headers = [[("id", b"t%d" % i)] for i in range(n)]
    batch = replace(incoming(values), headers=headers, appended_ms=np.full(n, NOON))
    made = settled(batch, {"fields": {"transaction_id": "$header.id", "card_id": "$key"}})
    found = [orjson.loads(value or b"")["transaction"] for _, value in made.decisions]
    assert [row["transaction_id"] for row in found] == [f"t{i}" for i in range(n)]
    assert [row["card_id"] for row in found] == [f"c{i % 3}" for i in range(n)]
    assert made.miskeyed == 0


def test_a_dead_letter_keeps_headers_and_timestamp_and_masks_card_numbers_in_them() -> None:
    headers = [("id", b"t1"), ("note", CARD.encode()), (CARD, b"x"), ("none", None), ("long", b"x" * 9000), ("z", b"z")]
    batch = replace(incoming([b"{}"]), headers=[headers], appended_ms=np.array([NOON]))
    made = settled(batch, {})
    kept = dict(made.headers[0])
    assert kept["timestamp"] == b"%d" % NOON
    assert kept["header.id"] == b"t1"
    assert kept["header.note"] == b"4111-11**-****-1111"
    assert kept["header.4111-11**-****-1111"] == b"x"
    assert "header.none" not in kept
    assert "header.long" not in kept, "more than a dead letter keeps"
    assert kept["masked"] == b"true"
    allowed = settled(batch, {"fields": {"transaction_id": "$header.note"}}, ["transaction_id"])
    assert dict(allowed.headers[0])["header.note"] == CARD.encode()


@given(
    key=st.one_of(st.none(), st.binary(max_size=20)),
    headers=st.lists(st.tuples(st.text(max_size=5), st.one_of(st.none(), st.binary(max_size=20))), max_size=4),
    ms=st.integers(-(2**63), 2**63 - 1),
    place=st.sampled_from(["$key", "$key.a", "$header.a", "$timestamp", "$.a"]),
    ours=st.sampled_from(["transaction_id", "occurred_at", "amount", "note"]),
)
def test_whatever_is_beside_a_value_is_decided_or_refused(
    key: bytes | None, headers: Headers, ms: int, place: str, ours: str
) -> None:
    for envelope in (None, "cloudevents"):
        read(without(ours), {"fields": {ours: place}, "envelope": envelope}, key, headers, ms)
