"""Every record becomes one row, and a decision comes back from its row as it was published."""

from __future__ import annotations

import math
from datetime import date
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.decisions import a_decision
from scorer.pipeline.batch import Unreadable
from shadow.archive.rows import KINDS, decision_of, decisions, deployments, labels, rejected

NOW = 1_770_000_000_000


def a_record(offset: int, value: bytes | None, **changes: Any) -> Any:
    return SimpleNamespace(**{"offset": offset, "value": value, "key": b"k", "timestamp": NOW, "headers": []} | changes)


#: JSON that orjson reads back as it was.
cells = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abcdef", max_size=4), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
features = st.lists(st.none() | st.floats(allow_nan=False, allow_infinity=False), max_size=6)
whole = st.integers(0, 2**31)


@given(
    others=st.dictionaries(st.text("xyz_", min_size=1, max_size=6), cells, max_size=4),
    snapshot=features,
    minor=st.integers(0, 2**62),
    epoch=whole,
    marks=st.sets(st.sampled_from(["repeat", "refund"])),
    more=st.dictionaries(st.sampled_from(["risk", "staleness"]), cells, max_size=2),
    amount=st.floats(0, 1e12),
    score=st.none() | st.floats(0, 1),
)
def test_a_decision_comes_back_as_it_was_published_bit_for_bit(
    others: dict[str, Any],
    snapshot: list[float | None],
    minor: int,
    epoch: int,
    marks: set[str],
    more: dict[str, Any],
    amount: float,
    score: float | None,
) -> None:
    decision = {
        "schema": 1,
        "release_probability": 1.0,
        **a_decision(5, features=snapshot, amount_minor=minor, epoch=epoch, score=score),
        **dict.fromkeys(marks, True),
        **more,
    }
    decision["transaction"] |= {"merchant_id": "m", "currency": "EUR", "amount": amount, **others}
    decision["transaction"]["occurred_at"] = decision["scored_at"] = "2026-01-31T12:00:00.125Z"
    (row,) = decisions(0, [a_record(9, orjson.dumps(decision))]).to_pylist()
    assert row["problem"] is None
    found = decision_of(row)
    assert found == decision
    bits = [None if cell is None else math.copysign(1, cell) for cell in found["features"]]
    assert bits == [None if cell is None else math.copysign(1, cell) for cell in snapshot]
    assert (row["offset"], row["day"]) == (9, date(2026, 1, 31))


odd = (
    st.none()
    | st.binary(max_size=40)
    | cells.map(orjson.dumps)
    | st.binary(max_size=9).map(lambda raw: Unreadable(raw, "record: broken"))
    | st.fixed_dictionaries({}, optional=dict.fromkeys(a_decision(1), cells)).map(
        lambda changes: orjson.dumps({**a_decision(1), **changes})
    )
    | st.sampled_from([b"[" * 600 + b"]" * 600, b"\xff", b"\x00", orjson.dumps({"kind": 1, "at": 2})])
)


@given(
    values=st.lists(odd, max_size=8),
    stamp=st.sampled_from([NOW, -1, 0, 2**62, -(2**62)]),
    headers=st.lists(
        st.tuples(
            st.sampled_from(["reason", "field", "offset", "rejected_at", "replayed", "x"]),
            st.none() | st.binary(max_size=6) | st.sampled_from([b"7", b"9" * 30, b"2026-01-01T00:00:00Z"]),
        ),
        max_size=5,
    ),
    key=st.none() | st.binary(max_size=5),
)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.table)
def test_whatever_a_record_holds_it_has_one_row_in_log_order(
    kind: Any, values: list[bytes | None], stamp: int, headers: Any, key: bytes | None
) -> None:
    records = [a_record(3 * i, value, timestamp=stamp, headers=headers, key=key) for i, value in enumerate(values)]
    rows = kind.build(0, records, ())
    assert rows.schema == kind.schema
    assert rows["offset"].to_pylist() == [record.offset for record in records]
    assert rows["day"].null_count == 0
    rows.validate(full=True)


def test_a_card_number_in_a_record_that_is_none_does_not_stay() -> None:
    number = b"4111111111111111"
    for kind in KINDS:
        for value in (number, b"{" + number, b'{"x": "' + number + b'"}'):
            records = [a_record(0, Unreadable(value, "record: broken"), key=number)]
            (row,) = kind.build(0, records, ()).to_pylist()
            assert row["problem"], kind.table
            assert number not in b"".join(cell for cell in row.values() if isinstance(cell, bytes)), kind.table


def test_a_dead_letter_keeps_its_headers_and_a_mark_is_one() -> None:
    told = [("reason", b"amount: is negative"), ("field", b"amount"), ("offset", b"17")]
    told += [("rejected_at", b"2026-01-30T23:59:59.000Z"), ("header.trace", b"\xff")]
    letter, mark = rejected(
        0, [a_record(1, b"{}", headers=told), a_record(2, None, headers=[("replayed", b"40")])]
    ).to_pylist()
    assert (letter["reason"], letter["source_offset"], letter["day"]) == ("amount: is negative", 17, date(2026, 1, 30))
    assert [(one["name"], one["value"]) for one in letter["headers"]] == told
    assert (mark["replayed"], mark["problem"], mark["value"]) == (40, None, None)


def test_a_label_knows_when_it_was_said_and_when_it_came() -> None:
    label = {"transaction_id": "t1", "source": "chargeback", "verdict": "fraud", "at": "2026-01-05T00:00:00+01:00"}
    row, bad = labels(0, [a_record(1, orjson.dumps({**label, "by": "bank"})), a_record(2, b"{}")]).to_pylist()
    assert (row["day"], row["verdict"], row["problem"]) == (date(2026, 1, 4), "fraud", None)
    assert row["appended_at"].timestamp() * 1000 == NOW
    assert bad["problem"]
    assert bad["raw"] == b"{}"


def test_an_entry_of_the_ledger_is_kept_as_it_is_written() -> None:
    body = b'{ "kind":"change",  "at":"2026-01-05T00:00:00Z", "x": 1.0 }'
    entry, gone = deployments(0, [a_record(1, body, key=b"ledger/1"), a_record(2, None, key=b"slot/x")]).to_pylist()
    assert (entry["key"], entry["kind"], entry["body"].encode()) == ("ledger/1", "change", body)
    assert (gone["body"], gone["problem"]) == (None, None)
