"""The last days are judged apart: a candidate that dies late is found, one that goes on as before is not accused."""

from __future__ import annotations

import math

import numpy as np
import pytest

from harness.judging import sums
from harness.releases import LOOKS_A_DAY, Cards, Chance, World, never, release
from shadow.comparison.bins import BINS, KINDS
from shadow.gate.criteria import Criterion, parse
from shadow.gate.measure import FAIL, OPEN, PASS, RunProgress, measure
from shadow.gate.recency import TOO_SHORT, Recent, recent_of, score_shift
from shadow.gate.sums import Sums

RELEASE = parse("schema: 1\nsegments:\n  part: {field: part, values: [a, b, c, d, e]}\n")
WORLD = World(days=14)
BAR = math.log(200)


def seen(number: int, lost: Chance = never, added: Chance = never, world: World = WORLD) -> tuple[Recent, np.ndarray]:
    """What the last days say at every look, and what the gate makes of it: codes of the two sides, (looks, 2, S)."""
    drawn = release(world, np.random.default_rng([number, 7]), lost, added, added_fraud=0.1)
    candidate, control = (sums(drawn, of, RELEASE) for of in ("candidate", "control"))
    recent = recent_of(candidate, control, LOOKS_A_DAY, RELEASE)
    n = len(candidate.errors)
    nothing = np.zeros(n, dtype=np.int64)
    progress = RunProgress(np.arange(1, n + 1) * 24 // LOOKS_A_DAY, nothing, nothing)
    rows = measure(candidate, control, progress, RELEASE, recent=recent).rows
    sides = (Criterion.RECENT_LIVE_ONLY, Criterion.RECENT_CANDIDATE_ONLY)
    return recent, np.stack([row.codes for row in rows if row.criterion in sides], axis=1)


def late(day: int, share: float = 1.0) -> Chance:
    def chance(cards: Cards) -> np.ndarray:
        return np.where(cards.day >= day, share, 0.0)

    return chance


@pytest.mark.parametrize("day", [10, 11, 12, 13])
@pytest.mark.parametrize("swaps", [False, True], ids=["dead", "swapped"])
def test_a_candidate_that_dies_late_fails_within_a_day(day: int, swaps: bool) -> None:
    for number in range(4):
        _, codes = seen(number, late(day), late(day) if swaps else never)
        failed = np.flatnonzero((codes[:, 0] == FAIL).any(axis=1))
        assert len(failed)
        assert day * LOOKS_A_DAY <= failed[0] < (day + 1) * LOOKS_A_DAY


def test_what_the_candidate_alone_blocks_of_late_holds_and_is_no_failure() -> None:
    """It may be an attack that only the candidate sees."""
    for number in range(4):
        _, codes = seen(number, never, late(12))
        assert (codes[:, 1] != FAIL).all()
        assert codes[-1, 1, 0] == OPEN
        assert PASS in codes[: 12 * LOOKS_A_DAY, 1, 0], "before"


def test_half_of_the_blocks_swapped_in_the_last_two_days_do_not_pass() -> None:
    for number in range(4):
        _, codes = seen(number, late(12, 0.5), late(12, 0.5))
        assert codes[-1, 0, 0] in (OPEN, FAIL)


@pytest.mark.slow
def test_a_candidate_that_goes_on_as_before_is_not_accused_and_passes() -> None:
    """Whether it is a twin, or differs from live everywhere."""

    def everywhere(cards: Cards) -> np.ndarray:
        return np.full(len(cards.day), 0.2)

    for lost in (never, everywhere):
        found = [seen(number, lost, lost, World(days=28)) for number in range(8)]
        assert sum((codes == FAIL).any() for _, codes in found) == 0
        passes = [
            ((claim.log_within[-1] >= BAR) | ~claim.asked[-1]).all() for recent, _ in found for claim in recent.claims
        ]
        assert np.mean(passes) >= 0.9


@pytest.mark.slow
@pytest.mark.parametrize(("a_day", "rate"), [(8.0, 0.02), (8.0, 0.09), (30.0, 0.02), (30.0, 0.2)])
def test_a_window_is_so_long_that_an_unchanged_candidate_passes(a_day: float, rate: float) -> None:
    """Also where it hardly disagrees, and a single disagreement is a large part of them: at every look after a week."""
    chance, names = np.random.default_rng(5), RELEASE.segments.names
    shape = (400, 28, len(names))
    both, live_only, candidate_only = (
        chance.poisson(a_day * part, shape).cumsum(axis=1) for part in (1 - rate, rate, rate)
    )
    cells = np.zeros((*shape, 8))
    cells[..., 1], cells[..., 2], cells[..., 4] = both, live_only, candidate_only
    counts = np.stack([np.zeros(shape), both, live_only, candidate_only], axis=-1).astype(np.float64)
    nothing = np.zeros(shape)
    path = Sums(counts, counts[..., 1:], cells, np.zeros((*shape, 2, 11)), np.zeros((*shape, 2, 3)), nothing)
    for claim in recent_of(path, None, 1, RELEASE).claims[:2]:
        at = slice(7, None), slice(1, None)  # segments
        opened = (claim.asked & (claim.log_within < BAR))[:, *at]
        assert opened.mean() <= 0.02
        assert (claim.log_beyond < -math.log(RELEASE.reject_error)).all()
        if a_day == 30:
            assert claim.asked[:, -1, 1:].mean() >= 0.9


def test_where_the_last_days_are_most_of_the_run_the_whole_run_judges_them() -> None:
    recent, codes = seen(1, world=World(days=3))
    assert not recent.claims[0].asked[:, 0].any()
    assert (codes != FAIL).all()
    assert TOO_SHORT.claims == ()


def test_without_a_look_at_the_last_days_nothing_passes() -> None:
    drawn = release(World(days=2), np.random.default_rng(1))
    path = sums(drawn, "candidate", RELEASE)
    progress = RunProgress(*(np.zeros(len(path.errors), dtype=np.int64) for _ in range(3)))
    rows = {row.criterion: row for row in measure(path, path, progress, RELEASE, recent=None).rows}
    row = rows[Criterion.RECENT_LIVE_ONLY]
    assert (row.codes[:, 0] == OPEN).all()
    assert row.asked[:, 0].all()
    assert PASS not in row.codes[:, 0]


def test_scores_that_move_more_than_lives_are_bounded_from_both_sides() -> None:
    rng = np.random.default_rng(3)

    def scores(of_live: np.ndarray, of_candidate: np.ndarray) -> np.ndarray:
        out = np.zeros((len(KINDS), BINS), dtype=np.int64)
        out[0], out[1] = (np.bincount(column, minlength=BINS) for column in (of_live, of_candidate))
        return out

    usual = [scores(*(rng.integers(100, 200, 20_000) for _ in range(2))) for _ in range(2)]
    same = score_shift(usual[0], usual[1], 1.0, 0.005)
    dead = score_shift(usual[0], scores(rng.integers(100, 200, 20_000), np.full(20_000, 150)), 1.0, 0.005)
    drifted = score_shift(usual[0], scores(*(rng.integers(140, 240, 20_000) for _ in range(2))), 1.0, 0.005)
    assert same is not None
    assert dead is not None
    assert drifted is not None
    assert same.low <= 0 <= same.high <= 0.2
    assert dead.low > 0.2
    assert drifted.low <= 0 <= drifted.high, "of the traffic, not of the candidate"
    assert score_shift(usual[0], np.zeros_like(usual[0]), 1.0, 0.005) is None
