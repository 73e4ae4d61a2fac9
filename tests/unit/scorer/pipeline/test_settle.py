"""A decision depends on the transactions before it and on nothing else: not on batches, nor on where a worker died."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scorer.pipeline.settle as pipeline
from harness.batches import (
    MODEL,
    NOTHING,
    NOW,
    RULES,
    VIEW,
    a_value,
    cut,
    dead_letters,
    decisions,
    incoming,
    make,
    mixed,
    score,
)
from scorer.errors import ModelFailedError
from scorer.pipeline import decode as decoding
from scorer.pipeline import encode
from scorer.pipeline.batch import Part, Published, Rules, Settled
from scorer.pipeline.card_states import CardStates
from scorer.pipeline.decode import decode
from scorer.pipeline.encode import LONGEST_VALUE
from scorer.pipeline.events import Events
from scorer.pipeline.features import history
from scorer.pipeline.mapping import FieldNames
from scorer.pipeline.settle import settle, settle_all
from scorer.pipeline.transaction import Reading


@settings(max_examples=80, deadline=None)
@given(mixed, st.lists(st.integers(1, 24), max_size=4))
def test_every_offset_becomes_one_decision_or_dead_letter_however_batches_are_cut(
    kinds: list[str], cuts: list[int]
) -> None:
    values = make(kinds)
    whole, parts = cut(values, []), cut(values, cuts)
    assert decisions(parts) == decisions(whole)
    assert dead_letters(parts) == dead_letters(whole)
    decided = [orjson.loads(value or b"")["source"]["offset"] for _, value in decisions(whole)]
    refused = [int(dict(headers)["offset"]) for _, headers in dead_letters(whole)]
    assert sorted(decided + refused) == list(range(len(values)))
    assert decided == sorted(decided)


@settings(max_examples=80, deadline=None)
@given(mixed, st.integers(-1, 24), st.integers(-1, 24))
def test_what_is_published_is_absorbed_and_not_published_again(kinds: list[str], decided: int, refused: int) -> None:
    values = make(kinds)
    whole = cut(values, [])
    again = cut(values, [7], Published(decided, refused))
    offsets = {orjson.loads(value or b"")["source"]["offset"]: value for _, value in decisions(whole)}
    assert [value for _, value in decisions(again)] == [v for o, v in offsets.items() if o > decided]
    expected = [int(dict(h)["offset"]) for _, h in dead_letters(whole)]
    assert [int(dict(h)["offset"]) for _, h in dead_letters(again)] == [o for o in expected if o > refused]
    assert dict(s for part in again for s in part.states) == dict(s for part in whole for s in part.states)


def test_decision_holds_the_snapshot_bit_for_bit_and_the_transaction_as_it_came() -> None:
    values = [a_value(i) for i in range(9)]
    (settled,) = cut(list(values), [])
    events = decode(values, RULES.reading).events
    matrix = history(VIEW, events)
    for i, (key, value) in enumerate(settled.decisions):
        body = orjson.loads(value or b"")
        assert values[i] in (value or b"")
        assert key == b"c%d" % (i % 3)
        np.testing.assert_array_equal(np.array(body["features"], dtype=float), matrix[i])
        assert score(np.array([body["features"]], dtype=float))[0] == body["score"]
        assert body["decision"] == ("block" if body["score"] >= 0.5 else "allow")
        assert body["view"] == VIEW.id
        assert body["amount_minor"] == i * 100 + 25
        assert (body["bundle"], body["epoch"], body["source"]) == ("d" * 64, 3, {"partition": 5, "offset": i})
        assert "repeat" not in body


def test_a_score_equal_to_the_threshold_blocks() -> None:
    model = replace(MODEL, score=lambda matrix: np.full(len(matrix), 0.5))
    settled = settle(incoming([a_value(0)]), CardStates(), NOTHING, model, RULES, NOW)
    assert orjson.loads(settled.decisions[0][1] or b"")["decision"] == "block"


def test_repeated_id_is_decided_marked_and_absorbed_once() -> None:
    values: list[bytes | None] = [a_value(0), a_value(3, transaction_id="t0"), a_value(6)]
    bodies = [orjson.loads(v or b"") for _, v in cut(values, [])[0].decisions]
    assert [body.get("repeat", False) for body in bodies] == [False, True, False]
    count = VIEW.names.index("card_count_1h")
    assert [body["features"][count] for body in bodies] == [0, 1, 1]


def test_kill_switch_asks_no_model() -> None:
    def never(matrix: np.ndarray) -> np.ndarray:
        raise AssertionError("asked")

    for override, verdict in (("allow_all", "allow"), ("block_all", "block")):
        model = replace(MODEL, override=override, score=never)
        body = orjson.loads(
            settle(incoming([a_value(0)]), CardStates(), NOTHING, model, RULES, NOW).decisions[0][1] or b""
        )
        assert (body["decision"], body["score"], body["override"]) == (verdict, None, override)


def test_a_score_that_is_no_probability_is_a_dead_letter() -> None:
    model = replace(MODEL, score=lambda matrix: np.where(np.arange(len(matrix)) == 1, np.nan, 0.1))
    values = [a_value(i) for i in range(3)]
    settled = settle(incoming(list(values)), CardStates(), NOTHING, model, RULES, NOW)
    assert len(settled.decisions) == 2
    assert settled.rejected == [(b"c1", values[1])]
    assert dict(settled.headers[0])["field"] == b"score"


def test_an_oversized_transaction_is_a_dead_letter_with_its_bytes() -> None:
    value = a_value(0, note="x" * LONGEST_VALUE)
    settled = settle(incoming([value]), CardStates(), NOTHING, MODEL, RULES, NOW)
    assert settled.rejected == [(b"c0", value)]
    assert b"at most" in dict(settled.headers[0])["reason"]


def test_a_transaction_from_2099_is_decided_but_leaves_velocity_alone() -> None:
    values: list[bytes | None] = [a_value(0), a_value(3, occurred_at="2099-01-01T00:00:00Z"), a_value(6)]
    (settled,) = cut(values, [])
    assert len(settled.decisions) == 3
    assert settled.untrusted == 1
    count = VIEW.names.index("card_count_1h")
    assert orjson.loads(settled.decisions[2][1] or b"")["features"][count] == 1


def test_a_record_under_another_key_is_decided_and_counted() -> None:
    batch = replace(incoming([a_value(0), a_value(1)]), keys=[b"c0", None])
    settled = settle(batch, CardStates(), NOTHING, MODEL, RULES, NOW)
    assert len(settled.decisions) == 2
    assert settled.miskeyed == 1


def test_event_clock_stamps_the_transactions_own_time() -> None:
    rules = replace(RULES, ahead_ms=None)
    settled = settle(incoming([a_value(0)]), CardStates(), NOTHING, MODEL, rules, None)
    assert orjson.loads(settled.decisions[0][1] or b"")["scored_at"] == "2026-01-01T00:00:00.000Z"


@settings(max_examples=40, deadline=None)
@given(st.permutations(list(range(12))))
def test_training_history_equals_the_stream(order: list[int]) -> None:
    values = [a_value(i) for i in range(12)]
    shuffled = decode([values[i] for i in order], RULES.reading).events
    matrix = history(VIEW, shuffled)
    streamed = [orjson.loads(v or b"")["features"] for part in cut(list(values), [5]) for _, v in part.decisions]
    np.testing.assert_array_equal(matrix, np.array([streamed[i] for i in order], dtype=float))


@pytest.mark.parametrize("chunk", [1, 7, 1000])
@settings(max_examples=40, deadline=None)
@given(several=st.lists(st.tuples(mixed, st.integers(-1, 30), st.integers(-1, 30)), min_size=1, max_size=4))
def test_partitions_settled_together_and_in_turns_are_settled_as_each_alone(
    chunk: int, several: list[tuple[list[str], int, int]]
) -> None:
    batches = [replace(incoming(make(kinds)), partition=p) for p, (kinds, _, _) in enumerate(several)]
    marks = [Published(decided, rejected) for _, decided, rejected in several]
    alone = [CardStates() for _ in several]
    together = [CardStates() for _ in several]
    expected = [settle(b, s, m, MODEL, RULES, NOW) for b, s, m in zip(batches, alone, marks, strict=True)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("scorer.pipeline.settle.CHUNK", chunk)
        found = settle_all([Part(*part) for part in zip(batches, together, marks, strict=True)], MODEL, RULES, NOW)
    for one, other in zip(found, expected, strict=True):
        for name in Settled.__dataclass_fields__:
            np.testing.assert_equal(getattr(one, name), getattr(other, name), err_msg=name)
    cards = [f"c{i}" for i in range(3)]
    for one, other in zip(together, alone, strict=True):
        known = [card for card in cards if card in other._places]
        assert one.packed(known) == other.packed(known)


def poisoned(patched: pytest.MonkeyPatch, where: str, ids: set[str]) -> None:
    """Let a step of the pipeline raise for batches that hold any of these transactions."""
    step = getattr(pipeline, where)

    def raising(*given: Any, **named: Any) -> Any:
        events = next(part for part in given if isinstance(part, Events))
        if ids & set(events.ids):
            raise RecursionError("a fault that nobody foresaw")
        return step(*given, **named)

    patched.setattr(pipeline, where, raising)


@settings(max_examples=40, deadline=None)
@given(mixed, st.sets(st.integers(0, 24), min_size=1, max_size=3), st.sampled_from(["snapshot", "DecisionWriter"]))
def test_a_record_that_makes_the_pipeline_raise_is_a_dead_letter_and_its_neighbours_are_decided(
    kinds: list[str], at: set[int], where: str
) -> None:
    kinds = ["good" if kind == "repeat" else kind for kind in kinds]
    values = make(kinds)
    ids = {f"t{i}" for i in at if i < len(kinds) and kinds[i] == "good"}
    with pytest.MonkeyPatch.context() as patched:
        poisoned(patched, where, ids)
        states = CardStates()
        found = settle(incoming(values), states, NOTHING, MODEL, RULES, NOW)
    told = {int(dict(h)["offset"]): dict(h)["reason"] for h in found.headers if dict(h)["field"] == b"raised"}
    assert set(told) == {int(text[1:]) for text in ids}
    assert all(reason.startswith(b"raised: RecursionError") for reason in told.values())
    # the others are decided as if these records were not there, and so are the cards
    clean = CardStates()
    others: list[bytes | None] = [b"{}" if i in told else value for i, value in enumerate(values)]
    wanted = settle(incoming(others), clean, NOTHING, MODEL, RULES, NOW)
    assert found.decisions == wanted.decisions
    assert sorted(found.states) == sorted(wanted.states)


def test_a_fault_while_cards_are_updated_leaves_them_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    states, fresh = CardStates(), CardStates()
    for cards in (states, fresh):
        settle(incoming([a_value(i) for i in range(6)]), cards, NOTHING, MODEL, RULES, NOW)
    monkeypatch.setattr(pipeline, "snapshot", lambda *_: 1 / 0)
    broken = settle(incoming([a_value(i) for i in range(6, 12)], 6), states, NOTHING, MODEL, RULES, NOW)
    assert broken.fields == ["raised"] * 6
    assert broken.states == []
    monkeypatch.undo()
    later = [a_value(i) for i in range(12, 15)]
    made = [settle(incoming(later, 12), cards, NOTHING, MODEL, RULES, NOW) for cards in (states, fresh)]
    assert made[0].decisions == made[1].decisions


def test_a_record_that_cannot_even_be_masked_is_found_by_its_offset(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = encode.screen

    def raising(values: Sequence[bytes | None]) -> list[int]:
        if any(value and b"odd" in value for value in values):
            raise ValueError("odd")
        return screen(values)

    for module in (decoding, encode):
        monkeypatch.setattr(module, "screen", raising)
    values = [a_value(0), a_value(1, card_id="odd"), a_value(2)]
    found = settle(incoming(values, 7), CardStates(), NOTHING, MODEL, RULES, NOW)
    assert [orjson.loads(value or b"")["source"]["offset"] for _, value in found.decisions] == [7, 9]
    assert found.rejected == [(None, None)]
    assert dict(found.headers[0])["offset"] == b"8"
    assert found.fields == ["raised"]


@pytest.mark.parametrize("answer", [ValueError("no"), np.zeros((3, 4)), np.zeros(2)])
def test_a_model_that_cannot_score_is_no_records_fault(answer: Any) -> None:
    def score(matrix: np.ndarray) -> np.ndarray:
        if isinstance(answer, Exception):
            raise answer
        return np.asarray(answer)

    model = replace(MODEL, score=score)
    with pytest.raises(ModelFailedError, match="bundle dddddddddddd"):
        settle(incoming([a_value(i) for i in range(3)]), CardStates(), NOTHING, model, RULES, NOW)


def nested(levels: int) -> Any:
    found: Any = 1
    for _ in range(levels):
        found = [found]
    return found


@pytest.mark.parametrize("mapping", [FieldNames(), FieldNames(drop=("nothing",))])
def test_a_decision_can_be_read_however_deep_its_transaction_was(mapping: FieldNames) -> None:
    depths = [0, 1, 30, 31, 32, 33, 253, 254, 255, 1022, 1023]
    values: list[bytes | None] = []
    for i, levels in enumerate(depths):
        inner = b"[" * levels + b"1" + b"]" * levels
        values.append(a_value(i, more=0).replace(b'"more":0', b'"more":' + inner))
    rules = replace(RULES, reading=Reading(mapping=mapping, attributes=VIEW.attributes))
    found = settle(incoming(values), CardStates(), NOTHING, MODEL, rules, NOW)
    kept = [orjson.loads(value or b"")["transaction"]["more"] for _, value in found.decisions]
    assert kept == [nested(levels) for levels in depths if levels < 32]
    reasons = {dict(headers)["reason"] for headers in found.headers}
    assert {reason for reason in reasons if not reason.startswith(b"value: not JSON in UTF-8")} == {
        b"value: nested deeper than 32 levels; flatten it"
    }
    assert len(found.rejected) == len(depths) - len(kept)


@pytest.mark.parametrize(("n", "is_kept"), [(1000, True), (1992, True), (1994, False), (20_000, False)])
def test_a_transaction_with_too_many_fields_is_a_dead_letter(n: int, is_kept: bool) -> None:
    value = a_value(0, **{"": {str(i): i for i in range(n)}})
    found = settle(incoming([a_value(1), value, a_value(2)]), CardStates(), NOTHING, MODEL, RULES, NOW)
    assert len(found.decisions) == 2 + is_kept
    if not is_kept:
        assert dict(found.headers[0])["reason"] == b"value: more than 2000 fields; send those that are needed"


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5),
    max_leaves=30,
)
names = st.sampled_from(
    ["transaction_id", "occurred_at", "card_id", "merchant_id", "amount", "currency", "country", "x", ""]
)
#: Pieces of JSON, escapes above all, that end too early.
broken = st.text(alphabet='\\u"4{}:,1dD8cC0', max_size=50)
formats: list[dict[str, Any]] = [
    {},
    {"occurred_at": {"kind": "epoch", "unit": "ms"}, "amount": {"kind": "minor_units"}},
    {"occurred_at": {"kind": "time", "zone": "Europe/Berlin"}, "amount": {"kind": "decimal", "comma": True}},
    {"occurred_at": {"kind": "time", "pattern": "%d.%m.%Y"}, "amount": {"kind": "base64_decimal", "scale": 2}},
    {"currency": {"kind": "words", "words": {"978": "EUR"}}},
]
readings = st.builds(
    Reading,
    mapping=st.builds(
        FieldNames,
        envelope=st.sampled_from([None, None, "connect", "debezium", "x", "x.country", "x[0]"]),
        formats=st.sampled_from(formats).map(lambda form: FieldNames.model_validate({"formats": form}).formats),
        fields=st.dictionaries(names.filter(bool), names, max_size=3),
        defaults=st.dictionaries(names, st.sampled_from([1.5, True, "EUR"]), max_size=2),
        drop=st.lists(names, max_size=2).map(tuple),
    ),
    attributes=st.just(VIEW.attributes),
)


def as_json(cell: Any) -> bytes:
    """As a careless sender writes it: NaN and infinity, lone surrogates, integers of any size."""
    return json.dumps(cell).encode()


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=60),
            broken.map(str.encode),
            broken.map(lambda text: f'{{"card_id":"{text}"}}'.encode()),
            anything.map(as_json),
            st.dictionaries(names, anything, max_size=9).map(as_json),
            st.dictionaries(names, anything, max_size=2).map(lambda more: as_json(json.loads(a_value(1)) | more)),
        ),
        max_size=8,
    ),
    readings,
)
def test_whatever_is_sent_becomes_a_decision_or_a_dead_letter(values: list[bytes | None], reading: Reading) -> None:
    rules = Rules(VIEW, reading, ahead_ms=300_000)
    found = settle(incoming(values), CardStates(), NOTHING, MODEL, rules, NOW)
    assert "raised" not in found.fields, found.headers
    decided = [orjson.loads(value or b"")["source"]["offset"] for _, value in found.decisions]
    refused = [int(dict(headers)["offset"]) for headers in found.headers]
    assert sorted([*decided, *refused]) == list(range(len(values)))
    assert all(np.isfinite(orjson.loads(value or b"")["score"]) for _, value in found.decisions)
