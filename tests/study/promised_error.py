"""How often a limit that is exactly met passes where cards are blocked many times a day: what `promote_error` promises.

The traffic is drawn here with numpy alone, card by card, and added up here: only the claims on the sums are the gate's.
A look every six hours for 28 days; a run errs if any of them passes. `python -m study.promised_error` runs all of it.

*Sizes* of what is blocked of a card on a day: light (one and a Poisson number of others), heavy (Pareto with exponent
1.3, at most 400). *Also*: a card that is a fifth of all transactions, with another fate each day, or with the same bad
one every day; an attack of three hours, by 300 cards with 20 transactions each, or by one with 5,000. *Fates*: both
models decide all transactions of a card-day alike, so that the limit is met in card-days, transactions and money.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import scipy.stats

from shadow.gate.claims import ChangeClaim, bounded_changes
from shadow.gate.criteria import Criterion, Release, parse
from shadow.gate.sums import Sums

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
DAYS, LOOKS_A_DAY = 28, 4
LOOKS = DAYS * LOOKS_A_DAY
#: Runs that are held in memory together.
BATCH = 100
CAP_MINOR = 50_000
ALPHA = 0.005
SIZES = ("light", "heavy")
ALSO = ("nothing", "big card, daily fate", "big card, bad fate", "attack by many", "attack by one")
AMOUNTS = ("log-normal", "Pareto")
RISES = (Criterion.MORE_BLOCKS, Criterion.MORE_BLOCKED_AMOUNT, Criterion.MORE_UNCAPPED_AMOUNT)
FALLS = (Criterion.FEWER_BLOCKS, Criterion.FEWER_BLOCKED_AMOUNT, Criterion.FEWER_UNCAPPED_AMOUNT)
#: Card-days that live blocks a day: in a small segment, and in all traffic.
VOLUMES = (20, 150)


@dataclass(frozen=True)
class Case:
    """sizes, also, amounts: see above. a_day: card-days that live blocks. rise: whether the candidate blocks more, and
    exactly so many more that the limit is met; else fewer."""

    sizes: str
    also: str
    amounts: str
    a_day: int
    rise: bool

    @property
    def release(self) -> Release:
        """Criteria that differ only in their limits: a small segment has those of segments."""
        wide = self.a_day < 100
        blocks, money, whole = (0.25, 0.4, 0.6) if wide else (0.1, 0.15, 0.25)
        limits = {"blocks": blocks, "blocked_amount": money, "uncapped_amount": whole}
        lines = [f"  maximum_{way}_{name}: {limit}" for name, limit in limits.items() for way in ("more", "fewer")]
        return parse("\n".join([f"schema: 1\npromote_error: {ALPHA}\noverall:", *lines]))


def cases() -> Iterator[Case]:
    for rise in (False, True):
        for a_day in VOLUMES:
            for sizes in SIZES:
                for also in ALSO:
                    yield Case(sizes, also, AMOUNTS[0], a_day, rise)
                yield Case(sizes, "nothing", AMOUNTS[1], a_day, rise)


@dataclass(frozen=True)
class Cards:
    """Card-days of one batch, n each. run, look: where they count. size: transactions. amount: minor units of each.
    side: 0 if both block, 1 if live alone, 2 if the candidate alone."""

    run: Ints
    look: Ints
    size: Ints
    amount: Ints
    side: Ints


def draw(case: Case, criterion: Criterion, limit: float, runs: int, rng: np.random.Generator) -> Cards:
    """A batch in which the change that the criterion is about is `limit` on average."""
    daily = rng.poisson(case.a_day / LOOKS_A_DAY, (runs, LOOKS))
    run, look = (at.repeat(daily.ravel()) for at in np.indices(daily.shape).reshape(2, -1))
    size = _sizes(case.sizes, len(run), rng)
    n = len(run)
    if case.also.startswith("big card"):
        fifth = np.maximum(1, np.bincount(run, size, minlength=runs) / DAYS / 4).astype(np.int64)
        run = np.concatenate([run, np.arange(runs).repeat(DAYS)])
        look = np.concatenate([look, np.tile(np.arange(DAYS) * LOOKS_A_DAY, runs)])
        size = np.concatenate([size, fifth.repeat(DAYS)])
    elif case.also.startswith("attack"):
        share = case.a_day / VOLUMES[-1]
        cards, each = (int(300 * share), 20) if case.also == "attack by many" else (1, int(5000 * share))
        run = np.concatenate([run, np.arange(runs).repeat(cards)])
        look = np.concatenate([look, rng.integers(0, LOOKS, runs).repeat(cards)])
        size = np.concatenate([size, np.full(runs * cards, each)])
    amount = _amounts(case.amounts, len(run), rng)
    lost, added = (0.08, 0.08 + limit) if case.rise else (0.08 + limit, 0.08)
    is_bad = np.zeros(len(run), dtype=bool)
    chance = np.full((2, runs), [[lost], [added]])
    if case.also == "big card, bad fate":  # then the others do less harm, so that the limit is met all the same
        is_bad[n:] = True
        weight = _weight(criterion, size, amount)
        mine, others = (np.bincount(run[which], weight[which], minlength=runs) for which in (is_bad, ~is_bad))
        by_others = added - mine / others if case.rise else (lost * (mine + others) - mine) / others
        chance[int(case.rise)] = np.clip(by_others, 0, 1)
    side = np.where(is_bad, 2 if case.rise else 1, (rng.random(len(run)) < chance[0][run]).astype(np.int64))
    more = (rng.random(len(run)) < chance[1][run]) & ~is_bad  # card-days like live's that only the candidate blocks
    run, look, size, amount = (np.concatenate([column, column[more]]) for column in (run, look, size, amount))
    return Cards(run, look, size, amount, np.concatenate([side, np.full(int(more.sum()), 2)]))


def _weight(criterion: Criterion, size: Ints, amount: Ints) -> Array:
    """What a card-day counts for."""
    if criterion in (Criterion.MORE_BLOCKS, Criterion.FEWER_BLOCKS):
        return np.ones(len(size), dtype=np.float64)
    whole = _whole(size, amount)
    if criterion in (Criterion.MORE_BLOCKED_AMOUNT, Criterion.FEWER_BLOCKED_AMOUNT):
        return np.asarray(np.minimum(whole, 1000.0), dtype=np.float64)
    return whole


def _whole(size: Ints, amount: Ints) -> Array:
    """Money of a card-day in thousandths of the cap."""
    parts = np.ceil(amount.astype(np.float64) * 1000 / CAP_MINOR)
    return np.asarray(size.astype(np.float64) * parts)


def _sizes(name: str, n: int, rng: np.random.Generator) -> Ints:
    if name == "light":
        return np.asarray(1 + rng.poisson(0.5, n), dtype=np.int64)
    return np.minimum((1 - rng.random(n)) ** (-1 / 1.3), 400).astype(np.int64)


def _amounts(name: str, n: int, rng: np.random.Generator) -> Ints:
    if name == "log-normal":
        return rng.lognormal(np.log(6000), 1.0, n).astype(np.int64) + 1
    return np.minimum(3000 * (1 - rng.random(n)) ** (-1 / 1.3), 1e8).astype(np.int64)


def added_up(cards: Cards, runs: int) -> Sums:
    """Sums of a batch up to each look: (runs, LOOKS, 1, ...), without what both allow."""
    place = cards.run * LOOKS + cards.look

    def cumulated(weight: Array) -> Array:
        found = np.bincount(place, weight, minlength=runs * LOOKS).astype(np.float64)
        return np.cumsum(found.reshape(runs, LOOKS), axis=1)[..., None]

    def highest(weight: Array) -> Array:
        found = np.zeros(runs * LOOKS)
        np.maximum.at(found, place, weight)
        return np.maximum.accumulate(found.reshape(runs, LOOKS), axis=1)[..., None]

    sides = [(cards.side == side).astype(np.float64) for side in range(3)]
    nothing = np.zeros((runs, LOOKS, 1))
    counts = [cumulated(cards.size * side) for side in sides]
    capped = [cumulated(cards.size * np.minimum(cards.amount, CAP_MINOR) * side) for side in sides]
    cells = np.stack([nothing] * 8, axis=-1)
    for bit, side in zip((1, 2, 4), sides, strict=True):
        cells[..., bit] = cumulated(side)
    whole = _whole(cards.size, cards.amount)
    money, tops = [], []
    for parts in (np.minimum(whole, 1000), whole):
        net, base = parts * (sides[2] - sides[1]), parts * (sides[0] + sides[1])
        held = np.minimum(base, 64_000)
        live, candidate = parts * sides[1], parts * sides[2]
        products = (net * net, net * base, base * base, net * held, held * held)
        columns = (net, base, held, *products, live, live * live, candidate * candidate)
        money.append(np.stack([cumulated(column) for column in columns], axis=-1))
        tops.append(np.stack([highest(parts * side) for side in (sides[2], sides[1], sides[0] + sides[1])], axis=-1))
    return Sums(
        counts=np.stack([nothing, *counts], axis=-1),
        capped=np.stack(capped, axis=-1),
        cells=cells,
        money=np.stack(money, axis=-2),
        tops=np.stack(tops, axis=-2),
        errors=nothing,
    )


def passes(case: Case, runs: int, seed: int) -> dict[Criterion, int]:
    """Runs in which each criterion on changes ever passes although its limit is exactly met."""
    rng = np.random.default_rng([seed, *repr(case).encode()])
    found: dict[Criterion, int] = {}
    bar, release = -math.log(ALPHA), case.release
    for criterion in RISES if case.rise else FALLS:
        limit = float(release.limit(criterion)[0])
        found[criterion] = 0
        for start in range(0, runs, BATCH):
            n = min(BATCH, runs - start)
            sums = added_up(draw(case, criterion, limit, n, rng), n)
            (claim,) = (one for one in _of_all(sums, release) if one.criterion is criterion)
            found[criterion] += int((claim.log_within()[..., 0] >= bar).any(axis=1).sum())
    return found


def _of_all(sums: Sums, release: Release) -> list[ChangeClaim]:
    """The claims on all traffic only."""
    return [replace(one, limit=one.limit[:1]) for one in bounded_changes(sums, None, release)]


def upper(errors: int, runs: int) -> float:
    """The upper end of a 95 % confidence interval of a rate (Clopper and Pearson 1934), one-sided."""
    return float(scipy.stats.beta.ppf(0.95, errors + 1, runs - errors)) if errors < runs else 1.0


def main() -> int:
    """Print a table; returns 1 if a criterion passes more often than promised."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000, help="of each case")
    parser.add_argument("--seed", type=int, default=11)
    options = parser.parse_args()
    worst: dict[str, list[int]] = {}
    for case in cases():
        found = passes(case, options.runs, options.seed)
        told = ", ".join(f"{criterion} {errors}" for criterion, errors in found.items())
        print(f"{case.sizes:6} {case.also:22} {case.amounts:11} {case.a_day:4} a day  {told}", flush=True)
        for criterion, errors in found.items():
            kind = criterion.partition("_")[2]
            so_far = worst.setdefault(kind, [0, 0])
            so_far[0], so_far[1] = so_far[0] + errors, so_far[1] + options.runs
    for kind, (errors, runs) in worst.items():
        print(f"{kind}: {errors} of {runs} pass, at most {100 * upper(errors, runs):.2f} % (promised {100 * ALPHA} %)")
    return int(any(errors / runs > ALPHA for errors, runs in worst.values()))


if __name__ == "__main__":
    sys.exit(main())
