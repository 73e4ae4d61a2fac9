"""Gathers what a report tells of a slot's present run, out of Redis and the ledger."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from scorer.deployments import Deployments
from shadow.claims import RatioClaim, Sums, bounded_changes, within_floor
from shadow.criteria import Release
from shadow.evidence import Array
from shadow.explain import Explainer
from shadow.findings import Finding, Verdict
from shadow.labelled import chargeback_bounds
from shadow.look import present_run
from shadow.readback import TallyReader
from shadow.report import Path, Report, telling
from shadow.reviewing import Queue, open_queue
from shadow.settings import ShadowSettings
from shadow.tally import ALL, LATE, Run, SegmentTotals

#: Criteria whose evidence is drawn over time.
PATHS = 6


async def gather(
    redis: Any, deployments: Deployments, slot: str, release: Release, settings: ShadowSettings, explainer: Explainer
) -> Report:
    """All that a report tells. Raises UserError if the slot is empty."""
    control_run = present_run(deployments, settings.control) if slot != settings.control else None
    queue = await open_queue(redis, deployments, slot, release, settings)
    seen, names = queue.seen, release.segments.names
    run, judgement = seen.candidate.run, seen.judgement
    store = TallyReader(redis, slot, names, settings.prefix)
    control = TallyReader(redis, settings.control, names, settings.prefix)
    wanted = _drawn(judgement.findings)
    segments = tuple(dict.fromkeys([ALL, *(f.segment for f in wanted)]))
    cap_minor = release.cap_minor(10.0**settings.minor_digits)
    paths = await _paths(store, run, control, control_run, segments, wanted, release, cap_minor)
    samples = telling(s for s in await store.samples(run) if s["outcome"] in ("live_only", "candidate_only"))
    for sample in samples:
        sample["why"] = sample["why"] or explainer.why(sample)
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
        samples=samples,
        review=queue.progress,
        chargebacks=_chargebacks(queue),
        gaps=await _gaps(store, queue),
        minor_per_unit=10.0**settings.minor_digits,
    )


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
    if queue.seen.control is None:
        told.append("There is no A/A control: what two equal models would differ by is not known")
    return told


def _drawn(findings: Sequence[Finding]) -> list[Finding]:
    """The findings whose evidence is drawn: what fails, then what holds, then all traffic."""
    order = {Verdict.FAIL: 0, Verdict.INSUFFICIENT: 1, Verdict.PASS: 3}
    drawn = ("more_blocks", "fewer_blocks", "more_blocked_amount", "fewer_blocked_amount", "excess_disagreement")
    mine = [f for f in findings if f.criterion in drawn and not f.excused]
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
    cap_minor: int,
) -> list[Path]:
    """Evidence at the end of each event hour, in order of events."""
    ours = [await store.hourly(run, segment) for segment in segments]
    hours = sorted({hour for found in ours for hour in found if hour != LATE})
    if not hours:
        return []
    candidate, floor = _over_time(ours, hours), None
    claims: list[RatioClaim] = []
    if control_run is not None:
        floor = _over_time([await control.hourly(control_run, segment) for segment in segments], hours)
        claims.append(within_floor(candidate, floor, release))
    claims += bounded_changes(candidate, floor, release, cap_minor)
    rows = [release.segments.names.index(segment) for segment in segments]
    by_name = {claim.criterion: replace(claim, limit=claim.limit[rows]) for claim in claims}
    sides: dict[str, tuple[Array, Array]] = {}
    for name in {f.criterion for f in wanted} & set(by_name):
        claim = by_name[name]
        sides[name] = claim.log_within() / math.log(10), claim.log_beyond() / math.log(10)
    return [
        Path(f.criterion, f.segment, *(side[:, segments.index(f.segment)].tolist() for side in sides[f.criterion]))
        for f in wanted
        if f.criterion in sides
    ]


def _over_time(found: Sequence[dict[int, SegmentTotals]], hours: Sequence[int]) -> Sums:
    """Sums up to the end of each hour: (hours, segments)."""
    empty = SegmentTotals()

    def cumulated(field: str) -> Array:
        cells = [[getattr(part.get(hour, empty), field) for part in found] for hour in hours]
        return np.cumsum(np.array(cells, dtype=np.float64), axis=0)

    return Sums(*(cumulated(field) for field in ("counts", "capped", "squares", "pairs", "errors")))
