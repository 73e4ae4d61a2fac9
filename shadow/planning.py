"""Power before the shadow: how long the gate will take to decide in each segment, from the traffic to be expected.

The rule itself is simulated, not a formula about it: live's blocks, the disagreements of a candidate like the A/A
control and their amounts are drawn day by day, and `shadow.measure.measure` looks at every day's end.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shadow.claims import Sums
from shadow.criteria import Release
from shadow.evidence import Array
from shadow.measure import PASS, Measured, Progress, measure
from shadow.tally import CAP_PARTS

#: A segment that passes in fewer of the simulated runs within the horizon never settles.
SETTLES = 0.9


@dataclass(frozen=True, slots=True)
class Traffic:
    """What is expected of S segments, the first being all traffic: float64 (S,) each, per day unless said.

    transactions. blocks: of live. discordance: disagreements of a seed twin with live, as a share of live's blocks.
    crowding: transactions of a disagreement, of one card and day. amount, square: means of an amount as a share of the
    cap, and of its square.
    """

    transactions: Array
    blocks: Array
    discordance: Array
    crowding: float = 1.3
    amount: float = 0.2
    square: float = 0.1


@dataclass(frozen=True, slots=True)
class Forecast:
    """When a segment settles. days: the 10th, 50th and 90th percentile over runs, None where it does not within the
    horizon. slowest: the criterion that takes longest. share: of runs that settle within the horizon."""

    segment: str
    transactions: float
    blocks: float
    days: tuple[float | None, float | None, float | None]
    slowest: str
    share: float

    @property
    def settles(self) -> bool:
        """Whether the traffic is enough."""
        return self.share >= SETTLES


def plan(traffic: Traffic, release: Release, horizon: int, runs: int, rng: np.random.Generator) -> list[Forecast]:
    """Forecasts of every segment for a candidate that is as good as live, over a horizon of days."""
    seen = _runs(traffic, release, horizon, runs, rng)
    out = []
    open_by = {row.criterion: (row.codes != PASS) & row.asked for row in seen.rows}
    settled = ~np.any(list(open_by.values()), axis=0)
    for at, name in enumerate(release.segments.names):
        first = _first(settled[:, :, at])
        each = {criterion: float(np.mean(_first(~still[:, :, at]))) for criterion, still in open_by.items()}
        known = np.sort(np.where(np.isfinite(first), first, np.inf))
        picked = [known[min(runs - 1, int(quantile * runs))] for quantile in (0.1, 0.5, 0.9)]
        days = tuple(float(day) if np.isfinite(day) else None for day in picked)
        out.append(
            Forecast(
                segment=name,
                transactions=float(traffic.transactions[at]),
                blocks=float(traffic.blocks[at]),
                days=(days[0], days[1], days[2]),
                slowest=max(each, key=lambda criterion: each[criterion]),
                share=float(np.isfinite(first).mean()),
            )
        )
    return out


def _first(settled: Array) -> Array:
    """The first day at the end of which each run is settled, infinite if none: (runs,) of bool (runs, days)."""
    return np.where(settled.any(axis=1), settled.argmax(axis=1) + 1.0, np.inf)


def _runs(traffic: Traffic, release: Release, horizon: int, runs: int, rng: np.random.Generator) -> Measured:
    """Simulated runs, looked at daily: leading axes (runs, days)."""
    shape = (runs, horizon, len(release.segments.names))
    clusters = traffic.blocks / traffic.crowding
    half = traffic.discordance / 2

    def drawn(share: Array) -> Array:
        return np.asarray(rng.poisson(np.broadcast_to(clusters * share, shape)).cumsum(axis=1), dtype=np.float64)

    def twin(agreed: Array) -> Sums:
        live_only, candidate_only = drawn(half), drawn(half)
        both = np.maximum(agreed - live_only, 0)
        cards = np.stack([both, live_only, candidate_only], axis=-1)
        counts = np.concatenate([days[..., None], cards * traffic.crowding], axis=-1)
        capped, squares = _amounts(cards, traffic, rng)
        return Sums(counts, capped, squares, cards[..., 1:], np.zeros(shape))

    days = np.broadcast_to(traffic.transactions, shape).cumsum(axis=1)
    agreed = drawn(np.ones_like(half))
    candidate, control = twin(agreed), twin(agreed)
    nothing = np.zeros((runs, horizon), dtype=np.int64)
    hours = np.broadcast_to(np.arange(1, horizon + 1) * 24, nothing.shape)
    return measure(candidate, control, candidate, Progress(hours, nothing, nothing), release, CAP_MINOR)


#: Amounts are drawn as shares of the cap, so that any will do.
CAP_MINOR = 1_000_000


def _amounts(cards: Array, traffic: Traffic, rng: np.random.Generator) -> tuple[Array, Array]:
    """Sums of the amounts of so many cards, and of their squares, by the normal approximation of their own moments."""
    mean, second = traffic.amount, traffic.square
    daily = np.diff(cards, axis=1, prepend=0)
    noise = rng.normal(size=daily.shape) * np.sqrt(np.maximum(daily, 0) * (second - mean**2))
    sums = np.maximum(daily * mean + noise, 0.0).cumsum(axis=1) * traffic.crowding
    return sums * CAP_MINOR, cards[..., 1:] * second * traffic.crowding * CAP_PARTS**2


def advice(forecasts: list[Forecast], release: Release) -> list[str]:
    """Lines for `may_stay_insufficient` that this traffic calls for and `release.yaml` does not have."""
    return [f"*: {f.segment}" for f in forecasts if not f.settles and not release.excuses("transactions", f.segment)]
