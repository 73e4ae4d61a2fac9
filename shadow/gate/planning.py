"""Forecasts how long the gate takes to decide in each segment, from the expected traffic.

It simulates the rule itself instead of a formula about it: live's blocks, the disagreements of a candidate that is as
good as live, their amounts and reviews are drawn day by day, and `shadow.gate.measure.measure` runs at each day's end.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np

from scorer.pipeline.instants import DAY_MS
from shadow.comparison.case import Case
from shadow.comparison.outcome import DISAGREEMENTS
from shadow.comparison.totals import CAP_PARTS, CELLS, HEAVIEST_PARTS, MONEY_SUMS, MONEY_TOPS, ONE_OF
from shadow.gate.criteria import Criterion, Release
from shadow.gate.harm import LabelledPairs, harm_claims, label_claims, labels_wanted
from shadow.gate.measure import PASS, Measured, RunProgress, measure
from shadow.gate.recency import recent_of
from shadow.gate.sums import CUT, WHOLE, Sums, amount_shift, pairs_of
from shadow.labels.label import Votes
from shadow.statistics.clusters import ClusterRatio
from shadow.statistics.eprocess import Array

#: A segment settles if at least this share of the simulated runs passes within the horizon.
SETTLES = 0.9


@dataclass(frozen=True, slots=True)
class Traffic:
    """The expected traffic of S segments, all traffic first: float64 (S,) each unless said otherwise.

    transactions, blocks: compared and blocked by live, per day. discordance: disagreements of a seed twin with live, as
    a share of live's blocks. crowding: blocked transactions for each card-day. amount, square: means of what is blocked
    on a card-day, cut at the cap and as a share of it, and of its square; evidence on money takes long where amounts
    are small. whole, whole_square: the same without the cut. heaviest: the most of any card-day, or (S, 3): of what the
    candidate alone blocks, of what live alone does, and of live's. seen_days: days in which transactions and blocks
    were counted, infinite if they are assumptions.
    """

    transactions: Array
    blocks: Array
    discordance: Array
    crowding: float = 1.3
    amount: Array | float = 0.25
    square: Array | float = 0.15
    whole: Array | float = 0.3
    whole_square: Array | float = 0.3
    heaviest: Array | float = 10.0
    seen_days: float = math.inf


def traffic_of(control: Sums, days: float) -> Traffic:
    """The traffic that the A/A control's run has seen.

    control: one look, in which live blocked something. days: length of the run, above 0. Rates of a segment are pulled
    towards all traffic, as if it had seen another 100 average blocks.
    """
    blocks, cards = control.live_blocks, control.live_cards
    differ = pairs_of(control, DISAGREEMENTS)
    discordance = (differ + differ[0] / cards[0] * 100) / (cards + 100)
    amount, square = _moments(amount_shift(control, CUT), cards)
    whole, whole_square = _moments(amount_shift(control, WHOLE), cards)
    return Traffic(
        transactions=control.compared / days,
        blocks=blocks / days,
        discordance=discordance,
        crowding=float(control.crowding[0]),
        amount=amount,
        square=square,
        whole=whole,
        whole_square=whole_square,
        heaviest=np.maximum(control.tops[..., WHOLE, :] / CAP_PARTS, whole[:, None]),
        seen_days=days,
    )


def _moments(money: ClusterRatio, cards: Array) -> tuple[Array, Array]:
    """Means of the money that live blocks on a card-day, as a share of the cap, and of its square."""
    mean = _pulled(money.base / CAP_PARTS, cards)
    return mean, np.maximum(_pulled(money.base_base / CAP_PARTS**2, cards), mean**2)


def _pulled(sums: Array, n: Array) -> Array:
    """Means of n things in each segment, as if it had seen another 20 average ones of all traffic (segment 0)."""
    overall = sums[0] / max(1.0, n[0])
    return np.asarray((sums + 20 * overall) / (n + 20))


@dataclass(frozen=True, slots=True)
class Reviews:
    """The expected reviews.

    per_day: reviewed cases per day. delay: days from a transaction to its review. right: share of correct verdicts.
    fraud: share of disagreements that are fraud, on either side. excess: the candidate's disagreements beyond those of
    a seed twin, as a share of live's blocks; the gate asks for reviews where it cannot show that they are few.
    """

    per_day: float = 0.0
    delay: float = 1.0
    right: float = 0.95
    fraud: float = 0.4
    excess: float = 0.0


@dataclass(frozen=True, slots=True)
class Forecast:
    """When a segment settles.

    transactions, blocks: per day. days: 10th, 50th and 90th percentile over runs, None where it is beyond the horizon.
    slowest: the criterion that takes longest. share: of runs that settle within the horizon. reviews: mean number done
    within the horizon. lacking: the criteria that are still open at the horizon in more runs than may be, the worst
    first; none if the segment settles.
    """

    segment: str
    transactions: float
    blocks: float
    days: tuple[float | None, float | None, float | None]
    slowest: str
    share: float
    reviews: float = 0.0
    lacking: tuple[Criterion, ...] = ()

    @property
    def settles(self) -> bool:
        """Whether the traffic is enough to settle within the horizon."""
        return self.share >= SETTLES


@dataclass(frozen=True, slots=True)
class Plan:
    """Forecasts of all segments. share: of runs that are promoted within the horizon, for which all segments that have
    to settle do so at once; day: the median day of these, None without any."""

    forecasts: list[Forecast]
    share: float
    day: float | None

    @property
    def settles(self) -> bool:
        """Whether a candidate that is as good as live would be promoted."""
        return self.share >= SETTLES


@dataclass(frozen=True, slots=True)
class Delay:
    """How labels of one source arrived.

    n: labelled cases. per_day: labelled cases per day, from the first label to the last. median: days from the
    transaction to its label.
    """

    n: int
    per_day: float
    median: float


def label_delays(cases: Iterable[Case], found: Mapping[str, Sequence[Votes]]) -> dict[str, Delay]:
    """How labels arrived, by source; sources without labels are left out.

    found: votes by subject, as the store returns them. A case in several slots counts once, with the label of the first
    person.
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
    """The forecasts of `planned`."""
    return planned(traffic, release, horizon, runs, rng, people).forecasts


def planned(
    traffic: Traffic, release: Release, horizon: int, runs: int, rng: np.random.Generator, people: Reviews | None = None
) -> Plan:
    """Forecast every segment, and the verdict, for a candidate that is as good as live.

    Nothing is decided before the clean period is over. horizon: days. runs: number of simulated runs. people: None
    means that nothing is reviewed and that the candidate disagrees with live no more than a seed twin.
    """
    seen, reviewed = _runs(traffic, release, horizon, runs, rng, people or Reviews())
    out = []
    forgiven = release.others  # an `other` is excused where it is small; whatever people excuse is shown all the same
    open_by = {row.criterion: (row.codes != PASS) & row.asked & ~(row.excused & forgiven) for row in seen.rows}
    settled = ~np.any(list(open_by.values()), axis=0)
    for at, name in enumerate(release.segments.names):
        if release.others[at] and not traffic.transactions[at]:
            continue  # nothing is expected in it
        first = _first(settled[:, :, at])
        each = {criterion: float(np.mean(_first(~still[:, :, at]))) for criterion, still in open_by.items()}
        late = {criterion: float(still[:, -1, at].mean()) for criterion, still in open_by.items()}
        is_slow = np.isfinite(first).mean() < SETTLES
        lacking = [c for c in sorted(late, key=lambda c: -late[c]) if is_slow and late[c] > (1 - SETTLES) / 2]
        known = np.sort(np.maximum(first, math.ceil(release.minimum_covered_hours / 24)))
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
                lacking=tuple(lacking),
            )
        )
    promoted = _first(seen.decisions == PASS)
    day = float(np.median(promoted[np.isfinite(promoted)])) if np.isfinite(promoted).any() else None
    return Plan(out, float(np.isfinite(promoted).mean()), day)


def _first(settled: Array) -> Array:
    """The first day, from 1, by whose end each run is settled, infinite if none: (runs,) of bool (runs, days)."""
    return np.where(settled.any(axis=1), settled.argmax(axis=1) + 1.0, np.inf)


def _runs(
    traffic: Traffic, release: Release, horizon: int, runs: int, rng: np.random.Generator, people: Reviews
) -> tuple[Measured, Array]:
    """Simulated runs at each day's end, and the reviews done by then: leading axes (runs, days)."""
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
        cells = np.zeros((*shape, CELLS))
        cells[..., ONE_OF] = cards
        money, tops = _amounts(cards, traffic, rng)
        net_and_base = money[..., 0, :2] * CAP_MINOR / CAP_PARTS
        of_live = np.maximum(-net_and_base[..., 0], 0)
        capped = np.stack([net_and_base[..., 1] - of_live, of_live, net_and_base[..., 0] + of_live], axis=-1)
        return Sums(counts, capped, cells, money, tops, np.zeros(shape))

    days = of_volume.poisson(np.broadcast_to(volume, shape)).cumsum(axis=1)
    agreed = drawn(np.ones_like(clusters))
    candidate, control = model(agreed, traffic.discordance + people.excess), model(agreed, traffic.discordance)
    nothing = np.zeros((runs, horizon), dtype=np.int64)
    hours = np.broadcast_to(np.arange(1, horizon + 1) * 24, nothing.shape)
    labels = _reviewed(candidate, control, traffic, release, rng, people)
    claims = label_claims(labels, candidate, release)
    progress, recent = RunProgress(hours, nothing, nothing), recent_of(candidate, control, 1, release)
    return measure(candidate, control, progress, release, claims, recent=recent), labels.reviewed


def _rates(seen: Array, days: float, runs: int, rng: np.random.Generator) -> Array:
    """Draw a daily rate for each run that fits the rate seen: (runs, 1, S).

    A rate that was counted for a number of days is only known as Gamma(n) / days, the posterior under the prior
    1 / rate: one week with just enough traffic does not promise the same for four weeks.
    """
    if not math.isfinite(days):
        return np.broadcast_to(seen, (runs, 1, len(seen)))
    return np.asarray(rng.gamma(seen * days, 1 / days, (runs, 1, len(seen))))


def _reviewed(
    candidate: Sums, control: Sums, traffic: Traffic, release: Release, rng: np.random.Generator, people: Reviews
) -> LabelledPairs:
    """The reviews done by each day's end.

    Segments in which labels are asked for, and which are not settled, share a day's reviews evenly. Here a case counts
    for one segment; in the review queue it counts for all of its segments, so the forecast is on the safe side.
    """
    runs, horizon, n = candidate.errors.shape
    counts = np.zeros((runs, horizon, n, 6))
    bar, delay = -math.log(release.promote_error), math.ceil(people.delay)
    fraud = people.fraud * people.right + (1 - people.fraud) * (1 - people.right)
    kinds = np.array([fraud, fraud, 1 - fraud, 1 - fraud, 0.0, 0.0])
    both_sides = candidate.live_pairs + candidate.candidate_pairs
    asked = labels_wanted(harm_claims((), candidate, control, release), candidate, release)
    for day in range(1, horizon):
        known = _labelled(counts[:, day - 1], traffic)
        look, floor = _at(candidate, day), _at(control, day)
        claims = harm_claims(label_claims(known, look, release), look, floor, release)
        within = [np.maximum(c.log_within(), c.log_beyond()) for c in claims]
        wanted = asked[:, day] & (np.min(within, axis=0) < bar)
        there = both_sides[:, day - delay] if day >= delay else np.zeros((runs, n))
        waiting = np.maximum(there - known.reviewed, 0) * wanted
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
    """Reviews of cases that all have the mean amount."""
    mean, second = (np.asarray(moment)[..., None] for moment in (traffic.amount, traffic.square))
    return LabelledPairs(counts, counts, counts * mean, counts * second, counts.sum(axis=-1))


def _at(sums: Sums, day: int) -> Sums:
    return Sums(*(getattr(sums, part.name)[:, day] for part in fields(Sums)))


#: Any cap would do, because amounts are drawn as shares of it.
CAP_MINOR = 1_000_000


def _amounts(cards: Array, traffic: Traffic, rng: np.random.Generator) -> tuple[Array, Array]:
    """Sums of money over the given card-days, by the normal approximation, and the heaviest: as in `Sums`.

    cards: (runs, days, S, 3), card-days by direction. Each has one direction.
    """
    money, tops = (np.zeros((*cards.shape[:-1], 2, n)) for n in (MONEY_SUMS, MONEY_TOPS))
    daily = np.diff(cards, axis=1, prepend=0)
    drawn = rng.normal(size=daily.shape)
    for of, mean, second in ((CUT, traffic.amount, traffic.square), (WHOLE, traffic.whole, traffic.whole_square)):
        mean, second = (np.asarray(moment)[..., None] for moment in (mean, second))
        noise = drawn * np.sqrt(np.maximum(daily, 0) * np.maximum(second - mean**2, 0))
        both, live, candidate = np.moveaxis(np.maximum(daily * mean + noise, 0.0).cumsum(axis=1) * CAP_PARTS, -1, 0)
        squares = np.moveaxis(cards * second * CAP_PARTS**2, -1, 0)
        based = squares[0] + squares[1]
        differ = squares[1] + squares[2]
        products = (differ, -squares[1], based, -squares[1], based)
        alone = (live, squares[1], squares[2])
        sums = (candidate - live, both + live, both + live, *products, *alone)
        money[..., of, :] = np.stack(sums, axis=-1)
        heaviest = np.asarray(1.0 if of == CUT else traffic.heaviest) * CAP_PARTS
        if heaviest.ndim < 2:
            heaviest = heaviest[..., None]  # of either side and of both
        tops[..., of, :] = np.minimum(heaviest, 0.9 * HEAVIEST_PARTS) * (cards.sum(axis=-1) > 0)[..., None]
    return money, tops
