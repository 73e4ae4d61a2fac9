"""The gate: holds a run against the criteria, overall and in every segment, and folds the findings into a decision."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from shadow import evidence
from shadow.criteria import Limits, Release
from shadow.evidence import Interval
from shadow.tally import ALL, RunTotals, SegmentTotals


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


@dataclass(frozen=True, slots=True)
class Finding:
    """One criterion in one segment. bound: the end of the interval that decides. excused: it may stay insufficient."""

    criterion: str
    segment: str
    observed: float | None
    bound: float | None
    limit: float
    verdict: Verdict
    reason: str
    excused: bool = False


@dataclass(frozen=True, slots=True)
class Judgement:
    """Findings, worst first, and their fold."""

    decision: Decision
    findings: tuple[Finding, ...]
    covered_hours: int
    needed_hours: int
    run: str

    @property
    def reason(self) -> str:
        """One line for people."""
        if self.decision is Decision.REJECT:
            failed = [f"{f.criterion} in {f.segment}" for f in self.findings if f.verdict is Verdict.FAIL]
            return f"reject: {', '.join(failed)}"
        open_ones = [f for f in self.findings if f.verdict is Verdict.INSUFFICIENT]
        if self.decision is Decision.HOLD:
            missing = [f"{f.criterion} in {f.segment}" for f in open_ones if not f.excused]
            told = ", ".join(missing[:4]) + (f" and {len(missing) - 4} more" if len(missing) > 4 else "")
            return f"hold: not enough evidence on {told}" if missing else "hold: nothing was compared"
        passed = len(self.findings) - len(open_ones)
        return f"promote: {passed} criteria pass, {len(open_ones)} are excused as insufficient"

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return {**asdict(self), "reason": self.reason}


def judge(candidate: RunTotals, control: RunTotals | None, release: Release) -> Judgement:
    """Hold a candidate's run against the criteria.

    control: the run of the A/A control against the same live epoch; without it the excess cannot be judged. Any failure
    rejects; else anything insufficient that is not excused holds; else promote.
    """
    findings = list(_run_findings(candidate, release))
    for segment in release.segments.names:
        part = candidate.segments.get(segment, SegmentTotals())
        floor = control.segments.get(segment, SegmentTotals()) if control is not None else None
        findings += _segment_findings(segment, part, floor, candidate, release)
    findings = [
        Finding(**{**asdict(f), "excused": True})
        if f.verdict is Verdict.INSUFFICIENT and release.excuses(f.criterion, f.segment)
        else f
        for f in findings
    ]
    order = {Verdict.FAIL: 0, Verdict.INSUFFICIENT: 1, Verdict.PASS: 2}
    findings.sort(key=lambda f: (order[f.verdict], f.excused))
    return Judgement(
        _fold(findings, candidate), tuple(findings), candidate.hours, release.minimum_covered_hours, str(candidate.run)
    )


def _fold(findings: list[Finding], candidate: RunTotals) -> Decision:
    if any(f.verdict is Verdict.FAIL for f in findings):
        return Decision.REJECT
    waiting = any(f.verdict is Verdict.INSUFFICIENT and not f.excused for f in findings)
    return Decision.HOLD if waiting or not candidate.compared else Decision.PROMOTE


def _run_findings(candidate: RunTotals, release: Release) -> Iterator[Finding]:
    hours, needed = candidate.hours, release.minimum_covered_hours
    yield Finding(
        "covered_hours",
        ALL,
        hours,
        None,
        needed,
        Verdict.PASS if hours >= needed else Verdict.INSUFFICIENT,
        f"{hours} of {needed} event hours are covered",
    )
    conflicts = candidate.conflicts
    yield Finding(
        "decision_conflicts",
        ALL,
        conflicts,
        None,
        0,
        Verdict.FAIL if conflicts else Verdict.PASS,
        f"{conflicts} decisions were published twice with different scores",
    )


def _segment_findings(
    segment: str, part: SegmentTotals, floor: SegmentTotals | None, candidate: RunTotals, release: Release
) -> Iterator[Finding]:
    limits = release.limits(segment)
    n, differ = part.compared, int(part.counts[2:].sum())
    gap = candidate.gap if segment == ALL else 0
    decided = n + part.errors + gap
    enough = n >= limits.minimum_transactions
    yield _at_least("transactions", segment, n, limits.minimum_transactions, "transactions were compared")
    yield _at_least("disagreements", segment, differ, limits.minimum_disagreements, "disagreements were seen")
    yield _share("coverage", segment, n, decided, enough, limits)
    yield _share("candidate_error_rate", segment, part.errors, decided, enough, limits)
    alpha, tuned = release.alpha(segment), 4 * limits.minimum_transactions
    shift = evidence.block_shift(part, alpha, tuned)
    fewer = None if shift is None else Interval(-shift.estimate, -shift.high, -shift.low)
    yield _at_most("more_blocks", segment, shift, limits.maximum_more_blocks, enough, "more than live blocks")
    yield _at_most("fewer_blocks", segment, fewer, limits.maximum_fewer_blocks, enough, "less than live blocks")
    if floor is None:
        yield Finding(
            "excess_disagreement",
            segment,
            None,
            None,
            limits.maximum_excess_disagreement,
            Verdict.INSUFFICIENT,
            "there is no A/A control to measure the floor; fill the control slot with a seed twin of live",
        )
        return
    excess = evidence.excess_disagreement(part, floor, alpha, tuned)
    enough &= floor.compared >= limits.minimum_transactions
    told = "of live's blocks beyond the A/A control"
    yield _at_most("excess_disagreement", segment, excess, limits.maximum_excess_disagreement, enough, told)


def _at_least(criterion: str, segment: str, found: int, limit: int, told: str) -> Finding:
    verdict = Verdict.PASS if found >= limit else Verdict.INSUFFICIENT
    return Finding(criterion, segment, found, None, limit, verdict, f"{found} {told}, {limit} are needed")


def _share(criterion: str, segment: str, part: int, whole: int, enough: bool, limits: Limits) -> Finding:
    is_coverage = criterion == "coverage"
    limit = limits.minimum_coverage if is_coverage else limits.maximum_candidate_error_rate
    if not whole:
        return Finding(criterion, segment, None, None, limit, Verdict.INSUFFICIENT, "nothing was decided")
    share = part / whole
    if share >= limit if is_coverage else share <= limit:
        verdict = Verdict.PASS if enough else Verdict.INSUFFICIENT
    else:
        verdict = Verdict.FAIL if whole >= limits.minimum_transactions else Verdict.INSUFFICIENT
    side = "at least" if is_coverage else "at most"
    return Finding(criterion, segment, share, None, limit, verdict, f"{share:.4%} of {whole}, {side} {limit:.2%}")


def _at_most(criterion: str, segment: str, interval: Interval | None, limit: float, enough: bool, told: str) -> Finding:
    """A failure needs the whole interval beyond the limit, a pass the whole interval within it."""
    if interval is None or not enough:
        observed = None if interval is None else interval.estimate
        why = "too few transactions" if interval is not None else "live blocked too few"
        return Finding(criterion, segment, observed, None, limit, Verdict.INSUFFICIENT, f"{why} to judge")
    if interval.low > limit:
        verdict, bound = Verdict.FAIL, interval.low
        reason = f"{interval.estimate:+.1%} {told}, at least {bound:+.1%}; at most {limit:.1%} is allowed"
    elif interval.high <= limit:
        verdict, bound = Verdict.PASS, interval.high
        reason = f"{interval.estimate:+.1%} {told}, at most {bound:+.1%}; at most {limit:.1%} is allowed"
    else:
        verdict, bound = Verdict.INSUFFICIENT, interval.high
        reason = f"{interval.estimate:+.1%} {told}, it may be up to {bound:+.1%}; at most {limit:.1%} is allowed"
    return Finding(criterion, segment, interval.estimate, bound, limit, verdict, reason)
