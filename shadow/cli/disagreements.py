"""`shadow disagreements`: the transactions on which live and candidate differ, and why."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import click
import orjson
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from scorer.deployments import CANDIDATE
from scorer.errors import UserError
from scorer.ledger import read
from scorer.settings import load
from scorer.store import BundleStore
from shadow import criteria
from shadow.connection import connect, telling
from shadow.explain import Explainer
from shadow.look import present_run
from shadow.query import Query, select
from shadow.readback import TallyReader
from shadow.settings import ShadowSettings
from shadow.tally import Run


@click.command()
@click.option("--slot", default=CANDIDATE, show_default=True, help="The candidate's slot.")
@click.option("--run", "run_name", help="A run such as L1-C1; default: the present one.")
@click.option("--direction", type=click.Choice(["live_only", "candidate_only"]), help="Who alone blocks.")
@click.option("--agreements", is_flag=True, help="Samples of agreements too.")
@click.option("--segment", help="Such as country=FR or amount=20-50.")
@click.option("--min-amount", type=float, help="In the reporting currency.")
@click.option("--max-amount", type=float)
@click.option("--min-gap", type=float, help="Candidate's score minus live's.")
@click.option("--max-gap", type=float)
@click.option("--since", help="Occurred at or after (RFC 3339).")
@click.option("--until", help="Occurred before.")
@click.option("--scored-since", help="Scored at or after.")
@click.option("--scored-until", help="Scored before.")
@click.option("--card", help="Only this card.")
@click.option("--transaction", help="Only this transaction.")
@click.option("--sort", type=click.Choice(["time", "amount", "gap"]), default="time", show_default=True)
@click.option("--ascending", is_flag=True, help="Smallest first.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True)
@click.option("--after", type=click.IntRange(0), default=0, help="Pass over so many: the next page.")
@click.option("--output", type=click.Choice(["table", "jsonl"]), default="table", show_default=True)
def disagreements(slot: str, run_name: str | None, output: str, **filters: Any) -> None:
    """Samples of disagreement of a slot's run, each with the features that make the difference."""
    settings = load(ShadowSettings)
    try:
        query = Query(**filters)
        run = Run.parse(run_name) if run_name is not None else None
    except (ValidationError, ValueError) as error:
        told = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise UserError(f"disagreements: {told}") from None
    page, total = asyncio.run(_page(settings, slot, run, query))
    if output == "jsonl":
        for sample in page:
            click.echo(orjson.dumps(sample))
        return
    _print(page, total, 10.0**settings.minor_digits)


async def _page(settings: ShadowSettings, slot: str, run: Run | None, query: Query) -> tuple[list[dict[str, Any]], int]:
    """The samples that match, each explained."""
    release = criteria.load(settings.release)
    deployments = await read(settings)
    run = run or present_run(deployments, slot)
    if run is None:
        raise UserError(f"slot {slot}: is empty; name a run with --run")
    redis = connect(settings.redis)
    with telling(settings.redis):
        try:
            samples = await TallyReader(redis, slot, release.segments.names, settings.prefix).samples(run)
        finally:
            await redis.aclose()
    page, total = select(samples, query, 10.0**settings.minor_digits)
    explainer = Explainer(BundleStore(settings.store, settings.cache))
    explainer.views = deployments.views
    for sample in page:
        sample["why"] = sample["why"] or explainer.why(sample)
    return page, total


def _print(page: list[dict[str, Any]], total: int, minor_per_unit: float) -> None:
    console = Console(width=None if sys.stdout.isatty() else 160)
    table = Table("occurred at", "transaction", "amount", "outcome", "live", "candidate", "segments", "why", box=None)
    for sample in page:
        why = ", ".join(f"{part['feature']} {part['difference']:+.2f}" for part in (sample["why"] or [])[:3])
        live = sample["live"]["score"]
        table.add_row(
            sample["occurred_at"],
            sample["transaction_id"],
            f"{sample['amount_minor'] / minor_per_unit:,.2f}",
            sample["outcome"],
            "" if live is None else f"{live:.3f}",
            f"{sample['candidate']['score']:.3f}",
            " ".join(segment for segment in sample["segments"] if segment != "all"),
            why or "a bundle is gone",
        )
    console.print(table)
    console.print(f"{len(page)} of {total} kept samples", highlight=False)
