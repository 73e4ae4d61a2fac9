"""The shapes: what is drawn, how often, and what its truth has to be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from study.shapes.truth import BANDS, CAP_MINOR
from study.shapes.world import (
    CHANNELS,
    COUNTRIES,
    CROWDS,
    MERCHANT_SHARE,
    MOST_MINOR,
    Area,
    Attack,
    Damage,
    Model,
    Scene,
    World,
)

#: How often each of CROWDS is drawn.
CROWD_SHARE = np.array([0.4, 0.15, 0.15, 0.15, 0.15])
VOLUMES = (30_000, 60_000, 120_000)
#: Declared segments that have traffic enough to be judged, and the areas that they are.
DECLARED = {
    **{f"country={name}": Area(country=at) for at, name in enumerate(COUNTRIES[:-1])},
    **{f"channel={name}": Area(channel=at) for at, name in enumerate(CHANNELS)},
    "amount=<50": Area(band=(0, BANDS[0])),
    "amount=50-200": Area(band=(BANDS[0], BANDS[1])),
    "amount=200-500": Area(band=(BANDS[1], BANDS[2])),
}
#: The truth against its limit: at least so much where harm is meant, at most so much where none is.
HARM, JUST, NO_HARM = (1.05, np.inf), (1.0, 1.25), (0.0, 0.97)


@dataclass(frozen=True)
class Reviews:
    """People who answer. a_day: cases. right: how often they are. late: days until an answer is in."""

    a_day: int = 40
    right: float = 0.95
    late: int = 0


@dataclass(frozen=True)
class Trial:
    """A scene, and what is known about it. aims: the segments that it is meant to harm. since: the day from which its
    truth counts. is_twin: whether manifests say that the control is live's twin."""

    scene: Scene
    reviews: Reviews = Reviews()
    aims: tuple[str, ...] = ()
    since: float = 0.0
    is_twin: bool = True


Rng = np.random.Generator


@dataclass(frozen=True)
class Shape:
    """n: releases. told: for people, the same for shapes of a kind. worst: within which the largest ratio of truth and
    limit has to be. power: the share that must be promoted, None where that is not asked for."""

    name: str
    n: int
    make: Callable[[Rng], Trial]
    told: str
    worst: tuple[float, float] = HARM
    power: float | None = None

    @property
    def harmful(self) -> bool:
        return self.worst[0] >= 1


def _world(rng: Rng, per_day: float | None = None, days: int = 28, **given: float) -> World:
    drawn = {
        "blocked": float(np.exp(rng.uniform(np.log(0.003), np.log(0.008)))),
        "precision": float(rng.uniform(0.78, 0.93)),
        "error": float(rng.uniform(0.6, 0.85)),
        "twin_differs": float(rng.uniform(0.14, 0.19)),
        "other": float(rng.uniform(0.002, 0.006)),
    }
    crowd = str(rng.choice(CROWDS, p=CROWD_SHARE))
    volume = float(rng.choice(VOLUMES)) if per_day is None else per_day
    return World(volume, days, crowd=crowd, **(drawn | given))


def _uneven(model: Model, rng: Rng) -> Model:
    """Another model blocks a little more here and less there."""
    return replace(model, uneven=tuple(rng.normal(0, 0.015, len(COUNTRIES))))


def _any(world: World, rng: Rng) -> Model:
    """A twin of live, or now and then a model that is a little better."""
    other = world.better(float(rng.uniform(0.02, 0.08)), 1.0) if rng.random() < 0.3 else None
    return world.live if other is None else _uneven(other, rng)


def _one(rng: Rng) -> str:
    return str(rng.choice(list(DECLARED)))


def _swap(share: float, swaps: bool = True, reviews: Reviews = Reviews(), **area: object) -> Callable[[Rng], Trial]:
    """The share of live's blocks swapped in a fixed area."""

    def make(rng: Rng) -> Trial:
        world = _world(rng)
        damage = Damage(Area(**area), share, swaps)  # type: ignore[arg-type]
        return Trial(Scene(world, _any(world, rng), (damage,)), reviews, since=damage.area.since)

    return make


def _in_segment(share: float, swaps: bool = True, since: float = 0.0) -> Callable[[Rng], Trial]:
    def make(rng: Rng) -> Trial:
        world, name = _world(rng), _one(rng)
        damage = Damage(replace(DECLARED[name], since=since), share, swaps)
        return Trial(Scene(world, _any(world, rng), (damage,)), aims=(name,), since=since)

    return make


def _just_exceeded(rng: Rng) -> Trial:
    """About a limit's worth of harm, everywhere or in one segment."""
    world, name = _world(rng), "all" if rng.random() < 0.5 else _one(rng)
    area, limit = (Area(), 0.06) if name == "all" else (DECLARED[name], 0.12)
    damage = Damage(area, float(rng.uniform(0.9, 1.5)) * limit)
    return Trial(Scene(world, world.live, (damage,)), aims=() if name == "all" else (name,))


def _night(rng: Rng) -> Trial:
    world = _world(rng)
    damage = Damage(Area(hours=(0, int(rng.integers(5, 8)))), float(rng.uniform(0.5, 1)), bool(rng.random() < 0.7))
    return Trial(Scene(world, _any(world, rng), (damage,)))


def _weekend(rng: Rng) -> Trial:
    world = _world(rng)
    damage = Damage(Area(weekdays=(5, 6)), float(rng.uniform(0.3, 1)), bool(rng.random() < 0.7))
    return Trial(Scene(world, _any(world, rng), (damage,)))


def _intersection(rng: Rng) -> Trial:
    world, country, channel = _world(rng), int(rng.integers(4)), int(rng.integers(len(CHANNELS)))
    damage = Damage(Area(country=country, channel=channel), float(rng.uniform(0.5, 1)), bool(rng.random() < 0.7))
    aims = f"country={COUNTRIES[country]}", f"channel={CHANNELS[channel]}"
    return Trial(Scene(world, _any(world, rng), (damage,)), aims=aims)


def _undeclared(swaps: bool) -> Callable[[Rng], Trial]:
    def make(rng: Rng) -> Trial:
        world = _world(rng)
        merchant = int(rng.choice(np.flatnonzero(MERCHANT_SHARE >= 0.08)))
        damage = Damage(Area(merchant=merchant), 1.0 if not swaps else float(rng.uniform(0.6, 1)), swaps)
        return Trial(Scene(world, _any(world, rng), (damage,)))

    return make


def _bad_control(share: float) -> Callable[[Rng], Trial]:
    """The control is another model: it differs from live about as much as the candidate does."""

    def make(rng: Rng) -> Trial:
        world = _world(rng)
        other = Damage(Area(), float(rng.uniform(0.8, 1.5)) * share, added_fraud=0.3)
        return Trial(Scene(world, world.live, (Damage(Area(), share),), (other,)), is_twin=False)

    return make


def _other(share: float) -> Callable[[Rng], Trial]:
    def make(rng: Rng) -> Trial:
        world = _world(rng, other=share)
        damage = Damage(Area(country=4), float(rng.uniform(0.6, 1)), bool(rng.random() < 0.7))
        return Trial(Scene(world, _any(world, rng), (damage,)), aims=("country=other",))

    return make


def _tickets(rng: Rng) -> Trial:
    world = _world(rng)
    damage = Damage(Area(band=(4 * CAP_MINOR, 100 * MOST_MINOR)), 1.0, bool(rng.random() < 0.5))
    return Trial(Scene(world, _any(world, rng), (damage,)))


def _above_cap(rng: Rng) -> Trial:
    world = _world(rng)
    damage = Damage(Area(band=(CAP_MINOR, 100 * MOST_MINOR)), float(rng.uniform(0.5, 1)))
    return Trial(Scene(world, _any(world, rng), (damage,)))


def _attacked(
    by: tuple[bool, bool, bool], blocks: tuple[float, float], damage: Damage | None = None
) -> Callable[[Rng], Trial]:
    def make(rng: Rng) -> Trial:
        world = _world(rng)
        attack = Attack(
            int(rng.integers(2, 13)), float(rng.uniform(*blocks)), by, int(rng.integers(4)), float(rng.uniform(2, 15))
        )
        return Trial(Scene(world, world.live, () if damage is None else (damage,), attack=attack))

    return make


def _threshold(change: float) -> Callable[[Rng], Trial]:
    def make(rng: Rng) -> Trial:
        world = _world(rng)
        moved = replace(world.live, threshold=world.live.threshold + change * float(rng.uniform(0.7, 1.5)))
        return Trial(Scene(world, moved))

    return make


def _twin(
    per_day: float | None = None, days: int = 28, reviews: Reviews = Reviews(), **given: float
) -> Callable[[Rng], Trial]:
    def make(rng: Rng) -> Trial:
        world = _world(rng, per_day, days, **given)
        return Trial(Scene(world, world.live), reviews)

    return make


def _better(gain: float, per_day: float, days: int = 28, reviews: Reviews = Reviews()) -> Callable[[Rng], Trial]:
    def make(rng: Rng) -> Trial:
        while True:
            world = _world(rng, per_day, days, blocked=0.005)
            model = world.better(gain, float(rng.uniform(0.8, 1.0)))
            if model is not None:
                return Trial(Scene(world, _uneven(model, rng)), reviews)

    return make


def _shapes() -> Iterator[Shape]:
    told = "{} of live's blocks swapped, everywhere"
    yield from (Shape(f"swap_all_{n}", 100, _swap(n / 100), told.format("8 to 80 %")) for n in (8, 12, 20, 40, 80))
    told = "15 to 80 % swapped in one segment"
    yield from (Shape(f"swap_segment_{n}", 100, _in_segment(n / 100), told) for n in (15, 25, 40, 80))
    yield Shape("dead_segment", 100, _in_segment(1.0, swaps=False), "dead in one segment")
    yield Shape("limit_just_exceeded", 200, _just_exceeded, "a limit exceeded by at most a quarter", JUST)
    for day in (10, 11, 12, 13):
        yield Shape(f"dead_from_day_{day}", 200, _swap(1.0, swaps=False, since=day), "dead from day 10, 11, 12 or 13")
        yield Shape(f"swapped_from_day_{day}", 200, _swap(1.0, since=day), "all swapped from day 10, 11, 12 or 13")
    late = "40 % swapped, or one segment dead, from day 10"
    yield Shape("swap_all_40_from_day_10", 100, _swap(0.4, since=10), late)
    yield Shape("dead_segment_from_day_10", 100, _in_segment(1.0, swaps=False, since=10), late)
    yield Shape("night_only", 100, _night, "only at night")
    yield Shape("weekend_only", 100, _weekend, "only at weekends")
    yield Shape("intersection", 150, _intersection, "only where two segments meet")
    yield Shape("undeclared_swapped", 100, _undeclared(swaps=True), "by an attribute that is no segment")
    yield Shape("undeclared_dead", 100, _undeclared(swaps=False), "by an attribute that is no segment")
    yield Shape("bad_control_25", 100, _bad_control(0.25), "with another model in the control slot")
    yield Shape("bad_control_60", 50, _bad_control(0.6), "with another model in the control slot")
    told = "in `other`, of 2 to 30 % of the traffic"
    yield from (Shape(f"other_{n}", 60, _other(n / 100), told) for n in (2, 5, 10, 20, 30))
    yield Shape("big_tickets", 150, _tickets, "of amounts over four times the cap")
    yield Shape("above_cap_swapped", 100, _above_cap, "of amounts above the cap")
    attack = _attacked((True, True, True), (1.0, 4.0), Damage(Area(), 0.2))
    yield Shape("attack_hides_swap", 100, attack, "20 % swapped, beside a bot attack that both catch")
    attack = _attacked((True, False, True), (0.1, 0.6))
    yield Shape("attack_caught_by_live", 100, attack, "a bot attack that the candidate misses")
    told = "12 or 20 % swapped, reviewers right {} % of the time"
    yield Shape("reviewers_65", 100, _swap(0.2, reviews=Reviews(right=0.65)), told.format(65))
    yield Shape("reviewers_80", 100, _swap(0.2, reviews=Reviews(right=0.8)), told.format(80))
    yield Shape("reviewers_80_swap_12", 100, _swap(0.12, reviews=Reviews(right=0.8)), told.format(80))
    yield Shape("reviews_late", 100, _swap(0.2, reviews=Reviews(late=10)), "20 % swapped, reviews ten days late")
    yield Shape("threshold_lower", 50, _threshold(-0.12), "threshold too low, or too high")
    yield Shape("threshold_higher", 50, _threshold(0.12), "threshold too low, or too high")
    # harmless
    told = "{} a day"
    twin = f"twin of live, {told.format('30,000')}"
    yield Shape("twin_30k", 150, _twin(30_000, blocked=0.005), twin, NO_HARM)
    for gain, power in ((5, 0.9), (15, 0.9), (30, 0.85)):
        better = f"better by {gain} %, {told.format('30,000')}"
        yield Shape(f"better_{gain}", 100, _better(gain / 100, 30_000), better, NO_HARM, power)
    twin = f"twin of live, {told.format('5,000')}, 90 days"
    yield Shape("twin_5k", 100, _twin(5000, 90, blocked=0.005), twin, NO_HARM, 0.8)
    better = f"better by 15 %, {told.format('5,000')}, 90 days"
    yield Shape("better_15_5k", 100, _better(0.15, 5000, 90), better, NO_HARM, 0.7)
    attack = _attacked((True, True, True), (0.2, 1.0))
    yield Shape("attack_caught_by_both", 80, attack, "twin, a bot attack that both catch", NO_HARM)
    attack = _attacked((False, True, False), (0.05, 0.15))
    yield Shape("attack_caught_by_candidate", 80, attack, "twin, but it alone catches a bot attack", NO_HARM)
    yield Shape("swap_all_5", 80, _swap(0.05), "5 % swapped, within every limit", NO_HARM)
    told = "better by 15 %, poor or late reviews"
    poor, late_ones = Reviews(right=0.8), Reviews(late=10)
    yield Shape("better_15_reviewers_80", 60, _better(0.15, 60_000, reviews=poor), told, NO_HARM)
    yield Shape("better_15_reviewers_65", 60, _better(0.15, 60_000, reviews=Reviews(right=0.65)), told, NO_HARM)
    yield Shape("better_15_reviews_late", 60, _better(0.15, 60_000, reviews=late_ones), told, NO_HARM)


SHAPES = {shape.name: shape for shape in _shapes()}
