"""Two candidates on the same transactions: which they share, and which they decide differently, weighted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.samples import a_sample
from harness.tables import a_table
from shadow.comparison.outcome import Outcome
from shadow.comparison.sample import ModelDecision, Sample
from shadow.comparison.totals import SegmentTotals
from shadow.exploration.pairing import paired, stands_for_all


def a_kept(n: int, outcome: Outcome, score: float = 0.5, segment: str = "country=DE") -> Sample:
    """The n-th transaction, kept by a candidate with this outcome."""
    made = a_sample(n, outcome=outcome, segments=("all", segment), amount_minor=1_000)
    return replace(made, hash=(n + 1) / 1_000, candidate=ModelDecision(score, 0.5, "block", "c" * 64, 1))


def test_only_what_both_kept_counts_and_who_blocks_is_seen_from_both_sides() -> None:
    one = a_table([a_kept(1, Outcome.BOTH_BLOCK), a_kept(2, Outcome.CANDIDATE_ONLY), a_kept(3, Outcome.BOTH_ALLOW)])
    other = a_table([a_kept(2, Outcome.BOTH_ALLOW), a_kept(3, Outcome.CANDIDATE_ONLY), a_kept(4, Outcome.LIVE_ONLY)])
    found = paired(one, other)
    assert found.one.entries["offset"][found.ours].tolist() == [2, 3]
    assert found.other.entries["offset"][found.theirs].tolist() == [2, 3]
    assert (found.only_ours.tolist(), found.only_theirs.tolist()) == ([True, False], [False, True])
    assert found.count(found.differ).value == 2
    assert found.money(found.differ) == 2_000


def test_a_transaction_counts_for_the_smaller_of_the_two_chances() -> None:
    """What one kept for sure and the other with 1 in 4 stands for four: the other would have lost three of them."""
    one = a_table([a_kept(1, Outcome.CANDIDATE_ONLY)], [1.0])
    other = a_table([a_kept(1, Outcome.BOTH_ALLOW)], [0.25])
    assert paired(one, other).count(paired(one, other).differ).value == 4
    assert paired(other, one).count(paired(other, one).differ).value == 4


@settings(max_examples=5)
@given(st.integers(0, 2**32 - 1))
def test_over_many_streams_the_estimate_is_right_on_average(seed: int) -> None:
    """Both keep below a threshold of their own, of the same hashes."""
    rng = np.random.default_rng(seed)
    estimates = []
    for _ in range(40):
        hashes = rng.random(60)
        keeps = [np.flatnonzero(hashes < chance) for chance in (0.7, 0.4)]
        tables = []
        for outcome, rows, chance in zip((Outcome.CANDIDATE_ONLY, Outcome.BOTH_ALLOW), keeps, (0.7, 0.4), strict=True):
            samples = [replace(a_kept(int(n), outcome), hash=float(hashes[n])) for n in rows]
            tables.append(a_table(samples, [chance] * len(samples)))
        if all(len(table) for table in tables):
            found = paired(*tables)
            estimates.append(found.count(found.differ).value)
    assert np.mean(estimates) == pytest.approx(60, abs=6 * 60 * 0.16 / np.sqrt(len(estimates)))


def test_the_farthest_scores_come_first_and_segments_by_how_much_differs() -> None:
    outcomes = [Outcome.CANDIDATE_ONLY] * 5
    parts = ("country=DE", "country=FR", "country=FR", "country=FR", "country=DE")
    ours = [a_kept(n, o, n / 10, part) for n, (o, part) in enumerate(zip(outcomes, parts, strict=True))]
    theirs = [a_kept(n, Outcome.BOTH_ALLOW, 0.0, part) for n, part in enumerate(parts)]
    found = paired(a_table(ours), a_table(theirs))
    assert found.one.entries["offset"][found.ours[found.farthest(3)]].tolist() == [4, 3, 2]
    assert [(name, a.value, b.value) for name, a, b in found.by_segment()] == [
        ("all", 5, 0),
        ("country=FR", 3, 0),
        ("country=DE", 2, 0),
    ]


def test_nothing_in_common_is_nothing() -> None:
    found = paired(a_table([a_kept(1, Outcome.BOTH_BLOCK)]), a_table([a_kept(2, Outcome.BOTH_BLOCK)]))
    assert (len(found.ours), found.count(found.differ).value, found.by_segment()) == (0, 0, [])
    assert found.farthest(5).tolist() == []


#: What both allow, both block, live alone and the candidate alone, if live allows (0), and if it blocks (1).
OF_LIVE = {0: (Outcome.BOTH_ALLOW, Outcome.CANDIDATE_ONLY), 1: (Outcome.LIVE_ONLY, Outcome.BOTH_BLOCK)}


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 1), st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_where_every_disagreement_was_kept_the_number_is_exact_without_one_agreement(
    stream: list[tuple[int, bool, bool]],
) -> None:
    """stream: what live does (1 blocks), and whether each candidate blocks."""
    kinds = [[OF_LIVE[live][blocks] for live, *both in stream for blocks in [both[side]]] for side in (0, 1)]
    sums, tables = [], []
    for side in kinds:
        counts = np.bincount([int(kind) for kind in side], minlength=4)
        sums.append(SegmentTotals(counts=counts, minor=counts * 1_000))
        kept = [a_kept(n, kind) for n, kind in enumerate(side) if kind.is_disagreement]
        tables.append(a_table([*kept, a_kept(900, Outcome.BOTH_ALLOW)]))
    found = paired(*tables).counted(*sums)
    ours, theirs = (sum(b[at] and not b[1 - at] for _, *b in stream) for at in (0, 1))
    assert (found.sides[0].value, found.sides[1].value, found.differ.value) == (ours, theirs, ours + theirs)
    assert (found.differ.low, found.differ.high) == (ours + theirs, ours + theirs)
    assert found.money == (1_000 * ours, 1_000 * theirs)
    assert all(stands_for_all(table, one) for table, one in zip(tables, sums, strict=True))


@settings(max_examples=5)
@given(st.integers(0, 2**32 - 1))
def test_limits_hold_the_truth_though_the_other_kept_no_agreement(seed: int) -> None:
    """Of 2,000 disagreements of each, 1,500 of them the same, each keeps a part; no pair shows a difference."""
    rng = np.random.default_rng(seed)
    hits = 0
    for _ in range(30):
        hashes = rng.random(2_500)
        tables = []
        for rows, chance in ((range(2_000), 0.2), (range(500, 2_500), 0.3)):
            kept = [n for n in rows if hashes[n] < chance]
            samples = [replace(a_kept(n, Outcome.CANDIDATE_ONLY), hash=float(hashes[n])) for n in kept]
            tables.append(a_table(samples, [chance] * len(samples)))
        whole = SegmentTotals(counts=np.array([50_000, 100, 0, 2_000]))
        found = paired(*tables).counted(whole, whole)
        assert found.sides[0].samples > 10
        hits += found.sides[0].low <= 500 <= found.sides[0].high
    assert hits >= 22, "95 % of 30, with what chance takes away"


def test_samples_of_which_some_have_expired_do_not_stand_for_all() -> None:
    table = a_table([a_kept(n, Outcome.CANDIDATE_ONLY) for n in range(50)])
    assert stands_for_all(table, SegmentTotals(counts=np.array([9_000, 10, 0, 50])))
    assert not stands_for_all(table, SegmentTotals(counts=np.array([9_000, 10, 20, 50])))
