"""Who is right where the models differ: what labels say of fraud lost and of customers insulted. Pure.

Where both models agree, right and wrong verdicts cancel, so disagreements decide. Harm is a share of live's blocks:

* fraud lost: fraud that live alone blocks, less fraud that the candidate alone blocks;
* insults: honest customers whom the candidate alone blocks, less those whom live alone blocks.

Reviews decide, for only they reach both sides, and the order in which cases come to them is random. In each segment the
cases are taken by their hash up to the first that nobody has answered (see `in_turn`): these are a random sample of all
disagreements, whatever labels say, and what was marked out of turn waits for its turn. A case that nobody could tell
counts as harm where harm is to be excluded, and as none where it is to be proved. Of a card and day, one case counts.

Chargebacks are known only of what live allowed, and the honest never get one. They bound the harm from one side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shadow.cases import Case
from shadow.claims import Sums, factors, smallest_factor
from shadow.criteria import Release
from shadow.evidence import Array, Interval, Ratio
from shadow.labels import ANSWERED, Known, State
from shadow.tally import SegmentTotals

#: Kinds of labelled disagreements, in the order of `LabelledPairs`.
KINDS = ("lost", "gained", "spared", "insulted", "unsure_live_only", "unsure_candidate_only")
_KIND = {
    (True, State.FRAUD): 0,
    (False, State.FRAUD): 1,
    (True, State.LEGIT): 2,
    (False, State.LEGIT): 3,
    (True, State.UNSURE): 4,
    (False, State.UNSURE): 5,
}
#: What a case of each kind adds to the harm, at worst and at best.
_LOST_WORST, _LOST_BEST = (1, -1, 0, 0, 1, 0), (1, -1, 0, 0, 0, -1)
_INSULT_WORST, _INSULT_BEST = (0, 0, -1, 1, 0, 1), (0, 0, -1, 1, -1, 0)
_EACH = (1.0,) * len(KINDS)
_TOLD = {
    "lost_fraud": "of live's blocks is fraud lost",
    "lost_fraud_amount": "of the money live blocks is fraud lost",
    "insults": "more honest customers blocked, of live's blocks",
    "insults_amount": "more honest money blocked, of what live blocks",
}


@dataclass(frozen=True, slots=True)
class LabelledPairs:
    """Reviewed disagreements of S segments, at any number of looks.

    counts, count_squares: float64 (..., S, 6), sums over cases of a weight in 0 to 1, and of its square, by KINDS. The
    weight is inverse to the chance of being in the sample. money, money_squares: the same of weight * amount / cap, the
    amount cut at the cap. reviewed: (..., S), cases answered in turn.
    """

    counts: Array
    count_squares: Array
    money: Array
    money_squares: Array
    reviewed: Array


def in_turn(cases: Sequence[Case], states: Sequence[State], segment: str) -> tuple[list[int], list[int], float]:
    """Cases of a segment that evidence may count, those that wait, and up to which hash they count.

    cases: by hash. Returns positions of both, by hash; one case for each card and day. The threshold is the hash of
    the first that waits, 1 if none does.

    Cases keep coming, and a new one with a small hash would take away what stands behind it as soon as reviewers turn
    to other segments. So cases count up to the event day with which the most of them do: evidence that was once
    complete stays, and the day depends on what was reviewed only, not on what was found.
    """
    seen: set[tuple[str, int]] = set()
    turn: list[int] = []
    for at, case in enumerate(cases):
        if segment in case.segments and case.cluster not in seen:
            seen.add(case.cluster)
            turn.append(at)
    is_open = [states[at] not in ANSWERED for at in turn]
    waiting = [at for at, still in zip(turn, is_open, strict=True) if still]
    best: tuple[list[int], float] = ([], cases[waiting[0]].hash if waiting else 1.0)
    for last in sorted({cases[at].day for at in turn}, reverse=True):
        until = [(at, still) for at, still in zip(turn, is_open, strict=True) if cases[at].day <= last]
        if len(until) <= len(best[0]):
            break
        first = next((n for n, (_, still) in enumerate(until) if still), len(until))
        if first > len(best[0]):
            best = ([at for at, _ in until[:first]], cases[until[first][0]].hash if first < len(until) else 1.0)
    return best[0], waiting, best[1]


def labelled(cases: Sequence[Case], known: Sequence[Known], segments: Sequence[str], cap_minor: float) -> LabelledPairs:
    """What reviews say of each segment.

    cases, known: of the label sample of a run, by hash. cap_minor: in minor units. A case below the threshold h is
    there with chance min(h, its inclusion) / h of what others have, so its weight is the inverse of that (Horvitz and
    Thompson 1952, "A generalization of sampling without replacement from a finite universe").
    """
    states = [one.review for one in known]
    sums = np.zeros((4, len(segments), len(KINDS)))
    reviewed = np.zeros(len(segments))
    for row, segment in enumerate(segments):
        counted, _, threshold = in_turn(cases, states, segment)
        reviewed[row] = len(counted)
        weights = np.array([max(1.0, threshold / cases[at].inclusion) for at in counted])
        for at, weight in zip(counted, weights / weights.max(initial=1.0), strict=True):
            money = weight * min(cases[at].minor, cap_minor) / cap_minor
            kind = _KIND[cases[at].is_live_only, states[at]]
            sums[:, row, kind] += (weight, weight**2, money, money**2)
    return LabelledPairs(sums[0], sums[1], sums[2], sums[3], reviewed)


@dataclass(frozen=True, slots=True)
class LabelClaim:
    """That one kind of harm is at most a limit; a `shadow.claims.Claim`.

    worst, best: net harm of a disagreement, if all that nobody could tell is harm, or relief. scale: disagreements for
    each block of live, (..., S). least, most: beyond these no labels at all could take it; the most is what it is if
    every disagreement that can do harm does. seen: reviews that count.
    """

    criterion: str
    worst: Ratio
    best: Ratio
    scale: Array
    least: Array
    most: Array
    limit: Array
    told: str
    seen: Array
    things: str = "reviews"

    @property
    def estimate(self) -> Array:
        """NaN without labels, or without blocks of live."""
        return np.asarray((self.worst.estimate + self.best.estimate) / 2 * self.scale)

    def log_within(self) -> Array:
        """Infinite where no labels are needed."""
        return self._within(self.worst)

    def log_beyond(self) -> Array:
        return self._beyond(self.best)

    def _within(self, worst: Ratio) -> Array:
        return np.where(self.most <= self.limit, np.inf, worst.log_below(self._each))

    def _beyond(self, best: Ratio) -> Array:
        return np.where(self.least > self.limit, np.inf, best.log_above(self._each))

    @property
    def _each(self) -> Array:
        """The limit as harm of one disagreement; where there are none it does not matter."""
        limit = np.broadcast_to(self.limit, self.scale.shape)
        return np.asarray(np.divide(limit, self.scale, out=np.ones(self.scale.shape), where=self.scale > 0))

    def interval(self, alpha: float) -> Interval:
        low = self.best.bounds(alpha, -1.0, 1.0).low * self.scale
        high = self.worst.bounds(alpha, -1.0, 1.0).high * self.scale
        return Interval(self.estimate, np.maximum(low, self.least), np.minimum(high, self.most))

    def of_floor(self) -> Array | None:
        return None

    def times_needed(self, bar: float) -> Array:
        more = factors(self.scale.ndim)
        return smallest_factor(
            np.maximum(self._within(self.worst.times(more)), self._beyond(self.best.times(more))) >= bar
        )


def label_claims(pairs: LabelledPairs, sums: Sums, release: Release) -> list[LabelClaim]:
    """The four claims on who is right, of all segments. pairs: (..., S, 6), sums: (..., S); one for the other."""
    cards = (sums.counts[..., 1] / sums.crowding, sums.pairs[..., 0], sums.pairs[..., 1])
    money = (sums.capped[..., 0], sums.capped[..., 1], sums.capped[..., 2])
    lost, insults = (_LOST_WORST, _LOST_BEST, False), (_INSULT_WORST, _INSULT_BEST, True)
    return [
        _claim("lost_fraud", lost, pairs.counts, pairs.count_squares, cards, pairs, release),
        _claim("lost_fraud_amount", lost, pairs.money, pairs.money_squares, money, pairs, release),
        _claim("insults", insults, pairs.counts, pairs.count_squares, cards, pairs, release),
        _claim("insults_amount", insults, pairs.money, pairs.money_squares, money, pairs, release),
    ]


def _claim(
    criterion: str,
    kinds: tuple[tuple[int, ...], tuple[int, ...], bool],
    weights: Array,
    squares: Array,
    parts: tuple[Array, Array, Array],
    pairs: LabelledPairs,
    release: Release,
) -> LabelClaim:
    """kinds: what a case of each kind adds at worst and at best, and whether the candidate's blocks do the harm.
    parts: what both block, live alone, the candidate alone."""
    worst_kinds, best_kinds, candidate_harms = kinds
    both, live_only, candidate_only = (np.asarray(part, dtype=np.float64) for part in parts)
    blocked = both + live_only
    per_block = np.divide(1.0, blocked, out=np.full(blocked.shape, np.nan), where=blocked > 0)
    harmful, helpful = (candidate_only, live_only) if candidate_harms else (live_only, candidate_only)
    by_kind, squared = tuple(np.moveaxis(weights, -1, 0)), tuple(np.moveaxis(squares, -1, 0))
    return LabelClaim(
        criterion=criterion,
        worst=Ratio(worst_kinds, _EACH, by_kind, squared),
        best=Ratio(best_kinds, _EACH, by_kind, squared),
        scale=(live_only + candidate_only) * per_block,
        least=-helpful * per_block,
        most=harmful * per_block,
        limit=release.limit(f"maximum_{criterion}"),
        told=_TOLD[criterion],
        seen=pairs.reviewed,
    )


@dataclass(frozen=True, slots=True)
class ChargebackBounds:
    """Fraud lost as far as chargebacks alone can tell, as a share of live's blocks.

    best: as if no block of live alone was fraud, and all of the candidate's. worst: as if all of live's were, and of
    the candidate's only what was charged back. confirmed: share of candidate-only disagreements charged back so far.
    differ: reviews that say the opposite of a chargeback.
    """

    best: float
    worst: float
    confirmed: float
    differ: int


def chargeback_bounds(
    cases: Sequence[Case], known: Sequence[Known], segment: str, part: SegmentTotals
) -> ChargebackBounds | None:
    """What chargebacks leave open in a segment; None where live blocked nothing."""
    live_blocks = int(part.counts[1] + part.counts[2])
    if not live_blocks:
        return None
    mine = [(case, one) for case, one in zip(cases, known, strict=True) if segment in case.segments]
    allowed = [(1 / case.inclusion, one.chargeback is State.FRAUD) for case, one in mine if not case.is_live_only]
    weight = sum(w for w, _ in allowed)
    confirmed = sum(w for w, is_fraud in allowed if is_fraud) / weight if weight else 0.0
    live_only, candidate_only = int(part.counts[2]), int(part.counts[3])
    return ChargebackBounds(
        best=-candidate_only / live_blocks,
        worst=(live_only - confirmed * candidate_only) / live_blocks,
        confirmed=confirmed,
        differ=sum(one.sources_differ for _, one in mine),
    )
