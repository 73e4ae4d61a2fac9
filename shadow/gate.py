"""The gate: holds a run against the criteria, overall and in every segment, and folds the findings into a decision.

* A criterion *passes* where the evidence that its limit is kept reaches 1 / promote_error. Every criterion of every
  segment has to pass, so one that is harmed passes falsely with a chance of at most promote_error, however many others
  there are (an intersection-union test, Berger 1982), and nothing is divided by their number.
* It *fails* where the evidence that its limit is exceeded survives e-BH over all criteria and segments at reject_error.
  So fifty segments are not fifty false alarms.
* In between it is *insufficient*, with what it still needs.

`measure` works on any number of looks at once, `judge` is one of them with its reasons.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from shadow.claims import HIGHEST, LOWEST, Claim, Sums, bounded_changes, excess, shares, within_floor
from shadow.clean import CleanPeriod
from shadow.criteria import Release
from shadow.evidence import Array, given_up
from shadow.tally import ALL, OUTCOMES, RunTotals

#: Half of the error of a rejection belongs to all traffic, half to the segments.
WEIGHT_OF_ALL = 0.5
PASS, OPEN, FAIL = 1, 0, -1

Codes = npt.NDArray[np.int8]


class Verdict(StrEnum):
    """What a criterion says. Thin evidence is a verdict of its own, never a pass."""

    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    INSUFFICIENT = "insufficient"


class Decision(StrEnum):
    """What all findings say together."""

    PROMOTE = "promote"
    HOLD = "hold"
    REJECT = "reject"


_VERDICTS = {PASS: Verdict.PASS, OPEN: Verdict.INSUFFICIENT, FAIL: Verdict.FAIL}
_DECISIONS = {PASS: Decision.PROMOTE, OPEN: Decision.HOLD, FAIL: Decision.REJECT}


@dataclass(frozen=True, slots=True)
class Finding:
    """One criterion in one segment.

    bound: the end of the interval that decides. excused: it may stay insufficient. floor: the same of the A/A control.
    evidence: base-10 log of the evidence that the limit is kept (below 0: that it is exceeded). more, days: what an
    insufficient one still needs at the present rate, as a number of `things` and of days; None if it is not known, or
    would not settle at all.
    """

    criterion: str
    segment: str
    observed: float | None
    bound: float | None
    limit: float
    verdict: Verdict
    reason: str
    excused: bool = False
    floor: float | None = None
    evidence: float | None = None
    more: int | None = None
    things: str = ""
    days: float | None = None


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate of disagreement of a segment, beside the control's: shares of live's blocks. excess, low, high: with
    bounds that hold at all times, each with a chance of promote_error to be wrong."""

    segment: str
    outcome: str
    observed: float
    floor: float
    excess: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Judgement:
    """Findings, worst first, and their fold."""

    decision: Decision
    findings: tuple[Finding, ...]
    covered_hours: int
    needed_hours: int
    run: str
    clean: CleanPeriod | None = None
    rates: tuple[Rate, ...] = ()

    @property
    def not_judged(self) -> tuple[str, ...]:
        """Segments that are excused although something about them is not known."""
        named = dict.fromkeys(f.segment for f in self.findings if f.verdict is Verdict.INSUFFICIENT and f.excused)
        return tuple(named)

    @property
    def reason(self) -> str:
        """One line for people."""
        if self.decision is Decision.REJECT:
            failed = [f"{f.criterion} in {f.segment}" for f in self.findings if f.verdict is Verdict.FAIL]
            return f"reject: {', '.join(failed)}"
        if self.decision is Decision.HOLD:
            waiting = [f for f in self.findings if f.verdict is Verdict.INSUFFICIENT and not f.excused]
            missing = [f"{f.criterion} in {f.segment}{_still(f)}" for f in waiting]
            told = ", ".join(missing[:4]) + (f" and {len(missing) - 4} more" if len(missing) > 4 else "")
            return f"hold: not enough evidence on {told}" if missing else "hold: nothing was compared"
        passed = sum(f.verdict is Verdict.PASS for f in self.findings)
        left = f"; not judged: {', '.join(self.not_judged)}" if self.not_judged else ""
        return f"promote: {passed} criteria pass{left}"

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return {**asdict(self), "reason": self.reason, "not_judged": self.not_judged}


def _still(finding: Finding) -> str:
    return "" if finding.days is None else f" (about {finding.days:.1f} days more)"


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
    beside: Sums,
    progress: Progress,
    release: Release,
    cap_minor: int,
    labelled: Sequence[Claim] = (),
) -> Measured:
    """Hold looks at a run against the criteria.

    control: the A/A control's sums; without it nothing is known of the floor. beside: the candidate's over the same
    hours. labelled: claims on who is right where the two differ; they are asked for only where the candidate is not
    known to keep to the floor.
    """
    bar = -math.log(release.promote_error)
    rows: list[Row] = list(_support(candidate, progress, release))
    changes = bounded_changes(candidate, control, release, cap_minor)
    floor = None if control is None else within_floor(beside, control, release)
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


def judge(
    candidate: RunTotals,
    control: RunTotals | None,
    release: Release,
    minor_per_unit: float = 100.0,
    beside: RunTotals | None = None,
    labelled: Sequence[Claim] = (),
) -> Judgement:
    """Hold a candidate's run against the criteria, now, and say why.

    control: the run of the A/A control against the same live epoch; without it the excess cannot be judged. beside:
    the candidate's run in the hours that the control has compared, if they are not the same. labelled: as in `measure`,
    of shape (S,).
    """
    names = release.segments.names
    sums, ours = Sums.of(candidate, names), Sums.of(beside or candidate, names)
    theirs = None if control is None else Sums.of(control, names)
    clean = candidate.clean(release.minimum_covered_hours)
    progress = Progress(*(np.array(n, dtype=np.int64) for n in (clean.hours, candidate.conflicts, candidate.gap)))
    seen = measure(sums, theirs, ours, progress, release, release.cap_minor(minor_per_unit), labelled)
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
        tuple(_rates(ours, theirs, release)) if theirs is not None else (),
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
