"""Power before the shadow: how long the gate will take to decide in each segment, from the traffic to be expected.

The rule itself is simulated, not a formula about it: live's blocks, the disagreements of a candidate that is as good,
their amounts and their reviews are drawn day by day, and `shadow.measure.measure` looks at every day's end.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np

from shadow.cases import DAY_MS, Case
from shadow.claims import Sums, within_floor
from shadow.criteria import Release
from shadow.evidence import Array
from shadow.labelled import LabelledPairs, label_claims
from shadow.labels import Votes
from shadow.measure import PASS, Measured, Progress, measure
from shadow.tally import ALL, CAP_PARTS

#: A segment that passes in fewer of the simulated runs within the horizon never settles.
SETTLES = 0.9


@dataclass(frozen=True, slots=True)
class Traffic:
    """What is expected of S segments, the first being all traffic: float64 (S,) each, per day unless said.

    transactions. blocks: of live. discordance: disagreements of a seed twin with live, as a share of live's blocks.
    crowding: transactions of a disagreement, of one card and day. amount, square: means of a blocked amount, as a share
    of the cap, and of its square; by segment, as where amounts are small evidence on money takes long. seen_days: how
    long transactions and blocks were counted for, infinite where they are simply given.
    """

    transactions: Array
    blocks: Array
    discordance: Array
    crowding: float = 1.3
    amount: Array | float = 0.2
    square: Array | float = 0.1
    seen_days: float = math.inf


def traffic_of(control: Sums, days: float, cap_minor: int) -> Traffic:
    """What the A/A control's run has seen in so many days, above 0: one look, in which live blocked something.

    What a segment shows of itself is pulled towards all traffic where that is little, as if another 100 blocks of all
    traffic had been seen in it.
    """
    blocks = control.counts[..., 1] + control.counts[..., 2]
    differ = control.counts[..., 2:].sum(axis=-1)
    overall = differ[0] / blocks[0]
    discordance = (differ + overall * 100) / (blocks + 100)
    amount = _pulled(control.capped.sum(axis=-1) / cap_minor, control.counts[..., 1:].sum(axis=-1))
    square = _pulled(control.squares.sum(axis=-1) / CAP_PARTS**2, differ) if differ[0] else amount
    crowding = float(control.crowding[0])
    square = np.maximum(square, amount**2)
    return Traffic(control.compared / days, blocks / days, discordance, crowding, amount, square, days)


def _pulled(sums: Array, n: Array) -> Array:
    """Means of n things in each segment, as if another 20 of all traffic, segment 0, had been seen in it."""
    overall = sums[0] / max(1.0, n[0])
    return np.asarray((sums + 20 * overall) / (n + 20))


@dataclass(frozen=True, slots=True)
class Reviews:
    """What is expected of people. per_day: cases answered. delay: days from a transaction to its answer. right: share
    of answers that are. fraud: share of disagreements that are fraud, on either side.

    excess: disagreements of the candidate beyond those of a seed twin, as a share of live's blocks; where the gate
    cannot know that they are few it asks for reviews.
    """

    per_day: float = 0.0
    delay: float = 1.0
    right: float = 0.95
    fraud: float = 0.4
    excess: float = 0.0


@dataclass(frozen=True, slots=True)
class Forecast:
    """When a segment settles. days: the 10th, 50th and 90th percentile over runs, None where it does not within the
    horizon. slowest: the criterion that takes longest. share: of runs that settle within the horizon. reviews: the
    mean number that was done in it."""

    segment: str
    transactions: float
    blocks: float
    days: tuple[float | None, float | None, float | None]
    slowest: str
    share: float
    reviews: float = 0.0

    @property
    def settles(self) -> bool:
        """Whether the traffic is enough."""
        return self.share >= SETTLES


@dataclass(frozen=True, slots=True)
class Delay:
    """How labels of a source came. n: labelled cases. per_day: of them, in the days from the first to the last label.
    median: days from the transaction to the label."""

    n: int
    per_day: float
    median: float


def label_delays(cases: Iterable[Case], found: Mapping[str, Sequence[Votes]]) -> dict[str, Delay]:
    """How long labels took, by source; those without any are left out. found: votes by subject, as the store has them.

    A case that several slots have counts once. Of several people the first counts.
    """
    answered: dict[str, dict[str, tuple[int, int]]] = {}
    for case in cases:
        for subject in case.subjects:
            for votes in found.get(subject, ()):
                for source, people in votes.items():
                    at = min(at for at, _ in people.values())
                    answered.setdefault(source, {})[case.transaction] = (at, at - case.occurred_ms)
    out = {}
    for source, several in sorted(answered.items()):
        moments, waits = np.array(list(several.values()), dtype=np.float64).T
        days = max(1.0, float(np.ptp(moments)) / DAY_MS)
        out[source] = Delay(len(several), len(several) / days, max(0.0, float(np.median(waits))) / DAY_MS)
    return out


def plan(
    traffic: Traffic, release: Release, horizon: int, runs: int, rng: np.random.Generator, people: Reviews | None = None
) -> list[Forecast]:
    """Forecasts of every segment for a candidate that is as good as live, over a horizon of days.

    people: without them nothing is reviewed, and the candidate differs from live no more than a seed twin.
    """
    seen, reviewed = _runs(traffic, release, horizon, runs, rng, people or Reviews())
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
                reviews=float(reviewed[:, -1, at].mean()),
            )
        )
    return out


def _first(settled: Array) -> Array:
    """The first day at the end of which each run is settled, infinite if none: (runs,) of bool (runs, days)."""
    return np.where(settled.any(axis=1), settled.argmax(axis=1) + 1.0, np.inf)


def _runs(
    traffic: Traffic, release: Release, horizon: int, runs: int, rng: np.random.Generator, people: Reviews
) -> tuple[Measured, Array]:
    """Simulated runs, looked at daily, and reviews done by then: leading axes (runs, days)."""
    shape = (runs, horizon, len(release.segments.names))
    (of_volume,) = rng.spawn(1)
    clusters = _rates(traffic.blocks / traffic.crowding, traffic.seen_days, runs, of_volume)
    volume = _rates(traffic.transactions, traffic.seen_days, runs, of_volume)

    def drawn(share: Array) -> Array:
        return np.asarray(rng.poisson(np.broadcast_to(clusters * share, shape)).cumsum(axis=1), dtype=np.float64)

    def model(agreed: Array, discordance: Array) -> Sums:
        live_only, candidate_only = drawn(discordance / 2), drawn(discordance / 2)
        both = np.maximum(agreed - live_only, 0)
        cards = np.stack([both, live_only, candidate_only], axis=-1)
        blocked = cards * traffic.crowding
        allowed = np.maximum(days - blocked.sum(axis=-1), 0)
        counts = np.concatenate([allowed[..., None], blocked], axis=-1)
        capped, squares = _amounts(cards, traffic, rng)
        return Sums(counts, capped, squares, cards[..., 1:], np.zeros(shape))

    days = of_volume.poisson(np.broadcast_to(volume, shape)).cumsum(axis=1)
    agreed = drawn(np.ones_like(clusters))
    candidate, control = model(agreed, traffic.discordance + people.excess), model(agreed, traffic.discordance)
    nothing = np.zeros((runs, horizon), dtype=np.int64)
    hours = np.broadcast_to(np.arange(1, horizon + 1) * 24, nothing.shape)
    labels = _reviewed(candidate, control, traffic, release, rng, people)
    claims = label_claims(labels, candidate, release) if people.per_day else ()
    progress = Progress(hours, nothing, nothing)
    return measure(candidate, control, progress, release, CAP_MINOR, claims), labels.reviewed


def _rates(seen: Array, days: float, runs: int, rng: np.random.Generator) -> Array:
    """Daily rates that fit what was seen a day, one for each run: (runs, 1, S).

    Counted in so many days, a rate is known as Gamma(n) / days, the posterior under the prior 1 / rate: a week that had
    just enough is no promise that four weeks have.
    """
    if not math.isfinite(days):
        return np.broadcast_to(seen, (runs, 1, len(seen)))
    return np.asarray(rng.gamma(seen * days, 1 / days, (runs, 1, len(seen))))


def _reviewed(
    candidate: Sums, control: Sums, traffic: Traffic, release: Release, rng: np.random.Generator, people: Reviews
) -> LabelledPairs:
    """What is answered by each day's end. Segments in which labels are asked for and not settled share the day's
    reviews evenly; a case counts for one segment only, which the queue does better (it counts in all of its own)."""
    runs, horizon, n = candidate.errors.shape
    counts = np.zeros((runs, horizon, n, 6))
    bar, delay = -math.log(release.promote_error), math.ceil(people.delay)
    fraud = people.fraud * people.right + (1 - people.fraud) * (1 - people.right)
    kinds = np.array([fraud, fraud, 1 - fraud, 1 - fraud, 0.0, 0.0])
    asked = ~release.excused("lost_fraud") & (within_floor(candidate, control, release).log_within() < bar)
    for day in range(1, horizon):
        known = _labelled(counts[:, day - 1], traffic)
        look = _at(candidate, day)
        within = [np.maximum(c.log_within(), c.log_beyond()) for c in label_claims(known, look, release)]
        wanted = asked[:, day] & (np.min(within, axis=0) < bar)
        there = candidate.pairs[:, day - delay] if day >= delay else np.zeros((runs, n, 2))
        waiting = np.maximum(there.sum(axis=-1) - known.reviewed, 0) * wanted
        each = people.per_day / np.maximum(wanted.sum(axis=-1, keepdims=True), 1)
        done = np.floor(np.minimum(waiting, each + rng.random(waiting.shape)))
        of_live = rng.binomial(done.astype(np.int64), 0.5)
        by_side = np.stack([of_live, done - of_live], axis=-1)
        found = rng.binomial(by_side.astype(np.int64), kinds[:2])
        parts = [found[..., 0], found[..., 1], by_side[..., 0] - found[..., 0], by_side[..., 1] - found[..., 1]]
        counts[:, day] = counts[:, day - 1]
        counts[:, day, :, :4] += np.stack(parts, axis=-1)
    return _labelled(counts, traffic)


def _labelled(counts: Array, traffic: Traffic) -> LabelledPairs:
    """Answers of cases whose amounts are what they are on the average."""
    mean, second = (np.asarray(moment)[..., None] for moment in (traffic.amount, traffic.square))
    return LabelledPairs(counts, counts, counts * mean, counts * second, counts.sum(axis=-1))


def _at(sums: Sums, day: int) -> Sums:
    return Sums(*(getattr(sums, field.name)[:, day] for field in fields(Sums)))


#: Amounts are drawn as shares of the cap, so that any will do.
CAP_MINOR = 1_000_000


def _amounts(cards: Array, traffic: Traffic, rng: np.random.Generator) -> tuple[Array, Array]:
    """Sums of the amounts of so many cards, and of their squares, by the normal approximation of their own moments."""
    mean, second = (np.asarray(moment)[..., None] for moment in (traffic.amount, traffic.square))
    daily = np.diff(cards, axis=1, prepend=0)
    noise = rng.normal(size=daily.shape) * np.sqrt(np.maximum(daily, 0) * (second - mean**2))
    sums = np.maximum(daily * mean + noise, 0.0).cumsum(axis=1) * traffic.crowding
    return sums * CAP_MINOR, cards[..., 1:] * second * traffic.crowding * CAP_PARTS**2


def advice(forecasts: Sequence[Forecast], release: Release) -> list[str]:
    """Lines for `may_stay_insufficient` that this traffic calls for and `release.yaml` does not have. All traffic is
    never excused: who cannot judge it cannot judge anything."""
    never = [f.segment for f in forecasts if not f.settles and f.segment != ALL]
    return [f"*: {segment}" for segment in never if not release.excuses("transactions", segment)]
