"""A decision depends on the transactions before it and on nothing else: not on batches, nor on where a worker died."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scorer.events import Reading, decode
from scorer.features import history
from scorer.pipeline import LONGEST_VALUE, Incoming, LiveModel, Part, Published, Rules, Settled, settle, settle_all
from scorer.recovery import _END, _source
from scorer.velocity import CardStates
from scorer.view import Attribute, FeatureView

VIEW = FeatureView(name="test", attributes=(Attribute(name="country", kind="category", values=("DE", "FR")),))
RULES = Rules(VIEW, Reading(attributes=VIEW.attributes), ahead_ms=300_000)
NOW = 1_767_225_600_000


def score(matrix: np.ndarray) -> np.ndarray:
    known = np.nan_to_num(matrix, nan=-1.0)
    return (known.sum(axis=1) * 997 % 1009) / 1009


MODEL = LiveModel("d" * 64, 3, 0.5, None, score)


def a_value(i: int, **changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "transaction_id": f"t{i}",
        "occurred_at": f"2026-01-01T00:{i // 60 % 60:02d}:{i % 60:02d}Z",
        "card_id": f"c{i % 3}",
        "merchant_id": "m",
        "amount": i + 0.25,
        "currency": "EUR",
        "country": "DE" if i % 2 else "XX",
    }
    return orjson.dumps(fields | changes)


def incoming(values: list[bytes | None], first: int = 0) -> Incoming:
    n = len(values)
    keys = [b"c%d" % (i % 3) for i in range(first, first + n)]
    return Incoming(5, keys, values, np.arange(first, first + n), np.full(n, NOW + 3_600_000))


NOTHING = Published()


def cut(values: list[bytes | None], cuts: list[int], published: Published = NOTHING) -> list[Settled]:
    states = CardStates()
    edges = [0, *sorted({c for c in cuts if 0 < c < len(values)}), len(values)]
    return [settle(incoming(values[a:b], a), states, published, MODEL, RULES, NOW) for a, b in pairwise(edges)]


def decisions(parts: list[Settled]) -> list[tuple[bytes | None, bytes | None]]:
    return [record for part in parts for record in part.decisions]


def dead_letters(parts: list[Settled]) -> list[tuple[Any, Any]]:
    return [(r, h) for part in parts for r, h in zip(part.rejected, part.headers, strict=True)]


mixed = st.lists(st.sampled_from(["good", "good", "good", "broken", "repeat", "tombstone"]), min_size=1, max_size=25)


def make(kinds: list[str]) -> list[bytes | None]:
    out: list[bytes | None] = []
    for i, kind in enumerate(kinds):
        if kind == "tombstone":
            out.append(None)
        elif kind == "broken":
            out.append(a_value(i, amount="much"))
        else:
            out.append(a_value(i, **({"transaction_id": f"t{max(0, i - 3)}"} if kind == "repeat" else {})))
    return out


@settings(max_examples=50, deadline=None)
@given(mixed)
def test_a_recovery_finds_a_decisions_source_at_its_end(kinds: list[str]) -> None:
    for _, value in decisions(cut(make(kinds), [])):
        assert value is not None
        told = int(orjson.loads(value)["source"]["offset"])
        at_the_end = _END.search(value)
        assert at_the_end is not None
        assert int(at_the_end[1]) == _source(value) == told


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
        patched.setattr("scorer.pipeline.CHUNK", chunk)
        found = settle_all([Part(*part) for part in zip(batches, together, marks, strict=True)], MODEL, RULES, NOW)
    for one, other in zip(found, expected, strict=True):
        for name in Settled.__dataclass_fields__:
            np.testing.assert_equal(getattr(one, name), getattr(other, name), err_msg=name)
    cards = [f"c{i}" for i in range(3)]
    for one, other in zip(together, alone, strict=True):
        known = [card for card in cards if card in other._places]
        assert one.packed(known) == other.packed(known)
