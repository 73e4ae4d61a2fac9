"""Reads a slot's current run from Redis and judges it against the criteria, beside the A/A control."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from scorer.deployments.records import LIVE, PREVIOUS
from scorer.deployments.slots import Deployments
from scorer.errors import UserError
from shadow.comparison.bins import Counts
from shadow.comparison.case import Case
from shadow.comparison.query import Query
from shadow.comparison.resets import ERROR
from shadow.comparison.totals import ALL, LATE_DAY, Run, RunTotals
from shadow.gate import wording
from shadow.gate.clean_period import Compared, begun_by, untolerated
from shadow.gate.criteria import Release
from shadow.gate.drift import DriftLook, drift_between, windows
from shadow.gate.evidence import Evidence, claims_of, judged
from shadow.gate.findings import Judgement
from shadow.gate.groups import Group, largest_group, rows_of
from shadow.gate.harm import HarmClaim, labels_wanted
from shadow.gate.matched import Matched, calibration_days, matched
from shadow.gate.sums import Sums
from shadow.labels.label import Known
from shadow.release.floor import why_no_floor
from shadow.release.origin import origin_in_store
from shadow.release.recent import RecentLook, look_back
from shadow.release.wording import to_be_filled
from shadow.settings import ShadowSettings
from shadow.store.labels import LabelStore
from shadow.store.payload import HISTOGRAM_DAYS
from shadow.store.reader import TallyReader
from shadow.store.samples import SampleReader

#: Samples in which a group is looked for, at most.
MOST_SAMPLES = 10_000


@dataclass(frozen=True)
class Look:
    """A slot as it was read and judged at one moment.

    control: None without an A/A control. no_floor: why the floor is not known, None if it is. evidence: what the
    judgement follows from.
    """

    slot: str
    candidate: RunTotals
    control: RunTotals | None
    judgement: Judgement
    labels: Labels
    recent: RecentLook | None = None
    no_floor: str | None = None
    evidence: Evidence | None = None

    @property
    def label_segments(self) -> frozenset[str]:
        """Segments that need labels: there the candidate may differ from live by more than the A/A floor."""
        return self.labels.wanted


def present_run(deployments: Deployments, slot: str) -> Run | None:
    """The run of a slot against the current live epoch; None while the slot is empty."""
    state = deployments.slot(slot)
    return None if state.is_empty else Run(deployments.slot(LIVE).epoch, state.epoch)


def judged_slots(deployments: Deployments, settings: ShadowSettings) -> list[str]:
    """Slots that hold a candidate to judge: neither live, nor the A/A control, nor `previous`."""
    apart = {LIVE, PREVIOUS, settings.control}
    return sorted(name for name, slot in deployments.slots.items() if name not in apart and slot.digest is not None)


async def clean_totals(store: TallyReader, run: Run, release: Release) -> RunTotals:
    """A run's sums, with what began the run, and without the resets that the criteria tolerate."""
    totals = await store.totals(run)
    compared = {
        info.run: Compared((info.live_digest, info.candidate_digest), (info.live_threshold, info.candidate_threshold))
        for info in await store.runs()
    }
    before = max((other for other in compared if other < run), default=None)
    if before is not None and run in compared:
        totals = replace(totals, begun=begun_by(compared[before], compared[run]))
    if release.tolerated_error_rate and any(reset.cause == ERROR for reset in totals.resets):
        hourly = await store.hourly(run, ALL)
        errors = {hour: (part.errors, part.compared + part.errors) for hour, part in hourly.items()}
        totals = replace(totals, resets=untolerated(totals.resets, errors, release.tolerated_error_rate))
    return totals


async def control_totals(
    redis: Any, deployments: Deployments, release: Release, settings: ShadowSettings
) -> RunTotals | None:
    """The sums of the A/A control's current run; None without a control."""
    run = present_run(deployments, settings.control)
    if run is None:
        return None
    return await TallyReader(redis, settings.control, release.segments.names, settings.prefix).totals(run)


async def look(
    redis: Any,
    deployments: Deployments,
    slot: str,
    release: Release,
    settings: ShadowSettings,
    before: Look | None = None,
    control: RunTotals | None = None,
) -> Look:
    """Judge a slot now. Raises UserError if it is empty.

    before: the last look at this slot; its drift is kept until an event day ends. control: the control's sums, if they
    were read just now, to save reading them again.
    """
    run = present_run(deployments, slot)
    if run is None:
        raise UserError(to_be_filled(slot))
    control_run = present_run(deployments, settings.control)  # before the first await: the ledger may move on
    names = release.segments.names
    store = TallyReader(redis, slot, names, settings.prefix)
    totals = await clean_totals(store, run, release)
    beside = None
    no_floor: str | None = wording.NO_CONTROL
    if control_run is None or slot == settings.control:
        control = None
    else:
        reader = TallyReader(redis, settings.control, names, settings.prefix)
        if control is None or control.run != control_run:
            control = await reader.totals(control_run)
        no_floor = await why_no_floor(settings, deployments)
        beside = (reader, control) if no_floor is None else None
    floor = control if no_floor is None else None
    labels = await labels_of(redis, store, totals, floor, release, settings, deployments.minor_per_unit)
    second = await second_view(store, totals, release, deployments.slot(slot).threshold, beside)
    if before is not None and _is_of_same_day(before.candidate, totals) and before.judgement.drift is not None:
        drift, group = before.judgement.drift, before.judgement.group
    else:
        drift = await drift_of(store, totals, release, deployments)
        group = await group_of(store, totals, release, deployments)
    earlier = before.recent if before is not None and before.candidate.run == totals.run else None
    recent = await look_back(store, totals, beside, release, drift, earlier)
    digest = deployments.slot(slot).digest
    origin = None
    if release.require_lineage and digest is not None:
        origin = await asyncio.to_thread(origin_in_store, settings, digest)
    of_labels = labels.cases, labels.known
    evidence = Evidence(totals, floor, no_floor or "", deployments.minor_per_unit, *of_labels, recent.evidence, origin)
    judgement = judged(evidence, release, second, drift, group, labels.claims, recent.recent)
    return Look(slot, totals, control, judgement, labels, recent, no_floor, evidence)


async def group_of(store: TallyReader, totals: RunTotals, release: Release, deployments: Deployments) -> Group | None:
    """The undeclared group in which the candidate differs from live most, as the newest samples of the run have it."""
    view = deployments.views.get(totals.view)
    known = {} if view is None else view.definitions
    declared = {part.field for part in release.segments.root.values() if part.values is not None}
    names = [name for name, told in known.items() if told.get("kind") == "category" and name not in declared]
    days = len({hour // 24 for hour in totals.covered})
    reader = SampleReader(store.redis, store.slot, store.prefix)
    samples, _ = await reader.page(totals.run, Query(agreements=True, limit=MOST_SAMPLES), deployments.minor_per_unit)
    return largest_group(rows_of(samples, names), days)


def _is_of_same_day(before: RunTotals, now: RunTotals) -> bool:
    """Whether both are of one run, and it reached no new event day in between."""
    return before.run == now.run and {h // 24 for h in before.covered} == {h // 24 for h in now.covered}


@dataclass(frozen=True)
class Labels:
    """The cases of a run in order of their hash, what is known of each, and the claims on harm that follow.

    wanted: the segments in which labels are asked for.
    """

    cases: tuple[Case, ...]
    known: tuple[Known, ...]
    claims: tuple[HarmClaim, ...]
    wanted: frozenset[str] = frozenset()


async def labels_of(
    redis: Any,
    store: TallyReader,
    totals: RunTotals,
    control: RunTotals | None,
    release: Release,
    settings: ShadowSettings,
    minor_per_unit: float,
) -> Labels:
    """Join the cases of a run with their labels. control: the A/A control's sums, None if the floor is not known."""
    cases = await store.cases(totals.run)
    known = await LabelStore(redis, settings.prefix).known(cases)
    names = release.segments.names
    claims = claims_of(cases, known, totals, control, release, minor_per_unit)
    wanted = labels_wanted(claims, Sums.of(totals, names), release)
    asked = frozenset(name for name, is_wanted in zip(names, wanted.tolist(), strict=True) if is_wanted)
    return Labels(tuple(cases), tuple(known), tuple(claims), asked)


async def second_view(
    store: TallyReader,
    totals: RunTotals,
    release: Release,
    shipped: float | None,
    control: tuple[TallyReader, RunTotals] | None,
) -> Matched | None:
    """The candidate at live's block rate; None until the calibration window is full, and once Redis has expired it."""
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
    """Whether Redis may have expired the histograms of these days."""
    return max(totals.covered) // 24 - min(days) >= HISTOGRAM_DAYS


async def _windows(
    store: TallyReader, totals: RunTotals, days: Sequence[int], names: Sequence[str]
) -> tuple[Counts, Counts]:
    """Scores in the calibration window, and in all hours after it: int64 (S, KINDS, BINS) each. Transactions dated
    too far off (`LATE_DAY`) are in neither."""
    found = (await store.histograms(totals.run, [*days, LATE_DAY], names)).sum(axis=0)
    whole = np.stack([totals.segments[name].scores for name in names])
    return found[:-1].sum(axis=0), whole - found.sum(axis=0)


async def drift_of(store: TallyReader, totals: RunTotals, release: Release, deployments: Deployments) -> DriftLook:
    """Drift of the run's last days against its calibration window."""
    reference = calibration_days(totals.covered, release.calibration_days)
    within = windows([hour // 24 for hour in totals.covered], reference)
    if within is None:
        first = release.calibration_days
        return DriftLook(
            None, missing=f"needs a complete event day after the run's first {first}, on a weekday that they include"
        )
    if _is_gone(totals, within.reference):
        return DriftLook(None, missing="the run's first days have expired in Redis")
    view = deployments.views.get(totals.view)
    names = () if view is None else view.names
    all_traffic = release.segments.names[:1]
    both = within.reference, within.recent
    scores = np.stack([(await store.histograms(totals.run, days, all_traffic))[:, :, 0] for days in both])
    features = np.stack([await store.snapshots(totals.run, days, totals.view, len(names)) for days in both])
    calibration, following = await _windows(store, totals, reference, all_traffic)
    return drift_between(
        scores, features, names, within, release.drift_error, calibration[0], following[0], release.promote_error
    )
