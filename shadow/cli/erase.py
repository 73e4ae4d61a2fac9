"""`shadow erase`: forget a card."""

from __future__ import annotations

import asyncio

import click

from scorer.settings import load
from shadow import keys
from shadow.cases import by_transaction, card_hash
from shadow.connection import connect, telling
from shadow.labelstore import LabelStore
from shadow.settings import ShadowSettings
from shadow.store import TallyStore


@click.command()
@click.option("--card", required=True, help="The card's token, as on the transactions.")
def erase(card: str) -> None:
    """Delete a card's samples, cases and labels from Redis, in every slot.

    Topics keep their records until their retention ends; a slot that is counted anew from them samples them again.
    """
    settings = load(ShadowSettings)
    with telling(settings.redis):
        cases, labels = asyncio.run(_erase(settings, card))
    click.echo(f"erased {cases} cases with their samples, and {labels} labels")


async def _erase(settings: ShadowSettings, card: str) -> tuple[int, int]:
    redis = connect(settings.redis)
    try:
        slots = sorted(slot.decode() for slot in await redis.smembers(keys.slots(settings.prefix)))
        stores = [TallyStore(redis, slot, (), settings.prefix) for slot in slots]
        gone = [case for store in stores for case in await store.erase_card(card)]
        subjects = sorted({by_transaction(case.transaction) for case in gone})
        return len(gone), await LabelStore(redis, settings.prefix).erase(card_hash(card), subjects)
    finally:
        await redis.aclose()
