"""Harm by labels: fraud lost and honest customers blocked ("insults"), from reviewed disagreements. Pure.

Where both models agree, their effects cancel, so only disagreements matter. Harm is a share of live's blocks:

* fraud lost: fraud that only live blocks, minus fraud that only the candidate blocks;
* insults: honest customers that only the candidate blocks, minus those that only live blocks.

Reviews decide, because only they cover both sides, and cases reach them in random order. In each segment the cases
count in the order of their hash, up to the first without an answer (see `in_turn`). These are a random sample of all
disagreements, whatever their labels; a case that was reviewed out of order waits for its turn. A case that nobody could
decide counts as harm when harm has to be excluded, and as none when it has to be proved. One case of each card and day
counts.

Where even the size of the disagreement bounds a harm below its limit, no label is asked for: see `HarmClaim`.

Chargebacks exist only for what live allowed, and never for honest customers. They bound the harm from one side.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from shadow.comparison.case import Case
from shadow.comparison.outcome import DISAGREEMENTS
from shadow.comparison.totals import SegmentTotals
from shadow.gate.claims import Claim, RatioClaim, bounded_changes, factors, sides_beyond_floor, smallest_factor
from shadow.gate.criteria import Criterion, Release
from shadow.gate.sums import HIGHEST, LOWEST, Sums
from shadow.labels.label import Known, State
from shadow.labels.queue import Need, in_turn
from shadow.statistics.eprocess import Array, Interval, Ratio, last, log_evidence

#: Kinds of reviewed disagreements, in the order of `LabelledPairs`.
KINDS = ("lost", "gained", "spared", "insulted", "unsure_live_only", "unsure_candidate_only")
_KIND = {
    (True, State.FRAUD): 0,
    (False, State.FRAUD): 1,
    (True, State.LEGIT): 2,
    (False, State.LEGIT): 3,
    (True, State.UNSURE): 4,
    (False, State.UNSURE): 5,
}
#: What a case of each kind adds to the harm, at worst and at best: they differ where nobody could decide.
_LOST_WORST, _LOST_BEST = (1, -1, 0, 0, 1, 0), (1, -1, 0, 0, 0, -1)
_INSULT_WORST, _INSULT_BEST = (0, 0, -1, 1, 0, 1), (0, 0, -1, 1, -1, 0)
#: Kinds of which each case is a block of live.
_OF_LIVE = (1, 0, 1, 0, 1, 0)


@dataclass(frozen=True, slots=True)
class LabelledPairs:
    """Reviewed disagreements of S segments, at any number of looks.

    counts, count_squares: float64 (..., S, 6), sums over cases of a weight from 0 to 1 and of its square, by KINDS. The
    weight is inverse to the inclusion probability. money, money_squares: the same of weight * amount / cap, with the
    amount capped. reviewed: (..., S), reviewed cases that count.
    """

    counts: Array
    count_squares: Array
    money: Array
    money_squares: Array
    reviewed: Array


def labelled(cases: Sequence[Case], known: Sequence[Known], segments: Sequence[str], cap_minor: float) -> LabelledPairs:
    """Sum the reviews of each segment.

    cases, known: the label sample of a run, by hash. cap_minor: cap on amounts, in minor units. A case below the hash
    threshold h of its segment was kept with probability min(h, inclusion) / h, and has the inverse as its weight.
    Source: Horvitz and Thompson (1952), "A generalization of sampling without replacement from a finite universe".
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
    """The `shadow.gate.claims.Claim` that one kind of harm is at most a limit, by labels alone.

    worst, best: net harm as a share of live's blocks, if undecided cases are harm, or relief. Both are ratios over the
    reviewed disagreements and as large a part of the transactions that both models block, so the share itself is
    bounded, not only what a label says. limit: beyond which the harm has to be shown to be, to fail. tight: below which
    it has to be shown to be, to pass. seen: reviews that count.
    """

    criterion: Criterion
    worst: Ratio
    best: Ratio
    limit: Array
    tight: Array
    seen: Array
    things: str = "reviews"

    @property
    def estimate(self) -> Array:
        """The harm as a share of live's blocks, NaN without reviews or without blocks of live."""
        return np.where(self.seen > 0, (self.worst.estimate + self.best.estimate) / 2, np.nan)

    def log_within(self) -> Array:
        return self.worst.log_below(self.tight)

    def log_beyond(self) -> Array:
        return self.best.log_above(self.limit)

    def interval(self, alpha: float) -> Interval:
        low = self.best.bounds(alpha, LOWEST, HIGHEST).low
        return Interval(self.estimate, low, self.worst.bounds(alpha, LOWEST, HIGHEST).high)

    def of_floor(self) -> Array | None:
        return None

    def times_needed(self, bar: float) -> Array:
        more = factors(self.seen.ndim)
        within, beyond = self.worst.times(more).log_below(self.tight), self.best.times(more).log_above(self.limit)
        return smallest_factor(np.maximum(within, beyond) >= bar)


#: Two ways lead to the proof that harm is small, labels and the size of the disagreement. They share the fortune, and
#: so the error: what a log of evidence loses on each. Where traffic is thin, all is reviewed, so labels have the larger
#: part. If the harm is beyond its limit and so is the disagreement, both parts are bets on what is false, and their sum
#: reaches 1 / alpha with probability at most alpha.
BY_LABELS, BY_SIDE = -math.log(0.75), -math.log(0.25)


@dataclass(frozen=True, slots=True)
class HarmClaim:
    """The `shadow.gate.claims.Claim` that one kind of harm is at most a limit, by labels or without them.

    side: the claim that the disagreements that could do this harm are too few to exceed the limit. Without labels only
    that can show that the limit is kept, and nothing that it is exceeded. other: (..., S), log evidence of another kind
    that speaks for a pass, and shares the fortune: `spent` is what a log of evidence loses on the limit. -inf and 0
    where there is none. own: the limit that has to be kept even then. has_floor: whether a control is known.
    """

    labels: LabelClaim
    side: RatioClaim
    own: Array
    other: Array
    spent: Array
    has_floor: bool

    @property
    def criterion(self) -> Criterion:
        return self.labels.criterion

    @property
    def limit(self) -> Array:
        return self.labels.tight

    @property
    def seen(self) -> Array:
        return self.labels.seen

    @property
    def things(self) -> str:
        return self.labels.things

    def log_by_side(self) -> Array:
        """Log evidence that no label is needed: (..., S)."""
        return np.asarray(self.side.log_within() - BY_SIDE - self.spent)

    def log_within(self) -> Array:
        either = np.asarray(np.logaddexp(self._within(self.limit), self.other))
        if not np.any(self.spent > 0):
            return either
        return np.asarray(np.where(self.spent > 0, np.minimum(either, self._within(self.own) + self.spent), either))

    def _within(self, limit: Array) -> Array:
        """Log evidence that the harm is at most `limit`."""
        by_side = self.side.ratio.log_below(limit) - BY_SIDE
        both = np.logaddexp(self.labels.worst.log_below(limit) - BY_LABELS, by_side)
        return np.asarray(np.where(self.seen > 0, both, by_side) - self.spent)

    def log_beyond(self) -> Array:
        return self.labels.log_beyond()

    def interval(self, alpha: float) -> Interval:
        found = self.labels.interval(alpha)
        out = np.full(found.estimate.shape, HIGHEST)
        within = np.clip(np.fmin(found.estimate, self.side.ratio.estimate), LOWEST, HIGHEST)
        high = last(self._within, out, np.where(np.isnan(within), HIGHEST, within), -math.log(alpha))
        return Interval(found.estimate, found.low, high)

    def of_floor(self) -> Array | None:
        return None

    def times_needed(self, bar: float) -> Array:
        return self.labels.times_needed(bar + BY_LABELS + float(np.max(self.spent)))


def label_claims(pairs: LabelledPairs, sums: Sums, release: Release) -> list[LabelClaim]:
    """The four claims about harm in all segments. pairs, sums: of the same looks and segments."""
    cards = sums.agreed_cards, sums.live_pairs + sums.candidate_pairs
    money = sums.capped[..., 0], sums.capped[..., 1] + sums.capped[..., 2]
    both_cards, both_money = (
        weights.sum(axis=-1) * np.divide(both, differ, out=np.zeros_like(differ), where=differ > 0)
        for weights, (both, differ) in ((pairs.counts, cards), (pairs.money, money))
    )
    lost, insults = (_LOST_WORST, _LOST_BEST), (_INSULT_WORST, _INSULT_BEST)
    return [
        _claim(Criterion.LOST_FRAUD, lost, pairs.counts, pairs.count_squares, both_cards, pairs, release),
        _claim(Criterion.LOST_FRAUD_AMOUNT, lost, pairs.money, pairs.money_squares, both_money, pairs, release),
        _claim(Criterion.INSULTS, insults, pairs.counts, pairs.count_squares, both_cards, pairs, release),
        _claim(Criterion.INSULTS_AMOUNT, insults, pairs.money, pairs.money_squares, both_money, pairs, release),
    ]


def _claim(
    criterion: Criterion,
    kinds: tuple[tuple[int, ...], tuple[int, ...]],
    weights: Array,
    squares: Array,
    both: Array,
    pairs: LabelledPairs,
    release: Release,
) -> LabelClaim:
    """kinds: what a case of each kind adds at worst and at best. both: what both models block, as large a part of it as
    was reviewed of the disagreements, in the unit of the weights."""
    by_kind, squared = ((*np.moveaxis(part, -1, 0), both) for part in (weights, squares))
    worst, best = (Ratio((*values, 0), (*_OF_LIVE, 1), by_kind, squared) for values in kinds)
    limit = release.limit(criterion)
    return LabelClaim(criterion, worst, best, limit, limit, pairs.reviewed)


def unlabelled(sums: Sums) -> LabelledPairs:
    """Nothing reviewed, in the looks and segments of these sums."""
    nothing = np.zeros((*sums.errors.shape, len(KINDS)))
    return LabelledPairs(nothing, nothing, nothing, nothing, np.zeros(sums.errors.shape))


#: Where blocks rise beyond their limit, insults have to keep to this part of theirs, or reviews have to show that of
#: what the candidate blocks in addition at least so many are fraud for each honest customer.
OF_INSULTS, FRAUD_FOR_ONE = 0.5, 1.5
#: What a log of evidence loses on each of these two ways, which share the fortune.
BY_FEW, BY_GAIN = -math.log(0.8), -math.log(0.2)


def harm_claims(
    labels: Sequence[LabelClaim], candidate: Sums, control: Sums | None, release: Release
) -> list[HarmClaim]:
    """The four claims about harm, by labels or without them. labels: from `label_claims`; empty if nobody reviews.

    control: None if the floor is not known. Where blocks are not shown to rise within their limit, insults have to keep
    to a part of theirs, or reviews have to show that the candidate catches far more fraud than it insults customers:
    only then does the rise catch fraud (see `shadow.gate.measure`).
    """
    out = []
    found = labels or label_claims(unlabelled(candidate), candidate, release)
    rises = bounded_changes(candidate, None, release)[0]
    is_rise = rises.log_within() < -math.log(release.promote_error)
    for one, side in zip(found, sides_beyond_floor(candidate, control, release), strict=True):
        is_tight = np.zeros(is_rise.shape, dtype=bool)
        gain = np.zeros(is_rise.shape)
        if one.criterion is Criterion.INSULTS:
            gain = _log_gain(one) - BY_GAIN
            is_tight = is_rise & (gain < -math.log(release.promote_error))
        tight = np.where(is_tight, one.limit * OF_INSULTS, one.limit)
        other, spent = np.where(is_tight, gain, -np.inf), np.where(is_tight, BY_FEW, 0.0)
        of_side = replace(side, limit=tight)
        out.append(HarmClaim(replace(one, tight=tight), of_side, one.limit, other, spent, control is not None))
    return out


def _log_gain(insults: LabelClaim) -> Array:
    """Log evidence that for each honest customer that the candidate blocks in addition there are at least FRAUD_FOR_ONE
    frauds that it catches in addition: (..., S). As more blocks are more fraud and more insults, at most one of
    1 + FRAUD_FOR_ONE additional blocks is then an insult. What nobody could decide counts against the candidate."""
    values = [-1.0, 1.0, FRAUD_FOR_ONE, -FRAUD_FOR_ONE, -1.0, -FRAUD_FOR_ONE]  # in the order of KINDS
    n, squares = len(KINDS), insults.worst.squares
    return log_evidence(values, insults.worst.sums[:n], None if squares is None else squares[:n])


#: E-value that makes the segment above the cap suspicious, as a log, and the part of the limit on fraud lost that what
#: live alone blocks there is held against.
SUSPICION, OF_LIMIT = math.log(20), 0.25


def suspicious(lost: HarmClaim) -> npt.NDArray[np.bool_]:
    """Where live alone blocks so much beyond the control that fraud may be lost: bool (..., S).

    lost: on fraud lost. The segment above the cap may lack evidence, as few have traffic there; but not where the
    little that there is points to harm. Nothing is suspicious while the floor is not known. An equal is suspected with
    a probability of 0.05 at most, and in fact hardly ever, as the bet is against a quarter of the limit.
    """
    if not lost.has_floor:
        return np.zeros(lost.seen.shape, dtype=bool)
    return np.asarray(lost.side.ratio.log_above(lost.own * OF_LIMIT) >= SUSPICION)


def labels_wanted(claims: Sequence[HarmClaim], candidate: Sums, release: Release) -> npt.NDArray[np.bool_]:
    """Where labels are asked for: bool (..., S). Only there the disagreements could exceed a limit on harm.

    claims: from `harm_claims`, lost fraud first. No label is asked for where nothing was compared, or where nobody
    needs to know.
    """
    bar = -math.log(release.promote_error)
    doubt = suspicious(claims[0])
    asked = []
    for claim in claims:
        nobody = release.excused(claim.criterion) & ~release.others & ~(doubt & release.let_off(claim.criterion))
        asked.append((claim.log_by_side() < bar) & ~nobody)
    return np.asarray(np.any(asked, axis=0) & (candidate.disagreements > 0))


@dataclass(frozen=True, slots=True)
class ChargebackBounds:
    """Bounds that chargebacks alone set to the fraud lost, as shares of live's blocks.

    best: as if nothing that only live blocks were fraud, and everything that only the candidate blocks. worst: as if
    everything that only live blocks were fraud, and of the candidate's only what was charged back. confirmed: share of
    candidate-only disagreements that were charged back so far. differ: reviews that contradict a chargeback.
    """

    best: float
    worst: float
    confirmed: float
    differ: int


def chargeback_bounds(
    cases: Sequence[Case], known: Sequence[Known], segment: str, part: SegmentTotals
) -> ChargebackBounds | None:
    """The bounds that chargebacks set in a segment; None where live blocked nothing."""
    live_blocks = part.live_blocks
    if not live_blocks:
        return None
    mine = [(case, one) for case, one in zip(cases, known, strict=True) if segment in case.segments]
    allowed = [(1 / case.inclusion, one.chargeback is State.FRAUD) for case, one in mine if not case.is_live_only]
    weight = sum(w for w, _ in allowed)
    confirmed = sum(w for w, is_fraud in allowed if is_fraud) / weight if weight else 0.0
    live_only, candidate_only = (int(part.counts[side]) for side in DISAGREEMENTS)
    return ChargebackBounds(
        best=-candidate_only / live_blocks,
        worst=(live_only - confirmed * candidate_only) / live_blocks,
        confirmed=confirmed,
        differ=sum(one.sources_differ for _, one in mine),
    )


def needs(claims: Sequence[Claim], asked: Collection[str], segments: Sequence[str], bar: float) -> list[Need]:
    """What the segments in which labels are asked for still need.

    claims: of one look, (S,). asked: names of these segments. bar: log evidence that settles a claim.
    """
    out = []
    evidence = [np.maximum(claim.log_within(), claim.log_beyond()) for claim in claims]
    times = [claim.times_needed(bar) for claim in claims]
    for at, segment in enumerate(segments):
        if segment not in asked or not claims:
            continue
        reviewed = int((claims[0].seen if claims[0].seen is not None else np.zeros(len(segments)))[at])
        settled = min(min(1.0, max(0.0, float(log_e[at]) / bar)) for log_e in evidence)
        ahead = [float(more[at]) for log_e, more in zip(evidence, times, strict=True) if log_e[at] < bar]
        farthest = max(ahead, default=1.0) - 1
        is_known = reviewed > 0 and not any(map(math.isnan, ahead))
        out.append(Need(segment, reviewed, settled, math.ceil(farthest * reviewed) if is_known else None))
    return out
