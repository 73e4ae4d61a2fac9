"""The results of the gate: findings by criterion and segment, and the decision they lead to. Plain data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from shadow.gate.clean_period import CleanPeriod
from shadow.gate.criteria import Criterion
from shadow.gate.drift import DriftLook
from shadow.gate.groups import Group
from shadow.gate.matched import Matched
from shadow.gate.shares import percent


class Verdict(StrEnum):
    """The verdict on one criterion. Thin evidence is insufficient, never a pass."""

    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    INSUFFICIENT = "insufficient"


class Decision(StrEnum):
    """The decision that all findings lead to."""

    PROMOTE = "promote"
    HOLD = "hold"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class Finding:
    """The verdict on one criterion in one segment.

    observed, bound, limit: counts or shares; the bound is the end of the interval that decides. reason: for people.
    excused: it is insufficient and allowed to be. floor: the observed value of the A/A control. evidence: base-10 log
    of the evidence that the limit is kept; below 0, that it is exceeded. more, days: what an insufficient finding still
    needs at the present rate, as a number of `things` and of days; None if unknown, or if no number would be enough.
    """

    criterion: Criterion
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


#: The outcome of a `Rate` that counts all disagreements.
EITHER = "either"


@dataclass(frozen=True, slots=True)
class Rate:
    """How often candidate and live disagree in a segment, beside the A/A control: shares of live's blocks.

    floor: the control's rate. excess: the difference. low, high: its bounds; each is wrong, at any time, with
    probability at most promote_error.
    """

    segment: str
    outcome: str
    observed: float
    floor: float
    excess: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class OtherPart:
    """How much a segment `other` holds: shares of the traffic and of live's blocks, with upper bounds, each wrong, at
    any time, with probability at most promote_error. is_small: whether it may lack evidence for that."""

    segment: str
    traffic: float
    traffic_at_most: float
    blocks: float
    blocks_at_most: float
    is_small: bool

    @property
    def told(self) -> str:
        """The shares for people."""
        return (
            f"{percent(self.traffic, 2)} of traffic (at most {percent(self.traffic_at_most, 2)}) and "
            f"{percent(self.blocks, 2)} of live's blocks (at most {percent(self.blocks_at_most, 2)})"
        )


@dataclass(frozen=True, slots=True)
class Judgement:
    """Findings, worst first, and the decision they lead to. matched, drift: for information; they decide nothing.
    others: the segments `other` that are not empty. group: the undeclared one in which the candidate differs most."""

    decision: Decision
    findings: tuple[Finding, ...]
    covered_hours: int
    needed_hours: int
    run: str
    clean: CleanPeriod | None = None
    rates: tuple[Rate, ...] = ()
    matched: Matched | None = None
    drift: DriftLook | None = None
    others: tuple[OtherPart, ...] = ()
    group: Group | None = None

    @property
    def suggested_threshold(self) -> float | None:
        """The threshold at which the candidate blocks as much as live; None if unknown, or if it is the shipped one."""
        return None if self.matched is None or self.matched.is_as_shipped else self.matched.threshold

    @property
    def not_judged(self) -> tuple[str, ...]:
        """Segments with an excused finding: a promotion does not judge all of their criteria."""
        named = dict.fromkeys(f.segment for f in self.findings if f.verdict is Verdict.INSUFFICIENT and f.excused)
        return tuple(named)

    @property
    def passed(self) -> int:
        """The number of findings that pass."""
        return sum(finding.verdict is Verdict.PASS for finding in self.findings)

    @property
    def reason(self) -> str:
        """The decision and its cause, in one line for people."""
        if self.decision is Decision.REJECT:
            failed = [f"{f.criterion} in {f.segment}" for f in self.findings if f.verdict is Verdict.FAIL]
            return f"reject: failed {', '.join(failed)}"
        if self.decision is Decision.HOLD:
            waiting = [f for f in self.findings if f.verdict is Verdict.INSUFFICIENT and not f.excused]
            missing = [f"{f.criterion} in {f.segment}{_still(f)}" for f in waiting]
            told = ", ".join(missing[:4]) + (f" and {len(missing) - 4} more" if len(missing) > 4 else "")
            return f"hold: evidence still missing for {told}" if missing else "hold: nothing was compared"
        sizes = {part.segment: f" ({part.told})" for part in self.others}
        unjudged = [f"{name}{sizes.get(name, '')}" for name in self.not_judged]
        left = f"; not judged: {', '.join(unjudged)}" if unjudged else ""
        return f"promote: {self.passed} criteria pass{left}"

    def to_json(self) -> dict[str, Any]:
        """The judgement for machines."""
        more = {
            "reason": self.reason,
            "not_judged": self.not_judged,
            "suggested_threshold": self.suggested_threshold,
            "drifted": () if self.drift is None else self.drift.drifted,
        }
        return asdict(self) | more


def _still(finding: Finding) -> str:
    return "" if finding.days is None else f" (about {finding.days:.1f} more days)"
