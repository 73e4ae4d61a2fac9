"""`shadow status`: what is live and how old its data is, what is in each slot, and what waits for whom."""

from __future__ import annotations

import asyncio

import click
import orjson

from scorer.bundles.store import BundleStore
from scorer.deployments.ledger import read
from scorer.deployments.slots import Deployments
from scorer.errors import UserError
from scorer.process.screen import show, width
from scorer.process.waiting import waiting
from scorer.settings import load
from shadow.intake.reviews import verdict_of
from shadow.release.after_release import Afterwards, look_afterwards, period_of
from shadow.release.complaints import ComplaintLook
from shadow.release.complaints_look import look_at_complaints
from shadow.release.criteria_file import load_release
from shadow.release.look import judged_slots, look
from shadow.release.standing import status_of
from shadow.release.status import SlotVerdict, Status, lines
from shadow.settings import ShadowSettings
from shadow.store.connection import connect, telling


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of lines.")
def status(as_json: bool) -> None:
    """Show what is live, since when and by whom, how old its data is, what is in each slot, and what waits for whom.

    Judges every candidate. Without Redis it says so, and shows what the ledger knows.
    """
    with waiting("reading how things stand"):
        found = asyncio.run(_status(load(ShadowSettings)))
    if as_json:
        click.echo(orjson.dumps(found.to_json()))
        return
    show(lines(found, width()))


async def _status(settings: ShadowSettings) -> Status:
    deployments = await read(settings)
    verdicts: dict[str, SlotVerdict] = {}
    trouble, afterwards, complaints = None, None, None
    try:
        verdicts, afterwards, complaints = await _seen(settings, deployments)
    except UserError as error:
        trouble = str(error)
    store = BundleStore(settings.store, settings.cache, settings.store_seconds)
    return await asyncio.to_thread(
        status_of, deployments, store.manifest, verdicts, trouble, settings, afterwards, complaints
    )


async def _seen(
    settings: ShadowSettings, deployments: Deployments
) -> tuple[dict[str, SlotVerdict], Afterwards | None, ComplaintLook | None]:
    """The verdict on each candidate, what the watch over live sees, and what complaints say."""
    slots = judged_slots(deployments, settings)
    if not slots and period_of(deployments, settings.watch_days) is None:
        return {}, None, None
    release = load_release(settings.release)
    redis = connect(settings.redis)
    with telling(settings.redis):
        try:
            seen = {slot: await look(redis, deployments, slot, release, settings) for slot in slots}
            verdicts = {slot: verdict_of(one, release) for slot, one in seen.items()}
            return (
                verdicts,
                await look_afterwards(redis, deployments, release, settings),
                await look_at_complaints(redis, deployments, release, settings),
            )
        finally:
            await redis.aclose()
