"""`shadow erase`: delete what Redis, the scorers and the archive hold on a card."""

from __future__ import annotations

import asyncio
import sys

import click
import orjson

from scorer.process.screen import say
from scorer.process.waiting import waiting
from scorer.settings import load
from shadow.comparison.case import by_transaction
from shadow.intake.erasure import Erasing, erasing
from shadow.settings import ShadowSettings
from shadow.store import keys
from shadow.store.connection import connect, telling
from shadow.store.labels import LabelStore
from shadow.store.tallies import TallyStore


@click.command()
@click.option("--card", required=True, help="Card token, as the transactions carry it.")
@click.option(
    "--wait",
    type=click.FloatRange(0),
    default=30.0,
    show_default=True,
    help="Seconds to wait for the scorers' answers.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def erase(card: str, wait: float, as_json: bool) -> None:
    """Delete the samples, cases and labels of a card from Redis, in every slot, and its state from the scorers.

    A scorer that owns a partition forgets what the card did there, in memory and on the topic of card states; the card
    then counts as new. Exit code 1: not every partition has answered yet. The request stays for 30 days, and is carried
    out as soon as a scorer runs.

    An archive (`shadow archive run`) deletes its rows and the files that had them, once it has archived what is on the
    topics by now; `shadow archive status` says when it has. Nobody waits for it here.

    Other topics keep their records until their retention ends. If Redis loses its data before that, a shadow that reads
    them again samples the card again.
    """
    settings = load(ShadowSettings)
    with telling(settings.redis), waiting("erasing, and waiting for the scorers"):
        (samples, cases, labels), found = asyncio.run(_erase_everywhere(settings, card, wait))
    if as_json:
        gone = {"samples": samples, "cases": cases, "labels": labels}
        parts = {"erased_partitions": found.erased, "pending_partitions": found.pending}
        click.echo(orjson.dumps({**gone, **parts, "request": found.request, "archive": found.archive}))
        sys.exit(1 if found.pending else 0)
    say(f"erased {samples:,} samples, {cases:,} cases and {labels:,} labels")
    if found.erased:
        say(f"erased its state in partition {_listed(found.erased)}")
    elif not found.pending:
        say("the scorers hold no state of it")
    told = f"the archive, if there is one, is asked as well: `shadow archive status` names request {found.request}"
    if found.archive is not None:
        told = "erased its rows in the archive" if found.archive == "erased" else "the archive holds no row of it"
    say(told)
    if found.pending:
        say(
            f"its state is pending in partition {_listed(found.pending)}: no scorer has answered within {wait:g} s; "
            "it is erased as soon as one runs"
        )
        sys.exit(1)


def _listed(partitions: list[int]) -> str:
    return ", ".join(map(str, partitions))


async def _erase_everywhere(settings: ShadowSettings, card: str, wait: float) -> tuple[tuple[int, int, int], Erasing]:
    """Have the scorers erase a card's state, and meanwhile erase it from Redis."""
    async with erasing(settings, card) as found:
        gone = await _erase(settings, card)
        await found.wait(wait)
    return gone, found


async def _erase(settings: ShadowSettings, card: str) -> tuple[int, int, int]:
    redis = connect(settings.redis)
    try:
        slots = sorted(slot.decode() for slot in await redis.smembers(keys.slots(settings.prefix)))
        stores = [TallyStore(redis, slot, (), settings.prefix) for slot in slots]
        erased = [await store.erase_card(card) for store in stores]
        cases = [case for _, some in erased for case in some]
        subjects = sorted({by_transaction(case.transaction) for case in cases})
        labels = LabelStore(redis, settings.prefix)
        for slot in slots:
            await labels.unassign(slot, sorted({case.transaction for case in cases}))
        return (
            sum(samples for samples, _ in erased),
            len(cases),
            await labels.erase(card, subjects),
        )
    finally:
        await redis.aclose()
