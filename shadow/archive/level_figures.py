"""Figures of what a model blocks and misses, between the ends that unknown blocks leave open. Pure.

What live blocked falls into three parts: drawn with enough released, which is estimated; the rest that labels decide;
and the rest that nobody knows, of which all may be fraud, or all honest. Errors of the draw and those of any number of
cases add as squares, each towards its end: Zou and Donner (2008), "Construction of confidence limits about effect
measures: a general approach". What is certain bounds every estimate: `worst` and `best` use no draw.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from shadow.archive.drawn import STATES, Counts, Floats, Share, Stratum, Z, together, wilson
from shadow.archive.level_sums import FRAUD, HONEST, UNKNOWN, LevelSums


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and its limits of 95 %."""

    value: float
    low: float
    high: float

    def times(self, factor: float) -> Interval:
        return Interval(self.value * factor, self.low * factor, self.high * factor)

    def to_json(self) -> dict[str, float]:
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure between its low and high end. value: None while what is unknown could change it. n: what it is of.

    worst, best: the ends without any estimate. estimate: of what live allowed and of the drawn, the rest of live's
    blocks left out; None if nothing was drawn, or too little released.
    """

    value: float | None
    low: float
    high: float
    n: int
    worst: float
    best: float
    estimate: Interval | None = None

    def times(self, factor: float) -> Figure:
        value = None if self.value is None else self.value * factor
        low, high, worst, best = (end * factor for end in (self.low, self.high, self.worst, self.best))
        estimate = None if self.estimate is None else self.estimate.times(factor)
        return Figure(value, low, high, self.n, worst, best, estimate)

    def to_json(self) -> dict[str, Any]:
        return {
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "n": self.n,
            "worst": self.worst,
            "best": self.best,
            "estimate": None if self.estimate is None else self.estimate.to_json(),
        }


@dataclass(frozen=True)
class Part:
    """Transactions by state: counts, minor units and their squares, (STATES,) each."""

    counts: Counts
    minor: Floats
    squares: Floats

    def plus(self, other: Part) -> Part:
        return Part(self.counts + other.counts, self.minor + other.minor, self.squares + other.squares)

    def minus(self, other: Part) -> Part:
        return Part(self.counts - other.counts, self.minor - other.minor, self.squares - other.squares)


NOTHING = Part(np.zeros(STATES, dtype=np.int64), np.zeros(STATES), np.zeros(STATES))


@dataclass(frozen=True)
class Side:
    """What a model blocks, or what it misses. allowed: by live, so that all of it is known. blocked: by live, drawn or
    not. drawn: of these."""

    allowed: Part
    blocked: Part
    drawn: Stratum

    @property
    def whole(self) -> Part:
        return self.allowed.plus(self.blocked)

    def estimated(self, by_number: bool, by_money: bool) -> Stratum | None:
        """The drawn, if they can be estimated that way."""
        is_enough = (self.drawn.fraud is not None or not by_number) and (self.drawn.money is not None or not by_money)
        return self.drawn if self.drawn.n and is_enough else None

    def but(self, stratum: Stratum | None) -> Part:
        """What is in no estimate."""
        if stratum is None:
            return self.whole
        return self.whole.minus(Part(stratum.counts, stratum.minor, stratum.squares))


def side(sums: LevelSums, at: int, cells: list[int]) -> Side:
    """The transactions of some cells in a segment."""

    def part(of: list[int]) -> Part:
        return Part(*(one[at][of].sum(axis=0) for one in (sums.counts, sums.minor, sums.squares)))

    by_live = [cell for cell in cells if cell in (1, 3)]
    return Side(part([cell for cell in cells if cell not in by_live]), part(by_live), sums.drawn.stratum(at, by_live))


@dataclass(frozen=True)
class _Mix:
    """Transactions of a side that are counted, and its drawn that are estimated besides."""

    part: Part
    stratum: Stratum | None

    def split(self, is_fraud: bool, is_money: bool, share: float) -> tuple[float, float]:
        """Fraud and honest, if all that is unknown is fraud or all of it honest, and of the drawn a share is fraud."""
        known = self.part.minor if is_money else self.part.counts
        fraud, honest, unknown = (float(known[state]) for state in (FRAUD, HONEST, UNKNOWN))
        if self.stratum is not None:
            drawn = float((self.stratum.minor if is_money else self.stratum.counts).sum())
            fraud, honest = fraud + share * drawn, honest + (1 - share) * drawn
        return (fraud + unknown, honest) if is_fraud else (fraud, honest + unknown)

    def share(self, is_money: bool) -> Share | None:
        if self.stratum is None:
            return None
        return self.stratum.money if is_money else self.stratum.fraud


Pair = tuple[float, float]


@dataclass(frozen=True)
class Ratio:
    """A kind of ratio. pick: part and whole, of fraud and honest that are blocked, and that are missed. low: whether
    what is unknown is fraud at its low end, of the blocked and of the missed; at its high end it is the other way.
    """

    pick: Callable[[Pair, Pair], Pair]
    low: tuple[bool, bool]
    needs_missed: bool = True
    is_money: bool = False


PRECISION = Ratio(lambda blocked, missed: (blocked[0], blocked[0] + blocked[1]), (False, False), needs_missed=False)
RECALL = Ratio(lambda blocked, missed: (blocked[0], blocked[0] + missed[0]), (False, True))
RECALL_OF_MONEY = Ratio(RECALL.pick, RECALL.low, is_money=True)
INSULTS = Ratio(lambda blocked, missed: (blocked[1], blocked[1] + missed[1]), (True, False))


def ratio(kind: Ratio, blocked: Side, missed: Side, crowding: float) -> Figure | None:
    """A ratio between its ends. None where there is nothing to divide by."""
    sides = [blocked, missed]
    strata = [one.estimated(not kind.is_money, kind.is_money) for one in sides]
    certain = [_Mix(one.whole, None) for one in sides]
    if not any(_pair(kind, certain, end, None)[1] for end in (False, True)):
        return None
    worst, best = (_limit(kind, certain, end, crowding)[1] for end in (False, True))
    mixed = [_Mix(one.but(stratum), stratum) for one, stratum in zip(sides, strata, strict=True)]
    (low_value, low), (_, high) = (_limit(kind, mixed, end, crowding) for end in (False, True))
    pairs = [_pair(kind, mixed, end, None) for end in (False, True)]
    return Figure(
        _within(low_value, worst, best) if pairs[0] == pairs[1] else None,
        _within(low, worst, best),
        _within(high, worst, best),
        int(sum(one.whole.counts[FRAUD] for one in sides)) if kind.is_money else round(max(of for _, of in pairs)),
        worst,
        best,
        _estimate(kind, sides, strata, crowding),
    )


def _within(value: float, worst: float, best: float) -> float:
    return min(max(value, worst), best)


def _estimate(kind: Ratio, sides: list[Side], strata: list[Stratum | None], crowding: float) -> Interval | None:
    """Of what live allowed and the drawn."""
    of = 2 if kind.needs_missed else 1
    is_thin = any(one.drawn.n and stratum is None for one, stratum in zip(sides[:of], strata[:of], strict=True))
    if is_thin or not any(stratum is not None for stratum in strata[:of]):
        return None
    mixed = [_Mix(one.allowed, stratum) for one, stratum in zip(sides, strata, strict=True)]
    if not _pair(kind, mixed, False, None)[1]:
        return None
    (value, low), (_, high) = (_limit(kind, mixed, end, crowding) for end in (False, True))
    return Interval(value, min(low, value), max(high, value))


def _pair(kind: Ratio, mixed: list[_Mix], is_high: bool, shares: list[float] | None) -> Pair:
    """Part and whole at an end of what is unknown. shares: of fraud in the drawn of each side; None: as estimated."""
    if shares is None:
        found = [one.share(kind.is_money) for one in mixed]
        shares = [0.0 if share is None else share.value for share in found]
    sides = [
        one.split(is_fraud != is_high, kind.is_money, share)
        for one, is_fraud, share in zip(mixed, kind.low, shares, strict=True)
    ]
    return kind.pick(sides[0], sides[1])


def _limit(kind: Ratio, mixed: list[_Mix], is_high: bool, crowding: float) -> tuple[float, float]:
    """A ratio at an end of what is unknown, and its limit towards that end."""
    part, whole = _pair(kind, mixed, is_high, None)
    ends = (0.0, 1.0) if not whole else (part / whole,) * 2 if kind.is_money else wilson(part, whole, crowding)
    value, limit = (part / whole if whole else ends[is_high]), ends[is_high]

    def at(shares: list[float]) -> float:
        part, whole = _pair(kind, mixed, is_high, shares)
        return part / whole if whole else value

    found = [one.share(kind.is_money) for one in mixed]
    if not whole or all(share is None for share in found):
        return value, limit
    shares = [0.0 if share is None else share.value for share in found]
    towards = 1 if is_high else -1
    moves: list[tuple[float, int, Share]] = []
    for side, share in enumerate(found):
        if share is None:
            continue
        moved = [towards * (at([*shares[:side], end, *shares[side + 1 :]]) - value) for end in (share.low, share.high)]
        moves.append((max(0.0, *moved), -1 if moved[0] > moved[1] else 1, share))
    error = math.hypot(limit - value, _error(moves))
    return value, min(1.0, max(0.0, value + towards * error))


def _error(moves: list[tuple[float, int, Share]]) -> float:
    """The error of one or two shares together. moves: how far a share's limit moves the figure, and which limit does.

    Cards in both make the errors go together; that they may cancel each other is not counted on.
    """
    squared = sum(move**2 for move, _, _ in moves)
    if len(moves) == 2:
        (first, sign, one), (second, other, two) = moves
        squared += 2 * first * second * max(0.0, sign * other * together(one, two))
    return math.sqrt(squared)


def money(of: Side, per_fraud: float, per_honest: float, crowding: float | None) -> Figure:
    """A sum: so much for each minor unit of fraud, and so much for each honest transaction. per_fraud: at least 0.

    crowding: None for what happened, without the error of any number of cases.
    """
    stratum = of.estimated(per_honest != 0, per_fraud != 0)

    def limit(mix: _Mix, is_high: bool) -> Pair:
        return _sum_limit(mix, per_fraud, per_honest, is_high, crowding)

    certain, mixed = _Mix(of.whole, None), _Mix(of.but(stratum), stratum)
    worst, best = (limit(certain, end)[1] for end in (False, True))
    (low_value, low), (_, high) = (limit(mixed, end) for end in (False, True))
    estimate = None
    if stratum is not None:
        (value, least), (_, most) = (limit(_Mix(of.allowed, stratum), end) for end in (False, True))
        estimate = Interval(value, min(least, value), max(most, value))
    return Figure(
        None if mixed.part.counts[UNKNOWN] else _within(low_value, worst, best),
        _within(low, worst, best),
        _within(high, worst, best),
        int(of.whole.counts.sum()),
        worst,
        best,
        estimate,
    )


def _sum_limit(mix: _Mix, per_fraud: float, per_honest: float, is_high: bool, crowding: float | None) -> Pair:
    """The sum at an end of what is unknown, and its limit towards that end."""
    is_fraud = is_high == (per_honest <= 0)
    number, amount = mix.share(False), mix.share(True)

    def at(of_number: float, of_money: float) -> float:
        return (
            per_fraud * mix.split(is_fraud, True, of_money)[0] + per_honest * mix.split(is_fraud, False, of_number)[1]
        )

    def ends(share: Share | None) -> Pair:
        return (0.0, 0.0) if share is None else (share.value, share.high if is_fraud else share.low)

    shares = ends(number), ends(amount)
    value = at(shares[0][0], shares[1][0])
    error = abs(at(shares[0][1], shares[1][1]) - value)
    if crowding is not None:
        honest = mix.split(is_fraud, False, shares[0][0])[1]
        squares = float(mix.part.squares[FRAUD]) + (float(mix.part.squares[UNKNOWN]) if is_fraud else 0.0)
        if mix.stratum is not None and amount is not None:
            squares += amount.value * float(mix.stratum.squares.sum())
        error = math.hypot(error, Z * math.sqrt(crowding * (per_fraud**2 * squares + per_honest**2 * honest)))
    return value, value + error if is_high else value - error
