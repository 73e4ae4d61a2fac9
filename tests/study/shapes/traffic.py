"""Draws traffic as models decide it, from a latent risk. Shares no code with `study.model`, nor with the product.

*Clusters.* Transactions come in episodes of a card: their number, their days and the sameness of their verdicts follow
a *crowd* (see CROWDS). Nearly all noise is that of the card-day, a little that of the single transaction, so a card-day
may be decided both ways. Amounts are Pareto.

*Time.* Volume has two rushes a day and a weekly course, fraud is more of a night's work, and comes in waves by day and
country (gamma).

Only card-days that some model may block are drawn one by one: they are sampled from the tails of the normals, exactly.
What everybody allows is drawn as counts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.special import ndtr, ndtri

from study.shapes.world import (
    CHANNEL_FRAUD,
    CHANNEL_SHARE,
    CHANNELS,
    COUNTRIES,
    MERCHANT_SHARE,
    MERCHANTS,
    MOST_MINOR,
    SEPARATION,
    Area,
    Array,
    Attack,
    Bools,
    Damage,
    Model,
    Scene,
    World,
)

#: Smallest amount in minor units, and exponent of the Pareto law, of honest and of fraudulent card-days.
AMOUNTS = ((1200, 1.4), (3000, 1.1))
#: Amounts that stand for bands of the traffic that everybody allows.
TYPICAL_MINOR = np.array([2000, 9000, 30_000, 90_000])
TYPICAL_SHARE = 1 - (AMOUNTS[0][0] / np.array([5000, 20_000, 50_000, np.inf])) ** AMOUNTS[0][1]

#: Of the variance of a seed's noise: the part of single transactions.
SINGLE = 0.15
#: How far below a threshold a score is never lifted over it by noise, in standard deviations.
REACH = 4.5
#: How often a transaction has its episode's channel and merchant category.
LOYAL = 0.85
#: The Pareto law of cluster sizes.
SIZE_EXPONENT, SIZE_MOST = 1.3, 400

_HOUR = np.exp(-(((np.arange(24) - 12.5) / 3.2) ** 2)) + 1.2 * np.exp(-(((np.arange(24) - 19.0) / 2.3) ** 2)) + 0.04
HOUR_SHARE = _HOUR / _HOUR.sum()
FRAUD_HOUR_SHARE = 0.5 * HOUR_SHARE + 0.5 / 24
WEEKDAY = np.array([0.95, 0.93, 0.98, 1.03, 1.16, 1.14, 0.81])
LASTING_DAYS = 0.6
BUSY_SHARE = 0.2


def inside(area: Area, rows: Rows) -> Bools:
    """Which transactions are in an area."""
    found = np.asarray(rows.hour >= area.since * 24)
    for wanted, column in ((area.country, rows.country), (area.channel, rows.channel), (area.merchant, rows.merchant)):
        if wanted is not None:
            found &= column == wanted
    if area.band is not None:
        found &= (rows.minor >= area.band[0]) & (rows.minor < area.band[1])
    if area.hours is not None:
        found &= (rows.hour % 24 >= area.hours[0]) & (rows.hour % 24 < area.hours[1])
    if area.weekdays is not None:
        found &= np.isin(rows.hour // 24 % 7, area.weekdays)
    return found


@dataclass(frozen=True)
class Rows:
    """Transactions that live, the candidate or the control block, in order of time: n each.

    card: number. hour: since the beginning. country, channel, merchant: positions. minor: amount. fraud: the truth.
    quiet: what all of them allow, by hour, country, channel and position in TYPICAL_MINOR.
    """

    card: Array
    hour: Array
    country: Array
    channel: Array
    merchant: Array
    minor: Array
    live: Bools
    candidate: Bools
    control: Bools
    fraud: Bools
    quiet: Array | None = field(default=None, repr=False)

    @classmethod
    def joined(cls, parts: list[Rows]) -> Rows:
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in COLUMNS})

    def take(self, rows: Array, **changed: Array) -> Rows:
        """Some of the rows, with some columns replaced."""
        return Rows(**{name: changed.get(name, getattr(self, name)[rows]) for name in COLUMNS})


COLUMNS = ("card", "hour", "country", "channel", "merchant", "minor", "live", "candidate", "control", "fraud")


def mean_size(crowd: str, fraud: bool) -> float:
    """Transactions of a card-day, on the average."""
    if crowd == "pareto" or (crowd == "bursts" and fraud):
        n = np.arange(1, SIZE_MOST + 1)
        return float((n**-SIZE_EXPONENT).sum())
    return 1.5


def sizes(crowd: str, fraud: bool, n: int, rng: np.random.Generator) -> Array:
    """Transactions of n card-days. Pareto: P(size >= k) = k ** -1.3, and 400 at most."""
    if crowd == "pareto" or (crowd == "bursts" and fraud):
        drawn = (1 - rng.random(n)) ** (-1 / SIZE_EXPONENT)
        return np.minimum(drawn, SIZE_MOST).astype(np.int64)
    return 1 + rng.poisson(0.5, n)


def draw(scene: Scene, rng: np.random.Generator, times: float = 1.0, quiet: bool = True) -> Rows:
    """The traffic of a scene. times: so much more of all of it. quiet: whether to draw what everybody allows."""
    world = scene.world
    parts = [_of_class(scene, fraud, rng, times) for fraud in (False, True)]
    if world.crowd == "busy":
        parts.append(_busy(scene, parts, rng, times))
    rows = Rows.joined(parts)
    if scene.attack is not None:
        rows = Rows.joined([rows, _attack(scene.attack, rows, rng, times)])
    rows = _damaged(rows, scene.damages, "candidate", rng)
    rows = _damaged(rows, scene.control_damages, "control", rng)
    seen = np.flatnonzero(rows.live | rows.candidate | rows.control)
    rows = rows.take(seen[np.argsort(rows.hour[seen], kind="stable")])
    return replace(rows, quiet=_quiet(world, rng, times) if quiet else None)


def _quiet(world: World, rng: np.random.Generator, times: float) -> Array:
    day = np.arange(world.days)
    by_hour = (world.per_day * times * WEEKDAY[day % 7][:, None] * HOUR_SHARE).reshape(-1)
    cells = world.country_share[:, None, None] * CHANNEL_SHARE[:, None] * np.diff(TYPICAL_SHARE, prepend=0.0)
    return np.asarray(rng.poisson(by_hour[:, None, None, None] * cells))


def _of_class(scene: Scene, fraud: bool, rng: np.random.Generator, times: float) -> Rows:
    """All honest, or all fraudulent, card-days that somebody may block."""
    world, candidate = scene.world, scene.candidate
    day = np.arange(world.days)
    typical = (1 - world.fraud) * mean_size(world.crowd, False) + world.fraud * mean_size(world.crowd, True)
    lasting = 1 + LASTING_DAYS if world.crowd == "lasting" else 1.0
    means = world.per_day * times / typical / lasting * WEEKDAY[day % 7][:, None] * world.country_share
    if fraud:
        waves = rng.gamma(12, 1 / 12, (world.days, 1)) * rng.gamma(12, 1 / 12, means.shape)
        means = means * world.fraud * waves
    else:
        means = means * (1 - world.fraud)
    scores = _Tail.of(world, candidate, SEPARATION if fraud else 0.0)
    counts = rng.poisson(means * scores.share)
    n = int(counts.sum())
    start, country = (at.repeat(counts.ravel()) for at in np.indices(counts.shape).reshape(2, -1))
    live, other = scores.draw(n, rng)
    other = other + np.array(candidate.uneven)[country]
    lost = np.isnan(live)  # drawn twice
    keep = np.flatnonzero(~lost)
    start, country, live, other = start[keep], country[keep], live[keep], other[keep]
    noise = world.seed_noise * math.sqrt(1 - SINGLE) * rng.normal(size=(3, len(keep)))
    scored = np.stack([live, other, live]) + noise
    chosen = CHANNEL_SHARE * CHANNEL_FRAUD if fraud else CHANNEL_SHARE
    channel = rng.choice(len(CHANNELS), len(keep), p=chosen / chosen.sum())
    merchant = rng.choice(len(MERCHANTS), len(keep), p=MERCHANT_SHARE)
    hour = rng.choice(24, len(keep), p=FRAUD_HOUR_SHARE if fraud else HOUR_SHARE)
    least, exponent = AMOUNTS[fraud]
    amount = least * (1 - rng.random(len(keep))) ** (-1 / exponent)
    days = 1 + (rng.poisson(LASTING_DAYS, len(keep)) if world.crowd == "lasting" else np.zeros(len(keep), np.int64))
    card = rng.integers(2**40, size=len(keep))
    # card-days of episodes, then their transactions
    episode = np.arange(len(keep)).repeat(days)
    nth = np.arange(len(episode)) - (np.cumsum(days) - days)[episode]
    on = start[episode] + nth
    episode, on = episode[on < world.days], on[on < world.days]
    size = sizes(world.crowd, fraud, len(episode), rng)
    at = episode.repeat(size)
    n = len(at)
    later = np.minimum(hour[at] + rng.exponential(1.2, n).astype(np.int64), 23)
    blocks = scored[:, at] + world.seed_noise * math.sqrt(SINGLE) * rng.normal(size=(3, n))
    thresholds = world.live.threshold, candidate.threshold, world.live.threshold
    strays = rng.random((2, n)) >= LOYAL
    channels = np.where(strays[0], rng.choice(len(CHANNELS), n, p=CHANNEL_SHARE), channel[at])
    merchants = np.where(strays[1], rng.choice(len(MERCHANTS), n, p=MERCHANT_SHARE), merchant[at])
    minor = np.minimum(amount[at] * rng.lognormal(0, 0.3, n), MOST_MINOR).astype(np.int64) + 1
    live, candidate_blocks, control = (blocks[who] > thresholds[who] for who in range(3))
    when = on.repeat(size) * 24 + later
    truth = np.full(n, fraud)
    return Rows(card[at], when, country[at], channels, merchants, minor, live, candidate_blocks, control, truth)


@dataclass(frozen=True)
class _Tail:
    """Scores of live and the candidate without the noise of seeds, around a mean, where at least one is near its
    threshold: first those where live's is, then those where only the candidate's is."""

    mean: float
    variance: tuple[float, float]
    covariance: float
    least: tuple[float, float]

    @classmethod
    def of(cls, world: World, candidate: Model, mean: float) -> _Tail:
        variance = tuple(1 + (part * world.error) ** 2 for part in (1.0, candidate.error))
        reach = REACH * world.seed_noise + max(np.abs(candidate.uneven))
        covariance = 1 + candidate.error * world.error**2
        return cls(
            mean, (variance[0], variance[1]), covariance, (world.live.threshold - reach, candidate.threshold - reach)
        )

    @property
    def shares(self) -> tuple[float, float]:
        """How many card-days have the score of live, and of the candidate, near its threshold."""
        low, high = (
            float(ndtr((self.mean - least) / math.sqrt(v))) for least, v in zip(self.least, self.variance, strict=True)
        )
        return low, high

    @property
    def share(self) -> float:
        return sum(self.shares)

    def draw(self, n: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """Scores of both: n each. NaN where both are near: of these, the half that the second tail drew is void."""
        first = rng.random(n) < self.shares[0] / self.share
        own = np.where(first, self.variance[0], self.variance[1])
        tail = np.where(first, self.shares[0], self.shares[1])
        off = -np.sqrt(own) * ndtri(tail * (1 - rng.random(n)))
        rest = self.variance[0] + self.variance[1] - own - self.covariance**2 / own
        other = self.covariance / own * off + np.sqrt(np.maximum(rest, 0)) * rng.normal(size=n)
        live, candidate = (self.mean + np.where(first, *pair) for pair in ((off, other), (other, off)))
        twice = ~first & (live > self.least[0])
        return np.where(twice, np.nan, live), candidate


def _busy(scene: Scene, parts: list[Rows], rng: np.random.Generator, times: float) -> Rows:
    """Cards with so many transactions that they make a fifth of the blocks of FR; one, unless there is more of all."""
    world, country = scene.world, COUNTRIES.index("FR")
    blocks = sum(int((part.live & (part.country == country)).sum()) for part in parts)
    cards = max(1, round(times))
    a_day = max(1, round(blocks * BUSY_SHARE / (1 - BUSY_SHARE) / world.days / cards))
    n = cards * world.days * a_day
    card = np.arange(cards).repeat(world.days * a_day) + 2**41
    day = np.tile(np.arange(world.days).repeat(a_day), cards)
    # the seeds make up their minds about the card each day anew; live blocks it always
    differs = rng.random((2, cards, world.days)) < world.twin_differs / 2
    candidate, control = (~one.repeat(a_day, axis=1).reshape(-1) for one in differs)
    hour = day * 24 + rng.choice(24, n, p=HOUR_SHARE)
    minor = (rng.lognormal(0, 0.3, n) * 4000).astype(np.int64) + 1
    places, channels, merchants = np.full(n, country), np.full(n, 0), np.full(n, 4)
    live, fraud = np.ones(n, bool), np.zeros(n, bool)
    return Rows(card, hour, places, channels, merchants, minor, live, candidate, control, fraud)


def _attack(attack: Attack, rows: Rows, rng: np.random.Generator, times: float) -> Rows:
    total = attack.blocks * float(rows.live.sum())
    size = 1 + rng.poisson(attack.size - 1, max(1, round(total / attack.size)))
    n = int(size.sum())
    card = (2**42 + np.arange(len(size))).repeat(size)
    hour = attack.day * 24 + 2 + rng.integers(3, size=n)
    minor = (rng.lognormal(0, 0.4, n) * 2500).astype(np.int64) + 1
    countries, channels = np.full(n, attack.country), np.full(n, 2)
    merchants = rng.choice(len(MERCHANTS), len(size), p=MERCHANT_SHARE).repeat(size)
    live, candidate, control = (np.full(n, by) for by in attack.by)
    return Rows(card, hour, countries, channels, merchants, minor, live, candidate, control, np.ones(n, bool))


def _damaged(rows: Rows, damages: tuple[Damage, ...], who: str, rng: np.random.Generator) -> Rows:
    """Rows in which a model loses some of live's blocks, and with swaps has others for them.

    What it loses is up to a coin of the card-day, and so is what is copied to stand for what it adds: independent
    coins, so that both are as many on the average.
    """
    for damage in damages:
        hit = inside(damage.area, rows) & rows.live
        day = rows.hour // 24
        coins = [_coin(rows.card, day, damage.share, rng) for _ in range(2)]
        verdict = getattr(rows, who) & ~(hit & coins[0])
        if damage.share >= 1 and not damage.swaps:  # it blocks nothing at all there
            verdict &= ~inside(damage.area, rows)
        everything = np.arange(len(rows.card))
        changed = rows.take(everything, **{who: verdict})
        if damage.swaps:
            copied = np.flatnonzero(hit & coins[1])
            false = np.zeros(len(copied), bool)
            verdicts = dict.fromkeys(("live", "candidate", "control"), false) | {who: ~false}
            fraud = _coin(rows.card[copied], day[copied], damage.added_fraud, rng)
            copies = rows.take(copied, card=rows.card[copied] + 2**43, fraud=fraud, **verdicts)
            changed = Rows.joined([changed, copies])
        rows = changed
    return rows


def _coin(card: Array, day: Array, share: float, rng: np.random.Generator) -> Bools:
    """A coin for each card-day, the same for all of its transactions."""
    _, of = np.unique(card * 128 + day, return_inverse=True)
    return np.asarray((rng.random(int(of.max(initial=-1)) + 1) < share)[of])
