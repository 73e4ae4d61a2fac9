"""What `shadow gate --brief` says: the one thing that holds a release, and the command that helps. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from shlex import quote

from shadow.gate.criteria import Criterion, Kind
from shadow.gate.findings import Decision, Finding, Judgement, Verdict

#: Most lines in all.
LINES = 15


def against(findings: Sequence[Finding]) -> list[Finding]:
    """What stands against a promotion: the failures; only if there are none, what lacks evidence."""
    failures = [finding for finding in findings if finding.verdict is Verdict.FAIL]
    return failures or [f for f in findings if f.verdict is Verdict.INSUFFICIENT and not f.excused]


def holding(findings: Sequence[Finding]) -> Finding | None:
    """The one thing that holds a release: the worst failure, or else what takes the longest; None if nothing does.

    What nobody can tell the end of takes longer than anything else.
    """
    rows = against(findings)
    if not rows or rows[0].verdict is Verdict.FAIL:
        return rows[0] if rows else None
    return max(rows, key=lambda one: float("inf") if one.days is None else one.days)


def help_for(judgement: Judgement, slot: str) -> str:
    """The command that helps most."""
    of_slot = f"--slot {slot}"
    if judgement.decision is Decision.PROMOTE:
        return f"shadow approve {of_slot} --reason …"
    one = holding(judgement.findings)
    if one is None:
        return "shadow status"
    if one.criterion in (Criterion.COVERAGE, Criterion.CANDIDATE_ERROR_RATE, Criterion.RECENT_ERRORS):
        return "shadow status"
    if one.verdict is Verdict.INSUFFICIENT:
        if one.criterion.kind in (Kind.HARM, Kind.FLOOR):
            return f"shadow review next {of_slot} --by NAME"
        return "shadow plan"
    return f"shadow disagreements {of_slot} --segment {quote(one.segment)} --drivers"


def brief(judgement: Judgement, slot: str, beside: Sequence[str], width: int | None = None) -> list[str]:
    """At most LINES lines, the most important one first. beside: lines that must be among them. width: of a terminal,
    to which lines are cut; None for none."""
    one, rows = holding(judgement.findings), against(judgement.findings)
    first = f"{judgement.decision.value}: {'every criterion passes' if one is None else _told(one)}"
    if one is None and judgement.decision is not Decision.PROMOTE:
        first = judgement.reason
    lines = [
        first,
        f"next: {help_for(judgement, slot)}",
        f"slot {slot}, run {judgement.run}: {judgement.passed} of {len(judgement.findings)} criteria pass; "
        f"{judgement.covered_hours:,} clean event hours, {judgement.needed_hours:,} required",
        *beside,
    ]
    others = [row for row in rows if row is not one]
    room = LINES - len(lines)
    if len(others) > room:
        shown = others[: max(0, room - 1)]
        others_told = [_row(row) for row in shown]
        others_told += [f"and {len(others) - len(shown):,} more: shadow gate --slot {slot}"]
    else:
        others_told = [_row(row) for row in others]
    lines = [*lines[:3], *others_told, *lines[3:]]
    return [line if width is None or len(line) <= width else f"{line[: width - 1]}…" for line in lines]


def _told(one: Finding) -> str:
    return f"{one.criterion} in {one.segment}: {one.reason}"


def _row(one: Finding) -> str:
    return f"  {'FAIL' if one.verdict is Verdict.FAIL else 'thin'}  {_told(one)}"
