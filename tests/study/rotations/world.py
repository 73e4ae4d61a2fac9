"""Traffic on which two models decide, and what people say of it: the least that a release of known truth needs.

It shares no code with the gate. Live blocks card-days, of which a part is fraud; another model blocks most of the same,
and differs by chance as a seed twin would. Harm is planted on top of that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from shadow.comparison.case import Case
from shadow.comparison.outcome import Outcome
from shadow.comparison.totals import Run, RunTotals, SegmentTotals
from shadow.gate.criteria import parse
from shadow.gate.evidence import Evidence, RecentEvidence
from shadow.gate.sums import Sums
from shadow.labels.label import Known, State
from study.card_days import card_days

Array = npt.NDArray[Any]

COUNTRIES = {"DE": 0.5, "FR": 0.3, "ES": 0.2}
RELEASE = parse(
    "schema: 1\nsegments:\n  country: {field: country, values: [DE, FR, ES]}\n  amount: {field: amount, bands: [100]}\n"
    "may_stay_insufficient: ['*: country=other']\n"
)
NAMES = RELEASE.segments.names
A_DAY, BLOCK_RATE, FRAUD, CHANCE = 120_000, 0.02, 0.6, 0.03
#: Parts of the cap at the edges of the bands: 100 and 500 of 500.
_EDGES = (200, 1000)
REVIEWS_A_DAY, RIGHT = 60, 0.95


@dataclass(frozen=True)
class Harm:
    """What the other model does to live, beyond chance, as shares of live's blocks.

    loses: fraud that it lets through. insults: honest customers that it blocks in addition. gains: fraud that it
    catches in addition. country: where; None for everywhere. from_day: on which it begins.
    """

    loses: float = 0.0
    insults: float = 0.0
    gains: float = 0.0
    country: str | None = None
    from_day: int = 0


@dataclass(frozen=True)
class Drawn:
    """Card-days on which either model blocks. day, side (0 both, 1 live alone, 2 the other alone), parts: (n,).

    where: (n, 3), positions of segments. fraud: bool (n,). rank: a random order. allowed: transactions that both allow,
    (days, S).
    """

    day: Array
    side: Array
    parts: Array
    where: Array
    fraud: Array
    rank: Array
    allowed: Array

    @property
    def days(self) -> int:
        return len(self.allowed)

    def by_day(self, days: int) -> Sums:
        """Sums up to the end of each of the first days: (days, S, ...)."""
        some = self.day < days
        day, side, where, parts = self.day[some], self.side[some], self.where[some], self.parts[some]
        found = card_days(np.arange(len(day)), day, where, side, parts.astype(float), days, len(NAMES))
        counts = np.zeros((days, len(NAMES), 4))
        np.add.at(counts, (day[:, None], where, 1 + side[:, None]), 1.0)
        counts[..., 0] = self.allowed[:days]
        capped = np.zeros((days, len(NAMES), 3))
        np.add.at(capped, (day[:, None], where, side[:, None]), np.minimum(parts, 1000)[:, None] * 50.0)
        return Sums(
            counts=counts.cumsum(axis=0),
            capped=capped.cumsum(axis=0),
            errors=np.zeros((days, len(NAMES))),
            **found,
        )


def draw(rng: np.random.Generator, days: int, harm: Harm, a_day: int = A_DAY) -> Drawn:
    """So many days of live and another model."""
    parts = []
    for name, share in COUNTRIES.items():
        here = harm if harm.country in (None, name) else Harm()
        for day in range(days):
            parts.append(_day(rng, day, name, here, a_day * share))
    columns = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    allowed = np.zeros((days, len(NAMES)))
    each = {f"country={name}": share for name, share in COUNTRIES.items()}
    each |= {"all": 1.0, "amount=<100": 0.7, "amount=100-500": 0.28, "amount=>=500": 0.02}
    for at, name in enumerate(NAMES):
        allowed[:, at] = rng.poisson(a_day * each.get(name, 0.0), days)
    band = NAMES.index("amount=<100") + np.searchsorted(_EDGES, columns["parts"], side="right")
    where = np.stack([np.zeros(len(band), dtype=np.int64), columns["country"], band], axis=1)
    return Drawn(
        columns["day"], columns["side"], columns["parts"], where, columns["fraud"], rng.random(len(band)), allowed
    )


def _day(rng: np.random.Generator, day: int, name: str, harm: Harm, a_day: float) -> dict[str, Array]:
    n = int(rng.poisson(a_day * BLOCK_RATE))
    begun = day >= harm.from_day
    fraud = rng.random(n) < FRAUD
    lost = fraud & (rng.random(n) < (harm.loses / FRAUD if begun else 0.0))
    alone = lost | (rng.random(n) < CHANCE)
    chance, insulted, caught = (
        int(rng.poisson(n * share)) for share in (CHANCE, harm.insults * begun, harm.gains * begun)
    )
    side = np.concatenate([alone.astype(np.int64), np.full(chance + insulted + caught, 2)])
    frauds = [fraud, rng.random(chance) < FRAUD, np.zeros(insulted, dtype=bool), np.ones(caught, dtype=bool)]
    size = len(side)
    return {
        "day": np.full(size, day),
        "side": side,
        "parts": np.ceil(rng.lognormal(np.log(120), 0.9, size)).astype(np.int64),
        "country": np.full(size, NAMES.index(f"country={name}")),
        "fraud": np.concatenate(frauds),
    }


def totals(drawn: Drawn, days: int, run: Run) -> RunTotals:
    """The sums of a run after so many days."""
    return totals_of(_last(drawn.by_day(days)), days, run)


def _last(path: Sums) -> Sums:
    return Sums(**{name: getattr(path, name)[-1] for name in Sums.__dataclass_fields__})


def totals_of(sums: Sums, days: int, run: Run) -> RunTotals:
    """Sums of all segments as the store would have them. sums: (S, ...)."""
    arrays = {
        name: np.rint(getattr(sums, name)).astype(np.int64) for name in ("counts", "capped", "cells", "money", "tops")
    }
    segments = {
        name: SegmentTotals(**{field: array[at] for field, array in arrays.items()}) for at, name in enumerate(NAMES)
    }
    return RunTotals(run, segments, 24 * days, covered=tuple(range(24 * days)))


def reviewed(
    drawn: Drawn, days: int, rng: np.random.Generator, a_day: int = REVIEWS_A_DAY
) -> tuple[tuple[Case, ...], list[tuple[Known, ...]]]:
    """All disagreements in the order of their hash, and what is known of each after every day."""
    some = np.flatnonzero((drawn.side > 0) & (drawn.day < days))
    some = some[np.argsort(drawn.rank[some], kind="stable")]
    cases = tuple(
        Case(
            transaction=str(at),
            outcome=Outcome(int(drawn.side[at]) + 1),
            minor=int(drawn.parts[at]) * 50,
            occurred_ms=int(drawn.day[at]) * 86_400_000,
            card=str(at),
            segments=tuple(NAMES[seg] for seg in drawn.where[at]),
            hash=float(drawn.rank[at]),
            day=int(drawn.day[at]),
            offset=int(at),
        )
        for at in some.tolist()
    )
    said = np.where(rng.random(len(some)) < RIGHT, drawn.fraud[some], ~drawn.fraud[some])
    answered = np.zeros(len(some), dtype=bool)
    known = []
    for day in range(days):
        waiting = np.flatnonzero(~answered & (drawn.day[some] <= day))
        answered[waiting[:a_day]] = True
        known.append(_known(said, answered))
    return cases, known


def _known(said: Array, answered: Array) -> tuple[Known, ...]:
    states = np.where(answered, np.where(said, State.FRAUD, State.LEGIT), State.PENDING)
    return tuple(Known(State.PENDING, State(state)) for state in states.tolist())


def evidence(drawn: Drawn, control: Drawn, days: int, run: Run, rng: np.random.Generator) -> Evidence:
    """What the gate has after so many days. control: the twin of live beside the same live model."""
    cases, known = reviewed(drawn, days, rng)
    path, floor = drawn.by_day(days), control.by_day(days)
    recent = RecentEvidence(path, floor, 0, None, None, 1.0)
    return Evidence(
        totals_of(_last(path), days, run), totals_of(_last(floor), days, run), "", 100.0, cases, known[-1], recent
    )


def up_to(cases: Sequence[Case], known: Sequence[Known], day: int) -> tuple[tuple[Case, ...], tuple[Known, ...]]:
    """The cases that there were at the end of a day, and what was known of them."""
    pairs = [(case, one) for case, one in zip(cases, known, strict=True) if case.day <= day]
    return tuple(case for case, _ in pairs), tuple(one for _, one in pairs)
