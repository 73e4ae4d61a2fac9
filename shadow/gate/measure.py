"""The rule: measures a run by the criteria, in all traffic and in every segment, at any number of looks at once.

* A criterion *passes* where the evidence that its limit is kept reaches 1 / promote_error. Every criterion must pass in
  every segment, so a promotion despite one exceeded limit has a probability of at most promote_error, however many
  others there are (an intersection-union test, Berger 1982). The error is therefore not divided by their number.
* It *fails* where the evidence that its limit is exceeded survives e-BH over all criteria and segments at reject_error.
  So many segments do not mean many false alarms.
* Otherwise it is *insufficient*.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from shadow.comparison.totals import ALL
from shadow.gate.claims import ChangeClaim, Claim, RatioClaim, bounded_changes, overlooked, shares, within_floor
from shadow.gate.criteria import Criterion, Release
from shadow.gate.harm import HarmClaim, LabelClaim, harm_claims, suspicious
from shadow.gate.recency import Recent, ScoreShift
from shadow.gate.sums import Sums
from shadow.statistics.eprocess import Array, rejected

#: The part of the error of a rejection that belongs to all traffic; the segments share the rest.
WEIGHT_OF_ALL = 0.5
PASS, OPEN, FAIL = 1, 0, -1
#: Criteria whose limits are stretched where reviews show a change to be good.
_MORE = (Criterion.MORE_BLOCKS, Criterion.MORE_BLOCKED_AMOUNT, Criterion.MORE_UNCAPPED_AMOUNT)

Codes = npt.NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class RunProgress:
    """What is known of a run besides its sums, at any number of looks: int64 (...) each.

    hours: clean event hours. conflicts, gap: as in `RunTotals`.
    """

    hours: npt.NDArray[np.int64]
    conflicts: npt.NDArray[np.int64]
    gap: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Row:
    """A criterion in every segment.

    codes: (..., S) of PASS, OPEN, FAIL. excused: (..., S), whether it may stay insufficient. asked: (..., S), whether
    it counts at all.
    """

    criterion: Criterion
    codes: Codes
    excused: npt.NDArray[np.bool_]
    asked: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class SupportRow(Row):
    """A criterion judged by a plain threshold."""


@dataclass(frozen=True, slots=True)
class ClaimRow(Row):
    """A criterion judged by evidence on both sides of its limit. log_within, log_beyond: (..., S)."""

    claim: Claim
    log_within: Array
    log_beyond: Array


@dataclass(frozen=True, slots=True)
class MoreRow(ClaimRow):
    """A criterion on more blocks or more blocked money, whose limit is stretched where reviews favour the change.

    is_good: bool (..., S). stretched: the claim with the stretched limit, beyond which it fails.
    """

    is_good: npt.NDArray[np.bool_]
    stretched: ChangeClaim


@dataclass(frozen=True, slots=True)
class HarmRow(ClaimRow):
    """A criterion on harm. by_side: bool (..., S), where it passes without a label, as the disagreements are few."""

    claim: HarmClaim
    by_side: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class FloorRow(Row):
    """The excess over the A/A control, which never fails on its own. log_within: (..., S)."""

    claim: Claim
    log_within: Array


@dataclass(frozen=True, slots=True)
class NoFloorRow(Row):
    """The excess without an A/A control: always insufficient."""


@dataclass(frozen=True, slots=True)
class RecentRow(Row):
    """A criterion on the last days. log_within, log_beyond: (..., S)."""

    claim: RatioClaim
    log_within: Array
    log_beyond: Array


@dataclass(frozen=True, slots=True)
class ScoreRow(Row):
    """How far the candidate's scores have moved in the last days; of all traffic."""

    shift: ScoreShift


@dataclass(frozen=True, slots=True)
class UnknownRow(Row):
    """A criterion on the last days of which nothing is known: insufficient in all traffic."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A run at any number of looks. run_codes: (..., 2), of covered hours and conflicts, or (..., 3), of lineage
    as well where it is asked for. decisions: (...)."""

    rows: tuple[Row, ...]
    run_codes: Codes
    decisions: Codes

    def failed(self) -> npt.NDArray[np.bool_]:
        """The segments in which anything fails: bool (..., S)."""
        return np.asarray(np.any([row.codes == FAIL for row in self.rows], axis=0))

    def missing(self) -> npt.NDArray[np.bool_]:
        """The segments in which anything is insufficient: bool (..., 2, S), not excused and excused."""
        still = [(row.codes == OPEN) & row.asked for row in self.rows]
        holds = np.any([s & ~row.excused for s, row in zip(still, self.rows, strict=True)], axis=0)
        excused = np.any([s & row.excused for s, row in zip(still, self.rows, strict=True)], axis=0)
        return np.stack([holds, excused], axis=-2)


def measure(
    candidate: Sums,
    control: Sums | None,
    progress: RunProgress,
    release: Release,
    labelled: Sequence[LabelClaim] = (),
    recent: Recent | None = None,
    lineage: int = PASS,
) -> Measured:
    """Measure a run by the criteria.

    control: the A/A control's sums; None if the floor is not known, which leaves the excess insufficient. labelled:
    claims about harm by labels; without them only the size of a disagreement can show that it does little harm.
    recent: the last days, at the same looks; None if nothing is known of them. lineage: PASS or OPEN, at all looks;
    what is only expected has no bundle, and passes.
    """
    bar = -math.log(release.promote_error)
    changes = bounded_changes(candidate, control, release)
    outer = [claim.stretched(release.better_factor) if claim.criterion in _MORE else claim for claim in changes]
    harm = harm_claims(labelled, candidate, control, release)
    of_late = () if recent is None else recent.claims
    on_the_run: list[Claim] = [*outer, *harm]
    beyond = [*(claim.log_beyond() for claim in on_the_run), *(claim.log_beyond for claim in of_late)]
    fails = _rejected(beyond, release)
    by_harm = [_harm_row(*found, bar, release) for found in zip(harm, fails[len(changes) :], strict=False)]
    rows: list[Row] = [*_support(candidate, progress, release)]
    for claim, widest, failing in zip(changes, outer, fails, strict=False):
        within, excused, asked = claim.log_within(), release.excused(claim.criterion), np.ones_like(failing)
        asked &= claim.is_judged
        log_beyond = widest.log_beyond()
        if isinstance(widest, ChangeClaim) and claim.criterion in _MORE:
            is_good = _is_good(claim.criterion, by_harm)
            codes = _codes(failing, (within >= bar) | (is_good & (widest.log_within() >= bar)))
            rows.append(MoreRow(claim.criterion, codes, excused, asked, claim, within, log_beyond, is_good, widest))
        else:
            codes = _codes(failing, within >= bar)
            rows.append(ClaimRow(claim.criterion, codes, excused, asked, claim, within, log_beyond))
    rows += by_harm
    rows += _recent_rows(recent, fails[len(changes) + len(harm) :], bar, candidate, release)
    harmless = np.all([row.codes == PASS for row in by_harm], axis=0)
    rows.append(_floor_row(candidate, control, harmless, bar, release))
    of_run = [
        np.where(progress.hours >= release.minimum_covered_hours, PASS, OPEN),
        np.where(progress.conflicts > 0, FAIL, PASS),
    ]
    if release.require_lineage:
        of_run.append(np.full_like(of_run[0], lineage))
    run_codes = np.stack(of_run, axis=-1).astype(np.int8)
    rows = _doubted(_without_small_others(rows, candidate, release), harm, release)
    return Measured(tuple(rows), run_codes, _fold(rows, run_codes, candidate, release))


def _without_small_others(rows: Sequence[Row], candidate: Sums, release: Release) -> list[Row]:
    """An `other` that is shown to be small is excused, and one that is empty is not asked for."""
    small, is_empty = overlooked(candidate, release), release.others & (candidate.compared + candidate.errors == 0)
    return [replace(row, excused=row.excused | small, asked=row.asked & ~is_empty) for row in rows]


def _doubted(rows: Sequence[Row], harm: Sequence[HarmClaim], release: Release) -> list[Row]:
    """The segment above the cap is not excused, unless by name, while fraud seems to be lost in it."""
    (lost,) = (claim for claim in harm if claim.criterion is Criterion.LOST_FRAUD)
    doubt = suspicious(lost)
    return [replace(row, excused=row.excused & ~(doubt & release.let_off(row.criterion))) for row in rows]


def _codes(failing: npt.NDArray[np.bool_], passing: npt.NDArray[np.bool_]) -> Codes:
    return np.where(failing, FAIL, np.where(passing, PASS, OPEN)).astype(np.int8)


def _harm_row(claim: HarmClaim, failing: npt.NDArray[np.bool_], bar: float, release: Release) -> HarmRow:
    within = claim.log_within()
    codes, by_side = _codes(failing, within >= bar), (claim.log_by_side() >= bar) & ~failing
    excused, asked = release.excused(claim.criterion), np.ones_like(failing)
    return HarmRow(claim.criterion, codes, excused, asked, claim, within, claim.log_beyond(), by_side)


def _is_good(criterion: Criterion, harm: Sequence[HarmRow]) -> npt.NDArray[np.bool_]:
    """Where more blocks, or more blocked money, are shown to do good: (..., S).

    No fraud is lost beyond its limit, and few customers are insulted: see `shadow.gate.harm.harm_claims`. What the
    candidate blocks in addition to these is then fraud that live lets through.
    """
    needed = [Criterion.LOST_FRAUD, Criterion.INSULTS]
    if criterion is not Criterion.MORE_BLOCKS:
        needed += [Criterion.LOST_FRAUD_AMOUNT, Criterion.INSULTS_AMOUNT]
    return np.asarray(np.all([row.codes == PASS for row in harm if row.criterion in needed], axis=0))


def _floor_row(
    candidate: Sums, control: Sums | None, harmless: npt.NDArray[np.bool_], bar: float, release: Release
) -> FloorRow | NoFloorRow:
    criterion = Criterion.EXCESS_DISAGREEMENT
    excused, asked = release.excused(criterion), np.ones_like(harmless)
    if control is None:
        return NoFloorRow(criterion, np.zeros(harmless.shape, dtype=np.int8), excused, asked)
    claim = within_floor(candidate, control, release)
    within = claim.log_within()
    codes = _codes(np.zeros_like(harmless), (within >= bar) | harmless)
    return FloorRow(criterion, codes, excused, asked, claim, within)


def _recent_rows(
    recent: Recent | None, fails: Sequence[npt.NDArray[np.bool_]], bar: float, candidate: Sums, release: Release
) -> Iterator[Row]:
    nothing = np.zeros(candidate.errors.shape, dtype=bool)
    everything = nothing.copy()
    everything[..., 0] = True
    if recent is None:
        for criterion in (Criterion.RECENT_LIVE_ONLY, Criterion.RECENT_CANDIDATE_ONLY):
            yield UnknownRow(criterion, nothing.astype(np.int8), release.excused(criterion), everything)
        return
    for found, failing in zip(recent.claims, fails, strict=True):
        codes = _codes(failing, found.log_within >= bar)
        row = found.criterion, codes, release.excused(found.criterion), found.asked | failing
        yield RecentRow(*row, found.claim, found.log_within, found.log_beyond)
    if recent.scores is not None:
        criterion, limit = Criterion.RECENT_SCORES, release.overall.maximum_recent_score_shift
        codes = np.full(nothing.shape, PASS, dtype=np.int8)
        codes[..., 0] = FAIL if recent.scores.low > limit else PASS if recent.scores.high <= limit else OPEN
        yield ScoreRow(criterion, codes, release.excused(criterion), everything, recent.scores)


def _rejected(beyond: Sequence[Array], release: Release) -> list[npt.NDArray[np.bool_]]:
    """The segments in which each claim is rejected, by e-BH over all of them: bool (..., S) for each."""
    stacked = np.stack(beyond, axis=-2)
    weights = shares(WEIGHT_OF_ALL, stacked.shape[-1], len(beyond))
    flat = rejected(stacked.reshape(*stacked.shape[:-2], -1), weights.ravel(), release.reject_error)
    found = flat.reshape(stacked.shape)
    return [found[..., at, :] for at in range(len(beyond))]


def _support(candidate: Sums, progress: RunProgress, release: Release) -> Iterator[SupportRow]:
    """Measure the criteria that are plain thresholds."""
    n, least = candidate.compared, release.limit(Criterion.TRANSACTIONS)
    gap = np.zeros_like(n)
    gap[..., 0] = progress.gap
    decided = n + candidate.errors + gap
    enough = n >= least
    everywhere = np.ones(n.shape, dtype=bool)

    def row(criterion: Criterion, good: npt.NDArray[np.bool_], may_fail: npt.NDArray[np.bool_]) -> SupportRow:
        codes = np.where(good, np.where(enough, PASS, OPEN), np.where(may_fail, FAIL, OPEN)).astype(np.int8)
        return SupportRow(criterion, codes, release.excused(criterion), everywhere)

    yield row(Criterion.TRANSACTIONS, enough, ~everywhere)
    covered = n >= release.limit(Criterion.COVERAGE) * decided
    yield row(Criterion.COVERAGE, covered, decided >= least)
    too_many = candidate.errors > release.limit(Criterion.CANDIDATE_ERROR_RATE) * decided
    yield row(Criterion.CANDIDATE_ERROR_RATE, ~too_many, decided >= least)


def _fold(rows: Sequence[Row], run_codes: Codes, candidate: Sums, release: Release) -> Codes:
    """Reject if anything fails; else hold if anything is insufficient and not excused; else promote."""
    fails = (run_codes == FAIL).any(axis=-1)
    excused = np.array([release.excuses(name, ALL) for name in (Criterion.COVERED_HOURS, Criterion.DECISION_CONFLICTS)])
    excused = np.append(excused, False)[: run_codes.shape[-1]]  # nothing excuses lineage
    waits = ((run_codes == OPEN) & ~excused).any(axis=-1) | (candidate.compared[..., 0] == 0)
    for row in rows:
        fails = fails | (row.codes == FAIL).any(axis=-1)
        waits = waits | ((row.codes == OPEN) & row.asked & ~row.excused).any(axis=-1)
    return np.asarray(np.where(fails, FAIL, np.where(waits, OPEN, PASS)), dtype=np.int8)
