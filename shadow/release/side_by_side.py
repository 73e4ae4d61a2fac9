"""Two candidates beside each other, against the same live: only what differs. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shadow.comparison.outcome import Outcome
from shadow.comparison.totals import ALL, RunTotals, SegmentTotals
from shadow.gate.findings import Finding, Judgement, Verdict
from shadow.gate.judge import ENOUGH
from shadow.gate.shares import percent
from shadow.release.sentences import NAMES, hour, named, place, reason_of

_WORDS = {Verdict.PASS: "✓ passes", Verdict.FAIL: "✗ fails", Verdict.INSUFFICIENT: "? lacks evidence"}
_RANK = {Verdict.FAIL: 0, Verdict.INSUFFICIENT: 1, Verdict.PASS: 2}


@dataclass(frozen=True, slots=True)
class Check:
    """A check on which two candidates fare differently. ours, theirs: the verdict, and why."""

    segment: str
    name: str
    ours: tuple[str, str]
    theirs: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Rates:
    """Block rates in a segment in which two candidates block differently. apart: in percent points."""

    segment: str
    live: str
    ours: str
    theirs: str
    apart: str


def ground(names: tuple[str, str], one: RunTotals, other: RunTotals) -> list[str]:
    """Whether two runs are about the same transactions, and what follows where they are not."""
    told = []
    if one.run.live_epoch != other.run.live_epoch:
        told.append(
            f"They were compared with live at different times ({names[0]} in run {one.run}, {names[1]} in run "
            f"{other.run}), and live was changed in between."
        )
    if not one.compared or not other.compared:
        empty = " and ".join(name for name, run in zip(names, (one, other), strict=True) if not run.compared)
        return [*told, f"Nothing was compared yet for {empty}."]
    both = set(one.covered) & set(other.covered)
    if one.covered == other.covered and one.compared == other.compared:
        return [*told, f"Both runs cover the same {len(both):,} event hours and {one.compared:,} transactions."]
    spans = [f"{name} {run.compared:,} transactions{_span(run)}" for name, run in zip(names, (one, other), strict=True)]
    shared = f"They share {len(both):,} event hours. " if one.covered and other.covered else ""
    return [
        *told,
        f"The two runs do not cover the same transactions: {spans[0]}; {spans[1]}. {shared}Each rate below is of its "
        "own run, so a part of what differs may be the traffic and not the candidate.",
    ]


def _span(run: RunTotals) -> str:
    return f" ({hour(min(run.covered))} to {hour(max(run.covered) + 1)})" if run.covered else ""


def checks_apart(
    one: tuple[Judgement, RunTotals], other: tuple[Judgement, RunTotals], most: int
) -> tuple[list[Check], int]:
    """The checks whose verdict differs, failures first, and how many more there are."""
    found = []
    ours, theirs = _by_place(one[0].findings), _by_place(other[0].findings)
    for key in sorted(ours.keys() & theirs.keys()):
        a, b = ours[key], theirs[key]
        if a.verdict is not b.verdict:
            rank = (min(_RANK[a.verdict], _RANK[b.verdict]), a.segment != ALL, key)
            sides = [(_WORDS[f.verdict], _why(f, run)) for f, run in ((a, one[1]), (b, other[1]))]
            found.append((rank, Check(place(a.segment), key[0], sides[0], sides[1])))
    rows = [check for _, check in sorted(found, key=lambda pair: pair[0])]
    return rows[:most], max(0, len(rows) - most)


def _why(finding: Finding, run: RunTotals) -> str:
    return reason_of(finding, run.segments.get(finding.segment, SegmentTotals()).live_blocks)


def _by_place(findings: Sequence[Finding]) -> dict[tuple[str, str], Finding]:
    return {(NAMES[finding.criterion], finding.segment): finding for finding in named(findings)}


def rates_apart(one: RunTotals, other: RunTotals, most: int) -> tuple[list[Rates], int]:
    """The segments in which two candidates block differently, all traffic first, then the farthest apart; and how many
    more there are. With few blocks of live no rate is told."""
    found = []
    for name, ours in one.segments.items():
        theirs = other.segments.get(name)
        if theirs is None or not ours.compared or not theirs.compared:
            continue
        a, b = _rate(ours), _rate(theirs)
        if percent(a, 2) == percent(b, 2):
            continue
        few = min(ours.live_blocks, theirs.live_blocks) < ENOUGH
        lives = [percent(part.live_blocks / part.compared, 2) for part in (ours, theirs)]
        row = Rates(
            name,
            lives[0] if lives[0] == lives[1] else f"{lives[0]} and {lives[1]}",
            percent(a, 2),
            percent(b, 2),
            "too few blocks" if few else f"{100 * (b - a):+.2f} points",
        )
        found.append(((name != ALL, few, -abs(b - a), name), row))
    rows = [row for _, row in sorted(found, key=lambda pair: pair[0])]
    return rows[:most], max(0, len(rows) - most)


def _rate(part: SegmentTotals) -> float:
    return int(part.counts[Outcome.BOTH_BLOCK] + part.counts[Outcome.CANDIDATE_ONLY]) / part.compared
