"""`shadow verify`: recount the decisions topic and compare with Redis."""

from __future__ import annotations

import asyncio
import sys

import click

from scorer.deployments import CANDIDATE
from scorer.settings import load
from shadow import criteria
from shadow.connection import connect, telling
from shadow.settings import ShadowSettings
from shadow.verify import Verified
from shadow.verify import verify as recount


@click.command()
@click.option("--slot", default=CANDIDATE, show_default=True, help="The slot whose books are checked.")
def verify(slot: str) -> None:
    """Score every decision again and compare the sums of each run, segment by segment. Exits 1 if they differ."""
    settings = load(ShadowSettings)
    release = criteria.load(settings.release)

    async def go() -> Verified:
        redis = connect(settings.redis)
        try:
            return await recount(redis, settings, slot, release)
        finally:
            await redis.aclose()

    with telling(settings.redis):
        found = asyncio.run(go())
    compared = ", ".join(f"{run} {count}" for run, count in found.compared.items()) or "none"
    click.echo(
        f"slot {slot}: {found.decisions} decisions = {sum(found.compared.values())} compared ({compared}) "
        f"+ {found.repeats} repeats + {found.duplicates} duplicates + {found.skipped} skipped"
    )
    for difference in found.differences:
        where = f"partition {difference.partition}" + (f", run {difference.run}" if difference.run else "")
        click.echo(f"{where}: {difference.what}: {difference.tallied} tallied, {difference.recounted} recounted")
    click.echo("equal" if not found.differences else "NOT EQUAL")
    sys.exit(1 if found.differences else 0)
