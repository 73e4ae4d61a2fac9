"""Two increments of one partition, in order, become one."""

from __future__ import annotations

from dataclasses import fields

import numpy as np

from shadow.comparison.card_days import Blocked
from shadow.comparison.increment import Increment, Offered, add
from shadow.comparison.outcome import Outcome
from shadow.comparison.totals import Run

RUN, NEXT = Run(1, 1), Run(2, 1)


def an_increment(n: int, run: Run = RUN) -> Increment:
    """The n-th in a row: every field differs from that of another."""
    found = Increment(
        tallies={(run, 5): np.array([n])},
        histograms={(run, 0): np.array([10 * n])},
        snapshots={(run, 0, "v"): np.array([100 * n])},
        blocked=[Blocked(run, 5, f"card-{n}", Outcome.LIVE_ONLY, 100, (0,))],
        samples=[Offered(n, n / 10, b"body", [(str(run), 0, 2, 0)])],
        meta={run: {"first_offset": str(n)}},
        marks={run: {"feature view": f"v{n}"}},
        reach={run: 10 * n},
        scores=[np.array([n / 10])],
        skipped=n,
        unreadable=2 * n,
        source=n,
    )
    found.counters[run]["duplicates"] = n
    return found


def test_sums_add_up_lists_are_joined_and_the_first_texts_stay() -> None:
    into = an_increment(1)
    add(into, an_increment(2))
    assert {key: sums.tolist() for key, sums in into.tallies.items()} == {(RUN, 5): [3]}
    assert {key: sums.tolist() for key, sums in into.histograms.items()} == {(RUN, 0): [30]}
    assert {key: sums.tolist() for key, sums in into.snapshots.items()} == {(RUN, 0, "v"): [300]}
    assert [one.card for one in into.blocked] == ["card-1", "card-2"]
    assert [sample.source for sample in into.samples] == [1, 2]
    assert [scores.tolist() for scores in into.scores] == [[0.1], [0.2]]
    assert into.counters == {RUN: {"duplicates": 3}}
    assert into.meta == {RUN: {"first_offset": "1"}}
    assert into.marks == {RUN: {"feature view": "v2"}}
    assert into.reach == {RUN: 20}
    assert (into.skipped, into.unreadable, into.source) == (3, 6, 2)


def test_runs_are_kept_apart() -> None:
    into = an_increment(1)
    add(into, an_increment(2, NEXT))
    assert into.tallies.keys() == {(RUN, 5), (NEXT, 5)}
    assert into.meta == {RUN: {"first_offset": "1"}, NEXT: {"first_offset": "2"}}
    assert into.reach == {RUN: 10, NEXT: 20}


def test_an_empty_increment_changes_nothing_in_either_order() -> None:
    into, empty = an_increment(1), Increment()
    add(into, Increment())
    add(empty, an_increment(1))
    for field in fields(Increment):
        assert getattr(into, field.name) == getattr(an_increment(1), field.name), field.name
        assert getattr(empty, field.name) == getattr(an_increment(1), field.name), field.name
