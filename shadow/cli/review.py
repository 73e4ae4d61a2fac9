"""`shadow review`: the queue of cases that somebody has to look at, and what they say of them."""

from __future__ import annotations

import asyncio
import sys
from typing import Any, get_args

import click
import orjson
from rich.console import Console
from rich.table import Table

from scorer.deployments import CANDIDATE
from scorer.ledger import read
from scorer.settings import load
from shadow import criteria, reviewing
from shadow.connection import connect, telling
from shadow.labels import Verdict
from shadow.reviewing import hand_out, open_queue
from shadow.settings import ShadowSettings


@click.group()
def review() -> None:
    """Decide who is right where the models differ: the next case of an unbiased queue, and your verdict on it."""


@review.command(name="next")
@click.option("--slot", default=CANDIDATE, show_default=True, help="The candidate's slot.")
@click.option("--by", required=True, help="Who looks: the cases are theirs for a while (SHADOW_REVIEW_MINUTES).")
@click.option("--count", type=click.IntRange(1, 100), default=1, show_default=True)
@click.option("--show-models", is_flag=True, help="Scores, and who blocks. Left out, so that you answer, not a model.")
@click.option("--output", type=click.Choice(["text", "jsonl"]), default="text", show_default=True)
def next_(slot: str, by: str, count: int, show_models: bool, output: str) -> None:
    """The next cases to look at, and how many more would settle the question.

    The order is random and fixed. Answer what you are given: `unsure` is an answer, a case passed over holds up those
    behind it.
    """
    settings = load(ShadowSettings)
    cases, progress = asyncio.run(_next(settings, slot, by, count))
    for case in cases:
        if not show_models:
            del case["models"]
        if output == "jsonl":
            click.echo(orjson.dumps(case))
        else:
            _print(case)
    if output == "text":
        _print_progress(progress)


async def _next(
    settings: ShadowSettings, slot: str, by: str, count: int
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    release = criteria.load(settings.release)
    deployments = await read(settings)
    redis = connect(settings.redis)
    with telling(settings.redis):
        try:
            queue = await open_queue(redis, deployments, slot, release, settings)
            return await hand_out(redis, deployments, queue, settings, by, count), queue.progress
        finally:
            await redis.aclose()


def _print(case: dict[str, Any]) -> None:
    console = Console(width=None if sys.stdout.isatty() else 120)
    told = {"for segment": case["segment"], "occurred at": case["occurred_at"], "amount": f"{case['amount']:,.2f}"}
    apart = ("transaction_id", "occurred_at", "amount")
    plain = {name: value for name, value in (case["transaction"] or {}).items() if name not in apart}
    table = Table(case["transaction_id"], "", box=None)
    features = {name: value for name, value in (case["features"] or {}).items() if name not in {*plain, *apart}}
    for name, value in {**told, **plain, **features}.items():
        table.add_row(name, "" if value is None else f"{value:g}" if isinstance(value, float) else str(value))
    for other in case["same_card"]:
        table.add_row("same card", f"{other['occurred_at']}  {other['amount']:,.2f}  {other['transaction_id']}")
    if case["transaction"] is None:
        table.add_row("", "its sample has expired; look it up by its id")
    if "models" in case:
        table.add_row("blocked by", case["models"]["blocked_by"])
        for part in (case["models"].get("why") or [])[:5]:
            table.add_row(f"why: {part['feature']}", f"{part['difference']:+.2f} log-odds")
    console.print(table)
    console.print()


def _print_progress(progress: dict[str, Any]) -> None:
    console = Console(width=None if sys.stdout.isatty() else 120)
    wanted = [part for part in progress["segments"] if part["settled"] < 1]
    if not wanted:
        console.print("no label is asked for: nothing differs enough, or all of it is settled", highlight=False)
        return
    table = Table("segment", "reviewed", "settled", "about so many more", box=None)
    for part in sorted(wanted, key=lambda part: float(part["settled"])):
        more = "not in sight" if part["more"] is None else str(part["more"])
        table.add_row(part["segment"], str(part["reviewed"]), f"{part['settled']:.0%}", more)
    console.print(table)
    console.print(f"run {progress['run']}: {progress['waiting']} cases wait", highlight=False)


@review.command()
@click.argument("transaction")
@click.argument("verdict", type=click.Choice(list(get_args(Verdict))))
@click.option("--slot", default=CANDIDATE, show_default=True, help="The candidate's slot.")
@click.option("--by", required=True, help="Who says so.")
@click.option("--reason", help="Why; it stays on record.")
def mark(transaction: str, verdict: Verdict, slot: str, by: str, reason: str | None) -> None:
    """Say what a transaction was: fraud, legit, or unsure. Saying it again corrects what you said before."""
    settings = load(ShadowSettings)

    async def go() -> None:
        redis = connect(settings.redis)
        try:
            await reviewing.mark(redis, settings, slot, transaction, verdict, by, reason)
        finally:
            await redis.aclose()

    with telling(settings.redis):
        asyncio.run(go())
    click.echo(f"{transaction}: {verdict}, says {by}")
