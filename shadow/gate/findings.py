"""What the gate says: findings by criterion and segment, and the decision that they add up to. Plain data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from shadow.clean import CleanPeriod
from shadow.drift import DriftLook
from shadow.matched import Matched


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


#: Criteria on whole numbers; all others are on shares.
COUNTED = frozenset({"covered_hours", "decision_conflicts", "transactions"})


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
    """Findings, worst first, and their fold. matched, drift: beside the criteria; they decide nothing."""

    decision: Decision
    findings: tuple[Finding, ...]
    covered_hours: int
    needed_hours: int
    run: str
    clean: CleanPeriod | None = None
    rates: tuple[Rate, ...] = ()
    matched: Matched | None = None
    drift: DriftLook | None = None

    @property
    def suggested_threshold(self) -> float | None:
        """At which the candidate would block as much as live; None where that is not known, or what it has already."""
        return None if self.matched is None or self.matched.is_as_shipped else self.matched.threshold

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
        more = {
            "reason": self.reason,
            "not_judged": self.not_judged,
            "suggested_threshold": self.suggested_threshold,
            "drifted": () if self.drift is None else self.drift.drifted,
        }
        return asdict(self) | more


def _still(finding: Finding) -> str:
    return "" if finding.days is None else f" (about {finding.days:.1f} days more)"
