"""Records that tell of a change of another one, or have no value: refused, or counted and passed over by setting."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from harness.batches import MODEL, NOW, RULES, VIEW, incoming
from harness.transactions import EUROS, a_transaction
from scorer.pipeline.batch import Published, Settled
from scorer.pipeline.card_states import CardStates
from scorer.pipeline.decode import decode
from scorer.pipeline.mapping import FieldNames
from scorer.pipeline.settle import settle
from scorer.pipeline.transaction import Reading

PLAIN = a_transaction(occurred_at="2026-01-01T00:00:00Z")
CREATED = orjson.dumps({"op": "c", "before": None, "after": PLAIN})
#: Each kind of record that is no transaction, and what it is called.
CHANGES = [
    (None, "tombstone"),
    (orjson.dumps({"op": "u", "before": PLAIN, "after": PLAIN}), "update"),
    (orjson.dumps({"op": "d", "before": PLAIN, "after": None}), "deletion"),
    (orjson.dumps({"schema": {}, "payload": {"op": "t", "before": None, "after": None}}), "truncation"),
    (orjson.dumps({"op": "m", "message": {"prefix": "x"}}), "message"),
]
#: What is refused whatever the setting, and the field at fault.
FAULTS = [
    (b"", "value"),
    (b"null", "value"),
    (b"[]", "value"),
    (b"x" * 300_000, "value"),
    (orjson.dumps({"op": "x", "after": PLAIN}), "op"),
    (orjson.dumps({"op": None, "after": PLAIN}), "op"),
    (orjson.dumps({"op": "c", "after": None}), "after"),
    (orjson.dumps({"op": "r", "after": PLAIN | {"amount": None}}), "amount"),
]


def settled(values: list[bytes | None], published: Published | None = None, **mapping: Any) -> Settled:
    reading = Reading(EUROS, FieldNames.model_validate(mapping), VIEW.attributes)
    rules = replace(RULES, reading=reading)
    return settle(incoming(values), CardStates(), published or Published(), MODEL, rules, NOW)


@pytest.mark.parametrize(("value", "what"), CHANGES, ids=[what for _, what in CHANGES])
def test_a_change_is_a_dead_letter_or_counted_and_passed_over(value: bytes | None, what: str) -> None:
    refused = settled([CREATED, value, CREATED], envelope="debezium")
    assert (len(refused.decisions), refused.skipped) == (2, [])
    assert [record[1] for record in refused.rejected] == [value], "as it was sent"
    assert refused.fields == ["value" if value is None else "op"]
    skipped = settled([CREATED, value, CREATED], envelope="debezium", changes="skip")
    assert (len(skipped.decisions), skipped.rejected, skipped.fields) == (2, [], [])
    assert skipped.skipped == [what]
    assert [orjson.loads(one or b"")["source"]["offset"] for _, one in skipped.decisions] == [0, 2]


@pytest.mark.parametrize(("value", "field"), FAULTS)
def test_nothing_else_is_passed_over(value: bytes, field: str) -> None:
    made = settled([value], envelope="debezium", changes="skip")
    assert (made.fields, made.skipped, made.decisions) == ([field], [], [])
    assert made.rejected[0][1] == value


@pytest.mark.parametrize("mapping", [{}, {"drop": ["x"]}, {"envelope": "connect"}, {"envelope": "cloudevents"}])
def test_tombstones_are_passed_over_whatever_the_records_look_like(mapping: dict[str, Any]) -> None:
    made = settled([None, orjson.dumps(PLAIN), None], changes="skip", **mapping)
    assert (made.skipped, len(made.decisions), made.rejected) == (["tombstone"] * 2, 1, [])
    assert len(settled([None, orjson.dumps(PLAIN), None], **mapping).rejected) == 2


def test_a_tombstone_whose_key_is_a_card_number_is_published_nowhere() -> None:
    batch = replace(incoming([None]), keys=[b"4111-1111-1111-1111"])
    reading = Reading(EUROS, FieldNames.model_validate({"changes": "skip"}), VIEW.attributes)
    made = settle(batch, CardStates(), Published(), MODEL, replace(RULES, reading=reading), NOW)
    assert (made.rejected, made.decisions, made.skipped) == ([], [], ["tombstone"])


def test_what_an_earlier_owner_passed_over_is_not_counted_again() -> None:
    values: list[bytes | None] = [None, CREATED, None, None]
    made = settled(values, Published(decisions=1, rejected=1), envelope="debezium", changes="skip")
    assert made.skipped == ["tombstone"] * 2
    assert made.decisions == []


@given(kinds=st.lists(st.sampled_from([("c", None), *CHANGES, *FAULTS]), max_size=60), cut=st.integers(0, 60))
def test_each_record_is_decided_refused_or_counted_once(kinds: list[tuple[Any, str | None]], cut: int) -> None:
    values = [CREATED if value == "c" else value for value, _ in kinds]
    reading = Reading(EUROS, FieldNames.model_validate({"envelope": "debezium", "changes": "skip"}), VIEW.attributes)
    states, rules = CardStates(), replace(RULES, reading=reading)
    pieces = [
        settle(replace(incoming(part, first)), states, Published(), MODEL, rules, NOW)
        for first, part in ((0, values[:cut]), (min(cut, len(values)), values[cut:]))
        if part
    ]
    expected = Counter(what for value, what in kinds if (value, what) in CHANGES)
    assert Counter(what for one in pieces for what in one.skipped) == expected
    assert sum(len(one.decisions) for one in pieces) == sum(value == "c" for value, _ in kinds)
    faults = [what for value, what in kinds if (value, what) in FAULTS]
    assert [field for one in pieces for field in one.fields] == faults
    offsets = [orjson.loads(value or b"")["source"]["offset"] for one in pieces for _, value in one.decisions]
    assert np.all(np.diff(offsets) > 0)


MAXWELL = {"envelope": "data", "operation": {"field": "$.type", "new": ["insert", "bootstrap-insert"]}}


def row(kind: Any, **more: Any) -> bytes:
    return orjson.dumps({"database": "d", "type": kind, "data": PLAIN} | more)


def test_what_a_source_calls_new_is_decided_and_every_other_record_is_not() -> None:
    values: list[bytes | None] = [row("insert"), row("update"), row("bootstrap-insert"), row("delete", data=None)]
    refused = settled(values, **MAXWELL)
    assert len(refused.decisions) == 2
    assert [record[1] for record in refused.rejected] == [values[1], values[3]]
    assert refused.fields == ["op", "op"]
    skipped = settled(values, **MAXWELL, changes="skip")
    assert (len(skipped.decisions), skipped.rejected, skipped.skipped) == (2, [], ["change", "change"])


@pytest.mark.parametrize(
    "kind", [None, 1, True, ["insert"], {"a": 1}, "INSERT", "insert ", "4111111111111111", "x" * 99]
)
def test_an_operation_that_is_not_the_stated_word_is_never_decided_nor_shown(kind: Any) -> None:
    decoded = decode([row(kind)], Reading(EUROS, FieldNames.model_validate(MAXWELL), VIEW.attributes))
    assert not len(decoded.positions)
    (refusal,) = decoded.refusals
    assert refusal.reason.startswith("operation: ")
    assert "4111111111111111" not in refusal.reason
    assert "x" * 30 not in refusal.reason


def test_a_record_that_does_not_say_what_it_is_is_refused_whatever_the_setting() -> None:
    done = settled([orjson.dumps({"data": PLAIN}), orjson.dumps(PLAIN)], **MAXWELL, changes="skip")
    assert (done.decisions, done.skipped, done.fields) == ([], [], ["operation", "operation"])


def test_an_operation_may_be_in_the_record_in_its_envelope_or_a_header() -> None:
    body = PLAIN | {"__op": "c", "meta": {"op": "c"}}
    for field in ("__op", "meta.op"):
        mapping = {"operation": {"field": field, "new": ["c", "r"]}, "changes": "skip"}
        values: list[bytes | None] = [orjson.dumps(body), orjson.dumps(body | {"__op": "u", "meta": {"op": "d"}})]
        done = settled(values, **mapping)
        assert (len(done.decisions), done.skipped) == (1, ["change"])
        inside = settled(
            [orjson.dumps({"after": orjson.loads(one or b"")}) for one in values], envelope="after", **mapping
        )
        assert (len(inside.decisions), inside.skipped) == (1, ["change"])
    names = FieldNames.model_validate({"operation": {"field": "$header.__op", "new": ["c"]}, "changes": "skip"})
    assert names.headers == {"__op"}
    decoded = decode(
        [orjson.dumps(PLAIN)] * 3,
        Reading(EUROS, names, VIEW.attributes),
        headers=[[("__op", b"c")], [("__op", b"u")], []],
    )
    assert decoded.positions.tolist() == [0]
    assert decoded.skipped == {1: "change"}
    assert [refusal.reason for refusal in decoded.refusals] == ["operation: $header.__op is absent; expected c"]


@pytest.mark.parametrize("field", ["$key", "$timestamp", "$row", "$header.", "", "a..b", "$.", "$what"])
def test_an_operation_that_is_nowhere_is_refused_with_the_place(field: str) -> None:
    with pytest.raises(ValidationError, match=r"operation\.field"):
        FieldNames.model_validate({"operation": {"field": field, "new": ["c"]}})


@given(
    st.dictionaries(st.text(max_size=4), st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(), max_size=3)
)
def test_an_object_in_a_text_is_read_as_the_object_itself(more: dict[str, Any]) -> None:
    body = {**more, **PLAIN}
    for envelope, outer in (("debezium", {"op": "c"}), ("after", {"n": 1})):
        as_object, as_text = (
            settled([orjson.dumps(outer | {"after": inner})], envelope=envelope)
            for inner in (body, orjson.dumps(body).decode())
        )
        assert as_object.decisions == as_text.decisions
        assert as_object.fields == as_text.fields


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "1", "null", '"x"', "[" * 40 + "]" * 40, '{"a":' * 1030 + "1" + "}" * 1030,
             '{"a":' + '{"b":' * 32 + "1" + "}" * 33, "{" + ",".join(f'"{n}":1' for n in range(2001)) + "}"],
    ids=range(10),
)  # fmt: skip
def test_a_text_in_an_envelope_is_held_to_the_limits_of_a_record(text: str) -> None:
    done = settled([orjson.dumps({"after": text}), orjson.dumps({"after": PLAIN})], envelope="after")
    assert (len(done.decisions), done.fields) == (1, ["after"])
