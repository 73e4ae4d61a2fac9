"""`shadow gate`: is the candidate ready, and if not, why."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime

import click
import orjson
from rich.console import Console
from rich.table import Table

from scorer.deployments import CANDIDATE
from scorer.ledger import read
from scorer.settings import load
from shadow import criteria
from shadow.clean import CleanPeriod
from shadow.connection import connect, telling
from shadow.findings import COUNTED, Decision, Finding, Verdict
from shadow.look import Look, look
from shadow.settings import ShadowSettings

EXIT = {Decision.PROMOTE: 0, Decision.HOLD: 3, Decision.REJECT: 4}
_MARK = {Verdict.PASS: "[green]pass[/]", Verdict.FAIL: "[bold red]FAIL[/]", Verdict.INSUFFICIENT: "[yellow]thin[/]"}


@click.command()
@click.option("--slot", default=CANDIDATE, show_default=True, help="The candidate's slot.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")
@click.option("--brief", is_flag=True, help="Only what stands against a promotion, not what passes or is excused.")
def gate(slot: str, as_json: bool, brief: bool) -> None:
    """Hold the slot's present run against release.yaml: one row for each criterion and segment, worst first.

    Exits 0 to promote, 3 to hold, 4 to reject.
    """
    settings = load(ShadowSettings)
    release = criteria.load(settings.release)
    seen = asyncio.run(_look(settings, slot, release))
    judgement = seen.judgement
    if as_json:
        click.echo(orjson.dumps({"slot": slot, "criteria": release.digest, **judgement.to_json()}))
    else:
        _print(seen, brief)
    sys.exit(EXIT[judgement.decision])


async def _look(settings: ShadowSettings, slot: str, release: criteria.Release) -> Look:
    deployments = await read(settings)
    redis = connect(settings.redis)
    with telling(settings.redis):
        try:
            return await look(redis, deployments, slot, release, settings)
        finally:
            await redis.aclose()


def _print(seen: Look, brief: bool) -> None:
    judgement = seen.judgement
    console = Console(width=None if sys.stdout.isatty() else 140)
    rows = [f for f in judgement.findings if not brief or (f.verdict is not Verdict.PASS and not f.excused)]
    if rows:
        table = Table("criterion", "segment", "observed", "bound", "limit", "verdict", "reason", box=None)
        for finding in rows:
            mark = _MARK[finding.verdict] + (" (excused)" if finding.excused else "")
            numbers = [_number(finding, value) for value in (finding.observed, finding.bound, finding.limit)]
            table.add_row(finding.criterion, finding.segment, *numbers, mark, finding.reason)
        console.print(table)
    passed = sum(f.verdict is Verdict.PASS for f in judgement.findings)
    hours = f"{judgement.covered_hours} of {judgement.needed_hours} event hours"
    console.print(f"slot {seen.slot}, run {judgement.run}: {passed} criteria pass; {hours} covered", highlight=False)
    if judgement.clean is not None:
        console.print(_clean(judgement.clean), highlight=False)
    if judgement.matched is not None:
        console.print(judgement.matched.told, highlight=False)
    if judgement.suggested_threshold is not None:
        console.print(_try(seen.slot, judgement.suggested_threshold), highlight=False)
    if judgement.drift is not None:
        console.print(judgement.drift.told, highlight=False)
    console.print(judgement.reason, style="bold", highlight=False)


def _clean(clean: CleanPeriod) -> str:
    """What the clean period is waiting for."""
    told = f"clean period: {clean.hours} of {clean.needed} hours"
    if clean.begun:
        told += f", a run begun by {' and '.join(clean.begun)}"
    if clean.resets:
        last = clean.resets[-1]
        told += f", reset at {_hour(last.hour)} by {last.cause} ({len(clean.resets)} in all)"
    if clean.missing and clean.ends is not None:
        told += f"; {clean.missing} missing, full at {_hour(clean.ends + 1)} at the earliest"
    return told


def _try(slot: str, threshold: float) -> str:
    """How to take the suggested threshold."""
    return (
        f"to try that threshold: `scorer deploy BUNDLE --slot {slot} --threshold {threshold:.4g} --by … --reason …`, "
        "a new run; the verdict below is on the bundle as shipped"
    )


def _hour(hour: int) -> str:
    return datetime.fromtimestamp(hour * 3600, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _number(finding: Finding, value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:g}" if finding.criterion in COUNTED else f"{value:+.3f}"
