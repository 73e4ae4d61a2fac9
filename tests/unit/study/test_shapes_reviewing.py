"""The reviews of the shapes follow the product's queue."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shadow.comparison.case import Case
from shadow.comparison.outcome import Outcome
from shadow.labels.label import State
from shadow.labels.queue import in_turn as by_the_product
from study.in_turn import in_turn
from study.shapes import shaped
from study.shapes.catalogue import Reviews, Trial
from study.shapes.reviewing import reviewed
from study.shapes.seen import NAMES, Seen
from study.shapes.traffic import draw
from study.shapes.world import Area, Array, Damage, Scene, World

DAY_MS = 86_400_000


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), max_size=30))
def test_the_cases_that_count_are_those_of_the_product(cases: list[tuple[int, bool]]) -> None:
    day, is_open = (np.array([case[at] for case in cases], dtype=np.int64) for at in range(2))
    found = in_turn(np.arange(len(cases)), day, is_open.astype(bool))
    theirs = [
        Case(f"t{at}", Outcome.LIVE_ONLY, 100, of * DAY_MS, f"c{at}", ("all",), at / 100, of, at)
        for at, (of, _) in enumerate(cases)
    ]
    states = [State.PENDING if still else State.FRAUD for _, still in cases]
    assert found.tolist() == by_the_product(theirs, states, "all")[0]


def seen() -> Seen:
    world = World(60_000, 14)
    scene = Scene(world, world.live, (Damage(Area(), 0.3, added_fraud=0.0),))
    return Seen.of(draw(scene, np.random.default_rng(1)), world.days)


def cases(one: Seen, reviews: Reviews, seed: int) -> Array:
    """How many answers count, by day, segment and kind: (days, S, 6)."""
    return np.stack(list(reviewed(one, reviews, np.random.default_rng(seed))))[..., 0]


def test_people_answer_so_many_a_day_and_are_right_as_often_as_they_are() -> None:
    one = seen()
    for right in (1.0, 0.65):
        counted = cases(one, Reviews(40, right), 2)
        whole = counted[:, 0].sum(axis=1)
        assert (np.diff(whole) >= 0).all(), "evidence that was complete stays so"
        assert whole[-1] <= 14 * 40
        assert whole[-1] > 100
        lost, gained, spared, insulted = counted[-1, 0, :4]
        rows = one.rows
        fraud = rows.fraud[rows.live & ~rows.candidate].mean()
        expected = fraud * right + (1 - fraud) * (1 - right)
        assert abs(lost / (lost + spared) - expected) < 0.1
        assert gained + insulted > 0
    assert counted.shape == (14, len(NAMES), 6)


def test_late_answers_count_late() -> None:
    one = seen()
    prompt = cases(one, Reviews(40, 1.0), 3).sum(axis=(1, 2))
    late = cases(one, Reviews(40, 1.0, late=5), 3).sum(axis=(1, 2))
    assert prompt[0] > 0
    assert (late[:5] == 0).all()
    assert late[5] > 0


@pytest.mark.parametrize(("swapped", "verdict"), [(0.8, "reject"), (0.05, "hold")])
def test_a_release_that_is_decided_early_ends_as_if_all_its_days_were_reviewed(
    swapped: float, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(30_000, 20)
    trial = Trial(Scene(world, world.live, (Damage(Area(), swapped, added_fraud=0.0),)), aims=("all",))
    early = shaped.judged(trial, np.random.default_rng(4))
    monkeypatch.setattr(shaped, "HALF", world.days)
    assert shaped.judged(trial, np.random.default_rng(4)) == early
    assert early.verdict == verdict
