"""What a look sees beside the criteria: the second view, and drift, out of the histograms of a run's days in Redis."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scorer.deployments import Deployments
from shadow.bins import Counts
from shadow.claims import Sums
from shadow.criteria import Release
from shadow.drift import DriftLook, look, windows
from shadow.matched import Matched, calibration_days, matched
from shadow.payload import HISTOGRAM_DAYS
from shadow.readback import TallyReader
from shadow.tally import LATE_DAY, RunTotals


async def second_view(
    store: TallyReader,
    totals: RunTotals,
    release: Release,
    shipped: float | None,
    control: tuple[TallyReader, RunTotals] | None,
) -> Matched | None:
    """The candidate at live's block rate; None while the calibration window is not full, or if its days are gone."""
    days = calibration_days(totals.covered, release.calibration_days)
    if not days or _is_gone(totals, days):
        return None
    names = release.segments.names
    beside = None
    if control is not None:
        reader, floor = control
        beside = (*await _windows(reader, floor, days, names), Sums.of(floor, names))
    ours = await _windows(store, totals, days, names)
    return matched(*ours, Sums.of(totals, names), release, days, shipped, beside)


def _is_gone(totals: RunTotals, days: Sequence[int]) -> bool:
    """Whether the histograms of these days may have expired."""
    return max(totals.covered) // 24 - min(days) >= HISTOGRAM_DAYS


async def _windows(
    store: TallyReader, totals: RunTotals, days: Sequence[int], names: Sequence[str]
) -> tuple[Counts, Counts]:
    """Scores in the calibration window and in what followed: int64 (S, KINDS, BINS) each. What is dated too far off
    belongs to neither."""
    found = (await store.histograms(totals.run, [*days, LATE_DAY], names)).sum(axis=0)
    whole = np.stack([totals.segments[name].scores for name in names])
    return found[:-1].sum(axis=0), whole - found.sum(axis=0)


async def drift_of(store: TallyReader, totals: RunTotals, release: Release, deployments: Deployments) -> DriftLook:
    """Drift of the run's last week against its calibration window."""
    reference = calibration_days(totals.covered, release.calibration_days)
    within = windows([hour // 24 for hour in totals.covered], reference)
    if within is None or _is_gone(totals, within.reference):
        last = release.calibration_days
        told = f"needs a day that follows the first {last} event days of the run and has the weekday of one of them"
        return DriftLook(None, missing=told)
    names: tuple[str, ...] = tuple(deployments.views.get(totals.view, {}).get("names", ()))
    all_traffic = release.segments.names[:1]
    both = within.reference, within.recent
    scores = np.stack([(await store.histograms(totals.run, days, all_traffic))[:, :, 0] for days in both])
    features = np.stack([await store.snapshots(totals.run, days, totals.view, len(names)) for days in both])
    calibration, following = await _windows(store, totals, reference, all_traffic)
    return look(
        scores, features, names, within, release.drift_error, calibration[0], following[0], release.promote_error
    )
