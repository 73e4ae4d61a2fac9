"""What is decided, and how well: traffic, its live model, a candidate, and what is wrong with it. Draws nothing.

*Risk.* A card-day (one card on one day) is honest or fraud. Its latent risk is normal with variance 1, around 0 if it
is honest and around SEPARATION if it is fraud. A model scores the risk plus an error of its own, so that scores of
models are correlated as far as they share their errors. Live and its twin share all but the noise of their seeds; so
does a candidate from the same data. A better candidate has only a part of live's error. A model blocks above a
threshold.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

Array = npt.NDArray[Any]
Bools = npt.NDArray[np.bool_]

COUNTRIES = ("DE", "ES", "FR", "GB", "PT")
#: Shares of the traffic of the first four; the fifth is declared nowhere and has a share of its own in each world.
NAMED_SHARE = np.array([0.36, 0.17, 0.29, 0.18])
CHANNELS = ("pos", "contactless", "online")
CHANNEL_SHARE, CHANNEL_FRAUD = np.array([0.46, 0.27, 0.27]), np.array([0.6, 0.5, 2.1])
#: Merchant categories: an attribute that no division declares.
MERCHANTS = tuple(f"m{at}" for at in range(12))
MERCHANT_SHARE = np.array([0.19, 0.14, 0.11, 0.1, 0.09, 0.08, 0.07, 0.06, 0.05, 0.05, 0.03, 0.03])
MOST_MINOR = 2_000_000
SEPARATION = 4.0

#: Regimes of clusters. plain: few transactions in a card-day. pareto: Pareto sizes. bursts: Pareto only if it is fraud.
#: lasting: episodes of several days with one verdict. busy: plain, but one card makes a fifth of a country's blocks.
CROWDS = ("plain", "pareto", "bursts", "lasting", "busy")


@dataclass(frozen=True)
class World:
    """Traffic and its live model. per_day: transactions. blocked: share of card-days that live blocks. precision: share
    of these that is fraud. error: standard deviation of live's error, twin_differs: card-days on which exactly one of
    live and its twin blocks, as a share of live's. other: share of the traffic in the country that is not declared."""

    per_day: float
    days: int
    blocked: float = 0.005
    precision: float = 0.85
    error: float = 0.75
    twin_differs: float = 0.165
    crowd: str = "plain"
    other: float = 0.004

    @cached_property
    def country_share(self) -> Array:
        return np.append(NAMED_SHARE * (1 - self.other), self.other)

    @cached_property
    def seed_noise(self) -> float:
        """Standard deviation of a seed's noise, which makes live and its twin differ as often as they do."""
        low, high = 0.001, 1.0
        for _ in range(40):
            middle = math.sqrt(low * high)
            low, high = (low, middle) if self._differs(middle) > self.twin_differs else (middle, high)
        return low

    def _differs(self, noise: float) -> float:
        spread = math.hypot(1, self.error)
        threshold = self._threshold(math.hypot(spread, noise))
        z = np.linspace(-8, 8, 4001)
        weight = np.exp(-z * z / 2) / math.sqrt(2 * math.pi) * (z[1] - z[0])
        out = 0.0
        for share, mean in (
            (1 - self._fraud(math.hypot(spread, noise)), 0.0),
            (self._fraud(math.hypot(spread, noise)), SEPARATION),
        ):
            blocks = ndtr((mean + spread * z - threshold) / noise)
            out += share * float((weight * 2 * blocks * (1 - blocks)).sum())
        return out / self.blocked

    def _threshold(self, spread: float) -> float:
        return -spread * float(ndtri(self.blocked * (1 - self.precision)))

    def _fraud(self, spread: float) -> float:
        return self.blocked * self.precision / float(ndtr((SEPARATION - self._threshold(spread)) / spread))

    @property
    def live(self) -> Model:
        return Model(1.0, self._threshold(self.spread(1.0)))

    @property
    def fraud(self) -> float:
        """The share of card-days that is fraud."""
        return self._fraud(self.spread(1.0))

    def spread(self, error: float) -> float:
        """Standard deviation of the scores, given the risk's class, of a model with this part of live's error."""
        return math.sqrt(1 + (error * self.error) ** 2 + self.seed_noise**2)

    def better(self, gain: float, honest: float) -> Model | None:
        """A model that catches `gain` more fraud, in card-days, and blocks `honest` times as many honest ones; None if
        even one that knew the risk could not."""
        wanted = (1 + gain) * self.blocked * self.precision / self.fraud
        low, high = 0.0, 1.0
        if self._caught(low, honest) < wanted:
            return None
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (middle, high) if self._caught(middle, honest) >= wanted else (low, middle)
        return Model(low, self._at(low, honest))

    def _at(self, error: float, honest: float) -> float:
        return -self.spread(error) * float(ndtri(honest * self.blocked * (1 - self.precision)))

    def _caught(self, error: float, honest: float) -> float:
        return float(ndtr((SEPARATION - self._at(error, honest)) / self.spread(error)))


@dataclass(frozen=True)
class Model:
    """error: the part of live's error that it has. threshold: of its scores. uneven: added to these, by country."""

    error: float
    threshold: float
    uneven: tuple[float, ...] = (0.0,) * len(COUNTRIES)


@dataclass(frozen=True)
class Area:
    """A part of the traffic: whatever is given must fit. band: of amounts. hours: of the day. weekdays: 0 is the
    first day's. since: days from the beginning."""

    country: int | None = None
    channel: int | None = None
    merchant: int | None = None
    band: tuple[int, int] | None = None
    hours: tuple[int, int] | None = None
    weekdays: tuple[int, ...] | None = None
    since: float = 0.0


@dataclass(frozen=True)
class Damage:
    """What is wrong with a model in an area: of live's blocks it allows a share. If `swaps`, it blocks as many others
    instead, of the same sizes and amounts, of which `added_fraud` is fraud."""

    area: Area
    share: float
    swaps: bool = True
    added_fraud: float = 0.04


@dataclass(frozen=True)
class Attack:
    """Bots, for three hours of a day. blocks: their transactions, as a share of those that live blocks in all days.
    by: who blocks them: live, candidate, control."""

    day: int
    blocks: float
    by: tuple[bool, bool, bool]
    country: int = 2
    size: float = 6.0


@dataclass(frozen=True)
class Scene:
    """Everything that is decided, and how."""

    world: World
    candidate: Model
    damages: tuple[Damage, ...] = ()
    control_damages: tuple[Damage, ...] = ()
    attack: Attack | None = None
