"""`shadow verify`: counts the decisions topic again and compares the result with Redis."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import asdict

import click
import orjson

from scorer.deployments.ledger import read
from scorer.deployments.records import CANDIDATE
from scorer.process.screen import say
from scorer.process.signing import SLOT
from scorer.process.waiting import waiting
from scorer.settings import load
from shadow.archive.recount import Verified
from shadow.archive.recount import verify as recount
from shadow.release.criteria_file import load_release
from shadow.release.named import require_slot
from shadow.settings import ShadowSettings
from shadow.store.connection import connect, telling


@click.command()
@click.option("--slot", type=SLOT, default=CANDIDATE, show_default=True, help="Slot to verify.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def verify(slot: str, as_json: bool) -> None:
    """Score every decision again, and compare the sums of each run and segment with those in Redis.

    Exits with 0 if all are equal, with 1 if any differ.
    """
    settings = load(ShadowSettings)
    release = load_release(settings.release)

    async def go() -> Verified:
        require_slot(await read(settings), slot)
        redis = connect(settings.redis)
        try:
            return await recount(redis, settings, slot, release)
        finally:
            await redis.aclose()

    with telling(settings.redis), waiting("scoring every decision again"):
        found = asyncio.run(go())
    if as_json:
        told = {"slot": slot, "is_equal": not found.differences, **asdict(found)}
        click.echo(orjson.dumps(told, option=orjson.OPT_NON_STR_KEYS))
        sys.exit(1 if found.differences else 0)
    compared = ", ".join(f"{run} {count}" for run, count in found.compared.items()) or "none"
    refunds = f" + {found.refunds} refunds" if found.refunds else ""
    say(
        f"slot {slot}: {found.decisions} decisions = {sum(found.compared.values())} compared ({compared}) "
        f"+ {found.repeats} repeats{refunds} + {found.duplicates} duplicates + {found.skipped} skipped"
    )
    for difference in found.differences:
        where = f"partition {difference.partition}" + (f", run {difference.run}" if difference.run else "")
        say(f"{where}: {difference.what}: {difference.tallied} in Redis, {difference.recounted} recounted")
    say("equal" if not found.differences else "NOT EQUAL")
    sys.exit(1 if found.differences else 0)
