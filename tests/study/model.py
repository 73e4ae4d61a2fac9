"""Releases of known truth: a stated model of paired decisions, drawn at random from a seed.

*Traffic.* Transactions come by hour and weekday, in regions and channels; 0.3 to 1 % of them are blocked by live.
Waves of fraud make blocks come and go by day and region (log-normal, sigma 0.25). Blocks come in clusters of a card
and a day: 1 + Poisson(0.5) transactions that share their fate.

*Models.* Some of live's blocks, and as many transactions that live just allows, are borderline: another model decides
each by a coin, so that a seed twin disagrees on 14 to 19 % of live's blocks, and two twins on much the same ones. A
candidate with other knowledge further loses some blocks of live and adds some of its own.

*Truth.* Every discordant transaction is fraud or not. Reviews find out, 40 a day, right 95 % of the time. Chargebacks
come after 30 to 60 days: none within the 28 that are looked at, so that they do not matter here.

*Kinds.* What the kinds do is in `draw`. Harm is drawn with a size beyond the margin that it breaks, and in segments
with the support that `shadow plan` asks for, but for `unsupported_harm`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]

DAYS, HOURS = 28, 28 * 24
REGIONS = ("north", "south", "east", "west", "coast", "islands")
REGION_SHARE = np.array([0.34, 0.24, 0.18, 0.135, 0.10, 0.005])
CHANNELS = ("pos", "online", "contactless")
CHANNEL_SHARE = np.array([0.45, 0.35, 0.20])
#: The region that has less traffic than the plan asks for.
UNSUPPORTED = REGIONS.index("islands")
#: Amounts are log-normal, with this median in minor units and sigma; this share of transactions is above the cap.
MEDIAN_MINOR, SIGMA = 6000, 1.0
CAP_MINOR = 50_000
ABOVE_CAP = 1 - NormalDist().cdf(math.log(CAP_MINOR / MEDIAN_MINOR) / SIGMA)
#: Segments by position, as the criteria name them: all, regions and `other`, channels and `other`.
NAMES = (
    "all",
    *(f"region={name}" for name in REGIONS),
    "region=other",
    *(f"channel={name}" for name in CHANNELS),
    "channel=other",
    f"amount=<{CAP_MINOR // 100}",
    f"amount=>={CAP_MINOR // 100}",
    "amount=other",
)
REGION_AT, CHANNEL_AT = 1, 2 + len(REGIONS)
AMOUNT_AT = CHANNEL_AT + len(CHANNELS) + 1
TRANSACTIONS_A_DAY = 120_000
WEEKDAY = np.array([1.0, 0.97, 0.98, 1.02, 1.12, 1.1, 0.81])
HOUR = 1 + 0.75 * np.sin((np.arange(24) - 9) / 24 * 2 * np.pi)

HARMFUL = ("worse_overall", "worse_in_one_segment", "miscalibrated", "dead_in_one_segment")
KINDS = ("same", "better", *HARMFUL, "drifted_input", "unsupported_harm")


@dataclass(frozen=True)
class Truth:
    """What a release is. By region: lost, added: shares of live's blocks that the candidate loses and adds beside the
    borderline ones. lost_fraud, added_fraud: shares of these that are fraud. harmed: segments that it harms.
    score_shift, score_scale: of the candidate's log-odds, where live's are standard normal. dead: region where they are
    constant. traffic: as a share of TRANSACTIONS_A_DAY."""

    kind: str
    block_rate: float
    borderline: float
    lost: Array
    added: Array
    lost_fraud: Array
    added_fraud: Array
    drift_hour: int = HOURS
    drift: float = 1.0
    harmed: tuple[str, ...] = ()
    score_shift: float = 0.0
    score_scale: float = 1.0
    dead: int = -1
    traffic: float = 1.0


@dataclass(frozen=True)
class Stream:
    """Clusters of blocks in order of time, each of a card and a day: n each.

    size: transactions. amount: minor units of each of these. live, candidate, control: who blocks. fraud: the truth.
    traffic: transactions by hour, region and channel.
    """

    hour: Ints
    region: Ints
    channel: Ints
    size: Ints
    amount: Ints
    live: npt.NDArray[np.bool_]
    candidate: npt.NDArray[np.bool_]
    control: npt.NDArray[np.bool_]
    fraud: npt.NDArray[np.bool_]
    traffic: Array = field(repr=False)


def draw(kind: str, rng: np.random.Generator) -> Truth:
    """A release of a kind."""
    n = len(REGIONS)
    block_rate = float(np.exp(rng.uniform(np.log(0.003), np.log(0.01))))
    borderline = float(rng.uniform(0.14, 0.19))
    lost, added = np.zeros(n), np.zeros(n)
    lost_fraud, added_fraud = np.full(n, 0.3), np.full(n, 0.6)
    harmed: tuple[str, ...] = ()
    drift_hour, drift = HOURS, 1.0
    score_shift, score_scale, dead = 0.0, float(rng.normal(1, 0.01)), -1

    def better(size: float) -> None:
        lost[:], added[:] = size, size
        lost_fraud[:], added_fraud[:] = rng.uniform(0.1, 0.25), rng.uniform(0.6, 0.75)

    def worse(at: Ints) -> None:
        lost[at] = rng.uniform(0.25, 0.7)
        added[at] = lost[at] * rng.uniform(0.5, 1.0)
        lost_fraud[at], added_fraud[at] = rng.uniform(0.6, 0.8), rng.uniform(0.1, 0.25)

    supported = np.array([at for at in range(n) if at != UNSUPPORTED])
    one = int(rng.choice(supported))
    if kind in ("better", "worse_overall", "worse_in_one_segment", "dead_in_one_segment"):
        score_scale = float(rng.uniform(0.85, 1.25))  # another model
    if kind == "better":
        better(rng.uniform(0.06, 0.2))
    elif kind == "worse_overall":
        worse(np.arange(n))
        harmed = ("all", *(f"region={name}" for name in REGIONS))
    elif kind == "worse_in_one_segment":
        better(rng.uniform(0.06, 0.2))
        worse(np.array([one]))
        harmed = (f"region={REGIONS[one]}",)
    elif kind == "miscalibrated":
        size = rng.uniform(0.15, 0.6)
        sign = 1 if rng.random() < 0.5 else -1
        (added if sign > 0 else lost)[:] = size
        score_shift = sign * float(np.log1p(size)) / 2.8  # what shifts a normal tail at the threshold by so much
        lost_fraud[:], added_fraud[:] = 0.4, 0.2
        harmed = ("all", *(f"region={name}" for name in REGIONS))
    elif kind == "dead_in_one_segment":
        better(rng.uniform(0.0, 0.2))
        lost[one], added[one], lost_fraud[one], dead = 1.0, 0.0, 0.6, one
        harmed = (f"region={REGIONS[one]}",)
    elif kind == "drifted_input":
        drift_hour, drift = int(rng.integers(3 * 24, 21 * 24)), float(rng.uniform(1.5, 2.5))
    elif kind == "unsupported_harm":
        at = np.array([UNSUPPORTED])
        worse(at)
        if rng.random() < 0.5:
            lost[at], added[at], dead = 1.0, 0.0, UNSUPPORTED
        harmed = (f"region={REGIONS[UNSUPPORTED]}",)
    return Truth(
        kind,
        block_rate,
        borderline,
        lost,
        added,
        lost_fraud,
        added_fraud,
        drift_hour,
        drift,
        harmed,
        score_shift,
        score_scale,
        dead,
    )


def stream(truth: Truth, rng: np.random.Generator) -> Stream:
    """28 days of a release."""
    hours = np.arange(HOURS)
    volume = TRANSACTIONS_A_DAY * truth.traffic / 24 * WEEKDAY[hours // 24 % 7] * HOUR[hours % 24]
    shares = REGION_SHARE[:, None] * CHANNEL_SHARE[None, :]
    traffic = rng.poisson(volume[:, None, None] * shares)
    waves = np.repeat(np.exp(rng.normal(-(0.25**2) / 2, 0.25, (DAYS, len(REGIONS)))), 24, axis=0)
    drift = np.where(hours >= truth.drift_hour, truth.drift, 1.0)
    # clusters of live's blocks by hour and region; then of what only others block, in proportion
    blocks = volume[:, None] * REGION_SHARE * truth.block_rate / 1.5 * waves * drift[:, None]
    parts = []
    kinds = (
        # live blocks, candidate's own knowledge, borderline; clusters for each of live's
        (True, False, np.ones(len(REGIONS))),
        (False, True, truth.added),
        (False, False, np.full(len(REGIONS), truth.borderline)),
    )
    for by_live, by_candidate, share in kinds:
        counts = rng.poisson(blocks * share)
        n = int(counts.sum())
        hour, region = (at.repeat(counts.ravel()) for at in np.indices(counts.shape).reshape(2, -1))
        twins = rng.random((2, n)) < 0.5  # the coins of borderline transactions
        if by_live:
            is_borderline = rng.random(n) < truth.borderline
            is_lost = rng.random(n) < truth.lost[region]
            candidate = ~is_lost & ~(is_borderline & twins[0])
            control = ~(is_borderline & twins[1])
            fraud = rng.random(n) < np.where(is_lost, truth.lost_fraud[region], np.where(is_borderline, 0.35, 0.7))
        elif by_candidate:
            candidate, control = np.ones(n, dtype=bool), np.zeros(n, dtype=bool)
            fraud = rng.random(n) < truth.added_fraud[region]
        else:
            candidate, control = twins[0] & ~(truth.lost[region] >= 1), twins[1]
            fraud = rng.random(n) < 0.35
        live = np.full(n, by_live)
        parts.append((hour, region, live, candidate, control, fraud))
    hour, region, live, candidate, control, fraud = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    seen = live | candidate | control
    order = np.argsort(hour[seen], kind="stable")
    hour, region, live, candidate, control, fraud = (
        column[seen][order] for column in (hour, region, live, candidate, control, fraud)
    )
    n = len(hour)
    return Stream(
        hour,
        region,
        rng.choice(len(CHANNELS), n, p=CHANNEL_SHARE),
        1 + rng.poisson(0.5, n),
        (rng.lognormal(np.log(MEDIAN_MINOR), SIGMA, n)).astype(np.int64) + 1,
        live,
        candidate,
        control,
        fraud,
        traffic.astype(np.float64),
    )


def deciles(truth: Truth, rng: np.random.Generator) -> tuple[Array, Array]:
    """Transactions by day, region and decile of live's scores, as live and as the candidate scores them, cumulative:
    (DAYS, regions, 10) each."""
    daily = TRANSACTIONS_A_DAY * truth.traffic * WEEKDAY[np.arange(DAYS) % 7][:, None] * REGION_SHARE
    normal = NormalDist()
    edges = [normal.cdf((normal.inv_cdf(q / 10) - truth.score_shift) / truth.score_scale) for q in range(1, 10)]
    theirs = np.tile(np.diff([0.0, *edges, 1.0]), (len(REGIONS), 1))
    if truth.dead >= 0:
        theirs[truth.dead] = np.eye(10)[4]
    out = [rng.poisson(daily[..., None] * share) for share in (np.full_like(theirs, 0.1), theirs)]
    live, candidate = (np.cumsum(part, axis=0).astype(np.float64) for part in out)
    return live, candidate
