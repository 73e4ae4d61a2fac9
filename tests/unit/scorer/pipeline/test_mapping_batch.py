"""A batch that is mapped at once is mapped as its records are one by one."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scorer.pipeline.formats import Epoch
from scorer.pipeline.mapping import FieldNames, UnmappableError
from scorer.pipeline.mapping_batch import apply_all

#: Few names, so that ours and theirs, paths and names that look like paths collide.
NAMES = ["a", "b", "amount", "currency", "x", "payload", "a.b", "a[0]", "$.a", "occurred_at"]
SOURCES = ["a", "b", "x", "a.b", "a[0]", "b.a[1]", "$.a", "$.payload.b", "$.a.b", "$.x", "currency"]
LONG_AGO, LATE = -62_135_596_800, 253_402_300_800  # the first second of year 1, and of year 10000

cells = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.sampled_from([LONG_AGO - 1, LONG_AGO, LATE - 1, LATE, 1_769_860_800, "1769860800", "12,50", "ab", "€ 3", 0.5])
    | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
    max_leaves=6,
)
rows = st.dictionaries(st.sampled_from(NAMES), cells, max_size=6)
alike = st.builds(lambda row, n: [deepcopy(row) for _ in range(n)], rows, st.integers(1, 3))
formats = st.sampled_from(
    [
        {"kind": "epoch", "unit": "s"},
        {"kind": "epoch", "unit": "ms"},
        {"kind": "epoch", "unit": "ns"},
        {"kind": "minor_units"},
        {"kind": "decimal", "comma": True, "symbol": "€"},
        {"kind": "words", "words": {"1": "EUR"}},
    ]
)
mappings = st.fixed_dictionaries(
    {},
    optional={
        "envelope": st.sampled_from(["payload", "connect", "debezium", "a.b", "$.a"]),
        "fields": st.dictionaries(
            st.sampled_from(["a", "b", "amount", "currency", "x"]), st.sampled_from(SOURCES), max_size=4
        ),
        "formats": st.dictionaries(st.sampled_from(["a", "amount", "currency", "occurred_at"]), formats, max_size=3),
        "defaults": st.dictionaries(st.sampled_from(["a", "x", "currency"]), st.sampled_from(["-", 1.0]), max_size=2),
        "drop": st.lists(st.sampled_from(["a", "b", "x"]), max_size=2),
        "label": st.sampled_from(["a", "x"]),
        "encoding": st.just({"kind": "avro", "file": "a.avsc"}),
    },
)


def one_by_one(names: FieldNames, records: list[dict[str, Any]]) -> list[Any] | None:
    try:
        return [names.apply(record) for record in records]
    except UnmappableError:
        return None


@given(mappings, alike | st.lists(rows, min_size=1, max_size=4))
@example({"fields": {"b": "$.payload"}, "envelope": "payload"}, [{"payload": {"a": 1}}])  # it would hold itself
@example({"fields": {"a": "b", "b": "a"}}, [{"a": 1, "b": 2}, {"a": 3}])
@example({"fields": {"a": "x.b[0]"}}, [{"x": {"b": "text"}}])
def test_a_batch_is_mapped_as_its_records_are(mapping: dict[str, Any], records: list[dict[str, Any]]) -> None:
    names = FieldNames.model_validate(mapping)
    want = one_by_one(names, deepcopy(records))
    before = deepcopy(records)
    found = apply_all(names, records)
    if want is None:
        assert found is None
        assert records == before, "the records are needed again"
    else:
        assert found is not None
        assert found == want
        assert [orjson.loads(orjson.dumps(row)) for row in found] == [orjson.loads(orjson.dumps(row)) for row in want]


@given(
    st.sampled_from(["s", "ms", "us", "ns"]),
    st.lists(st.integers(LONG_AGO * 10**9, LATE * 10**9) | st.integers(LONG_AGO, LATE * 1000), min_size=1, max_size=4),
)
@example("s", [LONG_AGO, LATE - 1])
@example("s", [LONG_AGO - 1, 0])
@example("s", [0, LATE])
@example("ms", [-1, 0, 1])
@example("ns", [-1, 999_999])
@example("us", [2**63])
def test_counts_are_times_whether_read_at_once_or_not(unit: Any, counts: list[int]) -> None:
    form = Epoch(kind="epoch", unit=unit)
    assert form.read_all(list(counts), [{}] * len(counts)) == [form.read(count, {}) for count in counts]


@pytest.mark.parametrize("mapping", [{"fields": {"a": "$key"}}, {"operation": {"field": "op", "new": ["c"]}}])
def test_what_needs_a_look_at_each_record_gets_one(mapping: dict[str, Any]) -> None:
    assert apply_all(FieldNames.model_validate(mapping), [{"op": "c"}]) is None
