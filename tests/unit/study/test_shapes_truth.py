"""The truth of a scene is what a slow count of its rows says, and every shape is what its name says."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pytest

from study.shapes.catalogue import SHAPES
from study.shapes.seen import LIMITS, assigned
from study.shapes.seen import NAMES as DECLARED
from study.shapes.shaped import most, scene_of, totals
from study.shapes.traffic import Rows, draw
from study.shapes.truth import CAP_MINOR, NAMES, UNITS, measured, segments_of, truth_of
from study.shapes.world import Area, Attack, Damage, Scene, World

pytestmark = pytest.mark.slow


def slowly(rows: Rows, segment: int) -> dict[str, tuple[float, float, float]]:
    """More blocks, lost fraud and insults of a segment, by unit, one transaction after the other."""
    sums: dict[str, Counter[str]] = defaultdict(Counter)
    days: dict[str, set[tuple[int, int]]] = defaultdict(set)
    of = segments_of(rows)
    for at in range(len(rows.card)):
        if segment not in of[at]:
            continue
        parts = []
        if rows.live[at]:
            parts.append("live")
        if rows.candidate[at]:
            parts.append("candidate")
        if rows.live[at] and not rows.candidate[at]:
            parts.append("lost" if rows.fraud[at] else "spared")
        if rows.candidate[at] and not rows.live[at]:
            parts.append("gained" if rows.fraud[at] else "insulted")
        for part in parts:
            sums["transactions"][part] += 1
            sums["money"][part] += int(rows.minor[at])
            sums["money_capped"][part] += min(int(rows.minor[at]), CAP_MINOR)
            days[part].add((int(rows.card[at]), int(rows.hour[at]) // 24))
    sums["card_days"] = Counter({part: len(found) for part, found in days.items()})
    return {
        unit: (
            (of["candidate"] - of["live"]) / of["live"],
            (of["lost"] - of["gained"]) / of["live"],
            (of["insulted"] - of["spared"]) / of["live"],
        )
        for unit, of in sums.items()
    }


@pytest.mark.parametrize("crowd", ["plain", "pareto", "busy"])
def test_effects_are_those_of_a_slow_count(crowd: str) -> None:
    world = World(10_000, 10, crowd=crowd)
    scene = Scene(world, world.live, (Damage(Area(country=1), 0.5),), attack=Attack(2, 0.2, (False, True, False)))
    rows = draw(scene, np.random.default_rng(1), quiet=False)
    effects = measured(rows).effects
    for segment in (0, 2, NAMES.index("channel=online"), NAMES.index("amount=50-200")):
        for unit, expected in slowly(rows, segment).items():
            found = effects[unit]
            assert (found.more[segment], found.lost[segment], found.insults[segment]) == pytest.approx(expected)


def test_units_differ_where_what_is_lost_comes_in_few_large_clusters() -> None:
    """An attack that all catch has many transactions on few cards, so it hides a swap from whoever counts these."""
    world = World(30_000, 28)
    hidden = Scene(world, world.live, (Damage(Area(country=0), 0.5),), attack=Attack(3, 4.0, (True, True, True), 0, 40))
    effects = truth_of(hidden, np.random.default_rng(2), long=40_000).effects
    without = truth_of(replace(hidden, attack=None), np.random.default_rng(2), long=40_000).effects
    for unit in UNITS:
        assert without[unit].lost[0] == pytest.approx(0.15, abs=0.05)
    online = NAMES.index("channel=online")
    assert effects["transactions"].lost[online] != pytest.approx(effects["card_days"].lost[online], abs=0.02)


def test_a_truth_from_a_day_on_is_that_of_the_days_from_it() -> None:
    world = World(30_000, 28)
    scene = Scene(world, world.live, (Damage(Area(since=13), 1.0, swaps=False),))
    rng = np.random.default_rng(3)
    assert truth_of(scene, rng, since=13, long=20_000).effects["card_days"].more[0] == pytest.approx(-1)
    assert truth_of(scene, rng, long=20_000).effects["card_days"].more[0] == pytest.approx(-15 / 28, abs=0.05)


def test_more_blocks_are_no_harm_if_they_catch_fraud_and_nobody_is_insulted() -> None:
    world = World(30_000, 28, precision=0.9, error=0.85)
    better = world.better(0.3, 0.9)
    assert better is not None
    rng = np.random.default_rng(4)
    assert truth_of(Scene(world, better), rng, long=40_000).worst(LIMITS).max() < 0.3
    looser = replace(world.live, threshold=world.live.threshold - 0.25)
    truth = truth_of(Scene(world, looser), rng, long=40_000)
    assert truth.effects["transactions"].lost[0] < 0
    assert truth.ratios(LIMITS)["more_blocks, transactions"][0] > 1


def test_other_is_overlooked_only_while_it_is_small() -> None:
    def worst(share: float) -> float:
        world = World(30_000, 28, other=share)
        scene = Scene(world, world.live, (Damage(Area(country=4), 1.0, swaps=False),))
        found = truth_of(scene, np.random.default_rng(5), long=40_000).worst(LIMITS)
        return float(found[NAMES.index("country=other")])

    assert worst(0.004) == 0
    assert worst(0.03) > 5


def test_segments_are_those_that_the_product_assigns() -> None:
    world = World(30_000, 28, other=0.1)
    rows = draw(Scene(world, world.live), np.random.default_rng(6), quiet=False)
    theirs = np.array(DECLARED)[assigned(rows.country, rows.channel, rows.minor)]
    assert (np.array(NAMES)[segments_of(rows)] == theirs).all()


@pytest.mark.parametrize("name", ["swap_all_8", "other_2", "big_tickets", "dead_from_day_13", "twin_5k", "better_30"])
def test_a_scene_of_a_shape_has_the_truth_that_it_means(name: str) -> None:
    shape = SHAPES[name]
    trial, truth = scene_of(shape, 0, seed=1)
    assert shape.worst[0] <= truth.worst(LIMITS).max() <= shape.worst[1]
    again, _ = scene_of(shape, 0, seed=1)
    assert again == trial
    other = truth_of(trial.scene, np.random.default_rng(99), trial.since)  # another draw says the same
    assert (other.worst(LIMITS).max() >= 1) == shape.harmful


def test_the_full_study_has_enough_releases() -> None:
    assert sum(shape.n for shape in SHAPES.values() if shape.harmful) >= 4000
    for day in (10, 11, 12, 13):
        assert SHAPES[f"dead_from_day_{day}"].n == SHAPES[f"swapped_from_day_{day}"].n == 200


def test_totals_are_over_harmful_and_harmless_shapes_apart() -> None:
    empty = {"hold": 0, "reject": 0, "promote": 0, "right_segment": None}
    rows = {
        "swap_all_8": empty | {"n": 300, "promote": 1, "hold": 299},
        "other_10": empty | {"n": 100, "reject": 100, "right_segment": 97},
        "twin_30k": empty | {"n": 50, "promote": 44, "hold": 4, "reject": 2},
        "better_5": empty | {"n": 50, "promote": 50},
    }
    found = totals(rows)
    assert found["harmful"] == 400
    assert found["harmful_promoted"] == 1 / 400
    assert found["harmful_promoted_at_most"] == pytest.approx(0.0118, abs=0.0003)
    assert found["worst_shape"] == (1 / 300, "swap_all_8")
    assert found["harmful_held"] == 299 / 400
    assert found["false_rejections"] == 2 / 100
    assert found["right_segment"] == 97 / 100
    assert found["power"] == {"better_5": 1.0}
    assert most(0, 300) == pytest.approx(0.00994, abs=1e-4)  # the rule of three
