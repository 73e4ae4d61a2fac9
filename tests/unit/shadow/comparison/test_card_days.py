"""A card counts once a day in each segment, by all that was blocked of it, however a stream is cut."""

from __future__ import annotations

import math
from collections import defaultdict
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from shadow.comparison.card_days import DIRECTIONS, Blocked, CardDay, DaySums, count, in_parts
from shadow.comparison.outcome import DISAGREEMENTS, Outcome
from shadow.comparison.totals import CELLS, HEAVIEST_PARTS, MONEY, Run, SegmentTotals

RUNS, SEGMENTS = (Run(1, 1), Run(2, 1)), 4

blocks = st.builds(
    Blocked,
    run=st.sampled_from(RUNS),
    hour=st.sampled_from([-1, 0, 23, 24, 50]),
    card=st.sampled_from("abc"),
    outcome=st.sampled_from(DIRECTIONS),
    parts=st.one_of(st.integers(0, 3000), st.integers(0, HEAVIEST_PARTS)),
    segments=st.sampled_from([(0, 1), (0, 2), (0, 1, 3)]),
)


def by_hand(stream: list[Blocked]) -> dict[Any, list[Any]]:
    """Sums of each run, day and segment, from lists of each card's transactions: a dictionary of names."""
    cards: dict[Any, list[Blocked]] = defaultdict(list)
    for one in stream:
        for segment in one.segments:
            cards[one.run, one.hour // 24 if one.hour >= 0 else -1, segment, one.card].append(one)
    found: dict[Any, Any] = defaultdict(lambda: defaultdict(int))
    for (run, day, segment, _), mine in cards.items():
        into = found[run, day, segment]
        n = [sum(one.outcome is of for one in mine) for of in DIRECTIONS]
        into["kind", tuple(min(many, 1) for many in n)] += 1
        whole = [min(sum(one.parts for one in mine if one.outcome is of), HEAVIEST_PARTS) for of in DIRECTIONS]
        shares = [Fraction(min(1000, sum(whole)), max(1, sum(whole))) * money for money in whole]
        for name, money in (("cut", [math.ceil(share) for share in shares]), ("whole", whole)):
            both, live, candidate = money
            d, t = candidate - live, both + live
            h = min(t, 64_000)
            for at, value in enumerate((d, t, h, d * d, d * t, t * t, d * h, h * h, live, live**2, candidate**2)):
                into[name, at] += value
        for name, most in (("cut", 1000), ("whole", 2**62)):
            for at, value in enumerate((whole[2], whole[1], whole[0] + whole[1])):
                into["most", name, at] = max(into["most", name, at], min(value, most))
    return {key: sorted((repr(name), n) for name, n in sums.items() if n) for key, sums in found.items()}


def named(sums: DaySums, segment: int) -> list[Any]:
    digits = {at: (at & 1, at >> 1 & 1, at >> 2) for at in range(CELLS)}
    found = {repr(("kind", digits[at])): n for at, n in enumerate(sums.sums[segment, :CELLS].tolist())}
    for row, name in enumerate(("cut", "whole")):
        money = sums.sums[segment, MONEY].reshape(2, -1)[row].tolist()
        found |= {repr((name, at)): n for at, n in enumerate(money)}
        tops = sums.tops[segment].reshape(2, -1)[row].tolist()
        found |= {repr(("most", name, at)): n for at, n in enumerate(tops)}
    return sorted((name, n) for name, n in found.items() if n)


@given(st.lists(blocks, max_size=30), st.sets(st.integers(1, 29)))
def test_sums_are_those_of_a_count_by_hand_however_the_stream_is_cut(stream: list[Blocked], cuts: set[int]) -> None:
    states: dict[CardDay, bytes] = {}
    sums: dict[Any, DaySums] = defaultdict(lambda: DaySums.of(SEGMENTS))
    edges = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    for start, end in pairwise(edges):
        changes, after = count(stream[start:end], states, SEGMENTS)
        states |= after
        for key, change in changes.items():
            sums[key] = sums[key].with_more(change)
    found = {(*key, segment): named(one, segment) for key, one in sums.items() for segment in range(SEGMENTS)}
    assert {key: one for key, one in found.items() if one} == by_hand(stream)


@given(st.lists(blocks, max_size=12), st.randoms(use_true_random=False))
def test_the_order_of_transactions_does_not_matter(stream: list[Blocked], chance: Any) -> None:
    shuffled = chance.sample(stream, len(stream))
    (ours, _), (theirs, _) = count(stream, {}, SEGMENTS), count(shuffled, {}, SEGMENTS)
    assert ours.keys() == theirs.keys()
    for key, change in ours.items():
        assert np.array_equal(change.sums, theirs[key].sums)
        assert np.array_equal(change.tops, theirs[key].tops)


@given(st.integers(0, 2**62), st.integers(1, 10**12))
def test_an_amount_is_rounded_up_to_parts_of_the_cap_and_no_amount_is_too_large(minor: int, cap: int) -> None:
    (found,) = in_parts(np.array([minor]), cap).tolist()
    if minor <= 2**62 // 1000:
        assert found == min(math.ceil(minor * 1000 / cap) if minor < 2**40 else -(-minor * 1000 // cap), HEAVIEST_PARTS)
    assert 0 <= found <= HEAVIEST_PARTS
    assert (found == 0) == (minor == 0)


def test_a_state_of_one_transaction_takes_few_bytes() -> None:
    one = Blocked(RUNS[0], 5, "card", Outcome.LIVE_ONLY, 180, (0, 3, 9, 14))
    (state,) = count([one], {}, 20)[1].values()
    assert len(state) == 4 * 4


def test_a_card_counts_in_every_segment_and_direction_not_where_it_came_first() -> None:
    """Ten cards are blocked once by both in one segment; the candidate then blocks each nine times in the other."""
    stream = [Blocked(RUNS[0], 5, f"c{n}", Outcome.BOTH_BLOCK, 10, (0, 1)) for n in range(10)]
    stream += [Blocked(RUNS[0], 6, f"c{n}", Outcome.CANDIDATE_ONLY, 10, (0, 2)) for n in range(10) for _ in range(9)]
    (change,) = count(stream, {}, SEGMENTS)[0].values()
    parts = [SegmentTotals(cells=change.sums[segment, :CELLS]) for segment in range(SEGMENTS)]
    at = DISAGREEMENTS.index(Outcome.CANDIDATE_ONLY)
    assert [int(part.pairs[at]) for part in parts] == [10, 0, 10, 0]
    assert [int(part.cells.sum()) for part in parts] == [10, 10, 10, 0]
