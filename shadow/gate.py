"""The gate: one look at a run, with its reasons. The rule itself is `shadow.measure`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from shadow.claims import HIGHEST, LOWEST, Claim, Sums, excess
from shadow.clean import CleanPeriod
from shadow.criteria import Release
from shadow.drift import DriftLook
from shadow.evidence import Array
from shadow.findings import Decision, Finding, Judgement, Rate, Verdict
from shadow.matched import Matched
from shadow.measure import FAIL, OPEN, PASS, Measured, Progress, Row, measure
from shadow.tally import ALL, OUTCOMES, RunTotals

_VERDICTS = {PASS: Verdict.PASS, OPEN: Verdict.INSUFFICIENT, FAIL: Verdict.FAIL}
_DECISIONS = {PASS: Decision.PROMOTE, OPEN: Decision.HOLD, FAIL: Decision.REJECT}


def judge(
    candidate: RunTotals,
    control: RunTotals | None,
    release: Release,
    minor_per_unit: float = 100.0,
    labelled: Sequence[Claim] = (),
    matched: Matched | None = None,
    drift: DriftLook | None = None,
) -> Judgement:
    """Hold a candidate's run against the criteria, now, and say why.

    control: the run of the A/A control against the same live epoch; without it the excess cannot be judged. labelled:
    as in `measure`, of shape (S,). matched, drift: what is known beside the criteria; it decides nothing.
    """
    names = release.segments.names
    sums = Sums.of(candidate, names)
    theirs = None if control is None else Sums.of(control, names)
    clean = candidate.clean(release.minimum_covered_hours)
    progress = Progress(*(np.array(n, dtype=np.int64) for n in (clean.hours, candidate.conflicts, candidate.gap)))
    seen = measure(sums, theirs, progress, release, release.cap_minor(minor_per_unit), labelled)
    findings = [*_run_findings(seen, candidate, clean, release)]
    for row in seen.rows:
        if row.claim is not None:
            findings += _claim_findings(row, sums, candidate, release)
        elif row.criterion == "excess_disagreement":
            findings += _unknown_floor(release)
        else:
            findings += _support_findings(row, sums, candidate, release)
    order = {Verdict.FAIL: 0, Verdict.INSUFFICIENT: 1, Verdict.PASS: 2}
    run_wide = len(seen.run_codes)

    def worst_first(at_finding: tuple[int, Finding]) -> tuple[int, bool, bool, bool, float]:
        """What concerns the run comes first; then single segments, as they say more than all traffic does, and of these
        the one with the most evidence against it."""
        at, finding = at_finding
        evidence = 0.0 if finding.evidence is None else finding.evidence
        return (order[finding.verdict], finding.excused, at >= run_wide, finding.segment == ALL, evidence)

    findings = [finding for _, finding in sorted(enumerate(findings), key=worst_first)]
    return Judgement(
        _DECISIONS[int(seen.decisions)],
        tuple(findings),
        clean.hours,
        clean.needed,
        str(candidate.run),
        clean,
        tuple(_rates(sums, theirs, release)) if theirs is not None else (),
        matched,
        drift,
    )


def _run_findings(seen: Measured, candidate: RunTotals, clean: CleanPeriod, release: Release) -> Iterator[Finding]:
    hours, needed = clean.hours, clean.needed
    told = f"{hours} of {needed} clean event hours"
    if clean.resets:
        told += f" since a reset: {clean.resets[-1].cause}"
    verdicts = [_VERDICTS[int(code)] for code in seen.run_codes]
    days = (needed - hours) / 24 if hours < needed else None
    first = Finding("covered_hours", ALL, hours, None, needed, verdicts[0], told, days=days)
    yield replace(first, excused=verdicts[0] is Verdict.INSUFFICIENT and release.excuses("covered_hours", ALL))
    conflicts = candidate.conflicts
    told = f"{conflicts} decisions were published twice with different scores"
    yield Finding("decision_conflicts", ALL, conflicts, None, 0, verdicts[1], told)


def _support_findings(row: Row, sums: Sums, candidate: RunTotals, release: Release) -> Iterator[Finding]:
    field = {"transactions": "minimum_transactions", "coverage": "minimum_coverage"}
    limits = release.limit(field.get(row.criterion, f"maximum_{row.criterion}"))
    for at, name in enumerate(release.segments.names):
        n, errors, limit = int(sums.compared[at]), int(sums.errors[at]), float(limits[at])
        verdict, excused = _VERDICTS[int(row.codes[at])], bool(row.excused[at])
        decided = n + errors + (candidate.gap if name == ALL else 0)
        more: int | None = None
        observed: float | None = n
        if row.criterion == "transactions":
            more = max(0, int(limit) - n)
            reason = f"{n} transactions were compared, {int(limit)} are needed"
        else:
            part, side = (n, "at least") if row.criterion == "coverage" else (errors, "at most")
            observed = part / decided if decided else None
            reason = f"{observed:.4%} of {decided}, {side} {limit:.2%}" if decided else "nothing was decided"
        is_open = verdict is Verdict.INSUFFICIENT
        days = _days(more / n, candidate.hours) if is_open and more and n else None
        yield Finding(
            criterion=row.criterion,
            segment=name,
            observed=observed,
            bound=None,
            limit=limit,
            verdict=verdict,
            reason=reason,
            excused=excused and is_open,
            more=more if is_open else None,
            things="transactions" if more is not None else "",
            days=days,
        )


def _days(share: float, hours: int) -> float:
    """Days that so many times as much takes."""
    return round(share * hours / 24, 1)


def _claim_findings(row: Row, sums: Sums, candidate: RunTotals, release: Release) -> Iterator[Finding]:
    claim = row.claim
    assert claim is not None  # noqa: S101
    assert row.log_within is not None  # noqa: S101
    interval, floor = claim.interval(release.promote_error), claim.of_floor()
    times = claim.times_needed(-math.log(release.promote_error))
    seen = sums.compared if claim.seen is None else claim.seen
    for at, name in enumerate(release.segments.names):
        if not row.asked[at]:
            continue
        verdict, excused = _VERDICTS[int(row.codes[at])], bool(row.excused[at])
        observed, low, high = (float(x[at]) for x in (interval.estimate, interval.low, interval.high))
        limit, is_open = float(claim.limit[at]), verdict is Verdict.INSUFFICIENT
        within, beyond = float(row.log_within[at]), -math.inf
        if row.log_beyond is not None:
            beyond = float(row.log_beyond[at])
        known = math.isfinite(observed)
        share = float(times[at]) - 1
        days = _days(share, candidate.hours) if is_open and math.isfinite(share) else None
        more = math.ceil(share * seen[at]) if is_open and math.isfinite(share) else None
        bound = low if verdict is Verdict.FAIL else high
        if not known:
            reason = "live blocked nothing here yet" if claim.seen is None else "nothing is labelled here yet"
        else:
            end = {Verdict.FAIL: "at least", Verdict.PASS: "at most"}.get(verdict, "it may be up to")
            reason = f"{observed:+.1%} {claim.told}, {end} {bound:+.1%}; at most {limit:.1%} is allowed"
        if is_open:
            reason += _needs(more, days, claim.things)
        if row.criterion == "excess_disagreement" and within < -math.log(release.promote_error):
            reason += "; labels say who is right" if verdict is Verdict.PASS else "; or labels say who is right"
        yield Finding(
            criterion=row.criterion,
            segment=name,
            observed=observed if known else None,
            bound=bound if known else None,
            limit=limit,
            verdict=verdict,
            reason=reason,
            excused=excused and is_open,
            floor=None if floor is None or not math.isfinite(floor[at]) else float(floor[at]),
            evidence=round((within if within >= beyond else -beyond) / math.log(10), 2),
            more=more,
            things=claim.things if more is not None else "",
            days=days,
        )


def _needs(more: int | None, days: float | None, things: str) -> str:
    if more is None or days is None:
        return "; at these rates it will not settle"
    return f"; about {more} more {things} needed, {days:g} days"


def _unknown_floor(release: Release) -> Iterator[Finding]:
    """Without an A/A control."""
    name = "excess_disagreement"
    told = "cannot be judged without an A/A control; fill the control slot with a seed twin of live"
    for segment, limit in zip(release.segments.names, release.limit(f"maximum_{name}").tolist(), strict=True):
        excused = release.excuses(name, segment)
        yield Finding(name, segment, None, None, limit, Verdict.INSUFFICIENT, told, excused)


def _rates(candidate: Sums, control: Sums, release: Release) -> Iterator[Rate]:
    """Each rate of disagreement beside the control's."""
    for sides, outcome in (((0,), OUTCOMES[2]), ((1,), OUTCOMES[3]), ((0, 1), "either")):
        found = excess(candidate, control, sides).bounds(release.promote_error, LOWEST, HIGHEST)
        ours, floor = (_share(sums, sides) for sums in (candidate, control))
        for at, name in enumerate(release.segments.names):
            numbers = [float(x[at]) for x in (ours, floor, found.estimate, found.low, found.high)]
            if all(map(math.isfinite, numbers)):
                yield Rate(name, outcome, *numbers)


def _share(sums: Sums, sides: Sequence[int]) -> Array:
    """Disagreements of some sides as a share of what live blocks, in card-days."""
    blocks = sums.counts[..., 1] / sums.crowding + sums.pairs[..., 0]
    differ = sums.pairs[..., list(sides)].sum(axis=-1)
    share: Array = np.divide(differ, blocks, out=np.full(blocks.shape, np.nan), where=blocks > 0)
    return share
