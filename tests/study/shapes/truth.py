"""What a scene does to fraud and to customers, computed from the generator alone, in transactions and in card-days.

The truth is the expectation of the scene, estimated from a far longer draw than any release gets. A scene is harmful if
it exceeds a limit of `release.yaml` in either unit, in all traffic or in a declared segment. There is one exception,
that of `release.yaml` itself: more blocks are no harm if they catch fraud and no honest customer more. An excess over
the control is no harm either, but a reason to ask.

`other` counts from a share of the traffic, and of live's blocks, that nobody may overlook.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from study.shapes.traffic import Rows, draw
from study.shapes.world import CHANNELS, COUNTRIES, Array, Scene

#: Bounds of the declared bands of amounts, in minor units.
BANDS = (5_000, 20_000, 50_000)
NAMES = (
    "all",
    *(f"country={name}" for name in COUNTRIES[:-1]),
    "country=other",
    *(f"channel={name}" for name in CHANNELS),
    "channel=other",
    "amount=<50",
    "amount=50-200",
    "amount=200-500",
    "amount=>=500",
    "amount=other",
)
_CHANNEL_AT, _BAND_AT = 1 + len(COUNTRIES), 2 + len(COUNTRIES) + len(CHANNELS)
UNITS = ("transactions", "card_days")
#: `other` of less than this share of the traffic and of live's blocks is nobody's concern.
OVERLOOKED = 0.01
CAP_MINOR = 50_000
#: Transactions of live's blocks that the long draw has, about.
LONG = 100_000
#: Harm that is no more than noise of the long draw.
NOISE = 0.01


def segments_of(rows: Rows) -> Array:
    """Positions in NAMES of each transaction's segments: (n, 4)."""
    bands = _BAND_AT + np.searchsorted(BANDS, rows.minor, side="right")
    return np.stack([np.zeros_like(rows.country), 1 + rows.country, _CHANNEL_AT + rows.channel, bands], axis=1)


@dataclass(frozen=True)
class Effects:
    """Shares of live's blocks by segment: float64 (S,) each, NaN where live blocks nothing.

    more: blocks in addition. lost: fraud that only live blocks, less what only the candidate does. insults: honest
    ones that only the candidate blocks, less those that only live does.
    """

    more: Array
    lost: Array
    insults: Array


@dataclass(frozen=True)
class Truth:
    """Effects by unit: transactions, card-days, and money (capped, uncapped). blocks: share of live's, by segment."""

    effects: Mapping[str, Effects]
    blocks: Array

    def ratios(self, limits: Mapping[str, Array]) -> dict[str, Array]:
        """Every effect against its limit, by `criterion, unit`: above 1 exceeds. limits: by criterion, (S,)."""
        out = {}
        for unit, effects in self.effects.items():
            is_good = (effects.lost <= NOISE) & (effects.insults <= NOISE)
            more, fewer = np.where(is_good, 0.0, effects.more), -effects.more
            if unit == "money":  # limits on labelled money are on capped amounts
                found = {"more_uncapped_amount": more, "fewer_uncapped_amount": fewer}
            else:
                amount, blocks = ("_amount", "blocked_amount") if unit == "money_capped" else ("", "blocks")
                found = {f"more_{blocks}": more, f"fewer_{blocks}": fewer}
                found |= {f"lost_fraud{amount}": effects.lost, f"insults{amount}": effects.insults}
            for criterion, value in found.items():
                out[f"{criterion}, {unit}"] = np.nan_to_num(value) / limits[criterion]
        return out

    def worst(self, limits: Mapping[str, Array]) -> Array:
        """The largest ratio of each segment that counts: (S,), 0 for those that do not."""
        worst = np.max(list(self.ratios(limits).values()), axis=0)
        is_other = np.array([name.endswith("=other") for name in NAMES])
        return np.where(is_other & (self.blocks < OVERLOOKED), 0.0, worst)


def truth_of(scene: Scene, rng: np.random.Generator, since: float = 0.0, long: float = LONG) -> Truth:
    """The truth of a scene from a day on."""
    world = scene.world
    times = long / (world.per_day * world.blocked * (world.days - since))
    rows = draw(scene, rng, times, quiet=False)
    return measured(rows.take(np.flatnonzero(rows.hour >= since * 24)))


def measured(rows: Rows) -> Truth:
    """The effects that rows have."""
    segments = segments_of(rows)
    only_live, only_candidate = rows.live & ~rows.candidate, rows.candidate & ~rows.live
    parts = {
        "live": rows.live,
        "candidate": rows.candidate,
        "lost": only_live & rows.fraud,
        "gained": only_candidate & rows.fraud,
        "insulted": only_candidate & ~rows.fraud,
        "spared": only_live & ~rows.fraud,
    }
    _, day = np.unique(rows.card * 128 + rows.hour // 24, return_inverse=True)
    n_days = int(day.max(initial=-1)) + 1
    sums: dict[str, dict[str, Array]] = {"card_days": {}, "transactions": {}, "money_capped": {}, "money": {}}
    weights = {
        "transactions": np.ones(len(day)),
        "money_capped": np.minimum(rows.minor, CAP_MINOR).astype(np.float64),
        "money": rows.minor.astype(np.float64),
    }
    size = len(NAMES)
    for name, mask in parts.items():
        mine = segments[mask]
        for unit, weight in weights.items():
            each = np.repeat(weight[mask], mine.shape[1])
            sums[unit][name] = np.bincount(mine.ravel(), each, size)
        present = np.zeros((n_days, size), dtype=bool)
        present[day[mask][:, None], mine] = True
        sums["card_days"][name] = present.sum(axis=0).astype(np.float64)
    effects = {}
    for unit, of in sums.items():
        live = np.where(of["live"] > 0, of["live"], np.nan)
        effects[unit] = Effects(
            (of["candidate"] - of["live"]) / live,
            (of["lost"] - of["gained"]) / live,
            (of["insulted"] - of["spared"]) / live,
        )
    blocks = sums["transactions"]["live"]
    return Truth(effects, blocks / max(blocks[0], 1.0))
