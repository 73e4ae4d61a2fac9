"""Gathers what a report tells of a slot's present run, out of Redis and the ledger."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, get_args

from scorer.deployments.slots import Deployments
from shadow.comparison.query import Direction, Query
from shadow.comparison.sample import Sample
from shadow.comparison.totals import ALL, LATE_DAY, Run, SegmentTotals
from shadow.gate.claims import ChangeClaim, RatioClaim, bounded_changes, within_floor
from shadow.gate.criteria import Criterion, Kind, Release
from shadow.gate.findings import Finding, Verdict
from shadow.gate.harm import chargeback_bounds
from shadow.gate.sums import Sums, up_to_each
from shadow.intake.reviews import Queue, open_queue
from shadow.release.look import present_run
from shadow.report.document import TELLING, EvidencePath, Report, telling
from shadow.settings import ShadowSettings
from shadow.statistics.eprocess import Array
from shadow.store.reader import TallyReader
from shadow.store.samples import SampleReader

Explained = Callable[[Sample], Sample]

#: Criteria whose evidence is drawn over time.
PATHS = 6


async def gather(
    redis: Any, deployments: Deployments, slot: str, release: Release, settings: ShadowSettings, explained: Explained
) -> Report:
    """All that a report tells. explained: adds to a sample why the models differ. Raises UserError if the slot is
    empty."""
    control_run = present_run(deployments, settings.control) if slot != settings.control else None
    queue = await open_queue(redis, deployments, slot, release, settings)
    seen, names = queue.seen, release.segments.names
    run, judgement = seen.candidate.run, seen.judgement
    store = TallyReader(redis, slot, names, settings.prefix)
    control = TallyReader(redis, settings.control, names, settings.prefix)
    wanted = _drawn(judgement.findings)
    segments = tuple(dict.fromkeys([ALL, *(f.segment for f in wanted)]))
    paths = await _paths(store, run, control, control_run, segments, wanted, release)
    samples = telling(await _widest(SampleReader(redis, slot, settings.prefix), run, deployments.minor_per_unit))
    infos = [info for info in await store.runs() if info.run == run]
    thresholds = (infos[0].live_threshold, infos[0].candidate_threshold) if infos else (None, None)
    return Report(
        slot=slot,
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        totals=seen.candidate,
        judgement=judgement,
        criteria=release.digest,
        segments=names,
        thresholds=thresholds,
        paths=paths,
        bar=-math.log10(release.promote_error),
        samples=[explained(sample) for sample in samples],
        review=queue.progress,
        chargebacks=_chargebacks(queue),
        gaps=await _gaps(store, queue),
        minor_per_unit=deployments.minor_per_unit,
        currency="" if deployments.currency is None else deployments.currency.code,
    )


async def _widest(store: SampleReader, run: Run, minor_per_unit: float) -> list[Sample]:
    """Of each direction the disagreements with the widest gaps: enough to tell."""
    sides = [Query(direction=direction, sort="gap", limit=TELLING) for direction in get_args(Direction)]
    return [sample for side in sides for sample in (await store.page(run, side, minor_per_unit))[0]]


def _chargebacks(queue: Queue) -> dict[str, Any]:
    parts = queue.seen.candidate.segments
    found = {
        need.segment: chargeback_bounds(
            queue.cases, queue.known, need.segment, parts.get(need.segment, SegmentTotals())
        )
        for need in queue.needs
    }
    return {segment: bounds for segment, bounds in found.items() if bounds is not None}


async def _gaps(store: TallyReader, queue: Queue) -> list[str]:
    """What is missing in what was compared."""
    totals = queue.seen.candidate
    told = [
        f"Partition {part.partition}: retention took decisions {gap} before they were compared"
        for part in await store.progress()
        for gap in part.gaps
    ]
    if totals.errors:
        told.append(f"{totals.errors:,} decisions the candidate could not score")
    if queue.seen.no_floor is not None:
        told.append(f"{queue.seen.no_floor}; how much two equal models differ is not known")
    return told


def _drawn(findings: Sequence[Finding]) -> list[Finding]:
    """The findings whose evidence is drawn: what fails, then what holds, then all traffic."""
    order = {Verdict.FAIL: 0, Verdict.INSUFFICIENT: 1, Verdict.PASS: 3}
    mine = [f for f in findings if f.criterion.kind in (Kind.CHANGE, Kind.FLOOR) and not f.excused]
    mine.sort(key=lambda f: 2 if f.verdict is Verdict.PASS and f.segment == ALL else order[f.verdict])
    return mine[:PATHS]


async def _paths(
    store: TallyReader,
    run: Run,
    control: TallyReader,
    control_run: Run | None,
    segments: Sequence[str],
    wanted: Sequence[Finding],
    release: Release,
) -> list[EvidencePath]:
    """Evidence at the end of each event day, in order of events."""
    ours = await store.daily(run, segments)
    days = [day for day in ours if day != LATE_DAY]
    if not days:
        return []
    candidate, floor = _over_time(ours, days, segments), None
    claims: list[RatioClaim | ChangeClaim] = []
    if control_run is not None:
        floor = _over_time(await control.daily(control_run, segments), days, segments)
        claims.append(within_floor(candidate, floor, release))
    claims += bounded_changes(candidate, floor, release)
    rows = [release.segments.names.index(segment) for segment in segments]
    by_name = {claim.criterion: replace(claim, limit=claim.limit[rows]) for claim in claims}
    sides: dict[Criterion, tuple[Array, Array]] = {}
    for name in {f.criterion for f in wanted} & set(by_name):
        claim = by_name[name]
        sides[name] = claim.log_within() / math.log(10), claim.log_beyond() / math.log(10)
    return [
        EvidencePath(
            f.criterion, f.segment, *(side[:, segments.index(f.segment)].tolist() for side in sides[f.criterion])
        )
        for f in wanted
        if f.criterion in sides
    ]


def _over_time(found: Mapping[int, Mapping[str, SegmentTotals]], days: Sequence[int], segments: Sequence[str]) -> Sums:
    """Sums up to the end of each day: (days, segments)."""
    nothing: Mapping[str, SegmentTotals] = {}
    each = [
        Sums.of_segments([found.get(day, nothing).get(segment, SegmentTotals()) for segment in segments])
        for day in days
    ]
    return up_to_each(each)
