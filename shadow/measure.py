"""Holds sums of a run against the criteria, overall and in every segment: numbers only, at any number of looks at once.

* A criterion *passes* where the evidence that its limit is kept reaches 1 / promote_error. Every criterion of every
  segment has to pass, so one that is harmed passes falsely with a chance of at most promote_error, however many others
  there are (an intersection-union test, Berger 1982), and nothing is divided by their number.
* It *fails* where the evidence that its limit is exceeded survives e-BH over all criteria and segments at reject_error.
  So fifty segments are not fifty false alarms.
* In between it is *insufficient*, with what it still needs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shadow.claims import Claim, Sums, bounded_changes, shares, within_floor
from shadow.criteria import Release
from shadow.evidence import Array, given_up
from shadow.tally import ALL

#: Half of the error of a rejection belongs to all traffic, half to the segments.
WEIGHT_OF_ALL = 0.5
PASS, OPEN, FAIL = 1, 0, -1

Codes = npt.NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Progress:
    """What is known of a run beside its sums, at any number of looks: int64 (...) each.

    hours: clean event hours. conflicts, gap: as in `RunTotals`.
    """

    hours: npt.NDArray[np.int64]
    conflicts: npt.NDArray[np.int64]
    gap: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Row:
    """A criterion in every segment. codes: (..., S) of PASS, OPEN, FAIL. excused: (S,). asked: (..., S), where it
    counts at all."""

    criterion: str
    codes: Codes
    excused: npt.NDArray[np.bool_]
    asked: npt.NDArray[np.bool_]
    claim: Claim | None = None
    log_within: Array | None = None
    log_beyond: Array | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """Looks at a run. run_codes: (..., 2), of covered hours and conflicts. decisions: (...), PASS is promote."""

    rows: tuple[Row, ...]
    run_codes: Codes
    decisions: Codes

    def failed(self) -> npt.NDArray[np.bool_]:
        """Where anything fails: (..., S)."""
        return np.asarray(np.any([row.codes == FAIL for row in self.rows], axis=0))

    def missing(self) -> npt.NDArray[np.bool_]:
        """Where anything is insufficient: (..., 2, S), in the last but one axis what holds and what is excused."""
        still = [(row.codes == OPEN) & row.asked for row in self.rows]
        holds = np.any([s & ~row.excused for s, row in zip(still, self.rows, strict=True)], axis=0)
        excused = np.any([s & row.excused for s, row in zip(still, self.rows, strict=True)], axis=0)
        return np.stack([holds, excused], axis=-2)


def measure(
    candidate: Sums,
    control: Sums | None,
    progress: Progress,
    release: Release,
    cap_minor: int,
    labelled: Sequence[Claim] = (),
) -> Measured:
    """Hold looks at a run against the criteria.

    control: the A/A control's sums; without it nothing is known of the floor. labelled: claims on who is right where
    the two differ; they are asked for only where the candidate is not known to keep to the floor.
    """
    bar = -math.log(release.promote_error)
    rows: list[Row] = list(_support(candidate, progress, release))
    changes = bounded_changes(candidate, control, release, cap_minor)
    floor = None if control is None else within_floor(candidate, control, release)
    keeps_floor = np.zeros(candidate.errors.shape, dtype=bool)
    log_floor = None
    if floor is not None:
        log_floor = floor.log_within()
        keeps_floor = log_floor >= bar
    claims: list[Claim] = [*changes, *labelled]
    within = [claim.log_within() for claim in claims]
    beyond = [claim.log_beyond() for claim in claims]
    fails = _rejected(beyond, release)
    settled = np.full(candidate.errors.shape, bool(labelled))
    for at, (claim, log_within, log_beyond, failing) in enumerate(zip(claims, within, beyond, fails, strict=True)):
        codes = np.where(failing, FAIL, np.where(log_within >= bar, PASS, OPEN)).astype(np.int8)
        is_label = at >= len(changes)
        if is_label:
            settled &= codes == PASS
        asked = ~keeps_floor | failing if is_label else np.ones_like(failing)
        excused = release.excused(claim.criterion)
        rows.append(Row(claim.criterion, codes, excused, asked, claim, log_within, log_beyond))
    codes = np.where(keeps_floor | (settled & (floor is not None)), PASS, OPEN).astype(np.int8)
    name = "excess_disagreement"
    always = np.ones(codes.shape, dtype=bool)
    rows.append(Row(name, codes, release.excused(name), always, floor, log_floor))
    run_codes = np.stack(
        [
            np.where(progress.hours >= release.minimum_covered_hours, PASS, OPEN),
            np.where(progress.conflicts > 0, FAIL, PASS),
        ],
        axis=-1,
    ).astype(np.int8)
    return Measured(tuple(rows), run_codes, _fold(rows, run_codes, candidate, release))


def _rejected(beyond: Sequence[Array], release: Release) -> list[npt.NDArray[np.bool_]]:
    """Where the evidence against each claim is enough to reject: (..., S) for each."""
    stacked = np.stack(beyond, axis=-2)
    weights = shares(WEIGHT_OF_ALL, stacked.shape[-1], len(beyond))
    flat = given_up(stacked.reshape(*stacked.shape[:-2], -1), weights.ravel(), release.reject_error)
    found = flat.reshape(stacked.shape)
    return [found[..., at, :] for at in range(len(beyond))]


def _support(candidate: Sums, progress: Progress, release: Release) -> Iterator[Row]:
    """Criteria that are plain thresholds."""
    n, least = candidate.compared, release.limit("minimum_transactions")
    gap = np.zeros_like(n)
    gap[..., 0] = progress.gap
    decided = n + candidate.errors + gap
    enough = n >= least
    everywhere = np.ones(n.shape, dtype=bool)

    def row(name: str, good: npt.NDArray[np.bool_], may_fail: npt.NDArray[np.bool_]) -> Row:
        codes = np.where(good, np.where(enough, PASS, OPEN), np.where(may_fail, FAIL, OPEN)).astype(np.int8)
        return Row(name, codes, release.excused(name), everywhere)

    yield row("transactions", enough, ~everywhere)
    yield row("coverage", n >= release.limit("minimum_coverage") * decided, decided >= least)
    too_many = candidate.errors > release.limit("maximum_candidate_error_rate") * decided
    yield row("candidate_error_rate", ~too_many, decided >= least)


def _fold(rows: Sequence[Row], run_codes: Codes, candidate: Sums, release: Release) -> Codes:
    """Any failure rejects; else anything insufficient that is not excused holds; else promote."""
    fails = (run_codes == FAIL).any(axis=-1)
    excused = np.array([release.excuses(name, ALL) for name in ("covered_hours", "decision_conflicts")])
    waits = ((run_codes == OPEN) & ~excused).any(axis=-1) | (candidate.compared[..., 0] == 0)
    for row in rows:
        fails = fails | (row.codes == FAIL).any(axis=-1)
        waits = waits | ((row.codes == OPEN) & row.asked & ~row.excused).any(axis=-1)
    return np.asarray(np.where(fails, FAIL, np.where(waits, OPEN, PASS)), dtype=np.int8)
