"""Releases of known truth for tests of the verdict, drawn card by card. Numpy only; nothing here is the gate's.

Every cluster is a card on a day: a few transactions that share their fate. Live blocks some, and a seed twin of live
decides others than live on a few. A candidate is such a twin, and loses or adds what a test says.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

LOOKS_A_DAY = 4


@dataclass(frozen=True)
class Cards:
    """Clusters in order of time: n each. day: with its fraction. segment: position among the segments, from 0. group:
    of an attribute that no segment declares. size: transactions. amount: of each of them, 1 is the median."""

    day: Floats
    segment: Ints
    group: Ints
    size: Ints
    amount: Floats


#: How likely a candidate is to lose a block of live at each cluster, or to add one of its own.
Chance = Callable[[Cards], Floats]


def never(cards: Cards) -> Floats:
    """The chance of a candidate that differs from live no more than a seed twin."""
    return np.zeros(len(cards.day))


@dataclass(frozen=True)
class World:
    """The traffic and the people. shares: of the segments. groups: shares of the undeclared attribute's values. twin:
    live's blocks that a seed twin loses, and as many that it adds. right: share of correct reviews."""

    transactions: float = 30_000
    block_rate: float = 0.0055
    days: int = 28
    shares: tuple[float, ...] = (0.34, 0.24, 0.18, 0.14, 0.1)
    groups: tuple[float, ...] = (0.5, 0.3, 0.12, 0.08)
    twin: float = 0.08
    crowd: float = 0.5
    reviews: int = 40
    right: float = 0.95


@dataclass(frozen=True)
class Release:
    """What happened, by cluster. live, candidate, control: who blocks. fraud: the truth. rest: transactions that
    nobody blocks, by look and segment."""

    cards: Cards
    live: Bools
    candidate: Bools
    control: Bools
    fraud: Bools
    rest: Floats

    @property
    def lost_fraud(self) -> float:
        """Fraud lost, less fraud gained, as a share of live's blocks, in card-days."""
        lost, gained = self.live & ~self.candidate & self.fraud, ~self.live & self.candidate & self.fraud
        return float((lost.sum() - gained.sum()) / self.live.sum())


def release(
    world: World,
    rng: np.random.Generator,
    lost: Chance = never,
    added: Chance = never,
    lost_fraud: float = 0.9,
    added_fraud: float = 0.9,
    control_lost: Chance = never,
) -> Release:
    """Draw a release. lost_fraud, added_fraud: share of fraud in what the candidate loses and adds."""
    mean = world.transactions * world.block_rate / (1 + world.crowd)
    parts: list[tuple[Cards, Bools, Bools, Bools, Bools]] = []
    for kind, share in (("live", 1.0), ("twin", 2 * world.twin), ("added", 1.0)):
        cards = _cards(world, rng, rng.poisson(mean * share * world.days))
        n = len(cards.day)
        coins = rng.random((2, n)) < 0.5
        yes, no = np.ones(n, dtype=bool), np.zeros(n, dtype=bool)
        fraud = rng.random(n) < 0.6
        if kind == "live":
            borderline, gone = rng.random(n) < 2 * world.twin, rng.random(n) < lost(cards)
            fraud = rng.random(n) < np.where(gone, lost_fraud, np.where(borderline, 0.4, 0.7))
            bad = rng.random(n) < control_lost(cards)
            parts.append((cards, yes, ~gone & ~(borderline & coins[0]), ~bad & ~(borderline & coins[1]), fraud))
        elif kind == "twin":
            parts.append((cards, no, coins[0], coins[1], rng.random(n) < 0.4))
        else:
            mine = rng.random(n) < added(cards)
            parts.append((cards, no, mine, no, rng.random(n) < added_fraud))
    cards = Cards(*(np.concatenate([getattr(part[0], name) for part in parts]) for name in Cards.__dataclass_fields__))
    live, candidate, control, fraud = (np.concatenate([part[at] for part in parts]) for at in range(1, 5))
    seen = np.flatnonzero(live | candidate | control)
    order = seen[np.argsort(cards.day[seen], kind="stable")]
    cards = Cards(*(getattr(cards, name)[order] for name in Cards.__dataclass_fields__))
    volume = world.transactions / LOOKS_A_DAY * np.array(world.shares)
    rest = rng.poisson(volume, (world.days * LOOKS_A_DAY, len(volume))).astype(np.float64)
    return Release(cards, live[order], candidate[order], control[order], fraud[order], rest)


def _cards(world: World, rng: np.random.Generator, n: int) -> Cards:
    return Cards(
        rng.random(n) * world.days,
        rng.choice(len(world.shares), n, p=world.shares),
        rng.choice(len(world.groups), n, p=world.groups),
        1 + rng.poisson(world.crowd, n),
        rng.lognormal(0.0, 1.0, n),
    )
