"""`shadow gate`: whether the candidate may be promoted, and if not, why."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

import click
import orjson
from rich.console import Console
from rich.table import Table

from scorer.deployments.ledger import read
from scorer.deployments.records import CANDIDATE
from scorer.deployments.slots import Deployments
from scorer.process.signing import SLOT
from scorer.settings import load
from shadow.comparison.resets import AGAIN
from shadow.gate import criteria
from shadow.gate.clean_period import CleanPeriod
from shadow.gate.findings import Decision, Finding, Verdict
from shadow.gate.shares import percent
from shadow.release.criteria_file import load_release
from shadow.release.history import last_forced
from shadow.release.look import Look, look
from shadow.release.named import require_slot
from shadow.release.twin import missing_twin
from shadow.settings import ShadowSettings
from shadow.store.connection import connect, telling

#: Exit codes, which `shadow backtest` has, too; no other command uses 3 and 4.
EXIT = {Decision.PROMOTE: 0, Decision.HOLD: 3, Decision.REJECT: 4}
#: Most rows of `--brief`.
BRIEF_ROWS = 12
_MARK = {Verdict.PASS: "[green]pass[/]", Verdict.FAIL: "[bold red]FAIL[/]", Verdict.INSUFFICIENT: "[yellow]thin[/]"}


@click.command()
@click.option("--slot", type=SLOT, default=CANDIDATE, show_default=True, help="Slot of the candidate.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option(
    "--brief", is_flag=True, help="Show only what stands against a promotion: failures, or else what lacks evidence."
)
def gate(slot: str, as_json: bool, brief: bool) -> None:
    """Judge the slot's current run by release.yaml: one row for each criterion and segment, worst first.

    Exits with 0 for promote, 3 for hold, 4 for reject.
    """
    settings = load(ShadowSettings)
    release = load_release(settings.release)
    deployments, seen = asyncio.run(_look(settings, slot, release))
    judgement = seen.judgement
    if as_json:
        forced = [seq for seq, _ in deployments.forced]
        twin = deployments.twins.get(str(deployments.slot(slot).digest))
        beside = {"forced": forced, "twin": None if twin is None else twin.digest}
        click.echo(orjson.dumps({"slot": slot, "criteria": release.digest, **beside, **judgement.to_json()}))
    else:
        tell(seen, brief)
        lacking = missing_twin(deployments, slot, settings.control)
        if lacking is not None:
            _say(Console(width=None if sys.stdout.isatty() else 140), lacking)
        was_forced = last_forced(deployments)
        if was_forced is not None:
            _say(Console(width=None if sys.stdout.isatty() else 140), was_forced)
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


def in_brief(findings: Sequence[Finding]) -> list[Finding]:
    """What stands against a promotion: the failures; only if there are none, what lacks evidence."""
    failures = [finding for finding in findings if finding.verdict is Verdict.FAIL]
    return failures or [f for f in findings if f.verdict is Verdict.INSUFFICIENT and not f.excused]


def tell(seen: Look, brief: bool, place: str | None = None, reason: str | None = None) -> None:
    """Print a look: findings, the clean period, what is worth knowing beside it, and the verdict.

    place, reason: what to call what was judged, and how to say the verdict, where it is not the run of a slot.
    """
    judgement = seen.judgement
    console = Console(width=None if sys.stdout.isatty() else 140)
    rows = in_brief(judgement.findings) if brief else list(judgement.findings)
    left = len(rows) - BRIEF_ROWS if brief else 0
    if left > 0:
        rows = rows[:BRIEF_ROWS]
    if rows:
        table = Table("criterion", "segment", "observed", "bound", "limit", "verdict", "reason", box=None)
        for finding in rows:
            mark = _MARK[finding.verdict] + (" (excused)" if finding.excused else "")
            numbers = [_number(finding, value) for value in (finding.observed, finding.bound, finding.limit)]
            table.add_row(finding.criterion, finding.segment, *numbers, mark, finding.reason)
        console.print(table)
    if left > 0:
        whole = f"which `shadow gate --slot {seen.slot}` shows" if place is None else "which are shown without --brief"
        _say(console, f"and {left} more, {whole}")
    counted = f"{judgement.passed} of {len(judgement.findings)} criteria pass"
    hours = f"{judgement.covered_hours:,} clean event hours, {judgement.needed_hours:,} required"
    _say(console, f"{place or f'slot {seen.slot}, run {judgement.run}'}: {counted}; {hours}")
    if judgement.clean is not None:
        _say(console, _clean(judgement.clean))
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
    _say(console, reason or judgement.reason, style="bold")


def _say(console: Console, text: str, style: str | None = None) -> None:
    """Print a line without breaking it; a terminal breaks it, a file has it whole."""
    console.print(text, style=style, highlight=False, soft_wrap=True)


def _clean(clean: CleanPeriod) -> str:
    """How full the clean period is, what reset it, and when it can be full at the earliest."""
    told = f"clean period: {clean.hours:,} clean event hours, {clean.needed:,} required"
    if clean.missing and clean.ends is not None:
        told += f", {clean.missing} to go: full at {_hour(clean.ends + 1)} at the earliest"
    if clean.begun:
        told += f"; {_begun(clean.begun)}"
    if clean.resets:
        last = clean.resets[-1]
        many = f"reset {len(clean.resets)} times, last" if len(clean.resets) > 1 else "reset"
        told += f"; {many} at {_hour(last.hour)} by {last.cause}"
    return told


def _begun(causes: Sequence[str]) -> str:
    """Why the run before this one ended."""
    if AGAIN in causes:
        return "the run restarted because a slot was redeployed"
    return f"the run restarted because of a {' and a '.join(causes)}"


def _to_try(slot: str, threshold: float) -> str:
    """How to take the suggested threshold."""
    return (
        f"To try that threshold: `scorer deploy BUNDLE --slot {slot} --threshold {threshold:.4g} --by … --reason …`. "
        "This begins a new run; the verdict below is on the bundle at its own threshold."
    )


def _hour(hour: int) -> str:
    return datetime.fromtimestamp(hour * 3600, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _number(finding: Finding, value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,g}" if finding.criterion.unit.is_count else percent(value, 2)
