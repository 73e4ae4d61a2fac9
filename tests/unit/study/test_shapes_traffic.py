"""The generator of the shapes has the rates, the clusters and the times that it states."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from study.shapes.traffic import HOUR_SHARE, SIZE_EXPONENT, SIZE_MOST, draw, inside, mean_size, sizes
from study.shapes.truth import measured
from study.shapes.world import (
    CHANNEL_SHARE,
    COUNTRIES,
    CROWDS,
    SEPARATION,
    Area,
    Array,
    Attack,
    Damage,
    Model,
    Scene,
    World,
)

pytestmark = pytest.mark.slow

WORLD = World(per_day=120_000, days=28)


def card_days(rows_card: Array, rows_hour: Array) -> int:
    """How many card-days there are."""
    return len(np.unique(np.stack([rows_card, rows_hour // 24]), axis=1).T)


@pytest.mark.parametrize("crowd", [crowd for crowd in CROWDS if crowd != "busy"])
def test_live_blocks_and_errs_as_often_as_its_world_says(crowd: str) -> None:
    world = replace(WORLD, crowd=crowd, per_day=400_000)
    rows = draw(Scene(world, world.live), np.random.default_rng(1))
    share = (1 - world.fraud) * mean_size(crowd, False) + world.fraud * mean_size(crowd, True)
    blocked = card_days(rows.card[rows.live], rows.hour[rows.live])
    fraud = card_days(rows.card[rows.live & rows.fraud], rows.hour[rows.live & rows.fraud])
    # single transactions have a little noise of their own, so a card-day of many is blocked somewhat more often
    assert blocked / (world.per_day * world.days / share) == pytest.approx(world.blocked, rel=0.07)
    assert fraud / blocked == pytest.approx(world.precision, abs=0.03)
    twins = card_days(rows.card[rows.live != rows.control], rows.hour[rows.live != rows.control]) / blocked
    assert twins == pytest.approx(world.twin_differs, rel=0.3)
    assert rows.quiet is not None
    assert rows.quiet.sum() / world.days == pytest.approx(world.per_day, rel=0.01)


def brute_force(world: World, candidate: Model, rng: np.random.Generator, fraud: bool, n: int) -> Array:
    """Shares of card-days by what live and the candidate do: both block, live alone, the candidate alone."""
    risk, error = rng.normal(SEPARATION if fraud else 0.0, 1, n), rng.normal(0, world.error, n)
    noise = world.seed_noise * rng.normal(size=(2, n))
    live = risk + error + noise[0] > world.live.threshold
    other = risk + candidate.error * error + noise[1] > candidate.threshold
    return np.array([(live & other).mean(), (live & ~other).mean(), (~live & other).mean()])


@pytest.mark.parametrize("gain", [None, 0.3])
def test_sampling_the_tails_is_the_same_as_drawing_everybody(gain: float | None) -> None:
    world = replace(WORLD, blocked=0.02, error=0.8)
    candidate = world.live if gain is None else world.better(gain, 0.9)
    assert candidate is not None
    rng = np.random.default_rng(2)
    expected = np.zeros(3)
    for fraud, share in ((True, world.fraud), (False, 1 - world.fraud)):
        expected += share * brute_force(world, candidate, rng, fraud, 1_500_000)
    rows = draw(Scene(world, candidate), np.random.default_rng(3), quiet=False)
    found = np.array(
        [(rows.live & rows.candidate).sum(), (rows.live & ~rows.candidate).sum(), (~rows.live & rows.candidate).sum()]
    ) / (world.per_day * world.days)
    assert found == pytest.approx(expected, rel=0.06)


@pytest.mark.parametrize("gain", [0.05, 0.15, 0.3])
def test_a_better_candidate_catches_so_much_more_and_insults_nobody_more(gain: float) -> None:
    world = replace(WORLD, error=0.8, per_day=2_000_000)
    candidate = world.better(gain, 0.9)
    assert candidate is not None
    rows = draw(Scene(world, candidate), np.random.default_rng(4), quiet=False)
    caught = [(who & rows.fraud).sum() for who in (rows.live, rows.candidate)]
    insulted = [(who & ~rows.fraud).sum() for who in (rows.live, rows.candidate)]
    assert caught[1] / caught[0] - 1 == pytest.approx(gain, abs=0.02)
    assert insulted[1] / insulted[0] == pytest.approx(0.9, abs=0.04)


def test_nobody_is_better_than_one_who_knows_the_risk() -> None:
    assert replace(WORLD, error=0.2).better(0.5, 1.0) is None


@pytest.mark.parametrize("damage", [None, 0.25])
@pytest.mark.parametrize("gain", [None, 0.15])
def test_the_truth_is_that_of_the_bivariate_normal(gain: float | None, damage: float | None) -> None:
    """Computed a second way: from the joint law of both scores, without a draw."""
    world = replace(WORLD, blocked=0.01)
    candidate = world.live if gain is None else world.better(gain, 1.0)
    assert candidate is not None
    scene = Scene(world, candidate, () if damage is None else (Damage(Area(), damage, added_fraud=0.1),))
    found = measured(draw(scene, np.random.default_rng(5), times=8, quiet=False)).effects["transactions"]
    variances = [world.spread(part) ** 2 for part in (1.0, candidate.error)]
    covariance = 1 + candidate.error * world.error**2
    law = multivariate_normal([0, 0], [[variances[0], covariance], [covariance, variances[1]]])
    lost = damage or 0.0
    masses = {}
    for fraud, share in ((True, world.fraud), (False, 1 - world.fraud)):
        away = SEPARATION if fraud else 0.0
        over = [
            share * norm.cdf((away - limit) / variance**0.5)
            for limit, variance in zip((world.live.threshold, candidate.threshold), variances, strict=True)
        ]
        both = share * float(law.cdf([away - world.live.threshold, away - candidate.threshold]))
        masses[fraud] = (over[0], over[0] - both * (1 - lost), over[1] - both)
    live = masses[True][0] + masses[False][0]
    added = {fraud: lost * live * (0.1 if fraud else 0.9) for fraud in (True, False)}
    wanted = {
        "lost": (masses[True][1] - masses[True][2] - added[True]) / live,
        "insults": (masses[False][2] + added[False] - masses[False][1]) / live,
    }
    assert found.lost[0] == pytest.approx(wanted["lost"], abs=0.01)
    assert found.insults[0] == pytest.approx(wanted["insults"], abs=0.01)
    assert found.more[0] == pytest.approx(wanted["insults"] - wanted["lost"], abs=0.015)


def test_sizes_are_pareto_up_to_their_cap() -> None:
    drawn = sizes("pareto", True, 400_000, np.random.default_rng(6))
    assert drawn.max() == SIZE_MOST
    for least in (1, 2, 5, 20, 100):
        assert (drawn >= least).mean() == pytest.approx(least**-SIZE_EXPONENT, rel=0.1)
    assert drawn.mean() == pytest.approx(mean_size("pareto", True), rel=0.05)
    assert sizes("bursts", False, 100_000, np.random.default_rng(7)).max() < 12


@pytest.mark.parametrize(("crowd", "heavy"), [("plain", False), ("pareto", True), ("bursts", True), ("lasting", False)])
def test_what_live_blocks_has_the_sizes_of_its_regime(crowd: str, heavy: bool) -> None:
    """Hill's estimate of the exponent, of the blocked transactions of card-days of fraud, as a shadow sees them."""
    world = replace(WORLD, crowd=crowd, per_day=400_000)
    rows = draw(Scene(world, world.live), np.random.default_rng(8), quiet=False)
    mine = rows.live & rows.fraud
    _, size = np.unique(np.stack([rows.card[mine], rows.hour[mine] // 24]), axis=1, return_counts=True)
    tail = size[(size >= 6) & (size < SIZE_MOST / 2)]
    if not heavy:
        assert size.max() < 15
        return
    hill = 1 / np.log(tail / 5.5).mean()
    assert SIZE_EXPONENT - 0.05 < hill < SIZE_EXPONENT + 0.35  # cut off at half of the cap, so a little steeper
    assert size.max() > 200


def test_one_busy_card_makes_a_fifth_of_a_countrys_blocks() -> None:
    world = replace(WORLD, crowd="busy")
    rows = draw(Scene(world, world.live), np.random.default_rng(9), quiet=False)
    mine = rows.live & (rows.country == COUNTRIES.index("FR"))
    _, counts = np.unique(rows.card[mine], return_counts=True)
    assert counts.max() / counts.sum() == pytest.approx(0.2, abs=0.02)


def test_episodes_that_last_have_the_same_card_and_verdict_on_several_days() -> None:
    world = replace(WORLD, crowd="lasting")
    rows = draw(Scene(world, world.live), np.random.default_rng(10), quiet=False)
    card, day, live = rows.card, rows.hour // 24, rows.live
    seen = np.unique(np.stack([card, day]), axis=1)
    cards, days = np.unique(seen[0], return_counts=True)
    assert days.mean() == pytest.approx(1.5, abs=0.12)
    lasting = np.isin(card, cards[days > 1])
    by_card = {int(one): live[lasting & (card == one)].mean() for one in cards[days > 1][:200]}
    assert np.mean([share in (0.0, 1.0) for share in by_card.values()]) > 0.7


@pytest.mark.parametrize("crowd", ["plain", "pareto"])
def test_a_swap_leaves_as_many_blocks_in_either_unit_and_loses_its_share(crowd: str) -> None:
    world = replace(WORLD, crowd=crowd)
    scene = Scene(world, world.live, (Damage(Area(channel=2), 0.4, added_fraud=0.0),))
    rows = draw(scene, np.random.default_rng(11), times=6, quiet=False)
    mine = rows.channel == 2
    effects = measured(rows.take(np.flatnonzero(mine))).effects
    for unit in ("transactions", "card_days"):
        # a card-day of which live blocks only a part may lose this and keep the rest
        assert effects[unit].more[0] == pytest.approx(0, abs=0.06)
        assert effects[unit].lost[0] == pytest.approx(0.4 * world.precision, abs=0.05)
    outside = measured(rows.take(np.flatnonzero(~mine))).effects
    assert outside["transactions"].lost[0] == pytest.approx(0, abs=0.03)


def test_dead_in_an_area_blocks_nothing_there_from_its_day_on() -> None:
    area = Area(country=0, since=10)
    rows = draw(Scene(WORLD, WORLD.live, (Damage(area, 1.0, swaps=False),)), np.random.default_rng(12), quiet=False)
    assert not (rows.candidate & inside(area, rows)).any()
    assert (rows.candidate & ~inside(area, rows)).sum() > 1000
    assert rows.hour[inside(area, rows)].min() >= 240


def test_areas_are_hours_weekdays_bands_and_merchants() -> None:
    rows = draw(Scene(WORLD, WORLD.live), np.random.default_rng(13), quiet=False)
    night, weekend = inside(Area(hours=(0, 6)), rows), inside(Area(weekdays=(5, 6)), rows)
    assert (rows.hour[night] % 24 < 6).all()
    assert (rows.hour[~night] % 24 >= 6).all()
    assert set((rows.hour[weekend] // 24 % 7).tolist()) == {5, 6}
    band = inside(Area(band=(5000, 20_000), merchant=3), rows)
    assert 5000 <= rows.minor[band].min() <= rows.minor[band].max() < 20_000
    assert set(rows.merchant[band].tolist()) == {3}


def test_an_attack_takes_three_hours_and_has_its_share_of_the_blocks() -> None:
    attack = Attack(day=5, blocks=0.5, by=(True, False, True), size=10)
    rows = draw(Scene(WORLD, WORLD.live, attack=attack), np.random.default_rng(14), quiet=False)
    bots = rows.card >= 2**42
    assert set(rows.hour[bots].tolist()) == {122, 123, 124}
    assert bots.sum() / (rows.live & ~bots).sum() == pytest.approx(0.5, abs=0.03)
    assert (rows.live & ~rows.candidate & rows.control & rows.fraud)[bots].all()
    assert bots.sum() / len(np.unique(rows.card[bots])) == pytest.approx(10, rel=0.1)


def test_traffic_that_all_allow_has_the_course_and_the_shares_of_its_world() -> None:
    world = replace(WORLD, other=0.2)
    quiet = draw(Scene(world, world.live), np.random.default_rng(15)).quiet
    assert quiet is not None
    total = quiet.sum()
    assert quiet.sum(axis=(0, 2, 3)) / total == pytest.approx(world.country_share, abs=0.003)
    assert quiet.sum(axis=(0, 1, 3)) / total == pytest.approx(CHANNEL_SHARE, abs=0.003)
    by_hour = quiet.sum(axis=(1, 2, 3)).reshape(world.days, 24).sum(axis=0) / total
    assert by_hour == pytest.approx(HOUR_SHARE, abs=0.002)


def test_the_same_seed_draws_the_same_rows() -> None:
    scene = Scene(WORLD, WORLD.live, (Damage(Area(), 0.2),), attack=Attack(3, 0.2, (True, True, True)))
    one, two = (draw(scene, np.random.default_rng(16)) for _ in range(2))
    assert all(
        np.array_equal(getattr(one, name), getattr(two, name)) for name in ("card", "hour", "minor", "candidate")
    )
    other = draw(scene, np.random.default_rng(17))
    assert len(other.card) != len(one.card) or not np.array_equal(other.card, one.card)
