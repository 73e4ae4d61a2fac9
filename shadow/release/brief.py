"""What `shadow gate --brief` says: the one thing that holds a release, and the command that helps. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from shlex import quote

from scorer.text_table import columns_of, wrapped
from shadow.comparison.totals import RunTotals
from shadow.gate.findings import Decision, Judgement
from shadow.release.sentences import RETRAIN, Help, Obstacle, obstacles
from shadow.release.wording import backtested

#: Most lines in all.
LINES = 15
_COMMANDS = {
    Help.DATA: "shadow status",
    Help.TRAIN: RETRAIN,
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
    judgement: Judgement,
    slot: str,
    beside: Sequence[str],
    width: int | None = None,
    totals: RunTotals | None = None,
    backtest: str | None = None,
) -> list[str]:
    """What fills at most LINES lines of a terminal, the most important first. beside: what must be among it. width: of
    a terminal; None for a pipe, in which no line is broken or cut. totals: of the run. backtest: what to call what was
    judged, if it is a backtest, for which no command helps.

    What holds the release is said in up to three lines, and the command that helps is never cut. Rows give way.
    """
    found = obstacles(judgement, totals)
    first = f"{judgement.decision.value}: {found[0].told if found else 'every criterion passes'}"
    if not found and (judgement.decision is not Decision.PROMOTE or backtest is not None):
        first = backtested(judgement)
    counted = f"{judgement.passed} of {len(judgement.findings)} criteria pass"
    hours = f"{judgement.covered_hours:,} clean event hours, {judgement.needed_hours:,} required"
    top = _broken(first, width, 3)
    command = [] if backtest is not None else [f"next: {help_for(judgement, found, slot)}"]
    below = [line for text in (f"{backtest or f'slot {slot}, run {judgement.run}'}: {counted}; {hours}", *beside)
             for line in _broken(text, width, 2)]  # fmt: skip
    taken = len(top) + sum(_height(line, width) for line in command) + len(below)
    others = [f"  {'FAIL' if one.is_failure else 'thin'}  {one.told}" for one in found[1:]]
    room = max(1, LINES - taken)
    if len(others) > room:
        whole = f"shadow gate --slot {slot}" if backtest is None else "leave --brief out"
        others = [*others[: room - 1], f"and {len(others) - room + 1:,} more: {whole}"]
    return [*top, *command, *(_cut(line, width) for line in others), *below][:LINES]


def _broken(text: str, width: int | None, most: int) -> list[str]:
    """A text in lines of a terminal, at most so many."""
    if width is None:
        return [text]
    lines = [part for line in wrapped(text, width, "") for part in _chopped(line, width)] or [""]
    return lines if len(lines) <= most else [*lines[: most - 1], _cut(" ".join(lines[most - 1 :]), width)]


def _chopped(line: str, width: int) -> Iterator[str]:
    """Parts of a line that fit: a word may be wider than the terminal."""
    while columns_of(line) > width:
        most = _fitting(line, width)
        yield line[:most]
        line = line[most:]
    yield line


def _fitting(line: str, width: int) -> int:
    """How many characters of a line fit; one at least."""
    most = min(len(line), width)
    while most > 1 and columns_of(line[:most]) > width:
        most -= 1
    return most


def _height(line: str, width: int | None) -> int:
    """How many lines of a terminal a line takes."""
    return 1 if width is None else max(1, -(-columns_of(line) // width))


def _cut(line: str, width: int | None) -> str:
    return line if width is None or columns_of(line) <= width else f"{line[: _fitting(line, width - 1)]}…"
