"""A decision in Avro says what its JSON says, to our readers and to other people's, whatever the transaction."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

import fastavro
import numpy as np
import numpy.typing as npt
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from harness.batches import MODEL, NOTHING, NOW, VIEW, a_value, incoming
from scorer.pipeline import decision_avro
from scorer.pipeline.avro import DamagedError
from scorer.pipeline.batch import LiveModel, Record, Rules, Settled
from scorer.pipeline.card_states import CardStates
from scorer.pipeline.decision_avro import decision_of, json_of, source_offset
from scorer.pipeline.encode_avro import _long
from scorer.pipeline.mapping import FieldNames
from scorer.pipeline.published import Decision
from scorer.pipeline.risk_lookup import Found as FoundInRisk
from scorer.pipeline.risk_lookup import Snapshots
from scorer.pipeline.settle import settle
from scorer.pipeline.transaction import Reading
from scorer.pipeline.view import Attribute, FeatureView
from scorer.sources.decisions import as_json, is_line
from scorer.worker.recovery import source_of
from shadow.comparison.decisions import read

WIDE = FeatureView(
    name="wide",
    attributes=(
        *VIEW.attributes,
        Attribute(name="age", kind="number"),
        Attribute(name="is_new", kind="boolean"),
    ),
)
RULES = Rules(
    WIDE,
    Reading(attributes=WIDE.attributes, mapping=FieldNames.model_validate({"negative": "refund"})),
    ahead_ms=300_000,
)
ORACLE = fastavro.parse_schema(json.loads(decision_avro.text()))

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
cell = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
others = st.dictionaries(
    text.filter(lambda name: name not in RULES.reading.names)
    | st.sampled_from(["source", "schema", "others", "repeat"]),
    cell,
    max_size=4,
)
transactions = st.fixed_dictionaries(
    {
        "transaction_id": text.map(lambda t: "i" + t.replace("\x00", "") + "i"),
        "card_id": st.sampled_from(["c0", "c1", "c\u00e9\U0001f600"]),
        "amount": st.sampled_from([0, 7, 1e11, -1e11, 0.1, -5, 1e-300]) | st.floats(0, 1e6),
        "occurred_at": st.sampled_from(
            ["2026-01-01T00:00:00Z", "2026-01-01t00:00:00.123456789+01:00", "0001-01-01T23:59:59Z"]
        ),
    },
    optional={
        "age": st.none() | st.floats(allow_nan=False, allow_infinity=False),
        "is_new": st.none() | st.booleans(),
        "country": st.none() | st.sampled_from(["DE", "XX"]),
    },
)


def both(values: list[bytes | None], model: LiveModel = MODEL, schema: int = 7) -> tuple[Settled, Settled]:
    """The same records settled in JSON and in Avro."""
    return both_by(RULES, values, model, schema)


def both_by(
    plain: Rules, values: list[bytes | None], model: LiveModel = MODEL, schema: int = 7
) -> tuple[Settled, Settled]:
    """`both`, by some rules."""
    as_avro = replace(plain, decision_schema=schema)
    inside = incoming(values)
    return tuple(settle(inside, CardStates(), NOTHING, model, rules, NOW) for rules in (plain, as_avro))  # type: ignore[return-value]


def told_by_oracle(value: bytes, writer: Any = ORACLE, reader: Any = None) -> dict[str, Any]:
    """What fastavro reads, with what is said only in JSON or only in Avro brought together."""
    stream = io.BytesIO(value[5:])
    found: Any = fastavro.schemaless_reader(stream, writer, reader)
    assert stream.read() == b"", "bytes are left over"
    transaction = found["transaction"]
    found["transaction"] = {**json.loads(transaction.pop("others")), **transaction}
    return {name: cell for name, cell in found.items() if name not in ("override", "repeat", "refund") or cell}


def agree(plain: list[Record], avro: list[Record]) -> None:
    assert [key for key, _ in plain] == [key for key, _ in avro]
    for (_, said), (_, value) in zip(plain, avro, strict=True):
        assert said is not None
        assert value is not None
        assert value[:5] == b"\0\0\0\0\x07"
        assert decision_of(value) == orjson.loads(said)
        assert list(decision_of(value)) == list(orjson.loads(said))
        assert told_by_oracle(value) == json.loads(said)
        assert json.loads(json_of(value)) == json.loads(said), "also numbers beyond 64 bits"
        assert is_line(as_json(value))
        assert source_of(value) == source_offset(value) == orjson.loads(said)["source"]["offset"]


@pytest.mark.slow
@given(
    st.lists(st.tuples(transactions, others), min_size=1, max_size=4), st.sampled_from([None, "allow_all", "block_all"])
)
def test_both_formats_say_the_same(rows: list[tuple[dict[str, Any], dict[str, Any]]], override: str | None) -> None:
    values: list[bytes | None] = []
    for i, (row, more) in enumerate(rows):
        known = orjson.loads(a_value(i))
        known.pop("country")
        values.append(json.dumps({**more, **known, **row}, ensure_ascii=i % 2 == 0).encode())
    plain, avro = both(values, replace(MODEL, override=override))
    agree(plain.decisions, avro.decisions)
    assert plain.rejected == avro.rejected
    assert plain.states == avro.states


def test_what_is_missing_extreme_or_marked_is_the_same() -> None:
    digits = (
        b'{"long":123456789012345678901234567890,"f":1e308,"deep":{"n":[null,-0.0,18446744073709551615]},'
        + a_value(5)[1:]
    )
    values: list[bytes | None] = [
        a_value(0),
        a_value(3, transaction_id="t0"),
        a_value(6, amount=-5),
        digits,
        a_value(8, age=1e300, is_new=None, source={"partition": 1, "offset": 99}),
        a_value(9, note='\u00e9\U0001f600\u2028 " \\ \x7f', country=None),
        a_value(11, others="mine", schema=2),
    ]
    plain, avro = both(values)
    assert len(plain.decisions) == len(values)
    agree(plain.decisions, avro.decisions)
    assert [("repeat" in d, "refund" in d) for d in map(decision_of, filter(None, (v for _, v in avro.decisions)))][
        :3
    ] == [
        (False, False),
        (True, False),
        (False, True),
    ]
    assert b'"long":123456789012345678901234567890' in json_of(avro.decisions[3][1] or b"")


def test_a_model_without_a_bundle_and_features_that_are_no_numbers_are_null_in_both() -> None:
    nothing = LiveModel(None, 2**31, None, "block_all", None)
    agree(*(settled.decisions for settled in both([a_value(0)], nothing)))
    plain, avro = both([a_value(0, age=None), a_value(1)])
    for settled in (plain, avro):
        assert len(settled.decisions) == 2
    features = decision_of(avro.decisions[0][1] or b"")["features"]
    assert None in features
    assert features == orjson.loads(plain.decisions[0][1] or b"")["features"]


def test_both_may_be_mixed_on_a_topic() -> None:
    values = [a_value(i) for i in range(6)]
    plain, avro = both(list(values))
    mixed = [(avro if i % 3 else plain).decisions[i][1] for i in range(6)]
    expected, none = read([value for _, value in plain.decisions], list(range(6)), 5)
    found, bad = read(mixed, list(range(6)), 5)
    assert (bad, none) == ([], [])
    assert found.rows == expected.rows
    for name in (
        "offsets",
        "sources",
        "epochs",
        "scores",
        "blocks",
        "repeats",
        "refunds",
        "minor",
        "occurred_ms",
        "scored_ms",
    ):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    odd = [mixed[0], b"\0\0\0\0\x07", None, b"{", mixed[1], b"\0" * 40]
    found, bad = read(odd, list(range(6)), 5)
    assert bad == [1, 2, 3, 5]
    assert [row["source"]["offset"] for row in found.rows] == [0, 1]


@given(st.data())
def test_no_damage_is_more_than_refused(data: st.DataObject) -> None:
    value = both([a_value(0)])[1].decisions[0][1] or b""
    at = data.draw(st.integers(0, len(value) - 1))
    damaged = value[:at] + data.draw(st.binary(max_size=3)) + value[at + data.draw(st.integers(0, 3)) :]
    for reads in (decision_of, json_of, source_offset):
        try:
            reads(damaged)
        except ValueError:
            continue
    decisions, bad = read([damaged], [0], 5)
    assert len(decisions) + len(bad) == 1
    source_of(damaged)
    as_json(damaged)


def test_what_json_lacks_is_no_decision() -> None:
    value = both([a_value(0)])[1].decisions[0][1] or b""
    (amount,) = [at for at in range(len(value)) if value[at:].startswith(np.float64(0.25).tobytes() + b"\x06EUR")]
    for odd in (math.nan, math.inf):
        with pytest.raises(DamagedError):
            decision_of(value[:amount] + np.float64(odd).tobytes() + value[amount + 8 :])
    with pytest.raises(DamagedError):
        decision_of(value[:5] + b"\x06" + value[6:])  # another version
    with pytest.raises(DamagedError):
        decision_of(value[:5] + b"\x04" + value[6:])  # that of merchant risk, without what it has
    with pytest.raises(DamagedError):
        decision_of(value + b"\0")


ORACLE_OF_RISK = fastavro.parse_schema(json.loads(decision_avro.text(has_risk=True)))
RISKY = FeatureView.model_validate({"name": "risky", "attributes": VIEW.attributes, "risk": {"windows": ["7d"]}})
RISK = {"risk_snapshot", "risk_staleness_seconds"}


class FoundRisk(Snapshots):
    """Says of every other transaction which snapshot it found; the first of these at once when that began to count."""

    def find(self, keys: Sequence[str | None], occurred_ms: npt.NDArray[np.int64]) -> FoundInRisk:
        n = len(keys)
        features = np.full((n, 3), np.nan)
        features[::2] = 0.25
        versions = [f"{i:016x}" if i % 2 == 0 else None for i in range(n)]
        return FoundInRisk(features, versions, np.arange(n, dtype=np.int64) * 10**7)


@pytest.mark.parametrize("has_snapshots", [True, False])
def test_a_view_with_merchant_risk_says_the_same_in_both_formats(has_snapshots: bool) -> None:
    risk = FoundRisk(3, 100.0, 2) if has_snapshots else None
    rules = Rules(RISKY, Reading(attributes=RISKY.attributes), ahead_ms=300_000, risk=risk)
    values: list[bytes | None] = [a_value(i) for i in range(5)]
    plain, avro = both_by(rules, values)
    assert len(plain.decisions) == len(values)
    for at, ((_, said), (_, value)) in enumerate(zip(plain.decisions, avro.decisions, strict=True)):
        assert said is not None
        assert value is not None
        told = orjson.loads(said)
        assert decision_of(value) == told
        assert list(decision_of(value)) == list(told)
        assert json_of(value) == orjson.dumps(told)
        assert (told.keys() >= RISK) == (has_snapshots and at % 2 == 0)
        by_oracle = told_by_oracle(value, ORACLE_OF_RISK)
        assert by_oracle.pop("schema") == 2
        assert {name: cell for name, cell in by_oracle.items() if name not in RISK or cell is not None} == {
            name: cell for name, cell in told.items() if name != "schema"
        }
        assert source_of(value) == source_offset(value) == at
        assert decision_avro.release_probability(value) == 1.0
    mixed = [plain.decisions[0][1], avro.decisions[1][1], avro.decisions[2][1], both([a_value(3)])[1].decisions[0][1]]
    decisions, bad = read(mixed, [0, 1, 2, 3], 5)
    assert (len(decisions), bad) == (4, [])


def test_whoever_has_either_schema_reads_records_of_the_other() -> None:
    """As registries have it by default, and the other way round, so that either side may be replaced first."""
    old = both([a_value(0)])[1].decisions[0][1] or b""
    rules = Rules(RISKY, Reading(attributes=RISKY.attributes), ahead_ms=300_000, risk=FoundRisk(3, 100.0, 2))
    new = both_by(rules, [a_value(0)])[1].decisions[0][1] or b""
    assert told_by_oracle(old, ORACLE, ORACLE_OF_RISK).items() > dict.fromkeys(RISK).items()
    assert told_by_oracle(new, ORACLE_OF_RISK, ORACLE).keys().isdisjoint(RISK)
    assert new[5:6] != old[5:6]


def test_views_without_merchant_risk_are_written_as_ever() -> None:
    assert [field["name"] for field in decision_avro.SCHEMA_OF_RISK["fields"][-2:]] == sorted(RISK)
    assert decision_avro.SCHEMA_OF_RISK["fields"][1:-2] == decision_avro.SCHEMA["fields"][1:]
    assert (both([a_value(0)])[1].decisions[0][1] or b"")[5:6] == b"\x02"


def foreign(**changes: Any) -> bytes:
    """A decision that somebody else wrote by our schema, with other people's library."""
    transaction = {"transaction_id": "t", "occurred_at": "2026-01-31T12:00:00Z", "card_id": "c", "merchant_id": "m"}
    transaction |= {"amount": 1.5, "currency": "EUR", "others": "{}"}  # type: ignore[dict-item]
    transaction |= {name: changes.pop(name) for name in list(changes) if name in transaction}
    decision = {
        "schema": 1, "source": {"partition": 5, "offset": 8}, "decision": "allow", "score": 0.25, "threshold": 0.5,
        "bundle": "b" * 64, "epoch": 1, "view": "v", "release_probability": 1.0, "features": [1.0, None],
        "amount_minor": 150, "scored_at": "2026-01-31T12:00:00.000Z", "transaction": transaction,
    }  # fmt: skip
    out = io.BytesIO(b"\0\0\0\0\x09")
    out.seek(5)
    fastavro.schemaless_writer(out, ORACLE, decision | changes)
    return out.getvalue()


@pytest.mark.parametrize(
    ("changes", "is_taken"),
    [
        ({}, True),
        ({"others": ' {"a":1, "card_id":"other"} '}, True),
        ({"features": [1e308, 1e308, -1e308]}, True),
        ({"features": [], "override": "block_all", "score": None}, True),
        ({"others": "[]"}, False),
        ({"others": "{"}, False),
        ({"others": '{"a":' + "[" * 100_000 + "]" * 100_000 + "}"}, False),
        ({"features": [math.inf, -math.inf]}, False),
        ({"score": -1.0}, False),
        ({"schema": 2}, False),
        ({"source": {"partition": 5, "offset": -7}}, False),
    ],
)
def test_what_others_write_by_our_schema_is_a_decision_or_passed_over(changes: dict[str, Any], is_taken: bool) -> None:
    value = foreign(**changes)
    decisions, bad = read([value], [0], 5)
    assert (len(decisions), bad) == ((1, []) if is_taken else (0, [0]))
    if is_taken:
        assert decisions.column("card_id") == ["c"]
        assert read([as_json(value)], [0], 5)[0].rows == decisions.rows


@given(st.integers(-(2**63), 2**63 - 1))
def test_a_whole_number_is_written_as_the_oracle_does(number: int) -> None:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, {"type": "long"}, number)
    assert _long(number) == out.getvalue()


def test_the_schema_has_the_fields_of_a_decision() -> None:
    hints = get_type_hints(Decision)
    risk = {"risk_snapshot", "risk_staleness_seconds"}
    for schema, lacks in ((decision_avro.SCHEMA, risk), (decision_avro.SCHEMA_OF_RISK, set())):
        fields = {field["name"]: field["type"] for field in schema["fields"]}
        assert set(fields) == set(hints) - lacks
    assert decision_avro.SCHEMA["fields"][0]["name"] == "schema", "by which readers without a registry know the version"
    assert get_args(hints["decision"]) == decision_avro.VERDICTS
    assert get_origin(hints["override"]) is Literal
    assert get_args(hints["override"]) == decision_avro.OVERRIDES
    assert set(hints) - set(decision_avro.SOMETIMES) == set(TypeAdapter(Decision).json_schema()["required"])
