"""`shadow gate`: whether the candidate may be promoted, and if not, why."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence

import click
import orjson
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from scorer.deployments.ledger import read
from scorer.deployments.records import CANDIDATE
from scorer.deployments.slots import Deployments
from scorer.process.screen import width
from scorer.process.signing import SLOT
from scorer.process.waiting import waiting
from scorer.settings import load
from scorer.text_table import WIDE, is_wider, table, wrapped
from shadow.gate import criteria
from shadow.gate.findings import Decision, Finding, Verdict
from shadow.gate.shares import percent
from shadow.release.brief import brief as in_brief
from shadow.release.criteria_file import load_release
from shadow.release.history import last_forced
from shadow.release.look import Look, look
from shadow.release.named import require_slot
from shadow.release.sentences import clean_told, to_try
from shadow.release.twin import missing_twin
from shadow.release.wording import backtested
from shadow.settings import ShadowSettings
from shadow.store.connection import connect, telling

#: Exit codes, which `shadow backtest` has, too; no other command uses 3 and 4.
EXIT = {Decision.PROMOTE: 0, Decision.HOLD: 3, Decision.REJECT: 4}
#: Columns of a pipe; and those that a reason needs beside the figures.
PIPED, REASON = 140, 32
#: Verdicts as words.
_WORD = {Verdict.PASS: "pass", Verdict.FAIL: "FAIL", Verdict.INSUFFICIENT: "thin"}
_MARK = {Verdict.PASS: "[green]pass[/]", Verdict.FAIL: "[bold red]FAIL[/]", Verdict.INSUFFICIENT: "[yellow]thin[/]"}


@click.command()
@click.option("--slot", type=SLOT, default=CANDIDATE, show_default=True, help="Slot of the candidate.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option(
    "--brief", is_flag=True, help="Show what holds the release and the command that helps, in at most 15 lines."
)
def gate(slot: str, as_json: bool, brief: bool) -> None:
    """Judge the slot's current run by release.yaml: one row for each criterion and segment, worst first.

    Exits with 0 for promote, 3 for hold, 4 for reject.
    """
    settings = load(ShadowSettings)
    release = load_release(settings.release)
    with waiting("judging the run"):
        deployments, seen = asyncio.run(_look(settings, slot, release))
    judgement = seen.judgement
    if as_json:
        forced = [seq for seq, _ in deployments.forced]
        twin = deployments.twins.get(str(deployments.slot(slot).digest))
        more = {"forced": forced, "twin": None if twin is None else twin.digest}
        click.echo(orjson.dumps({"slot": slot, "criteria": release.digest, **more, **judgement.to_json()}))
    else:
        beside = [one for one in (missing_twin(deployments, slot, settings.control), last_forced(deployments)) if one]
        tell(seen, brief, beside)
    sys.exit(EXIT[judgement.decision])


async def _look(settings: ShadowSettings, slot: str, release: criteria.Release) -> tuple[Deployments, Look]:
    deployments = await read(settings)
    require_slot(deployments, slot)
    redis = connect(settings.redis)
    with telling(settings.redis):
        try:
            return deployments, await look(redis, deployments, slot, release, settings)
        finally:
            await redis.aclose()


def tell(seen: Look, brief: bool, beside: Sequence[str] = (), backtest: str | None = None) -> None:
    """Print a look: findings, the clean period, what is worth knowing beside it, and the verdict.

    beside: further lines. backtest: what to call what was judged, if it is not the run of a slot.
    """
    console = Console(width=width() or PIPED)
    if brief:
        clean = [] if seen.judgement.clean is None else [clean_told(seen.judgement.clean)]
        for line in in_brief(seen.judgement, seen.slot, [*clean, *beside], width(), seen.candidate, backtest):
            _print_line(console, line)
        return
    _print(console, seen, backtest)
    for line in beside:
        _say(console, line)


def _print(console: Console, seen: Look, backtest: str | None) -> None:
    judgement = seen.judgement
    rows = judgement.findings
    if rows:
        _table(console, rows)
    counted = f"{judgement.passed} of {len(judgement.findings)} criteria pass"
    hours = f"{judgement.covered_hours:,} clean event hours, {judgement.needed_hours:,} required"
    _say(console, f"{backtest or f'slot {seen.slot}, run {judgement.run}'}: {counted}; {hours}")
    if judgement.clean is not None:
        _say(console, clean_told(judgement.clean))
    if judgement.matched is not None:
        _say(console, judgement.matched.told)
    if judgement.suggested_threshold is not None:
        _say(console, _to_try(seen.slot, judgement.suggested_threshold))
    if judgement.drift is not None:
        _say(console, judgement.drift.told)
    if judgement.group is not None:
        _say(console, judgement.group.told, style="yellow")
    for part in judgement.others:
        _say(console, f"{part.segment}: {part.told}{'; small enough to lack evidence' if part.is_small else ''}")
    _say(console, judgement.reason if backtest is None else backtested(judgement), style="bold")


def _table(console: Console, rows: Sequence[Finding]) -> None:
    heads = ("criterion", "segment", "observed", "bound", "limit")
    numbers = [[_number(one, value) for value in (one.observed, one.bound, one.limit)] for one in rows]
    cells = [
        [_WORD[one.verdict] + ("*" if one.excused else ""), one.criterion, one.segment, *told]
        for one, told in zip(rows, numbers, strict=True)
    ]
    if console.width < WIDE or is_wider(["verdict", *heads], cells, console.width - REASON):
        for line in table(["verdict", *heads], cells, width(), [one.reason for one in rows]):
            _print_line(console, line)
        if any(one.excused for one in rows):
            _say(console, "* excused by release.yaml")
        return
    wide = Table(*heads, "verdict", Column("reason", overflow="fold"), box=None)
    for one, told in zip(rows, numbers, strict=True):
        mark = _MARK[one.verdict] + (" (excused)" if one.excused else "")
        wide.add_row(one.criterion, escape(one.segment), *told, mark, escape(one.reason))
    console.print(wide)


def _say(console: Console, text: str, style: str | None = None) -> None:
    """Print a sentence: a terminal gets it broken between words, a file has it whole."""
    for line in wrapped(text, width()):
        _print_line(console, line, style)


def _print_line(console: Console, text: str, style: str | None = None) -> None:
    console.print(text, style=style, highlight=False, soft_wrap=True, markup=False, emoji=False)


def _to_try(slot: str, threshold: float) -> str:
    """How to take the suggested threshold."""
    return (
        f"To try that threshold: `{to_try(slot, threshold)}`. "
        "This begins a new run; the verdict below is on the bundle at its own threshold."
    )


def _number(finding: Finding, value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,g}" if finding.criterion.unit.is_count else percent(value, 2)
