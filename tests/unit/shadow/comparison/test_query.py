"""A query finds the samples that match, in order, page by page: by their index as by their bodies."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from harness.samples import a_sample
from shadow.comparison.index import (
    GONE,
    Entries,
    entry_of,
    first,
    matching,
    names_digest,
    page_rows,
    sort_keys,
    unpacked,
)
from shadow.comparison.outcome import Outcome
from shadow.comparison.query import Query, matches
from shadow.comparison.sample import Sample
from shadow.comparison.sampling import sample_hashes


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def hashed(n: int, **changes: Any) -> Sample:
    return a_sample(n, hash=float(sample_hashes([f"t{n}"])[0]), **changes)


samples = st.lists(
    st.builds(
        hashed,
        st.one_of(st.integers(0, 12), st.integers(0, 500)),
        outcome=st.sampled_from(Outcome),
        gap=st.one_of(st.none(), st.floats(-1, 1)),
        segments=st.sampled_from([("all", "country=DE"), ("all", "country=FR")]),
    ),
    max_size=30,
    unique_by=lambda sample: sample.transaction_id,
)


@given(
    samples,
    st.fixed_dictionaries(
        {},
        optional={
            "direction": st.sampled_from(["live_only", "candidate_only"]),
            "agreements": st.booleans(),
            "segment": st.just("country=FR"),
            "min_amount": st.integers(0, 500).map(float),
            "max_amount": st.integers(0, 500).map(float),
            "min_gap": st.floats(-1, 1),
            "max_gap": st.floats(-1, 1),
            "since": st.just("2026-01-10T00:00:00Z"),
            "until": st.just("2026-01-20T00:00:00Z"),
            "scored_since": st.sampled_from(["2026-01-10T12:00:30Z", "1768046430000"]),
            "scored_until": st.sampled_from(["2026-01-20T12:00:30Z", "1768910430000"]),
            "at": st.sampled_from(["2026-01-15T12:00:00Z", "1768478400000"]),
            "within_seconds": st.sampled_from([10.0, 100_000.0]),
            "card": st.just("c1"),
            "transaction": st.just("t7"),
        },
    ),
)
def test_filters_keep_exactly_the_samples_that_match(rows: list[Sample], asked: dict[str, Any]) -> None:
    def wanted(row: Sample) -> bool:
        tests = {
            "segment": lambda v: v in row.segments,
            "min_amount": lambda v: row.amount_minor / 100 >= v,
            "max_amount": lambda v: row.amount_minor / 100 <= v,
            "min_gap": lambda v: row.gap is not None and row.gap >= v,
            "max_gap": lambda v: row.gap is not None and row.gap <= v,
            "since": lambda v: row.occurred_at >= v,
            "until": lambda v: row.occurred_at < v,
            "scored_since": lambda v: row.scored_at >= "2026-01-10T12:00:30.000Z",
            "scored_until": lambda v: row.scored_at < "2026-01-20T12:00:30.000Z",
            "at": lambda v: abs(seconds(row.scored_at) - 1768478400) <= asked.get("within_seconds", 300),
            "within_seconds": lambda v: True,
            "card": lambda v: row.card_id == v,
            "transaction": lambda v: row.transaction_id == v,
        }
        differs = row.outcome in (Outcome.LIVE_ONLY, Outcome.CANDIDATE_ONLY)
        if "direction" in asked:
            good = row.outcome.name.lower() == asked["direction"]
        else:
            good = differs or asked.get("agreements", False)
        return good and all(test(asked[name]) for name, test in tests.items() if name in asked)

    query, want = Query(**asked, limit=100), [wanted(row) for row in rows]
    assert [matches(row, query, 100.0) for row in rows] == want
    entries, bits = indexed(rows), {names_digest(NAMES): NAMES.index(query.segment)} if query.segment else {}
    # of the bits that a card shares with others nothing is seen here: there are three cards, of different bits
    assert matching(entries, query, 100.0, bits).tolist() == want
    if query.segment:
        assert not matching(entries, query, 100.0, {names_digest(("all", "country=FR")): 1}).any(), "of other lists"


NAMES = ("all", "country=DE", "country=FR")


def indexed(rows: list[Sample]) -> Entries:
    """The index of samples, among it some that are gone."""
    digest = names_digest(NAMES)
    packed = [entry_of(row, [NAMES.index(name) for name in row.segments], digest) for row in rows]
    return unpacked(b"".join(packed))


def a_mark(offset: int) -> bytes:
    """What the store's script writes when a sample is no longer kept."""
    return offset.to_bytes(8, "little", signed=True) + bytes(54) + bytes([1, GONE])


@given(samples, st.sets(st.integers(0, 500)))
def test_what_is_marked_as_gone_is_found_no_more(rows: list[Sample], gone: set[int]) -> None:
    marked = unpacked(indexed(rows).tobytes() + b"".join(map(a_mark, gone)))
    found = marked[matching(marked, Query(agreements=True), 100.0, {})]
    assert found["offset"].tolist() == [row.offset for row in rows if row.offset not in gone]


def test_an_index_of_a_newer_version_is_refused() -> None:
    with pytest.raises(ValueError, match="newer version"):
        unpacked(bytes(62) + bytes([2, 3]))


@given(st.text(max_size=40), st.integers(1, 64))
def test_an_entry_has_its_size_whatever_the_card_and_the_segments(card: str, n: int) -> None:
    names = tuple(f"s{i}" for i in range(n))
    packed = entry_of(a_sample(1, transaction={"card_id": card}), range(n), names_digest(names))
    (entry,) = unpacked(packed)
    assert len(packed) == 64
    assert int(entry["segments"]) == 2**n - 1
    assert matching(unpacked(packed), Query(card=card, segment="x"), 1.0, {names_digest(names): n - 1}).all()


@given(samples, st.sampled_from(["time", "amount", "gap"]), st.booleans(), st.integers(1, 7))
def test_pages_continue_in_order_and_miss_nothing(rows: list[Sample], sort: Any, ascending: bool, limit: int) -> None:
    query = Query(agreements=True, sort=sort, ascending=ascending, limit=limit)
    entries, found = indexed(rows), np.zeros(0, dtype=np.int64)
    while True:
        page = page_rows(sort_keys(entries, query), entries["hash"], query.model_copy(update={"after": len(found)}))
        if not len(page):
            break
        found = np.concatenate([found, page])
    assert sorted(found.tolist()) == list(range(len(rows)))
    keys = {
        "time": lambda r: r.occurred_at,
        "amount": lambda r: r.amount_minor,
        "gap": lambda r: abs(r.gap or 0),
    }
    in_order = [(keys[sort](rows[at]), rows[at].hash) for at in found]
    assert in_order == sorted(in_order, reverse=not ascending)


@given(st.lists(st.integers(0, 9), max_size=60), st.integers(0, 70), st.booleans())
def test_the_first_of_many_are_those_of_all_in_order(keys: list[int], n: int, ascending: bool) -> None:
    hashes = np.random.default_rng(len(keys)).random(len(keys))
    order = sorted(range(len(keys)), key=lambda at: (keys[at], hashes[at]), reverse=not ascending)
    assert first(np.array(keys, dtype=np.float64), hashes, n, ascending).tolist() == order[:n]


@pytest.mark.parametrize("far", ["9" * 30, "0"])
def test_an_instant_beyond_all_others_is_a_bound_like_any(far: str) -> None:
    entries = indexed([a_sample(1)])
    assert len(entries) == 1
    for query in (Query(since=far), Query(until=far), Query(at=far), Query(scored_since=far, scored_until=far)):
        assert matching(entries, query, 1.0, {}).tolist() == [matches(a_sample(1), query, 1.0)]


@pytest.mark.parametrize(
    "bad",
    [{"since": "yesterday"}, {"at": "-5"}, {"scored_since": "1.5"}, {"limit": 0}, {"sort": "name"}, {"colour": "red"}],
)
def test_a_malformed_query_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Query(**bad)
