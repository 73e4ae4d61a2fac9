"""What `shadow gate --brief` says: the one thing that holds a release, and the command that helps. Pure."""

from __future__ import annotations

import textwrap
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
    """What fills at most LINES lines of a terminal, the most important first. beside: what must be among it. width: of
    a terminal; None for a pipe, in which no line is broken or cut.

    What holds the release is said in up to three lines, and the command that helps is never cut. Rows give way.
    """
    one, rows = holding(judgement.findings), against(judgement.findings)
    first = f"{judgement.decision.value}: {'every criterion passes' if one is None else _told(one)}"
    if one is None and judgement.decision is not Decision.PROMOTE:
        first = judgement.reason
    counted = f"{judgement.passed} of {len(judgement.findings)} criteria pass"
    hours = f"{judgement.covered_hours:,} clean event hours, {judgement.needed_hours:,} required"
    top = _broken(first, width, 3)
    command = f"next: {help_for(judgement, slot)}"
    below = [line for text in (f"slot {slot}, run {judgement.run}: {counted}; {hours}", *beside)
             for line in _broken(text, width, 2)]  # fmt: skip
    taken = len(top) + _height(command, width) + len(below)
    others = [_row(row) for row in rows if row is not one]
    room = max(1, LINES - taken)
    if len(others) > room:
        others = [*others[: room - 1], f"and {len(others) - room + 1:,} more: shadow gate --slot {slot}"]
    return [*top, command, *(_cut(line, width) for line in others), *below][:LINES]


def _broken(text: str, width: int | None, most: int) -> list[str]:
    """A text in lines of a terminal, at most so many."""
    if width is None:
        return [text]
    lines = textwrap.wrap(text, width) or [""]
    return lines if len(lines) <= most else [*lines[: most - 1], _cut(" ".join(lines[most - 1 :]), width)]


def _height(line: str, width: int | None) -> int:
    """How many lines of a terminal a line takes."""
    return 1 if width is None else max(1, -(-len(line) // width))


def _cut(line: str, width: int | None) -> str:
    return line if width is None or len(line) <= width else f"{line[: width - 1]}…"


def _told(one: Finding) -> str:
    return f"{one.criterion} in {one.segment}: {one.reason}"


def _row(one: Finding) -> str:
    return f"  {'FAIL' if one.verdict is Verdict.FAIL else 'thin'}  {_told(one)}"
