"""What a plan expects harm to come to: the evidence at the promotion, if all goes as expected, with harm planted in it.

Pure. The evidence is what the expected traffic adds up to by a day, without chance, of a candidate that is as good as
live. It is asked on the first day on which it promotes: more of it only finds more.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from shadow.comparison.bins import Counts
from shadow.comparison.case import Case
from shadow.comparison.outcome import DISAGREEMENTS
from shadow.comparison.totals import CAP_PARTS, CELLS, HEAVIEST_PARTS, MONEY_TOPS, ONE_OF, Run, RunTotals, SegmentTotals
from shadow.gate.challenge import Challenge, challenge
from shadow.gate.criteria import Kind, Release
from shadow.gate.evidence import Evidence, judged
from shadow.gate.findings import Judgement, Verdict
from shadow.gate.origin import Origin
from shadow.gate.planning import Forecast, Reviews, Traffic
from shadow.labels.label import Known, State
from shadow.statistics.eprocess import Array

#: Any would do: amounts are shares of the cap.
_MINOR_PER_UNIT = 100.0


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What planted harm would come to. day: of the run, on which the expected evidence promotes first."""

    day: int
    challenge: Challenge


def foreseen(
    traffic: Traffic, release: Release, horizon: int, people: Reviews, forecasts: Sequence[Forecast], first: int = 1
) -> Foreseen | None:
    """Plant harm in the evidence of the expected promotion; None if that is not within the horizon.

    forecasts: of the same traffic; their reviews are taken as done, for they end where a segment is settled. first: day
    before which it is not asked.
    """
    for day in range(first, horizon + 1):
        evidence = expected_evidence(traffic, release, day, people, forecasts)
        if _promotes(judged(evidence, release)):
            return Foreseen(day, challenge(evidence, release))
    return None


def _promotes(judgement: Judgement) -> bool:
    """Whether all has passed that has to, but for the last days, of which expected traffic says nothing."""
    asked = [f for f in judgement.findings if not f.excused and f.criterion.kind is not Kind.RECENT]
    return all(f.verdict is Verdict.PASS for f in asked)


def expected_evidence(
    traffic: Traffic, release: Release, days: int, people: Reviews, forecasts: Sequence[Forecast]
) -> Evidence:
    """What the candidate and the A/A control would have been counted for after so many days."""
    cases = tuple(_cases(traffic, release, people, forecasts))
    known = tuple(Known(State.PENDING, state) for _, state in cases)
    candidate = _totals(traffic, release, days, people.excess)
    control = _totals(traffic, release, days, 0.0)
    return Evidence(candidate, control, "", _MINOR_PER_UNIT, tuple(case for case, _ in cases), known, None, Origin())


def _totals(traffic: Traffic, release: Release, days: int, excess: float) -> RunTotals:
    """Expected sums. excess: disagreements beyond those of a seed twin, as a share of live's blocks."""
    names, cap = release.segments.names, release.cap_minor(_MINOR_PER_UNIT)
    clusters = traffic.blocks / traffic.crowding * days
    side = clusters * (traffic.discordance + excess) / 2
    cards = np.stack([np.maximum(clusters - side, 0), side, side], axis=-1).round()  # both, live alone, candidate alone
    moments = [traffic.amount, traffic.square, traffic.whole, traffic.whole_square]
    amount, square, whole, whole_square = (np.broadcast_to(moment, (len(names),)) for moment in moments)
    heaviest = np.broadcast_to(np.asarray(traffic.heaviest), (len(names), MONEY_TOPS)) * CAP_PARTS
    parts = {}
    for at, name in enumerate(names):
        blocked = (cards[at] * traffic.crowding).round()
        cells = np.zeros(CELLS)
        cells[ONE_OF] = cards[at]
        money = [_money(cards[at], amount[at], square[at]), _money(cards[at], whole[at], whole_square[at])]
        tops = np.stack([np.full(MONEY_TOPS, CAP_PARTS), np.minimum(heaviest[at], 0.9 * HEAVIEST_PARTS)])
        parts[name] = SegmentTotals(
            counts=_whole(np.array([max(0.0, traffic.transactions[at] * days - blocked.sum()), *blocked])),
            capped=_whole(cards[at] * amount[at] * cap),
            cells=_whole(cells),
            money=_whole(np.stack(money)),
            tops=_whole(tops * (cards[at].sum() > 0)),
        )
    hours = 24 * days
    return RunTotals(Run(1, 1), parts, hours, covered=tuple(range(hours)))


def _money(cards: Array, mean: float, square: float) -> Array:
    """The sums of `MONEY_SUMS` over card-days of one direction each. mean, square: of a card-day, in caps."""
    both, live, candidate = cards * mean * CAP_PARTS
    both_squares, live_squares, candidate_squares = cards * square * CAP_PARTS**2
    based = both_squares + live_squares
    products = (live_squares + candidate_squares, -live_squares, based, -live_squares, based)
    return np.array([candidate - live, both + live, both + live, *products, live, live_squares, candidate_squares])


def _whole(numbers: Array) -> Counts:
    return numbers.round().astype(np.int64)


def _cases(
    traffic: Traffic, release: Release, people: Reviews, forecasts: Sequence[Forecast]
) -> Iterator[tuple[Case, State]]:
    """The reviewed disagreements of each segment, as many of either side, all of the mean amount."""
    cap = release.cap_minor(_MINOR_PER_UNIT)
    fraud = people.fraud * people.right + (1 - people.fraud) * (1 - people.right)
    amounts = dict(zip(release.segments.names, np.broadcast_to(traffic.amount, (len(traffic.blocks),)), strict=True))
    for forecast in forecasts:
        each = math.floor(forecast.reviews / 2)
        for side in DISAGREEMENTS:
            for at in range(each):
                name = f"{forecast.segment} {int(side)} {at}"
                state = State.FRAUD if at < round(each * fraud) else State.LEGIT
                minor = round(amounts[forecast.segment] * cap)
                yield Case(name, side, minor, 0, name, (forecast.segment,), (at + 0.5) / max(1, each), 0, at), state
