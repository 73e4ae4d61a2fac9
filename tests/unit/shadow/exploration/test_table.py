"""What a question means, held against loops over the samples themselves."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from harness.samples import a_sample
from harness.tables import a_table
from scorer.pipeline.instants import instant_ms
from shadow.comparison.outcome import Outcome
from shadow.comparison.sample import Contribution, Sample
from shadow.exploration.columns import NAMED
from shadow.exploration.drivers import drivers
from shadow.exploration.facets import facet
from shadow.exploration.page import noise_floor, page
from shadow.exploration.question import Question, as_condition, condition
from shadow.exploration.table import LABELS, UnknownFieldError

NASTY = ('<script>alert("m")</script>', "a=b", "100%", "ünïcode \u202e", "", " ", "0", "None", "'; DROP", "\x00")
SHOPS = ("m-1", "m-2", *NASTY[:3])


def a_stream(n: int = 60) -> list[Sample]:
    out = []
    for i in range(n):
        why = tuple(Contribution(f"f{(i + at) % 4}", 1.0, 0.0, d, d) for at, d in enumerate((2.0 - i % 3, -0.5)))
        out.append(
            a_sample(
                i + 1,
                gap=None if i % 11 == 0 else (i % 10 - 4) / 10,
                outcome=Outcome(i % 4),
                segments=("all", ("country=DE", "country=FR")[i % 2], ("amount=<50", "amount=>=50")[i // 2 % 2]),
                transaction={"merchant_id": SHOPS[i % 5], "odd = name%": i % 3, "is_new": i % 2 == 0, "gone": None},
                hash=(i * 37 % 101) / 101,
                why=why if i % 7 else None,
            )
        )
    return out


STREAM = a_stream()
CHANCES = [0.1 + 0.9 * (i % 10) / 9 for i in range(len(STREAM))]
TABLE = a_table(STREAM, CHANCES, [i % len(LABELS) for i in range(len(STREAM))])


def means(i: int, sample: Sample, asked: Question) -> bool:
    """Whether a question means a sample, said once more."""
    conditions = {
        "merchant_id": sample.transaction["merchant_id"],
        "odd = name%": str(sample.transaction["odd = name%"]),
        "is_new": str(sample.transaction["is_new"]).lower(),
        "hour": sample.occurred_at[11:13],
        "direction": sample.outcome.key,
    }
    wanted: dict[str, set[str]] = {}
    for text in asked.where:
        name, value = condition(text)
        wanted.setdefault(name, set()).add(value)
    divisions: dict[str, set[str]] = {}
    for segment in asked.segment:
        divisions.setdefault(segment.split("=")[0], set()).add(segment)
    top = sample.why[0].feature if sample.why else None
    size = None if sample.gap is None else abs(sample.gap)
    return (
        (sample.outcome.key == asked.direction if asked.direction else asked.agreements or sample.outcome >= 2)
        and all(set(sample.segments) & some for some in divisions.values())
        and all(conditions[name] in some for name, some in wanted.items())
        and (asked.top_feature is None or top == asked.top_feature)
        and (asked.label is None or LABELS[i % len(LABELS)] == asked.label)
        and (asked.min_amount is None or sample.amount_minor / 100 >= asked.min_amount)
        and (asked.max_amount is None or sample.amount_minor / 100 <= asked.max_amount)
        and (asked.min_gap is None or (sample.gap is not None and sample.gap >= asked.min_gap))
        and (asked.min_size is None or (size is not None and size >= asked.min_size))
        and (asked.since is None or sample.occurred_ms >= instant_ms(asked.since))
        and (asked.until is None or sample.occurred_ms < instant_ms(asked.until))
        and (asked.transaction is None or sample.transaction_id == asked.transaction)
    )


QUESTIONS = st.builds(
    lambda **asked: Question(**asked),
    direction=st.sampled_from([None, None, "live_only", "candidate_only"]),
    agreements=st.booleans(),
    segment=st.lists(st.sampled_from(["all", "country=DE", "country=FR", "amount=<50"]), max_size=2),
    where=st.lists(
        st.one_of(
            st.sampled_from([as_condition("merchant_id", shop) for shop in (*SHOPS, "nobody")]),
            st.sampled_from([as_condition("odd = name%", str(n)) for n in range(3)]),
            st.sampled_from(["is_new=true", "hour=12", "direction=live_only"]),
        ),
        max_size=3,
    ),
    top_feature=st.sampled_from([None, None, "f1"]),
    label=st.sampled_from([None, None, "fraud", "none"]),
    min_amount=st.sampled_from([None, 20.0]),
    max_amount=st.sampled_from([None, 50.0]),
    min_gap=st.sampled_from([None, -0.2]),
    min_size=st.sampled_from([None, 0.2]),
    since=st.sampled_from([None, "2026-01-10T00:00:00Z"]),
    until=st.sampled_from([None, "2026-01-20T00:00:00Z"]),
)


def rows_of(asked: Question) -> list[int]:
    return [int(row) for row in np.flatnonzero(TABLE.met(TABLE.masks(asked, 100.0)))]


@given(QUESTIONS)
def test_a_question_means_the_samples_that_a_loop_finds(asked: Question) -> None:
    assert rows_of(asked) == [i for i, sample in enumerate(STREAM) if means(i, sample, asked)]


@given(QUESTIONS, st.sampled_from(["merchant_id", "segment.country", "direction", "top_feature", "hour", "is_new"]))
def test_a_facet_counts_all_values_and_leaves_out_conditions_on_itself(asked: Question, name: str) -> None:
    found = facet(TABLE, TABLE.masks(asked, 100.0), name, 100)
    changes: dict[str, Any] = {}
    if name.startswith("segment."):
        changes["segment"] = [one for one in asked.segment if not one.startswith("country")]
    elif name == "direction":
        changes = {"direction": None, "where": [one for one in asked.where if not one.startswith("direction")]}
    elif name == "top_feature":
        changes["top_feature"] = None
    else:
        changes["where"] = [one for one in asked.where if condition(one)[0] != name]
    bare = asked.model_copy(update=changes)
    want: Counter[str | None] = Counter()
    for i in rows_of(bare):
        sample = STREAM[i]
        values = {
            "merchant_id": sample.transaction["merchant_id"],
            "segment.country": sample.segments[1].partition("=")[2],
            "direction": sample.outcome.key,
            "top_feature": sample.why[0].feature if sample.why else None,
            "hour": sample.occurred_at[11:13],
            "is_new": str(sample.transaction["is_new"]).lower(),
        }
        want[values[name]] += 1 / CHANCES[i]  # type: ignore[assignment]
    assert {value.name: round(value.count.value, 6) for value in found.values} == {
        value: round(weight, 6) for value, weight in want.items()
    }
    assert (found.more, found.rest) == (0, 0)


def test_values_beyond_the_largest_are_counted_and_not_named() -> None:
    found = facet(TABLE, TABLE.masks(Question(agreements=True), 100.0), "merchant_id", 2)
    assert (len(found.values), found.more) == (2, 3)
    assert found.rest == len(STREAM) - sum(value.count.samples for value in found.values)


def test_an_attribute_with_a_value_of_its_own_for_every_transaction_can_still_be_asked_for() -> None:
    """Beyond the values that have names."""
    many = [a_sample(n, transaction={"device": f"d-{n}"}) for n in range(NAMED + 50)]
    table = a_table(many)
    last = Question(where=[f"device=d-{NAMED + 49}"])
    assert np.flatnonzero(table.met(table.masks(last, 100.0))).tolist() == [NAMED + 49]
    found = facet(table, table.masks(Question(), 100.0), "device", 3)
    assert found.more == NAMED + 50 - 3
    assert found.rest == NAMED + 50 - 3


def test_more_attributes_than_there_is_room_for_break_nothing() -> None:
    many = [a_sample(n, transaction={f"a{n}-{at}": at for at in range(30)}) for n in range(10)]
    table = a_table(many)
    assert len(table.attributes) == 40
    with pytest.raises(UnknownFieldError):
        table.of("a9-29")


@pytest.mark.parametrize(
    ("asked", "kind"),
    [
        ({"segment": ["country=XX"]}, "segment"),
        ({"where": ["merchnt_id=1"]}, "field"),
        ({"where": ["transaction.hour=1"]}, "field"),
        ({"where": ["segment.nothing=1"]}, "field"),
        ({"top_feature": "f9"}, "top_feature"),
        ({"where": ["card_id=c1"]}, "field"),
        ({"where": ["transaction_id=t1"]}, "field"),
    ],
)
def test_what_no_sample_has_is_refused(asked: dict[str, Any], kind: str) -> None:
    with pytest.raises(UnknownFieldError) as refused:
        TABLE.masks(Question(**asked), 100.0)
    assert refused.value.kind == kind
    assert refused.value.known


@pytest.mark.parametrize(
    "asked",
    [
        {"where": ["x"]},
        {"where": ["=1"]},
        {"where": ["a=1"] * 31},
        {"segment": [""]},
        {"min_amount": 2, "max_amount": 1},
        {"min_gap": float("nan")},
        {"min_size": -1},
        {"since": "noon"},
        {"unknown": 1},
        {"where": ["a=" + "b" * 400]},
    ],
)
def test_what_makes_no_sense_is_no_question(asked: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Question(**asked)


@given(st.text(min_size=1, max_size=20), st.text(max_size=20))
def test_a_condition_reads_as_it_was_written_whatever_its_characters(name: str, value: str) -> None:
    assert condition(as_condition(name, value)) == (name, value)


@given(st.sampled_from(["time", "amount", "gap"]), st.booleans(), st.integers(1, 25))
def test_pages_hold_every_sample_once_and_in_order(sort: Any, ascending: bool, limit: int) -> None:
    asked = Question(agreements=True)
    rows = np.arange(len(STREAM), dtype=np.int64)
    seen: list[int] = []
    begin = None
    while True:
        found = page(TABLE, rows, asked, sort, ascending, limit, begin)
        seen += found.rows.tolist()
        begin = found.next
        if begin is None:
            break
    keys = TABLE.sort_keys(sort, np.array(seen, dtype=np.int64))
    assert sorted(seen) == list(range(len(STREAM)))
    assert (np.diff(keys) >= 0).all() if ascending else (np.diff(keys) <= 0).all()


def test_pages_go_on_where_they_were_though_samples_arrive_and_go() -> None:
    asked = Question(agreements=True)
    rows = np.arange(40, dtype=np.int64)
    first = page(TABLE, rows, asked, "amount", True, 10, None)
    later = np.setdiff1d(np.arange(len(STREAM), dtype=np.int64), first.rows[3:5])  # two gone, and twenty more
    second = page(TABLE, later, asked, "amount", True, 10, first.next)
    assert second.rows.tolist() == list(range(10, 20))


def test_drivers_add_up_what_a_loop_adds_up() -> None:
    rows = np.arange(len(STREAM), dtype=np.int64)
    found = drivers(TABLE, rows, 10)
    known = [(sample, 1 / CHANCES[i]) for i, sample in enumerate(STREAM) if sample.why]
    weight = sum(w for _, w in known)
    assert (found.explained, found.samples) == (len(known), len(STREAM))
    for one in found.features:
        mine = [(w, part.difference) for s, w in known for part in s.why or () if part.feature == one.feature]
        assert one.mean == pytest.approx(sum(w * d for w, d in mine) / weight, abs=1e-6)
        first = sum(w for s, w in known if s.why and s.why[0].feature == one.feature)
        assert one.first == pytest.approx(first / weight)
    assert sum(one.share for one in found.features) == pytest.approx(1)
    assert [one.share for one in found.features] == sorted((one.share for one in found.features), reverse=True)
    assert drivers(TABLE, rows[:0], 10).features == ()


def test_the_floor_is_the_size_that_most_of_an_a_a_control_stays_below() -> None:
    control = a_table([a_sample(n, gap=n / 1000) for n in range(1, 101)])
    assert noise_floor(control, np.arange(100)) == pytest.approx(0.095)
    heavy = a_table([a_sample(1, gap=0.5), a_sample(2, gap=-0.1)], [0.001, 1.0])
    assert noise_floor(heavy, np.arange(2)) == pytest.approx(0.5), "weighted, by size"
    assert noise_floor(heavy, np.arange(0)) is None
    assert noise_floor(a_table([a_sample(1, gap=None)]), np.arange(1)) is None


def test_no_field_names_a_card() -> None:
    assert not [name for name in TABLE.names if re.search("card_id|transaction_id", name)]
