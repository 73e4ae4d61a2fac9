"""Exports a look at a slot as metrics."""

from __future__ import annotations

import numpy as np

from shadow import metrics
from shadow.comparison.outcome import Outcome
from shadow.comparison.resets import CAUSES
from shadow.comparison.totals import RunTotals
from shadow.gate.findings import Decision, Judgement, Verdict
from shadow.release.look import Look

_LEVELS = {Verdict.PASS: 1, Verdict.INSUFFICIENT: 0, Verdict.FAIL: -1}
DECISIONS = {Decision.PROMOTE: 1, Decision.HOLD: 0, Decision.REJECT: -1}
_PER_CRITERION = (
    metrics.CRITERION,
    metrics.OBSERVED,
    metrics.BOUND,
    metrics.LIMIT,
    metrics.FLOOR,
    metrics.EVIDENCE,
)
#: What informs and decides nothing.
_BESIDE = (
    metrics.MATCHED_THRESHOLD,
    metrics.MATCHED_BLOCKS,
    metrics.DRIFT_PSI,
    metrics.DRIFT_LIMIT,
    metrics.SCORE_DISTANCE,
)


def show(seen: Look) -> None:
    """Export a look at a slot."""
    slot, totals = seen.slot, seen.candidate
    show_outcomes(slot, totals)
    decided = totals.compared + totals.errors + totals.gap
    metrics.COVERAGE.labels(slot).set(totals.compared / decided if decided else 0.0)
    judgement = seen.judgement
    metrics.PROGRESS.labels(slot).set(min(1.0, judgement.covered_hours / judgement.needed_hours))
    metrics.DECISION.labels(slot).set(DECISIONS[judgement.decision])
    causes = [reset.cause for reset in judgement.clean.resets] if judgement.clean is not None else []
    causes += judgement.clean.begun if judgement.clean is not None else ()
    for cause in CAUSES:
        metrics.RESETS.labels(slot, cause).set(causes.count(cause))
    for finding in judgement.findings:
        labels = (slot, finding.criterion, finding.segment)
        metrics.CRITERION.labels(*labels).set(_LEVELS[finding.verdict])
        metrics.LIMIT.labels(*labels).set(finding.limit)
        for gauge, value in (
            (metrics.OBSERVED, finding.observed),
            (metrics.BOUND, finding.bound),
            (metrics.FLOOR, finding.floor),
            (metrics.EVIDENCE, finding.evidence),
        ):
            gauge.labels(*labels).set(np.nan if value is None else value)

    _show_beside(slot, judgement)


def _show_beside(slot: str, judgement: Judgement) -> None:
    """Export the matched threshold and drift; remove what is no longer known."""
    for gauge in _BESIDE:
        gauge.remove_by_labels({"slot": slot})
    if judgement.matched is not None:
        metrics.MATCHED_THRESHOLD.labels(slot).set(judgement.matched.threshold)
        for part in judgement.matched.parts:
            if part.shift is not None:
                metrics.MATCHED_BLOCKS.labels(slot, part.segment).set(part.shift.estimate)
    for row in judgement.drift.rows if judgement.drift is not None else ():
        metrics.DRIFT_PSI.labels(slot, row.what).set(row.psi)
        metrics.DRIFT_LIMIT.labels(slot, row.what).set(np.nan if row.limit is None else row.limit)
        for end, value in (("estimate", row.distance), ("low", row.low), ("high", row.high)):
            if value is not None:
                metrics.SCORE_DISTANCE.labels(slot, row.what, end).set(value)


def drop(before: Look, seen: Look) -> None:
    """Remove the criteria and segments that `before` had and `seen` has not."""
    now = {(f.criterion, f.segment) for f in seen.judgement.findings}
    for criterion, segment in {(f.criterion, f.segment) for f in before.judgement.findings} - now:
        for gauge in _PER_CRITERION:
            gauge.remove(seen.slot, criterion, segment)


def forget(slot: str) -> None:
    """Remove all metrics of a slot."""
    for gauge in (
        metrics.OUTCOMES,
        metrics.COVERAGE,
        metrics.PROGRESS,
        metrics.DECISION,
        metrics.RESETS,
        *_PER_CRITERION,
        *_BESIDE,
    ):
        gauge.remove_by_labels({"slot": slot})


def show_outcomes(slot: str, totals: RunTotals) -> None:
    """Export a run's outcomes by segment."""
    for segment, part in totals.segments.items():
        for outcome, count in zip(Outcome, part.counts.tolist(), strict=True):
            metrics.OUTCOMES.labels(slot, segment, outcome.key).set(count)
