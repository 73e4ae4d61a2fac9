"""What released blocks say of the drawn ones is right on average and as often as promised, and is not said of too few.

The worlds here are made by rules of their own: an exploring scorer with a budget, cards of Pareto size, attacks. Every
truth is known, and what the product may see of it is hidden as it would be.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadow.archive.drawn import NEEDED, Draw
from shadow.archive.level_curve import Basis, curve
from shadow.archive.level_sums import FRAUD, GRID, HONEST, UNKNOWN, Judged, LevelSums
from shadow.archive.levels import Costs, SegmentLevels, levels

COSTS = Costs(honest_block=700.0, recovered=0.2)
THRESHOLDS = (0.5, 0.6)


@dataclass
class World:
    """Transactions with their truth, before anybody decides what is seen."""

    live: np.ndarray
    candidate: np.ndarray
    is_fraud: np.ndarray
    minor: np.ndarray
    card: np.ndarray
    day: np.ndarray

    @property
    def cells(self) -> np.ndarray:
        return (self.live >= THRESHOLDS[0]) + 2 * (self.candidate >= THRESHOLDS[1])


def a_world(rng: np.random.Generator, cards: int = 7000, days: int = 10) -> World:
    """Cards with a Pareto number of transactions of one day; fraud goes with the card, the score, money and time."""
    sizes = np.minimum(60, np.floor(rng.pareto(1.3, cards) + 1)).astype(int)
    card = np.repeat(np.arange(cards), sizes)
    n = len(card)
    day = np.repeat(rng.integers(0, days, cards), sizes)
    bent = np.repeat(rng.normal(0, 1, cards), sizes)  # what all transactions of a card share
    live = 1 / (1 + np.exp(-(bent + rng.normal(0.4, 0.7, n))))
    candidate = 1 / (1 + np.exp(-(np.log(live / (1 - live)) + rng.normal(0.2, 0.9, n))))
    minor = np.minimum(50_000, 500 * (1 + rng.pareto(1.4, n))).astype(np.int64)
    logit = -1.6 + 1.1 * bent + 1.2 * live + 0.35 * np.log(minor / 1000) + 0.7 * (day < days / 2)
    return World(live, candidate, rng.random(n) < 1 / (1 + np.exp(-logit)), minor, card, day)


@dataclass
class Seen:
    """What is recorded of a world: the probability of a release (1: not drawn), and whether it was released."""

    probability: np.ndarray
    is_released: np.ndarray
    is_reviewed: np.ndarray


def explored(world: World, rng: np.random.Generator, budget: float = 4_000_000.0, most: int = 40_000) -> Seen:
    """An exploring scorer, one transaction after the other: only up to an amount, and while the day has money left."""
    n = len(world.live)
    probability, is_released = np.ones(n), np.zeros(n, dtype=bool)
    spent: dict[int, float] = {}
    for at in rng.permutation(n):
        day = int(world.day[at])
        if world.live[at] < THRESHOLDS[0] or world.minor[at] > most or spent.get(day, 0.0) + most > budget:
            continue
        probability[at] = 0.08 if day < 5 else 0.3
        if rng.random() < probability[at]:
            is_released[at] = True
            spent[day] = spent.get(day, 0.0) + float(world.minor[at])
    return Seen(probability, is_released, np.zeros(n, dtype=bool))


def reviewed(world: World, seen: Seen, rng: np.random.Generator) -> Seen:
    """Reviews of blocks that were not released, mostly of those with large amounts and high scores."""
    is_block = (world.live >= THRESHOLDS[0]) & ~seen.is_released
    chance = np.clip(world.live * np.sqrt(world.minor / 20_000), 0, 0.9)
    return replace(seen, is_reviewed=is_block & (rng.random(len(chance)) < chance))


def judged(world: World, seen: Seen, segment: np.ndarray | None = None) -> Judged:
    """What the product gets to see of it."""
    is_known = (world.live < THRESHOLDS[0]) | seen.is_released | seen.is_reviewed
    columns = [np.zeros(len(world.live), dtype=np.int64), *([] if segment is None else [segment])]
    return Judged(
        blocks=np.stack([world.live >= THRESHOLDS[0], world.candidate >= THRESHOLDS[1]]),
        scores=np.stack([world.live, world.candidate]),
        states=np.where(is_known, np.where(world.is_fraud, FRAUD, HONEST), UNKNOWN).astype(np.int64),
        minor=world.minor.astype(np.int64),
        segments=np.stack(columns, axis=1),
        card_days=(world.card * 1000 + world.day).astype(np.uint64),
        draw=Draw(seen.probability, seen.is_released, world.card.astype(np.uint64)),
    )


def summed(*rows: Judged, segments: int = 1) -> LevelSums:
    sums = LevelSums(segments)
    for one in rows:
        sums.add(one)
    return sums


def whole(sums: LevelSums, costs: Costs = COSTS) -> SegmentLevels:
    return next(iter(levels(sums, ["all", "other"], costs)))


def truths(world: World, among: np.ndarray) -> dict[str, float]:
    """The figures by the truth of all transactions of a part, by a plain count."""
    cells, fraud, money = world.cells[among], world.is_fraud[among], world.minor[among].astype(float)
    out = {}
    for name, blocking in {"live": (1, 3), "candidate": (2, 3)}.items():
        blocked = np.isin(cells, blocking)
        out[f"{name}.precision"] = fraud[blocked].mean()
        out[f"{name}.recall"] = (fraud & blocked).sum() / fraud.sum()
        out[f"{name}.recall_of_money"] = money[fraud & blocked].sum() / money[fraud].sum()
        out[f"{name}.insult_rate"] = (~fraud & blocked).sum() / (~fraud).sum()
        out[f"{name}.saved"] = 0.8 * money[fraud & blocked].sum() - 700 * (~fraud & blocked).sum()
    for name, cell in {"live_only": 1, "candidate_only": 2}.items():
        mine = cells == cell
        out[f"{name}.fraud"] = fraud[mine].mean() if mine.any() else np.nan
        out[f"{name}.honest"] = float((~fraud & mine).sum())
        out[f"{name}.fraud_minor"] = money[fraud & mine].sum()
        out[f"{name}.saved"] = 0.8 * money[fraud & mine].sum() - 700 * (~fraud & mine).sum()
    return out


ESTIMATED = [name for name in truths(a_world(np.random.default_rng(0), 300), np.s_[:]) if "candidate_only" not in name]


def found(row: SegmentLevels, name: str):  # type: ignore[no-untyped-def]
    part, figure = name.split(".")
    return getattr(getattr(row, part), figure)


@dataclass
class Tried:
    """Errors of an estimate over many worlds, and how often its interval held the truth."""

    errors: list[float]
    held: list[bool]

    @property
    def is_unbiased(self) -> bool:
        """Whether the mean error is within what its own spread explains: 3.3 standard errors, 1 in 1,000 by chance."""
        errors = np.array(self.errors)
        return bool(abs(errors.mean()) <= 3.3 * errors.std(ddof=1) / np.sqrt(len(errors)))

    @property
    def coverage(self) -> float:
        return float(np.mean(self.held))


def tried(rows: list[SegmentLevels], expected: list[dict[str, float]], name: str) -> Tried:
    out = Tried([], [])
    for row, truth in zip(rows, expected, strict=True):
        estimate = found(row, name).estimate
        assert estimate is not None, name
        out.errors.append(estimate.value - truth[name])
        out.held.append(estimate.low <= truth[name] <= estimate.high)
    return out


@dataclass
class Outcome:
    """What the product said of a world, and the truth: of what live allowed and the drawn, and of everything.

    naive: without weights. with_reviews: of some drawn blocks that were not released. mixed: as if the reviewed had
    been taken out, and the released stood for what is left, of which left is the truth.
    """

    row: SegmentLevels
    covered: dict[str, float]
    everything: dict[str, float]
    drawn_share: float
    naive: SegmentLevels | None = None
    with_reviews: SegmentLevels | None = None
    mixed: SegmentLevels | None = None
    left: dict[str, float] | None = None


def outcome(seed: int) -> Outcome:
    """A world of some 13,000 would-be blocks, in which the budget of most days runs out."""
    rng = np.random.default_rng(seed)
    world = a_world(rng)
    seen = explored(world, rng, budget=200_000.0, most=15_000)
    is_block, is_drawn = world.live >= THRESHOLDS[0], seen.probability < 1
    out = Outcome(
        whole(summed(judged(world, seen))),
        truths(world, is_drawn | ~is_block),
        truths(world, np.s_[:]),
        is_drawn.sum() / is_block.sum(),
    )
    if seed >= 100:
        return out
    flat = np.where(is_drawn, seen.is_released.sum() / is_drawn.sum(), 1.0)
    out.naive = whole(summed(judged(world, replace(seen, probability=flat))))
    more = reviewed(world, seen, rng)
    out.with_reviews = whole(summed(judged(world, more)))
    left = np.where(more.is_reviewed, 1.0, seen.probability)
    out.mixed = whole(summed(judged(world, replace(more, probability=left))))
    out.left = truths(world, left < 1)
    return out


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    return [outcome(seed) for seed in range(300)]


@pytest.mark.slow
def test_estimates_are_right_on_average_and_intervals_hold_as_often_as_they_say(outcomes: list[Outcome]) -> None:
    assert 0.3 < np.mean([one.drawn_share for one in outcomes]) < 0.8, "the budget runs out"
    for name in ESTIMATED:
        one = tried([of.row for of in outcomes], [of.covered for of in outcomes], name)
        assert one.is_unbiased, (name, np.mean(one.errors), np.std(one.errors))
        assert one.coverage >= 0.93, (name, one.coverage)
        figures = [(found(of.row, name), of.everything[name]) for of in outcomes]
        assert np.mean([figure.low <= truth <= figure.high for figure, truth in figures]) >= 0.93, name
        assert all(figure.worst <= truth <= figure.best for figure, truth in figures), name
        assert all(figure.worst <= figure.low <= figure.high <= figure.best for figure, truth in figures), name
        assert all(figure.value is None for figure, _ in figures), "some were not drawn"
        if name.endswith(("precision", "fraud")):
            width = np.mean([figure.estimate.high - figure.estimate.low for figure, _ in figures]) / 2
            assert width < 1.8 * 1.96 * np.std(one.errors), "an interval that holds everything says nothing"


@pytest.mark.slow
def test_without_weights_the_same_worlds_mislead(outcomes: list[Outcome]) -> None:
    rows = [one.naive for one in outcomes if one.naive is not None]
    covered = [one.covered for one in outcomes[: len(rows)]]
    for name in ("live.precision", "live.saved", "candidate.precision", "live_only.fraud", "live.insult_rate"):
        assert not tried(rows, covered, name).is_unbiased, name
    assert tried(rows, covered, "live.precision").coverage < 0.93


@pytest.mark.slow
def test_reviews_of_drawn_blocks_move_no_estimate_and_counting_them_would_mislead(outcomes: list[Outcome]) -> None:
    with_reviews = [one for one in outcomes if one.with_reviews is not None]
    for one in with_reviews:
        assert one.with_reviews is not None
        for name in ESTIMATED:
            ours, theirs = found(one.with_reviews, name), found(one.row, name)
            assert ours.estimate == theirs.estimate, name
            assert theirs.worst - 1e-9 <= ours.worst <= ours.best <= theirs.best + 1e-9, "reviews bring ends together"
            assert ours.worst <= one.everything[name] <= ours.best, name
    mixed = [one.mixed for one in with_reviews if one.mixed is not None]
    left = [one.left for one in with_reviews if one.left is not None]
    assert not tried(mixed, left, "live.precision").is_unbiased


@pytest.mark.slow
def test_near_the_least_support_intervals_hold_as_often_as_they_say() -> None:
    held: dict[str, list[bool]] = {}
    for seed in range(400):
        rng = np.random.default_rng(seed)
        world = a_world(rng, cards=450, days=3)
        seen = explored(world, rng, budget=1e12)
        row = whole(summed(judged(world, seen)))
        truth = truths(world, (seen.probability < 1) | (world.live < 0.5))
        for name in ESTIMATED:
            estimate = found(row, name).estimate
            if estimate is not None:
                held.setdefault(name, []).append(estimate.low <= truth[name] <= estimate.high)
    assert len(held["live.precision"]) > 100
    for name, times in held.items():
        if len(times) > 100:
            assert np.mean(times) >= 0.93, name


def a_few(probabilities: list[float], is_fraud: list[bool], cards: list[int], released: list[bool]) -> World:
    """Blocks of live and of the candidate, one after the other."""
    n = len(probabilities)
    return World(
        np.full(n, 0.9),
        np.full(n, 0.9),
        np.array(is_fraud),
        np.full(n, 1000),
        np.array(cards),
        np.zeros(n, dtype=int),
    )


def of_few(
    probabilities: list[float], is_fraud: list[bool], cards: list[int], released: list[bool], costs: Costs = COSTS
) -> SegmentLevels:
    world = a_few(probabilities, is_fraud, cards, released)
    seen = Seen(np.array(probabilities), np.array(released), np.zeros(len(probabilities), dtype=bool))
    return whole(summed(judged(world, seen)), costs)


def assert_refused(row: SegmentLevels, reason: str) -> None:
    for figure in (row.live.precision, row.live.insult_rate, row.live.recall, row.live.saved):
        assert figure is not None
        assert (figure.value, figure.estimate) == (None, None)
        assert (figure.low, figure.high) == (figure.worst, figure.best)
    assert row.live.coverage.number.reason == reason


def test_too_few_released_cards_give_no_number_and_say_how_many_are_needed() -> None:
    cards = list(range(100))
    row = of_few([0.1] * 100, [True] * 100, cards, [at < 7 for at in cards])
    assert_refused(row, "too few released to say: 7 of the 30 cards needed")


def test_many_releases_of_one_card_are_one_case() -> None:
    row = of_few([0.5] * 400, [at % 2 == 0 for at in range(400)], [7] * 400, [at < 200 for at in range(400)])
    assert_refused(row, "too few released to say: 1 of the 30 cards needed")
    cards = [7] * 300 + list(range(100, 200))
    uneven = of_few([0.5] * 400, [at < 300 for at in range(400)], cards, [at % 2 == 0 for at in range(400)])
    assert_refused(uneven, "the released weigh too unevenly to say: they are worth 1 of the 30 cards needed")


@pytest.mark.parametrize("is_lucky", [False, True])
def test_one_weight_that_dominates_gives_no_number_even_if_it_was_never_released(is_lucky: bool) -> None:
    probabilities = [0.5] * 300 + [0.001] * 300
    released = [at % 2 == 0 for at in range(300)] + [is_lucky and at == 5 for at in range(300)]
    row = of_few(probabilities, [at < 300 for at in range(600)], list(range(600)), released)
    reason = row.live.coverage.number.reason
    assert reason is not None
    assert reason.startswith("the released weigh too unevenly to say: they are worth 1 of the 30")
    assert_refused(row, reason)


@pytest.mark.parametrize("is_fraud", [True, False])
@pytest.mark.parametrize("cards", [40, 400])
def test_released_that_are_all_alike_leave_room_for_doubt(is_fraud: bool, cards: int) -> None:
    many = list(range(10 * cards))
    row = of_few([0.1] * len(many), [is_fraud] * len(many), many, [at % 10 == 0 for at in many])
    precision = row.live.precision
    assert precision is not None
    assert precision.value == float(is_fraud)
    width = precision.high - precision.low
    assert 3 / cards < width < 6 / cards, "about the rule of three: 3 over the number of cards"


def test_a_candidate_that_is_live_has_lives_figures_and_nothing_alone() -> None:
    rng = np.random.default_rng(3)
    world = a_world(rng, cards=3000)
    world.candidate = np.where(world.live >= THRESHOLDS[0], 0.9, 0.1)
    row = whole(summed(judged(world, explored(world, rng, budget=1e12))))
    assert row.candidate == row.live
    assert (row.live_only.blocks, row.candidate_only.blocks) == (0, 0)
    assert row.live_only.fraud is None
    assert (row.live_only.honest.value, row.live_only.saved.value) == (0, 0)


def test_where_all_blocks_are_drawn_there_is_one_value() -> None:
    rng = np.random.default_rng(4)
    world = a_world(rng, cards=4000)
    row = whole(summed(judged(world, explored(world, rng, budget=1e12, most=10**9))))
    for name in ESTIMATED:
        figure = found(row, name)
        assert figure.value == pytest.approx(figure.estimate.value), name
        assert figure.low <= figure.value <= figure.high
    assert (row.live.coverage.of_blocks, row.live.coverage.of_money) == (1.0, 1.0)


def test_an_attack_after_the_budget_is_spent_is_in_the_ends_and_in_no_estimate() -> None:
    rng = np.random.default_rng(5)
    world = a_world(rng, cards=4000)
    seen = explored(world, rng, budget=1e12)
    n = 5000  # fraud on one day, all of it blocked, none of it drawn
    attack = World(np.full(n, 0.95), np.full(n, 0.2), np.ones(n, dtype=bool), np.full(n, 9000),
                   np.arange(10**6, 10**6 + n), np.full(n, 3))  # fmt: skip
    quiet = Seen(np.ones(n), np.zeros(n, dtype=bool), np.zeros(n, dtype=bool))
    before, after = summed(judged(world, seen)), summed(judged(world, seen), judged(attack, quiet))
    first, second = whole(before), whole(after)
    assert first.live.precision is not None
    assert second.live.precision is not None
    assert second.live.precision.estimate is not None
    assert second.live.precision.estimate.value == first.live.precision.estimate.value  # type: ignore[union-attr]
    both = World(*(np.concatenate([getattr(world, name), getattr(attack, name)]) for name in World.__annotations__))
    truth = truths(both, np.s_[:])
    for name in ("live.precision", "live.recall", "candidate.recall", "live_only.fraud", "live_only.fraud_minor"):
        figure = found(second, name)
        assert figure.low <= truth[name] <= figure.high, name
        assert figure.value is None
    assert second.live.coverage.of_blocks == pytest.approx(
        (seen.probability < 1).sum() / ((world.live >= 0.5).sum() + n)
    )


@given(st.integers(0, 10**6), st.sampled_from([20, 200, 500, 2000]), st.sampled_from([1e4, 1e5, 1e12]), st.booleans())
def test_figures_are_in_order_and_what_is_certain_is_true_in_any_world(
    seed: int, cards: int, budget: float, is_reviewed: bool
) -> None:
    rng = np.random.default_rng(seed)
    world = a_world(rng, cards=cards)
    seen = explored(world, rng, budget=budget, most=10**9 if seed % 2 else 20_000)
    if is_reviewed:
        seen = reviewed(world, seen, rng)
    row, truth = whole(summed(judged(world, seen))), truths(world, np.s_[:])
    for name in truth:
        figure = found(row, name)
        if figure is None:
            assert np.isnan(truth[name])
            continue
        slack = 1e-9 * max(1.0, abs(figure.best))
        assert figure.worst <= figure.low <= figure.high <= figure.best, name
        assert figure.value is None or figure.low - slack <= figure.value <= figure.high + slack, name
        assert np.isnan(truth[name]) or figure.worst - slack <= truth[name] <= figure.best + slack, name
        if figure.estimate is not None:
            assert figure.estimate.low <= figure.estimate.value <= figure.estimate.high, name
            assert figure.estimate.low < figure.estimate.high, name
        elif row.live.coverage.number.drawn == 0:
            assert (figure.low, figure.high) == (figure.worst, figure.best), name


@given(st.integers(0, 10**6), st.integers(1, 4))
def test_an_estimate_is_the_weighed_mean_of_the_released_in_any_number_of_pieces(seed: int, pieces: int) -> None:
    rng = np.random.default_rng(seed)
    world = a_world(rng, cards=400, days=10)
    seen = explored(world, rng, budget=1e12)
    segment = rng.integers(1, 3, len(world.live))
    rows = judged(world, seen, segment)
    parts = np.array_split(rng.permutation(len(world.live)), pieces)
    sums = summed(*(taken(rows, part) for part in parts), segments=3)
    told = list(levels(sums, ["all", "one", "two"], COSTS))
    for at, row in enumerate(told):
        mine = (segment == at) | (at == 0)
        drawn = mine & (seen.probability < 1)
        for stratum, figure, cells in (
            (row.live, row.live.precision, (1, 3)),
            (row.live_only, row.live_only.fraud, (1,)),
        ):
            among = drawn & np.isin(world.cells, cells)
            heard = among & seen.is_released
            support = stratum.coverage.number
            assert (support.drawn, support.released) == (among.sum(), heard.sum())
            assert support.cards == len(np.unique(world.card[heard]))
            weights = 1 / seen.probability[heard]
            by_card = [weights[world.card[heard] == card].sum() for card in np.unique(world.card[heard])]
            kish = sum(by_card) ** 2 / sum(one**2 for one in by_card) if by_card else 0
            by_design = among.sum() ** 2 / (1 / seen.probability[among]).sum() if among.any() else 0
            assert support.effective == pytest.approx(min(kish, by_design))
            if figure is None or support.effective < NEEDED:
                assert figure is None or figure.estimate is None
                continue
            expected = (weights * world.is_fraud[heard]).sum() / weights.sum()
            assert figure.estimate is not None
            assert figure.estimate.value == pytest.approx(expected)
            assert figure.estimate.low < expected < figure.estimate.high or expected in (0, 1)


def taken(rows: Judged, part: np.ndarray) -> Judged:
    draw = rows.draw
    assert draw is not None
    return Judged(
        rows.blocks[:, part],
        rows.scores[:, part],
        rows.states[part],
        rows.minor[part],
        rows.segments[part],
        rows.card_days[part],
        Draw(draw.probabilities[part], draw.is_released[part], draw.cards[part]),
    )


def test_at_its_own_threshold_the_curve_estimates_what_the_levels_do() -> None:
    rng = np.random.default_rng(6)
    world = a_world(rng, cards=5000)
    sums = summed(judged(world, explored(world, rng, budget=2_000_000)))
    row = whole(sums)
    for model, levels_of in enumerate((row.live, row.candidate)):
        points = curve(sums, model, 0, COSTS)
        own = points[GRID.tolist().index(THRESHOLDS[model])]
        assert own.basis is Basis.MIXED
        assert own.drawn == levels_of.coverage.number.drawn
        assert own.error > 0
        truth = truths(world, np.s_[:])[f"{('live', 'candidate')[model]}.saved"]
        assert own.saved_low - own.error < truth < own.saved_high + own.error
        assert levels_of.saved.low < own.saved_low <= own.saved_high < levels_of.saved.high
        assert points[-1].basis is Basis.KNOWN, "nothing has a score of 1"
        thin = [point for point in points if point.drawn > 0 and point.effective < NEEDED]
        assert thin
        assert all(point.basis in (Basis.ENDS, Basis.KNOWN) and not point.error for point in thin)


def test_the_curve_of_what_is_fully_drawn_is_an_estimate_near_the_truth() -> None:
    rng = np.random.default_rng(7)
    world = a_world(rng, cards=5000)
    sums = summed(judged(world, explored(world, rng, budget=1e12, most=10**9)))
    held = []
    for point in curve(sums, 0, 0, COSTS):
        blocked = world.live >= point.threshold
        fraud = world.is_fraud & blocked
        truth = 0.8 * world.minor[fraud].sum() - 700 * (blocked & ~world.is_fraud).sum()
        if point.basis is Basis.ESTIMATE:
            assert point.saved_low == pytest.approx(point.saved_high)
            held.append(abs(point.saved_low - truth) <= point.error)
        elif point.basis is Basis.ENDS:
            assert point.saved_low <= truth <= point.saved_high
    assert len(held) > 60
    assert np.mean(held) > 0.9
