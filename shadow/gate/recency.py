"""The last days apart: whether the candidate still does what it did in the run before them. Pure.

All other criteria are about the whole run, in which the last days hardly count: a model that dies on the thirteenth of
fourteen days is still a good one on average. So what either model alone blocks in the last event days is compared with
the run before, beside the same change of the A/A control, which shows what the traffic itself does.

* *Fail.* Each event day begins an e-process of its own; those of the last days are mixed, the n-th day of the run with
  the weight 1 / (n * (n + 1)). The weights sum to 1, so the error holds over the whole run, however often one looks.
  What the candidate alone blocks never fails here, as it may be an attack that only the candidate sees: it holds, and
  reviews of the whole run say whether customers are insulted.
* *Pass.* A window of at least `recent_days` event days has to show that the rise keeps to its limit. It is longer where
  live blocks little, so long that a candidate that has not changed passes nearly always. Where it would be longer than
  the run before it, the criteria on the whole run say as much, and this one is not asked.
* *Hold.* Nor does it pass while the last days themselves look suspicious: where an e-value of 20 says that the rise is
  above half of its limit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from shadow.comparison.bins import ALLOWED, BLOCKED, LIVE, Counts
from shadow.comparison.outcome import Outcome
from shadow.gate.claims import RatioClaim
from shadow.gate.criteria import Criterion, Release
from shadow.gate.sums import Sums, pairs_of
from shadow.statistics.distance import drift_bounds
from shadow.statistics.eprocess import BETS, STAKES, Array, Ratio

#: How far from what is expected the evidence of an unchanged candidate may stay in a window, in standard deviations.
UNLUCKY = 3.0
#: Disagreements that the run before a window is taken to have had in addition: few of them may be fewer than usual.
AT_LEAST = 2.0
#: Expected candidate errors, if their rate is at the limit, with which a window is long enough to judge them.
EXPECTED_ERRORS = 20.0
#: E-value that makes the last days suspicious, as a log, and the part of the limit that they are held against.
SUSPICION, OF_LIMIT = math.log(20), 0.5
#: Log evidence of what cannot be shown.
IMPOSSIBLE = -1e3
_SIDES = ((Criterion.RECENT_LIVE_ONLY, Outcome.LIVE_ONLY), (Criterion.RECENT_CANDIDATE_ONLY, Outcome.CANDIDATE_ONLY))


@dataclass(frozen=True, slots=True)
class RecentClaim:
    """The claim that a rate rose by at most a limit in the last days, in each of S segments, at any number of looks.

    claim: about the window that has to pass. log_within, log_beyond: (..., S). asked: bool (..., S).
    """

    claim: RatioClaim
    log_within: Array
    log_beyond: Array
    asked: npt.NDArray[np.bool_]

    @property
    def criterion(self) -> Criterion:
        return self.claim.criterion

    def at(self, look: int) -> RecentClaim:
        """One look of a path, whose axis is the last but that of the segments."""

        def one(array: Array) -> Array:
            return np.asarray(array[..., look, :])

        ratio = self.claim.ratio
        sums = tuple(map(one, ratio.sums))
        claim = replace(self.claim, ratio=replace(ratio, sums=sums))
        return RecentClaim(claim, one(self.log_within), one(self.log_beyond), np.asarray(self.asked[..., look, :]))


@dataclass(frozen=True, slots=True)
class ScoreShift:
    """How far the candidate's scores of the last days are from those before, beyond live's own: a distance from 0 to 1
    between distribution functions, with bounds that hold at all times."""

    estimate: float
    low: float
    high: float


def score_shift(before: Counts, since: Counts, clustering: float, error: float) -> ScoreShift | None:
    """The shift of scores. None where either has none.

    before, since: int64 (KINDS, BINS), of the run before the last days, and of these. clustering: counted values that
    are worth one independent value. error: probability that either bound is ever wrong.
    """
    parts = [part[[ALLOWED, BLOCKED]].sum(axis=0) for part in (before, since)]
    lives = [part[LIVE] for part in (before, since)]
    if not min(part.sum() for part in parts):
        return None
    ours = drift_bounds(parts[0], parts[1], error / 2, 1 / clustering, 1 / clustering)
    theirs = drift_bounds(lives[0], lives[1], error / 2, 1 / clustering, 1 / clustering)
    of_live = float(np.nan_to_num(theirs.estimate)), float(theirs.low), float(theirs.high)
    return ScoreShift(float(ours.estimate) - of_live[0], float(ours.low) - of_live[2], float(ours.high) - of_live[1])


@dataclass(frozen=True, slots=True)
class Recent:
    """What the last days say. scores: None where they are not kept, as in forecasts."""

    claims: tuple[RecentClaim, ...]
    scores: ScoreShift | None = None

    def at(self, look: int) -> Recent:
        """One look of a path."""
        return replace(self, claims=tuple(claim.at(look) for claim in self.claims))


def recent_of(candidate: Sums, control: Sums | None, per_day: int, release: Release, skipped: int = 0) -> Recent:
    """What the last days say, at every look of a path from the beginning of a run.

    candidate, control: sums so far, (..., T, S) and so on; per_day: looks of an event day, the first of the run being
    its first look. control: None if the floor is not known. skipped: event days of the run before those of the path.
    """
    days = release.recent_days
    day = np.arange(candidate.errors.shape[-2]) // per_day
    paths = [candidate] if control is None else [candidate, control]

    def since(n: int) -> Pairs:
        """Of each path, what came since the beginning of the last n event days, and what was before."""
        start = np.maximum((day - n + 1) * per_day, 0)
        return [_split(path, start) for path in paths]

    suffixes = [since(n) for n in range(1, days + 1)]
    windows = [suffixes[-1], *(since(n) for n in range(days + 1, int(day[-1]) // 2 + 2))]
    #: position in the run of the day at which each suffix begins, from 1; the first day has nothing before it
    begins = [(day - n + 2 + skipped)[:, None] for n in range(1, days + 1)]
    claims = [_risen(suffixes, windows, begins, *side, release) for side in _SIDES]
    return Recent((*claims, _failed(suffixes, windows, begins, release)))


def _risen(
    suffixes: Sequence[Pairs],
    windows: Sequence[Pairs],
    begins: Sequence[npt.NDArray[np.int64]],
    criterion: Criterion,
    side: Outcome,
    release: Release,
) -> RecentClaim:
    """That one model alone blocks at most a little more than before."""
    limit = release.limit(criterion)
    bar = -math.log(release.promote_error)
    window, enough = _window(windows, lambda pairs: _is_long_enough(pairs, side, limit, bar))
    raw = _rise(window[:1], side)
    within = raw.log_below(limit)
    if len(window) > 1:
        within = np.logaddexp(within, _rise(window, side).log_below(limit)) - math.log(2)
    rises = [_rise(pairs, side) for pairs in suffixes]
    beyond = _mixed([rise.log_above(limit) for rise in rises], begins)
    if side is Outcome.CANDIDATE_ONLY:  # may be an attack that only it sees
        beyond = np.full_like(beyond, IMPOSSIBLE)
    suspicion = np.max(
        [np.where(b > 1, r.log_above(limit * OF_LIMIT), 0.0) for r, b in zip(rises, begins, strict=True)], axis=0
    )
    is_suspicious = suspicion >= SUSPICION
    asked = is_suspicious | (enough & (window[0][0].live_blocks <= window[0][1].live_blocks))
    within = np.where(is_suspicious, np.minimum(within, 0.0), within)
    return RecentClaim(RatioClaim(criterion, raw, limit), within, beyond, asked)


def _failed(
    suffixes: Sequence[Pairs], windows: Sequence[Pairs], begins: Sequence[npt.NDArray[np.int64]], release: Release
) -> RecentClaim:
    """That the candidate fails to score at most a few of the last days' decisions, in all traffic."""
    criterion = Criterion.RECENT_ERRORS
    limit = release.limit(criterion)

    def failures(pairs: Pairs) -> Ratio:
        part = pairs[0][0]
        return Ratio((1, 0), (1, 1), (part.errors / part.crowding, part.compared / part.crowding))

    def is_enough(pairs: Pairs) -> npt.NDArray[np.bool_]:
        part = pairs[0][0]
        return np.asarray((part.compared + part.errors) / part.crowding * limit >= EXPECTED_ERRORS)

    window, enough = _window(windows, is_enough)
    found = failures(window)
    within = np.where((limit == 0) & (window[0][0].errors == 0), np.inf, found.log_below(limit))
    beyond = _mixed([failures(pairs).log_above(limit) for pairs in suffixes], begins)
    of_all = np.zeros(found.sums[0].shape, dtype=bool)
    of_all[..., 0] = True
    is_later = window[0][0].compared <= window[0][1].compared
    asked = of_all & (enough | (limit == 0)) & is_later
    return RecentClaim(RatioClaim(criterion, found, limit), within, np.where(of_all, beyond, IMPOSSIBLE), asked)


def _mixed(each: Sequence[Array], begins: Sequence[npt.NDArray[np.int64]]) -> Array:
    """Log of the mixture of e-processes, of which each begins with a day of the run: see the module."""
    parts = [
        np.where(b > 1, e - np.log(np.maximum(b, 1) * (np.maximum(b, 1) + 1)), IMPOSSIBLE)
        for e, b in zip(each, begins, strict=True)
    ]
    return np.asarray(np.logaddexp.reduce(parts, axis=0))


#: Sums of which the last days ask nothing.
_OF_MONEY = frozenset({"capped", "money", "tops"})


def _split(path: Sums, start: npt.NDArray[np.int64]) -> tuple[Sums, Sums]:
    """Sums since a look, and before it, without money. start: (T,), positions of the first look that counts."""
    since, before = [], []
    for field in fields(Sums):
        array = getattr(path, field.name)
        if field.name in _OF_MONEY:
            array = array[..., :0]
        axis = path.errors.ndim - 2
        gone = np.take(array, np.maximum(start - 1, 0), axis=axis)
        gone[(slice(None),) * axis + (start == 0,)] = 0.0
        before.append(gone)
        since.append(array - gone)
    return Sums(*since), Sums(*before)


#: Of the candidate and of the control, if there is one: the last days, and the run before them.
Pairs = Sequence[tuple[Sums, Sums]]


def _window(
    windows: Sequence[Pairs], is_enough: Callable[[Pairs], npt.NDArray[np.bool_]]
) -> tuple[Pairs, npt.NDArray[np.bool_]]:
    """The shortest window that is long enough, in each segment by itself, and whether any is."""
    chosen, found = windows[0], is_enough(windows[0])
    for pairs in windows[1:]:
        fits = ~found & is_enough(pairs)
        if fits.any():
            chosen = [
                (_where(fits, new[0], old[0]), _where(fits, new[1], old[1]))
                for new, old in zip(pairs, chosen, strict=True)
            ]
        found = found | fits
    return chosen, found


def _is_long_enough(pairs: Pairs, side: Outcome, limit: Array, bar: float) -> npt.NDArray[np.bool_]:
    """Whether live blocks enough in a window that a candidate whose rate is unchanged passes nearly always.

    A bet b on n blocks of live gains n * log(1 + b * limit), and log(1 - b) or log(1 + b) with each disagreement of the
    window and of the run before it, scaled down to the window. These are Poisson with the mean n * rate each, which
    gives the expected gain of a bet and its standard deviation. Some bet has to gain enough even where it is unlucky.
    """
    since, before = pairs[0]
    n, there = since.live_cards, before.live_cards
    rate = np.divide(pairs_of(before, (side,)) + AT_LEAST, there, out=np.ones_like(there), where=there > 0)
    out = np.zeros(n.shape, dtype=bool)
    for bet, stake in zip(BETS, STAKES, strict=True):
        losing, winning = math.log1p(-bet), math.log1p(bet)
        gain = n * (np.log1p(bet * limit) + rate * (losing + winning))
        deviation = np.sqrt(n * rate * (losing**2 + winning**2))
        out |= gain - UNLUCKY * deviation + math.log(stake / 2) >= bar
    return out


def _where(condition: npt.NDArray[np.bool_], one: Sums, other: Sums) -> Sums:
    parts = []
    for field in fields(Sums):
        first, second = getattr(one, field.name), getattr(other, field.name)
        parts.append(np.where(condition.reshape(*condition.shape, *[1] * (first.ndim - condition.ndim)), first, second))
    return Sums(*parts)


def _rise(pairs: Pairs, side: Outcome) -> Ratio:
    """What one model alone blocks in the last days, beyond the rate before, as a share of live's blocks, in card-days.

    pairs: of the candidate, and of the control if its own rise is left out. All parts are scaled down to as many blocks
    of live as the smallest has: see `shadow.gate.sums.alike`.
    """
    parts = [part for pair in pairs for part in pair]
    blocks = [part.live_cards for part in parts]
    fewest = np.min(blocks, axis=0)
    share = [np.divide(fewest, own, out=np.zeros_like(own), where=own > 0) for own in blocks]
    alone = [pairs_of(part, (side,)) * by for part, by in zip(parts, share, strict=True)]
    signs = (1, -1, -1, 1)[: len(parts)]
    return Ratio((*signs, 0), (*(0,) * len(parts), 1), (*alone, fewest))


#: The run has no days before the last ones: the criteria on the whole run judge these, too.
TOO_SHORT = Recent(())
