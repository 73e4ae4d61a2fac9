"""No card number leaves the pipeline: not in a decision, a dead letter, a card state, a metric or a log line."""

from __future__ import annotations

import json
import logging
import random
import re
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import generate_latest

import scorer.pipeline.settle as pipeline
from harness.batches import MODEL, NOTHING, NOW, RULES, VIEW, a_value, incoming
from harness.card_numbers import BRANDS, PRINTED, SEPARATORS, a_card_number, digits_of, grouped
from scorer import metrics
from scorer.pipeline.batch import Incoming, Settled
from scorer.pipeline.card_states import CardStates
from scorer.pipeline.encode import LONGEST_VALUE
from scorer.pipeline.mapping import FieldNames
from scorer.pipeline.settle import settle
from scorer.pipeline.transaction import Reading
from scorer.process.logs import JsonLines
from scorer.worker.counting import Counting

#: Where a card number may come: in each field, below it, beside it, as a name, in what is no transaction, as the key.
PLACES = (
    "transaction_id", "card_id", "merchant_id", "currency", "occurred_at", "country", "note", "nested", "list", "name",
    "twice", "with a bad amount", "number", "float", "not JSON", "truncated", "array", "text", "key",
    "key of a tombstone", "too long", "dropped",
)  # fmt: skip


def a_record(place: str, text: str, number: str, is_ascii: bool) -> tuple[bytes | None, bytes | None]:
    """Key and value of a record with a card number, written as text, in some place."""
    fields = orjson.loads(a_value(0))
    key: bytes | None = b"c0"
    quoted = json.dumps(text, ensure_ascii=is_ascii)
    if place in (*fields, "note"):
        fields[place] = text
        key = text.encode() if place == "card_id" else key
    elif place == "dropped":
        fields |= {"PAN": text, "amount": -1}
    else:
        fields |= {
            "nested": {"more": {"serial": text}},
            "list": {"more": [[1, text]]},
            "name": {"more": {text: 1}},
            "with a bad amount": {"note": text, "amount": "much"},
            "too long": {"note": text, "more": "x" * LONGEST_VALUE},
        }.get(place, {})
    value = json.dumps(fields, ensure_ascii=is_ascii).encode()
    rest = value.replace(b'"card_id": "c0"', b"%s")
    match place:
        case "twice":
            value = rest % b'"card_id": %s, "card_id": "c0"' % quoted.encode()
        case "number" | "float":
            value = rest % b'"card_id": %s' % (number.encode() + (b".0" if place == "float" else b""))
        case "not JSON":
            value = f"card {text} amount 12.5".encode()
        case "truncated":
            value = b'{"note":%s, "amount"' % quoted.encode()
        case "array":
            value = b"[%s]" % quoted.encode()
        case "text":
            value = quoted.encode()
        case "key":
            return text.encode(), value
        case "key of a tombstone":
            return text.encode(), None
    return key, value


def everything(settled: Settled) -> list[str]:
    """All that comes out of the pipeline, as texts with JSON escapes resolved."""
    parts: list[Any] = [*settled.decisions, *settled.rejected, *settled.states]
    parts += [(name.encode(), value) for headers in settled.headers for name, value in headers]
    texts = [part.decode("utf-8", "replace") for pair in parts for part in pair if part is not None]
    texts += settled.fields
    return [*texts, *map(_resolved, texts)]


def _resolved(text: str) -> str:
    """A text with what JSON escapes in it stand for."""
    return re.sub(r"\\u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), text)


@pytest.fixture
def logged() -> Any:
    """What is logged meanwhile, by whomever, as the workers write it."""
    lines: list[str] = []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    handler, root = Lines(), logging.getLogger()
    handler.setFormatter(JsonLines())
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield lines
    root.removeHandler(handler)
    root.setLevel(level)


RULES_HERE = replace(RULES, reading=Reading(attributes=VIEW.attributes, mapping=FieldNames(drop=("PAN",))))


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("brand", BRANDS, ids=lambda brand: brand.name)
def test_no_output_shows_a_whole_card_number(brand: Any, place: str, logged: list[str]) -> None:
    rng = random.Random(f"{brand.name} {place}")
    numbers, keys, values = [], [], []
    for separator in ("", *rng.sample(SEPARATORS, 15 if place != "too long" else 1)):
        for length in brand.lengths:
            number = a_card_number(rng, brand, length)
            sizes = PRINTED.get(length, (6, length - 6))
            text = rng.choice(["", "card ", "x_"]) + grouped(number, sizes, separator) + rng.choice(["", " ok"])
            key, value = a_record(place, text, number, is_ascii=rng.random() < 0.5)
            numbers.append(number)
            keys.append(key)
            values.append(value)
    n = len(values)
    batch = Incoming(5, keys, values, np.arange(n), np.full(n, NOW))
    found = settle(batch, CardStates(), NOTHING, MODEL, RULES_HERE, NOW)
    assert len(found.rejected) == n
    assert found.decisions == []
    out = "\n".join(everything(found))
    digits = digits_of(out)
    for number in numbers:
        assert number not in out
        assert number not in digits
    for i, headers in enumerate(found.headers):
        told = dict(headers)
        assert told["masked"] == b"true"
        assert told["reason"].endswith(b"(the number is masked here)")
        key, value = found.rejected[i]
        shown = digits_of("".join(_resolved((part or b"").decode("utf-8", "replace")) for part in (key, value)))
        assert numbers[i][:6] in shown
        assert numbers[i][-4:] in shown
    counting = Counting()
    counting.note(found, n, "a", 1.0)
    counting.show()
    page = digits_of(generate_latest(metrics.REGISTRY).decode())
    assert not any(number in page or number in line for number in numbers for line in [*logged, ""])
    assert set(found.fields) <= {*orjson.loads(a_value(0)), "key", "value"}, "a label of a metric"


def test_a_masked_record_is_json_and_says_the_field() -> None:
    value = a_value(0, card_id="4111-1111-1111-1111", note="é", z=1.50)
    found = settle(incoming([value]), CardStates(), NOTHING, MODEL, RULES, NOW)
    assert found.rejected == [(b"c0", value.replace(b"4111-1111-1111-1111", b"4111-11**-****-1111"))]
    told = dict(found.headers[0])
    assert told["field"] == b"card_id"
    assert told["reason"].startswith(b"card_id: looks like a card number; send a token")


@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize("envelope", [None, "payload"])
def test_a_text_that_holds_json_hides_no_card_number_however_it_is_escaped(envelope: str | None, levels: int) -> None:
    """As an envelope in a text has it: what is escaped in the inner JSON is escaped once more in the outer one."""
    number = "4111111111111111"
    escaped = "".join(f"\\u{ord(digit):04x}" for digit in number)
    text = a_value(0, note="N", amount=-1).decode().replace('"N"', f'"{escaped}"')
    for _ in range(levels):
        text = json.dumps({"payload": text, "note": "\\n"})
    mapping = FieldNames.model_validate({} if envelope is None else {"envelope": envelope})
    rules = replace(RULES, reading=replace(RULES.reading, mapping=mapping))
    made = settle(incoming([text.encode()]), CardStates(), NOTHING, MODEL, rules, NOW)
    ((_, value),) = made.rejected
    assert value is not None
    assert b"masked" in dict(made.headers[0])["reason"]
    inner = value.decode()
    for _ in range(levels):
        assert number not in inner
        inner = json.loads(inner)["payload"]
    assert json.loads(inner)["note"] == "411111******1111"


def test_a_dead_letter_without_a_card_number_is_left_alone() -> None:
    value = a_value(0, amount="much", ids=["4111111111111112", "20260131000000000017"], at=1767225600000)
    found = settle(incoming([value]), CardStates(), NOTHING, MODEL, RULES, NOW)
    assert found.rejected == [(b"c0", value)]
    assert "masked" not in dict(found.headers[0])


def test_fields_that_may_look_like_card_numbers_are_decided_and_never_masked() -> None:
    reading = Reading(attributes=VIEW.attributes, card_number_fields=("card_id", "note"))
    rules = replace(RULES, reading=reading)
    values = [a_value(0, card_id="4111111111111111", note=["4111111111111111"], amount=amount) for amount in (1, -1)]
    batch = replace(incoming(list(values)), keys=[b"4111111111111111"] * 2)
    found = settle(batch, CardStates(), NOTHING, MODEL, rules, NOW)
    assert [orjson.loads(value or b"")["transaction"]["amount"] for _, value in found.decisions] == [1]
    assert found.rejected == [(b"4111111111111111", values[1])]


@pytest.mark.parametrize("where", ["snapshot", "DecisionWriter"])
def test_a_fault_of_the_scorer_shows_no_card_number(
    where: str, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    def raising(*given: Any, **named: Any) -> Any:
        raise ValueError(f"{given} {named}")

    monkeypatch.setattr(pipeline, where, raising)
    mapping = FieldNames(drop=("PAN",))
    rules = replace(RULES, reading=Reading(attributes=VIEW.attributes, mapping=mapping))
    found = settle(incoming([a_value(0, PAN="4111111111111111")]), CardStates(), NOTHING, MODEL, rules, NOW)
    assert found.fields == ["raised"]
    assert not any("4111111111111111" in text for text in [*everything(found), *logged])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([None, *PLACES]), st.sampled_from(SEPARATORS), st.integers(0, 2**32))))
def test_neighbours_are_decided_as_if_no_card_number_had_come(kinds: list[tuple[str | None, str, int]]) -> None:
    keys: list[bytes | None] = []
    values: list[bytes | None] = []
    for i, (place, separator, seed) in enumerate(kinds):
        number = a_card_number(random.Random(seed))
        key, value = b"c%d" % (i % 3), a_value(i)
        if place is not None:
            key, value = a_record(place, grouped(number, PRINTED.get(len(number), (5,)), separator), number, True)
        keys.append(key)
        values.append(value)
    n = len(values)
    batch = Incoming(5, keys, values, np.arange(n), np.full(n, NOW + 3_600_000))
    found = settle(batch, CardStates(), NOTHING, MODEL, RULES_HERE, NOW)
    clean = [value if kinds[i][0] is None else b"{}" for i, value in enumerate(values)]
    wanted = settle(replace(batch, values=clean, keys=[b""] * n), CardStates(), NOTHING, MODEL, RULES_HERE, NOW)
    assert found.decisions == wanted.decisions
    assert found.states == wanted.states
    assert [int(dict(h)["offset"]) for h in found.headers] == [i for i in range(n) if kinds[i][0] is not None]
