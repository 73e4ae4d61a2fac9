"""What batches decided is in the metrics when somebody looks, each once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorer import metrics
from scorer.pipeline.batch import Settled
from scorer.worker import counting
from scorer.worker.counting import Counting

NAMES = ("transactions", "repeats", "miskeyed", "untrusted_dates")


def made(scores: list[float], threshold: float = 0.5, appended_ms: int = 0, **counts: int) -> Settled:
    values, n = np.array(scores, dtype=np.float64), len(scores)
    return Settled([], [], [], [], values, values >= threshold, np.full(n, appended_ms), **counts)


def value(name: str, **labels: str) -> float:
    return metrics.REGISTRY.get_sample_value(f"scorer_{name}", labels) or 0.0


def totals() -> list[float]:
    verdicts = [value("decisions_total", decision=verdict, bundle="a") for verdict in ("allow", "block")]
    return [*(value(f"{name}_total") for name in NAMES), *verdicts, value("score_count", bundle="a")]


@pytest.fixture(autouse=True)
def of_one_test() -> Iterator[None]:
    metrics.SCORES.keep("")
    yield
    metrics.SCORES.keep("")


batches = st.lists(
    st.tuples(st.lists(st.floats(0, 1), max_size=5), st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)),
    max_size=6,
)


@given(batches)
def test_batches_add_up_when_they_are_shown(several: list[tuple[list[float], int, int, int]]) -> None:
    counted, before = Counting(), totals()
    for scores, repeats, miskeyed, untrusted in several:
        one = made(scores, repeats=repeats, miskeyed=miskeyed, untrusted=untrusted)
        counted.note(one, len(scores) + 1, "a", 1.0)
    assert totals() == before
    counted.show()
    counted.show()
    every = [score for scores, *_ in several for score in scores]
    blocked = sum(score >= 0.5 for score in every)
    sums = [sum(len(scores) + 1 for scores, *_ in several), *(sum(one[at] for one in several) for at in (1, 2, 3))]
    expected = [*sums, len(every) - blocked, blocked, len(every)]
    assert [now - was for now, was in zip(totals(), before, strict=True)] == expected


def test_dead_letters_count_by_field_and_waits_from_the_brokers_time() -> None:
    counted = Counting()
    was = [value("rejected_total", field=field) for field in ("amount", "card_id")]
    waited = [value("end_to_end_seconds_count"), value("end_to_end_seconds_sum")]
    two = Settled(
        [], [], [], [], np.zeros(2), np.zeros(2, bool), np.array([9_500, -1]), ["amount", "card_id", "amount"]
    )
    counted.note(two, 5, "a", 10.0)
    counted.note(made([0.1], appended_ms=18_000), 1, "a", 20.0)
    counted.show()
    assert [value("rejected_total", field=field) for field in ("amount", "card_id")] == [was[0] + 2, was[1] + 1]
    assert value("end_to_end_seconds_count") == waited[0] + 2  # one came without a time
    assert value("end_to_end_seconds_sum") == pytest.approx(waited[1] + 0.5 + 2)


def test_records_that_are_passed_over_count_by_what_they_are() -> None:
    counted, kinds = Counting(), ("update", "tombstone")
    was = [value("skipped_records_total", what=kind) for kind in kinds]
    counted.note(replace(made([]), skipped=["update", "tombstone", "update"]), 3, "a", 1.0)
    counted.show()
    assert [value("skipped_records_total", what=kind) for kind in kinds] == [was[0] + 2, was[1] + 1]


def test_scores_of_a_model_that_was_replaced_are_dropped() -> None:
    counted = Counting()
    counted.note(made([0.1, 0.2]), 2, "old", 1.0)
    counted.show()
    assert value("score_count", bundle="old") == 2
    counted.note(made([0.3]), 1, "old", 1.0)
    counted.note(made([0.4]), 1, "new", 1.0)
    counted.show()
    assert metrics.REGISTRY.get_sample_value("scorer_score_count", {"bundle": "old"}) is None
    assert value("score_count", bundle="new") == 1


def test_a_worker_that_nobody_scrapes_keeps_no_more_than_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "MOST", 10)
    counted, before = Counting(), value("transactions_total")
    counted.note(made([0.1]), 9, "a", 1.0)
    assert value("transactions_total") == before
    counted.note(made([0.1]), 1, "a", 1.0)
    assert value("transactions_total") == before + 10


def test_nothing_is_lost_between_who_notes_and_who_looks() -> None:
    counted, before, n = Counting(), value("transactions_total"), 3000
    scores = value("score_count", bundle="a")
    noting = threading.Thread(target=lambda: [counted.note(made([0.1]), 10, "a", 1.0) for _ in range(n)])
    noting.start()
    while noting.is_alive():
        counted.show()
    counted.show()
    assert value("transactions_total") == before + 10 * n
    assert value("score_count", bundle="a") == scores + n


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 10**6)), max_size=5))
def test_what_exploration_released_adds_up_in_units_of_the_currency(several: list[tuple[int, int, int]]) -> None:
    names = ("drawn_total", "released_total", "released_money_total")
    counted, before = Counting(minor_per_unit=1000.0), [value(name) for name in names]
    for drawn, released, minor in several:
        counted.note(made([0.9], drawn=drawn, released=released, released_minor=minor), 1, "a", 1.0)
    counted.show()
    sums = [sum(one[0] for one in several), sum(one[1] for one in several), sum(one[2] for one in several) / 1000]
    assert [value(name) - was for name, was in zip(names, before, strict=True)] == pytest.approx(sums)
