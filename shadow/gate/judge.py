"""Judges a run now, with reasons. The rule itself is in `shadow.gate.measure`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from shadow.comparison.outcome import DISAGREEMENTS, Outcome
from shadow.comparison.totals import ALL, RunTotals
from shadow.gate import wording
from shadow.gate.claims import overlooked, parts_of_all
from shadow.gate.clean_period import CleanPeriod, clean_of
from shadow.gate.criteria import Criterion, Release
from shadow.gate.drift import DriftLook
from shadow.gate.findings import EITHER, Decision, Finding, Judgement, OtherPart, Rate, Verdict
from shadow.gate.groups import Group
from shadow.gate.harm import BY_SIDE, LabelClaim
from shadow.gate.matched import Matched
from shadow.gate.measure import (
    FAIL,
    OPEN,
    PASS,
    ClaimRow,
    FloorRow,
    HarmRow,
    Measured,
    MoreRow,
    NoFloorRow,
    RecentRow,
    Row,
    RunProgress,
    ScoreRow,
    UnknownRow,
    measure,
)
from shadow.gate.origin import Origin
from shadow.gate.recency import Recent
from shadow.gate.sums import HIGHEST, LOWEST, Sums, excess, pairs_of
from shadow.statistics.eprocess import Array

_VERDICTS = {PASS: Verdict.PASS, OPEN: Verdict.INSUFFICIENT, FAIL: Verdict.FAIL}
#: Reviews, or blocks of live, without which nobody can say that a criterion is not decidable.
ENOUGH = 30
_DECISIONS = {PASS: Decision.PROMOTE, OPEN: Decision.HOLD, FAIL: Decision.REJECT}


def judge(
    candidate: RunTotals,
    control: RunTotals | None,
    release: Release,
    minor_per_unit: float = 100.0,
    labelled: Sequence[LabelClaim] = (),
    matched: Matched | None = None,
    drift: DriftLook | None = None,
    recent: Recent | None = None,
    no_floor: str = wording.NO_CONTROL,
    group: Group | None = None,
    origin: Origin | None = None,
) -> Judgement:
    """Judge a candidate's run by the criteria and give the reasons.

    control: the run of the A/A control, a seed twin of live, against the same live epoch; None if there is none, and
    no_floor says why. minor_per_unit: minor units in a unit of the reporting currency. labelled, recent: as in
    `measure`, of shape (S,). matched, drift, group: passed on in the judgement for information; they decide nothing.
    origin: of the candidate, None if nobody has looked; it counts where the criteria ask for lineage.
    """
    names = release.segments.names
    sums = Sums.of(candidate, names)
    theirs = None if control is None else Sums.of(control, names)
    clean = clean_of(candidate, release.minimum_covered_hours)
    progress = RunProgress(
        *(
            np.array(n, dtype=np.int64)
            for n in (0 if clean.is_edited else clean.hours, candidate.conflicts, candidate.gap)
        )
    )
    lineage = PASS if origin is not None and origin.is_clean else OPEN
    seen = measure(sums, theirs, progress, release, labelled, recent=recent, lineage=lineage)
    findings = [*_run_findings(seen, candidate, clean, release, origin)]
    for row in seen.rows:
        match row:
            case HarmRow():
                findings += _harm_findings(row, sums, theirs is not None, candidate, release)
            case ClaimRow() | FloorRow():
                findings += _claim_findings(row, sums, candidate, release)
            case RecentRow():
                findings += _recent_findings(row, release)
            case ScoreRow():
                findings.append(_score_finding(row, release))
            case UnknownRow():
                limit = float(release.limit(row.criterion)[0])
                told = wording.RECENT_UNKNOWN
                findings.append(
                    Finding(row.criterion, ALL, None, None, limit, Verdict.INSUFFICIENT, told, bool(row.excused[0]))
                )
            case NoFloorRow():
                findings += _no_floor_findings(row, release, no_floor)
            case _:
                findings += _support_findings(row, sums, candidate, release)
    order = {Verdict.FAIL: 0, Verdict.INSUFFICIENT: 1, Verdict.PASS: 2}
    run_wide = len(seen.run_codes)

    def worst_first(at_finding: tuple[int, Finding]) -> tuple[int, bool, bool, bool, float]:
        """Sort by verdict. Then findings on the run come first, then single segments, which say more than all traffic;
        of these, the one with the most evidence against it."""
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
        tuple(_others(sums, release)),
        group,
    )


def _others(sums: Sums, release: Release) -> Iterator[OtherPart]:
    """Yield how much of everything each `other` holds that is not empty."""
    of_traffic, of_blocks = (ratio.bounds(release.promote_error, 0.0, 1.0) for ratio in parts_of_all(sums))
    small = overlooked(sums, release)
    for at in np.flatnonzero(release.others & (sums.compared + sums.errors > 0)).tolist():
        sizes = [float(np.nan_to_num(x[at])) for part in (of_traffic, of_blocks) for x in (part.estimate, part.high)]
        yield OtherPart(release.segments.names[at], sizes[0], sizes[1], sizes[2], sizes[3], bool(small[at]))


def _run_findings(
    seen: Measured, candidate: RunTotals, clean: CleanPeriod, release: Release, origin: Origin | None
) -> Iterator[Finding]:
    hours, needed = clean.hours, clean.needed
    covered, conflicts, *lineage = (_VERDICTS[int(code)] for code in seen.run_codes)
    criterion = Criterion.COVERED_HOURS
    yield Finding(
        criterion=criterion,
        segment=ALL,
        observed=hours,
        bound=None,
        limit=needed,
        verdict=covered,
        reason=wording.clean_hours(clean),
        excused=covered is Verdict.INSUFFICIENT and release.excuses(criterion, ALL),
        days=(needed - hours) / 24 if hours < needed else None,
    )
    told = wording.conflicts(candidate.conflicts)
    yield Finding(Criterion.DECISION_CONFLICTS, ALL, candidate.conflicts, None, 0, conflicts, told)
    for asked in lineage:
        known = origin is not None and origin.trouble is None
        doubtful = float(asked is not Verdict.PASS) if known else None
        yield Finding(Criterion.LINEAGE, ALL, doubtful, None, 0, asked, wording.lineage(origin))


def _asked(row: Row, release: Release) -> Iterator[tuple[int, str, Verdict]]:
    """Position, name and verdict of each segment in which a criterion is judged."""
    for at, name in enumerate(release.segments.names):
        if row.asked[at]:
            yield at, name, _VERDICTS[int(row.codes[at])]


def _evidence(within: float, beyond: float) -> float:
    """The larger of two logs of evidence, to base 10; negative where it is against the limit."""
    return round((within if within >= beyond else -beyond) / math.log(10), 2)


def _support_findings(row: Row, sums: Sums, candidate: RunTotals, release: Release) -> Iterator[Finding]:
    limits = release.limit(row.criterion)
    for at, name, verdict in _asked(row, release):
        n, errors, limit = int(sums.compared[at]), int(sums.errors[at]), float(limits[at])
        is_open = verdict is Verdict.INSUFFICIENT
        decided = n + errors + (candidate.gap if name == ALL else 0)
        more: int | None = None
        observed: float | None
        if row.criterion is Criterion.TRANSACTIONS:
            observed, more = n, max(0, int(limit) - n)
        else:
            part = n if row.criterion is Criterion.COVERAGE else errors
            observed = part / decided if decided else None
        yield Finding(
            criterion=row.criterion,
            segment=name,
            observed=observed,
            bound=None,
            limit=limit,
            verdict=verdict,
            reason=wording.support(row.criterion, observed, decided, limit),
            excused=bool(row.excused[at]) and is_open,
            more=more if is_open else None,
            things="transactions" if more is not None else "",
            days=_days(more / n, candidate.hours) if is_open and more and n else None,
        )


def _days(share: float, hours: int) -> float:
    """Days until `share` times as much has been seen again, at the rate of the hours so far."""
    return round(share * hours / 24, 1)


def _claim_findings(row: ClaimRow | FloorRow, sums: Sums, candidate: RunTotals, release: Release) -> Iterator[Finding]:
    claim, bar = row.claim, -math.log(release.promote_error)
    interval, floor = claim.interval(release.promote_error), claim.of_floor()
    times = claim.times_needed(bar)
    seen = sums.compared if claim.seen is None else claim.seen
    for at, name, verdict in _asked(row, release):
        is_open = verdict is Verdict.INSUFFICIENT
        observed, low, high = (float(x[at]) for x in (interval.estimate, interval.low, interval.high))
        limit, known, share = float(claim.limit[at]), math.isfinite(observed), float(times[at]) - 1
        within = float(row.log_within[at])
        beyond = float(row.log_beyond[at]) if isinstance(row, ClaimRow) else -math.inf
        is_beyond = is_open and _is_beyond(row, at, bar)
        has_data = known and float(sums.live_cards[at]) >= ENOUGH
        if is_beyond:  # more of the same would change nothing
            share = math.nan
        days = _days(share, candidate.hours) if is_open and math.isfinite(share) else None
        more = math.ceil(share * seen[at]) if is_open and math.isfinite(share) else None
        bound = low if verdict is Verdict.FAIL else high
        reason = (
            wording.claim(claim.criterion, observed, bound, verdict, limit)
            if known
            else wording.unknown(claim.criterion)
        )
        if is_open and not is_beyond:
            reason += wording.needs(more, days, claim.things, has_data)
        if isinstance(row, FloorRow) and within < bar:
            reason += wording.by_labels(verdict, is_beyond)
        if isinstance(row, MoreRow) and within < bar and verdict is not Verdict.FAIL and known:
            reason += wording.if_good(verdict, float(row.stretched.limit[at]))
        yield Finding(
            criterion=row.criterion,
            segment=name,
            observed=observed if known else None,
            bound=bound if known else None,
            limit=limit,
            verdict=verdict,
            reason=reason,
            excused=bool(row.excused[at]) and is_open,
            floor=None if floor is None or not math.isfinite(floor[at]) else float(floor[at]),
            evidence=_evidence(within, beyond),
            more=more,
            things=claim.things if more is not None else "",
            days=days,
        )


def _is_beyond(row: ClaimRow | FloorRow, at: int, bar: float) -> bool:
    """Whether the limit itself is shown to be exceeded, which only reviews can make good."""
    return isinstance(row, FloorRow | MoreRow) and float(row.claim.log_beyond()[at]) >= bar


def _harm_findings(
    row: HarmRow, sums: Sums, has_floor: bool, candidate: RunTotals, release: Release
) -> Iterator[Finding]:
    """Findings on harm: by labels, or by the size of the disagreement where that is enough."""
    bar, error = -math.log(release.promote_error), release.promote_error
    found, reviewed = row.claim.interval(error), row.claim.seen
    side = row.claim.side.interval(error * math.exp(-BY_SIDE))
    more_reviews, more_traffic = row.claim.times_needed(bar), row.claim.side.times_needed(bar + BY_SIDE)
    for at, name, verdict in _asked(row, release):
        is_open, known = verdict is Verdict.INSUFFICIENT, math.isfinite(found.estimate[at])
        limit, is_by_side = float(row.claim.limit[at]), bool(row.by_side[at])
        observed, low, high = (float(x[at]) for x in (found.estimate, found.low, found.high))
        bound = low if verdict is Verdict.FAIL else high
        more: int | None = None
        days: float | None = None
        things = row.claim.things
        if is_by_side or not known:
            size = float(side.estimate[at])
            reason = wording.side(row.criterion, size, float(side.high[at]), limit, has_floor, needed=not is_by_side)
        else:
            reason = wording.claim(row.criterion, observed, bound, verdict, limit)
        if is_open:
            share = float(more_reviews[at]) - 1
            n = float(reviewed[at])
            if not known:
                share, n, things = float(more_traffic[at]) - 1, float(sums.compared[at]), "transactions"
            if math.isfinite(share):
                more, days = math.ceil(share * n), _days(share, candidate.hours)
            if known or more is not None:
                reason += wording.needs(more, days, things, n >= ENOUGH)
        within, beyond = float(row.log_within[at]), float(row.log_beyond[at])
        yield Finding(
            criterion=row.criterion,
            segment=name,
            observed=observed if known else None,
            bound=bound if known or math.isfinite(side.estimate[at]) else None,
            limit=limit,
            verdict=verdict,
            reason=reason,
            excused=bool(row.excused[at]) and is_open,
            evidence=_evidence(within, beyond),
            more=more,
            things=things if more is not None else "",
            days=days,
        )


def _recent_findings(row: RecentRow, release: Release) -> Iterator[Finding]:
    """Findings on the last days, where they are judged apart."""
    interval = row.claim.interval(release.promote_error)
    for at, name, verdict in _asked(row, release):
        observed, low, high = (float(x[at]) for x in (interval.estimate, interval.low, interval.high))
        known, limit = math.isfinite(observed), float(row.claim.limit[at])
        bound = low if verdict is Verdict.FAIL else high
        within, beyond = float(row.log_within[at]), float(row.log_beyond[at])
        reason = wording.recent(row.criterion, observed, bound, verdict, limit) if known else wording.RECENT_UNKNOWN
        yield Finding(
            criterion=row.criterion,
            segment=name,
            observed=observed if known else None,
            bound=bound if known else None,
            limit=limit,
            verdict=verdict,
            reason=reason,
            excused=bool(row.excused[at]) and verdict is Verdict.INSUFFICIENT,
            evidence=max(min(_evidence(within, beyond), 999.0), -999.0),
        )


def _score_finding(row: ScoreRow, release: Release) -> Finding:
    verdict, limit, shift = _VERDICTS[int(row.codes[0])], release.overall.maximum_recent_score_shift, row.shift
    bound = shift.low if verdict is Verdict.FAIL else shift.high
    reason = wording.recent(row.criterion, shift.estimate, bound, verdict, limit)
    is_open = verdict is Verdict.INSUFFICIENT
    return Finding(row.criterion, ALL, shift.estimate, bound, limit, verdict, reason, bool(row.excused[0]) and is_open)


def _no_floor_findings(row: NoFloorRow, release: Release, why: str) -> Iterator[Finding]:
    limits = release.limit(row.criterion).tolist()
    for at, (segment, limit) in enumerate(zip(release.segments.names, limits, strict=True)):
        if not row.asked[at]:
            continue
        excused = bool(row.excused[at])
        yield Finding(row.criterion, segment, None, None, limit, Verdict.INSUFFICIENT, why, excused)


def _rates(candidate: Sums, control: Sums, release: Release) -> Iterator[Rate]:
    """Yield the rates of disagreement, one-sided and in total, beside the control's."""
    each = [((side,), side.key) for side in DISAGREEMENTS]
    for sides, outcome in (*each, (DISAGREEMENTS, EITHER)):
        found = excess(candidate, control, sides).bounds(release.promote_error, LOWEST, HIGHEST)
        ours, floor = (_share(sums, sides) for sums in (candidate, control))
        for at, name in enumerate(release.segments.names):
            numbers = [float(x[at]) for x in (ours, floor, found.estimate, found.low, found.high)]
            if all(map(math.isfinite, numbers)):
                yield Rate(name, outcome, *numbers)


def _share(sums: Sums, sides: Sequence[Outcome]) -> Array:
    """Disagreements of the given sides as a share of live's blocks, both once per card and day: (S,)."""
    blocks = sums.live_cards
    differ = pairs_of(sums, sides)
    share: Array = np.divide(differ, blocks, out=np.full(blocks.shape, np.nan), where=blocks > 0)
    return share
