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
        out[f"{name}.fraud"] = fraud[mine].mean()
        out[f"{name}.honest"] = float((~fraud & mine).sum())
        out[f"{name}.fraud_minor"] = money[fraud & mine].sum()
        out[f"{name}.saved"] = 0.8 * money[fraud & mine].sum() - 700 * (~fraud & mine).sum()
    return out


ESTIMATED = [name for name in truths(a_world(np.random.default_rng(0), 300), np.s_[:]) if "candidate_only" not in name]


def found(row: SegmentLevels, name: str):  # type: ignore[no-untyped-def]
    part, figure = name.split(".")
    return getattr(getattr(row, part), figure)
