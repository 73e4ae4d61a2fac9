"""Would-be blocks are released at random, never for more money a day than declared, whatever ends or moves when."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.batches import MODEL, NOW, RULES, a_value, incoming
from scorer.errors import ModelFailedError
from scorer.pipeline import settle as settling
from scorer.pipeline.batch import Part, Published, Rules, Settled
from scorer.pipeline.card_states import CardStates
from scorer.pipeline.changelog import ChangelogReader
from scorer.pipeline.decision_avro import decision_of
from scorer.pipeline.exploration import (
    END_OF_DAYS,
    KEPT_DAYS,
    KEY,
    Budget,
    Exploration,
    Spending,
    account,
    explore,
    key_of,
    read_account,
    recovered,
    release_of,
)
from scorer.pipeline.settle import settle_all

KEY_OF_TESTS = key_of(b"a key for these tests")
#: In cents: 12 a day, of at most 5 each.
EXPLORATION = Exploration(0.5, 1200, 500, 8, KEY_OF_TESTS)
PARTITION = 5
BLOCKS = replace(MODEL, score=lambda matrix: np.full(len(matrix), 0.9))


def rules(exploration: Exploration | None = EXPLORATION, **changes: Any) -> Rules:
    return replace(RULES, exploration=exploration, **changes)


def a_payment(i: int, cents: int, day: int = 0, **changes: Any) -> bytes:
    """On a day after 2025-12-20: none of these is dated ahead of NOW."""
    when = f"{date(2025, 12, 20) + timedelta(days=day)}T12:00:00Z"
    return a_value(i, amount=cents / 100, occurred_at=when, **changes)


def bodies(settled: Sequence[Settled]) -> list[dict[str, Any]]:
    return [orjson.loads(value or b"") for one in settled for _, value in one.decisions]


def released_by_day(rows: Sequence[dict[str, Any]]) -> Counter[str]:
    """A reader of its own: money by event day, as texts, with nothing of the product's."""
    out: Counter[str] = Counter()
    for row in rows:
        if row["decision"] == "allow" and row["score"] is not None and row["score"] >= row["threshold"]:
            out[row["transaction"]["occurred_at"][:10]] += row["amount_minor"]
    return out


class Topics:
    """What is on the topics of one partition, and a worker on it that can be killed after any write."""

    def __init__(self, values: list[bytes | None], of: Rules) -> None:
        self.values, self.rules = values, of
        self.decisions: list[bytes] = []
        self.changelog: list[tuple[bytes | None, bytes | None]] = []
        self.committed = 0

    def run(self, sizes: Sequence[int], decided: int, accounted: int, tail: int = 10**9) -> None:
        """Take over, settle batches of these sizes, and die when so many of them are decided, and accounted for."""
        part = self.take_over(tail)
        at = self.committed
        made: list[tuple[int, Settled]] = []
        for size in sizes:
            values = self.values[at : at + size]
            if not values:
                break
            (settled,) = settle_all([replace(part, incoming=incoming(values, at))], BLOCKS, self.rules, NOW)
            at += len(values)
            made.append((at, settled))
        for _, settled in made[:decided]:
            self.decisions += [value or b"" for _, value in settled.decisions]
        for end, settled in made[: min(decided, accounted)]:
            self.changelog += settled.states
            self.committed = end

    def take_over(self, tail: int = 10**9) -> Part:
        reader = ChangelogReader(states := CardStates())
        reader.fold([type("Record", (), {"key": k, "value": v, "headers": ()}) for k, v in self.changelog])
        reader.finish()
        last = self.decisions[-tail:]
        sources = [orjson.loads(value)["source"]["offset"] for value in last]
        published = Published(max([*sources, states.highest_offset], default=-1), states.highest_offset)
        found = [release for value in last if (release := release_of(value, PARTITION)) is not None]
        is_whole = len(last) == len(self.decisions)
        spending = recovered(
            reader.spending, reader.spent_through, found, min(sources, default=None), is_whole, END_OF_DAYS
        )
        budget = Budget(spending, max(reader.spent_through, published.decisions))
        return Part(incoming([]), states, published, budget)

    def rows(self) -> list[dict[str, Any]]:
        return [orjson.loads(value) for value in self.decisions]


payments = st.lists(st.tuples(st.integers(0, 700), st.integers(0, 5)), min_size=1, max_size=60)
lives = st.lists(
    st.tuples(st.lists(st.integers(1, 20), min_size=1, max_size=4), st.integers(0, 4), st.integers(0, 4)), max_size=6
)


@settings(max_examples=150, deadline=None)
@given(payments, lives)
def test_no_day_exceeds_its_budget_whenever_a_worker_dies_and_the_account_is_exact(
    amounts: list[tuple[int, int]], of_workers: list[tuple[list[int], int, int]]
) -> None:
    values: list[bytes | None] = [a_payment(i, cents, day) for i, (cents, day) in enumerate(amounts)]
    topics = Topics(values, rules())
    for life in of_workers:
        topics.run(*life)
    topics.run([len(values)], 1, 1)
    rows = topics.rows()
    assert [row["source"]["offset"] for row in rows] == list(range(len(values)))
    spent = released_by_day(rows)
    assert max(spent.values(), default=0) <= EXPLORATION.share
    told = topics.take_over().budget.spending.days
    assert {str(date(1970, 1, 1) + timedelta(days=day)): minor for day, minor in told.items()} == spent
    for row in rows:
        is_drawn = row["release_probability"] < 1
        assert (row["decision"] == "allow") <= is_drawn
        assert is_drawn <= (0 < row["amount_minor"] <= EXPLORATION.maximum)
        if is_drawn:
            assert row["release_probability"] == EXPLORATION.probability
            assert (row["decision"] == "allow") == EXPLORATION.releases(row["transaction"]["transaction_id"])


@settings(max_examples=60, deadline=None)
@given(payments, lives)
def test_where_a_worker_dies_changes_no_decision(
    amounts: list[tuple[int, int]], of_workers: list[tuple[list[int], int, int]]
) -> None:
    values: list[bytes | None] = [a_payment(i, cents, day) for i, (cents, day) in enumerate(amounts)]
    once, often = Topics(values, rules()), Topics(values, rules())
    once.run([len(values)], 1, 1)
    for life in of_workers:
        often.run(*life)
    often.run([len(values)], 1, 1)
    assert often.decisions == once.decisions


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 700), st.integers(0, 5)), min_size=25, max_size=60), st.integers(1, 10))
def test_a_day_whose_past_is_not_known_is_not_explored(amounts: list[tuple[int, int]], tail: int) -> None:
    """Exploration was off for longer than the tail: nobody can tell what was released before."""
    values: list[bytes | None] = [a_payment(i, cents, day) for i, (cents, day) in enumerate(amounts)]
    topics = Topics(values, rules())
    half = len(values) // 2
    topics.run([half], 1, 0)
    before = released_by_day(topics.rows())
    topics.run([len(values)], 1, 1, tail)
    assert released_by_day(topics.rows()) == before


def test_a_worker_that_dies_while_it_reads_decisions_again_counts_no_release_twice() -> None:
    always = rules(replace(EXPLORATION, probability=0.9999999, share=10_000))
    topics = Topics([a_payment(i, 100) for i in range(20)], always)
    topics.run([5, 10], decided=2, accounted=1)
    topics.run([3], decided=1, accounted=1)  # of the ten that are decided already
    topics.run([20], decided=1, accounted=1)
    assert list(topics.take_over().budget.spending.days.values()) == [2000]


def test_the_draw_is_close_to_its_probability_over_100_000_ids() -> None:
    for p in (0.01, 0.2, 0.5):
        explored = replace(EXPLORATION, probability=p)
        n, k = 100_000, sum(explored.releases(f"id-{i}") for i in range(100_000))
        assert abs(k - n * p) < 4.5 * math.sqrt(n * p * (1 - p)), p


def test_the_draw_needs_the_key_and_nothing_else_than_the_id() -> None:
    other = replace(EXPLORATION, key=key_of(b"a key for these tesTs"))
    ids = [f"id-{i}" for i in range(2000)]
    draws = [EXPLORATION.releases(name) for name in ids]
    assert draws == [EXPLORATION.releases(name) for name in ids]
    agree = sum(a == other.releases(name) for a, name in zip(draws, ids, strict=True))
    assert 850 < agree < 1150  # of 2,000, as of two coins


def test_whoever_is_released_at_a_probability_is_at_each_higher_one() -> None:
    low, high = replace(EXPLORATION, probability=0.1), replace(EXPLORATION, probability=0.3)
    assert all(high.releases(f"{i}") for i in range(5000) if low.releases(f"{i}"))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 500), min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_who_is_drawn_does_not_depend_on_the_own_amount(amounts: list[int], random: Any) -> None:
    """Otherwise large amounts would be drawn less at the end of a budget, and no estimate could tell why."""
    ids = [f"id-{random.random()}" for _ in amounts]
    drawn, released, _ = explore(EXPLORATION, Spending(), ids, [0] * len(ids), amounts)
    for at in range(len(ids)):
        for other in (1, 500):
            changed = [*amounts[:at], other, *amounts[at + 1 :]]
            again = explore(EXPLORATION, Spending(), ids, [0] * len(ids), changed)
            assert (again[0][at], again[1][at]) == (drawn[at], released[at])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(-30, 60), st.integers(1, 500)), max_size=300))
def test_any_order_of_days_stays_within_the_budget_and_within_the_days_kept(events: list[tuple[int, int]]) -> None:
    always = replace(EXPLORATION, probability=1.0)
    spending, by_day = Spending(), Counter[int]()
    for i, (day, minor) in enumerate(events):
        drawn, released, spending = explore(always, spending, [f"{i}"], [day], [minor])
        assert drawn == released
        by_day[day] += minor if released[0] else 0
        assert len(spending.days) <= KEPT_DAYS
    assert max(by_day.values(), default=0) <= always.share


def test_a_day_that_fell_out_of_the_window_is_not_explored_again() -> None:
    spending = Spending()
    for day in range(KEPT_DAYS + 1):
        spending = spending.plus(day, 1)
    assert not spending.has_room(0, EXPLORATION)
    assert spending.has_room(1, EXPLORATION)
    assert read_account(account(spending, 7)[1], 8) == (7, spending)


def test_a_date_in_2099_leaves_the_days_of_today_open() -> None:
    spending = Spending().plus(47_000, 1)
    assert spending.has_room(20_000, EXPLORATION)


def test_a_batch_that_raises_takes_nothing_off_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    values: list[bytes | None] = [a_payment(i, 100) for i in range(12)]
    part = Part(incoming(values), CardStates(), Published())

    def fail(*_: Any) -> Any:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(settling.DecisionWriter, "of", fail)
        (settled,) = settle_all([part], BLOCKS, rules(), NOW)
    assert settled.fields == ["raised"] * 12
    assert part.budget.spending == Spending()
    assert settled.released == settled.released_minor == 0


def test_a_model_that_fails_takes_nothing_off_the_budget() -> None:
    def fail(matrix: np.ndarray) -> np.ndarray:
        raise RuntimeError("no")

    part = Part(incoming([a_payment(0, 100)]), CardStates(), Published())
    with pytest.raises(ModelFailedError):
        settle_all([part], replace(MODEL, score=fail), rules(), NOW)
    assert part.budget == Budget()


def test_a_record_that_raises_costs_the_others_of_its_batch_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    values: list[bytes | None] = [a_payment(i, 100) for i in range(12)]
    alone = settle_all([Part(incoming(values[:7]), CardStates(), Published())], BLOCKS, rules(), NOW)
    true_of = settling.DecisionWriter.of

    def fail(self: Any, partition: int, rows: Any) -> Any:
        if "t7" in self._events.ids:
            raise MemoryError
        return true_of(self, partition, rows)

    monkeypatch.setattr(settling.DecisionWriter, "of", fail)
    part = Part(incoming(values), CardStates(), Published())
    settled = settle_all([part], BLOCKS, rules(), NOW)
    assert settled[0].fields == ["raised"]
    rows = bodies(settled)
    assert rows[:7] == bodies(alone)
    assert sum(part.budget.spending.days.values()) == sum(released_by_day(rows).values()) > 0


def settled_rows(of: Rules, values: list[bytes | None], **changes: Any) -> list[dict[str, Any]]:
    model = replace(BLOCKS, **changes)
    part = Part(incoming(values), CardStates(), Published())
    return bodies(settle_all([part], model, of, NOW))


@pytest.mark.parametrize("override", ["allow_all", "block_all"])
def test_nothing_is_drawn_while_the_kill_switch_is_on(override: str) -> None:
    rows = settled_rows(rules(replace(EXPLORATION, probability=0.999)), [a_payment(0, 100)], override=override)
    assert (rows[0]["decision"], rows[0]["release_probability"]) == (override[:5], 1.0)


@pytest.mark.parametrize(
    ("value", "of"),
    [
        (a_payment(0, 501), rules()),  # above the maximum
        (a_payment(0, 0), rules()),  # costs nothing, so no budget would ever end it
        (a_value(0, amount=1, occurred_at="2099-01-01T00:00:00Z"), rules()),  # a day of the sender's choice
        (a_payment(0, 100), rules(replace(EXPLORATION, partitions=5))),  # a partition without a share
        (a_payment(0, 100), rules(replace(EXPLORATION, share=499))),  # no room for the maximum
    ],
)
def test_these_are_blocked_without_a_draw(value: bytes, of: Rules) -> None:
    explored = replace(of, exploration=replace(of.exploration or EXPLORATION, probability=0.9999999))
    (row,) = settled_rows(explored, [value])
    assert (row["decision"], row["release_probability"]) == ("block", 1.0)


def test_what_the_model_allows_is_never_drawn() -> None:
    (row,) = settled_rows(rules(), [a_payment(0, 100)], score=lambda matrix: np.full(len(matrix), 0.1))
    assert (row["decision"], row["release_probability"]) == ("allow", 1.0)


def test_a_dead_letter_spends_nothing() -> None:
    part = Part(incoming([a_value(0, amount="much")]), CardStates(), Published())
    settle_all([part], BLOCKS, rules(replace(EXPLORATION, probability=0.9999999)), NOW)
    assert part.budget.spending == Spending()


@settings(max_examples=60, deadline=None)
@given(payments, st.integers(1, 60))
def test_exploration_changes_two_fields_of_drawn_decisions_and_no_other_byte(
    amounts: list[tuple[int, int]], size: int
) -> None:
    values: list[bytes | None] = [a_payment(i, cents, day) for i, (cents, day) in enumerate(amounts)]
    part = Part(incoming([]), CardStates(), Published())
    plain = Part(incoming([]), CardStates(), Published())
    for a, b in pairwise([*range(0, len(values), size), len(values)]):
        given = incoming(values[a:b], a)
        (on,) = settle_all([replace(part, incoming=given)], BLOCKS, rules(), NOW)
        (off,) = settle_all([replace(plain, incoming=given)], BLOCKS, RULES, NOW)
        assert [state for state in on.states if state[0] != KEY] == off.states
        assert on.drawn >= on.released
        for (_, ours), (_, theirs) in zip(on.decisions, off.decisions, strict=True):
            row = orjson.loads(ours or b"")
            if row["release_probability"] == 1:
                assert ours == theirs
            else:
                assert {**row, "decision": "block", "release_probability": 1.0} == orjson.loads(theirs or b"")
    assert plain.budget == Budget()


@settings(max_examples=40, deadline=None)
@given(payments)
def test_avro_says_what_json_says_of_a_release(amounts: list[tuple[int, int]]) -> None:
    values: list[bytes | None] = [a_payment(i, cents, day) for i, (cents, day) in enumerate(amounts)]
    (json,) = settle_all([Part(incoming(values), CardStates(), Published())], BLOCKS, rules(), NOW)
    (avro,) = settle_all([Part(incoming(values), CardStates(), Published())], BLOCKS, rules(decision_schema=7), NOW)
    assert [decision_of(value or b"") for _, value in avro.decisions] == bodies([json])
    for (_, text), (_, binary) in zip(json.decisions, avro.decisions, strict=True):
        assert release_of(text, PARTITION) == release_of(binary, PARTITION)
        assert (release_of(text, PARTITION) is not None) == (
            orjson.loads(text or b"")["decision"] == "allow"  # the model blocks all of these
        )


def test_a_transaction_cannot_hide_its_release_from_a_take_over() -> None:
    """By a field of its own that is called as ours."""
    lie = {"release_probability": 1.0, "z": '"release_probability":1.0,', "source": {"partition": 1, "offset": 0}}
    always = rules(replace(EXPLORATION, probability=0.9999999))
    for of in (always, replace(always, decision_schema=7)):
        part = Part(incoming([a_payment(0, 123, **lie)]), CardStates(), Published())
        (settled,) = settle_all([part], BLOCKS, of, NOW)
        found = release_of(settled.decisions[0][1], PARTITION)
        assert found is not None
        assert (found.offset, found.minor) == (0, 123)


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"\x00",
        b"\x00\x00\x00\x00\x07\x02" + b"\xff" * 40,
        b'{"release_probability":0.5}',
        b'{"release_probability":NaN}',
        b'{"decision":"allow","release_probability":0.5,"amount_minor":-900000,"source":{"partition":5,"offset":1},'
        b'"transaction":{"occurred_at":"2026-01-01T00:00:00Z"}}',
        b'{"decision":"allow","release_probability":0.5,"amount_minor":9,"source":{"partition":4,"offset":1},'
        b'"transaction":{"occurred_at":"2026-01-01T00:00:00Z"}}',
    ],
)
def test_a_foreign_decision_gives_no_money_back(value: bytes | None) -> None:
    assert release_of(value, PARTITION) is None


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"[]",
        b"{}",
        b'{"offset":9,"floor":0,"days":{}}',
        b'{"offset":1.5,"floor":0,"days":{}}',
        b'{"offset":1,"floor":0,"days":{"20000":-5}}',
        b'{"offset":1,"floor":0,"days":{"a":5}}',
        b'{"offset":1,"floor":null,"days":{}}',
        b'{"offset":1,"floor":0,"days":[]}',
    ],
)
def test_a_foreign_account_is_passed_over(value: bytes) -> None:
    assert read_account(value, 9) is None


def test_of_several_accounts_the_furthest_counts() -> None:
    reader = ChangelogReader(CardStates())
    records = [account(Spending({1: 10}), 5), account(Spending({1: 30}), 9), account(Spending({1: 20}), 7)]
    reader.fold([type("Record", (), {"key": k, "value": v, "headers": ()}) for k, v in records])
    assert (reader.spent_through, reader.spending) == (9, Spending({1: 30}))
    assert reader.passed_over == 0
