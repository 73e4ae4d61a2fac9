"""`shadow disagreements`: transactions that live and the candidate decide differently, and why."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import click
import orjson
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from scorer.bundles.store import BundleStore
from scorer.deployments.ledger import read
from scorer.deployments.records import CANDIDATE
from scorer.errors import UserError
from scorer.process.signing import SLOT
from scorer.settings import load
from shadow.comparison.query import Query
from shadow.comparison.sample import Sample
from shadow.comparison.totals import ALL, Run
from shadow.release.criteria_file import load_release
from shadow.release.look import present_run
from shadow.release.named import require_run, require_segment, require_slot
from shadow.settings import ShadowSettings
from shadow.store.connection import connect, telling
from shadow.store.reader import TallyReader
from shadow.store.samples import SampleReader
from shadow.worker.explain import Explainer

#: Tells samples, how many match in all, and minor units in one unit of money.
Telling = Callable[[AsyncIterator[Sample], int, float], Awaitable[None]]


@click.command()
@click.option("--slot", type=SLOT, default=CANDIDATE, show_default=True, help="Slot of the candidate.")
@click.option("--run", "run_name", help="Run, such as L1-C1. Default: the slot's current run.")
@click.option("--direction", type=click.Choice(["live_only", "candidate_only"]), help="The only model that blocks.")
@click.option("--agreements", is_flag=True, help="Include samples on which both agree.")
@click.option("--segment", help="Segment, such as country=FR or amount=20-50.")
@click.option("--min-amount", type=float, help="Least amount, in the reporting currency.")
@click.option("--max-amount", type=float, help="Largest amount, in the reporting currency.")
@click.option("--min-gap", type=float, help="Least gap: the candidate's score minus live's.")
@click.option("--max-gap", type=float, help="Largest gap.")
@click.option("--since", help="Transactions that occurred at or after this time (RFC 3339).")
@click.option("--until", help="Transactions that occurred before this time.")
@click.option("--scored-since", help="Transactions that live scored at or after this time.")
@click.option("--scored-until", help="Transactions that live scored before this time.")
@click.option("--card", help="Transactions of this card token.")
@click.option("--transaction", help="The transaction with this id.")
@click.option(
    "--sort",
    type=click.Choice(["time", "amount", "gap"]),
    default="time",
    show_default=True,
    help="Sort by time, amount or size of the gap, largest first.",
)
@click.option("--ascending", is_flag=True, help="Smallest first.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="Samples to show.")
@click.option("--after", type=click.IntRange(0), default=0, help="Samples to skip, for the next page.")
@click.option("--output", type=click.Choice(["table", "jsonl"]), default="table", show_default=True, help="Format.")
def disagreements(slot: str, run_name: str | None, output: str, **filters: Any) -> None:
    """Show samples that live and the candidate decide differently, with the features that make the difference."""
    settings = load(ShadowSettings)
    try:
        query = Query(**filters)
        run = Run.parse(run_name) if run_name is not None else None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        option = str(first["loc"][0]).replace("_", "-")
        raise UserError(f"--{option} {first['input']}: {first['msg'].removeprefix('Value error, ')}") from None
    except ValueError as error:
        raise UserError(f"--run: {error}") from None
    asyncio.run(_show(settings, slot, run, query, _lines if output == "jsonl" else _table))


async def _show(settings: ShadowSettings, slot: str, run: Run | None, query: Query, tell: Telling) -> None:
    """Tell the samples of a page, each explained, as they are read."""
    deployments = await read(settings)
    require_slot(deployments, slot)
    present = present_run(deployments, slot)
    chosen = run or present
    if query.segment is not None and chosen == present:  # an earlier run may have had other segments
        require_segment(load_release(settings.release).segments.names, query.segment)
    if chosen is None:
        raise UserError(f"slot {slot}: is empty; name one of its earlier runs with --run, such as --run L1-C1")
    explainer = Explainer(BundleStore(settings.store, settings.cache, settings.store_seconds))
    explainer.views = deployments.views
    redis = connect(settings.redis)
    with telling(settings.redis):
        try:
            if run is not None:
                known = await TallyReader(redis, slot, (), settings.prefix).runs()
                require_run([info.run for info in known], slot, run)
            reader = SampleReader(redis, slot, settings.prefix)
            found = await reader.find(chosen, query, deployments.minor_per_unit)
            explained = (explainer.explained(sample) async for sample in reader.samples(chosen, found))
            await tell(explained, found.total, deployments.minor_per_unit)
        finally:
            await redis.aclose()


async def _lines(samples: AsyncIterator[Sample], total: int, minor_per_unit: float) -> None:
    async for sample in samples:
        click.echo(orjson.dumps(sample.to_json()))


async def _table(samples: AsyncIterator[Sample], total: int, minor_per_unit: float) -> None:
    console = Console(width=None if sys.stdout.isatty() else 160)
    table = Table("occurred at", "transaction", "amount", "outcome", "live", "candidate", "segments", "why", box=None)
    async for sample in samples:
        why = ", ".join(f"{part.feature} {part.difference:+.2f}" for part in (sample.why or ())[:3])
        live = sample.live.score
        table.add_row(
            sample.occurred_at,
            sample.transaction_id,
            f"{sample.amount_minor / minor_per_unit:,.2f}",
            sample.outcome.key,
            "" if live is None else f"{live:.3f}",
            f"{sample.candidate.score:.3f}",
            " ".join(segment for segment in sample.segments if segment != ALL),
            why or "unknown: a bundle is no longer in the store",
        )
    console.print(table)
    console.print(f"{table.row_count:,} of {total:,} matching samples", highlight=False)
