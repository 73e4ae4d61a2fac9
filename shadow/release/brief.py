"""What `shadow gate --brief` says: the one thing that holds a release, and the command that helps. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from shlex import quote

from shadow.comparison.totals import RunTotals
from shadow.gate.findings import Decision, Judgement
from shadow.release.sentences import Help, Obstacle, obstacles

#: Most lines in all.
LINES = 15
_COMMANDS = {
    Help.DATA: "shadow status",
    Help.NEW_RUN: "scorer deploy BUNDLE --slot {slot} --by … --reason …",
    Help.CONTROL: "scorer deploy TWIN --slot control --by … --reason …",
    Help.REVIEWS: "shadow review next --slot {slot} --by …",
    Help.TIME: "shadow plan",
    Help.PLAN: "shadow plan",
    Help.CHANGE: "shadow disagreements --slot {slot} --segment {segment} --drivers",
}


def help_for(judgement: Judgement, found: Sequence[Obstacle], slot: str) -> str:
    """The command that helps most. found: what holds the release, the one thing first."""
    if judgement.decision is Decision.PROMOTE:
        return f"shadow approve --slot {slot} --by … --reason …"
    if not found:
        return "shadow status"
    return _COMMANDS[found[0].help].format(slot=slot, segment=quote(found[0].segment))


def brief(
    judgement: Judgement, slot: str, beside: Sequence[str], width: int | None = None, totals: RunTotals | None = None
) -> list[str]:
    """At most LINES lines, the most important one first. beside: lines that must be among them. width: of a terminal,
    to which lines are cut; None for none. totals: of the run."""
    found = obstacles(judgement, totals)
    first = f"{judgement.decision.value}: {found[0].told if found else 'every criterion passes'}"
    if not found and judgement.decision is not Decision.PROMOTE:
        first = judgement.reason
    lines = [
        first,
        f"next: {help_for(judgement, found, slot)}",
        f"slot {slot}, run {judgement.run}: {judgement.passed} of {len(judgement.findings)} criteria pass; "
        f"{judgement.covered_hours:,} clean event hours, {judgement.needed_hours:,} required",
    ]
    others, room = found[1:], LINES - len(lines) - len(beside)
    shown = others if len(others) <= room else others[: max(0, room - 1)]
    lines += [f"  {'FAIL' if one.is_failure else 'thin'}  {one.told}" for one in shown]
    if len(shown) < len(others):
        lines.append(f"and {len(others) - len(shown):,} more: shadow gate --slot {slot}")
    lines += beside
    return [line if width is None or len(line) <= width else f"{line[: width - 1]}…" for line in lines]
