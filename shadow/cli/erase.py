"""`shadow erase`: delete what Redis, the scorers and the archive hold on a card."""

from __future__ import annotations

import asyncio
import sys

import click
import orjson

from scorer.deployments.identity import own_identity
from scorer.people import NOT_VERIFIED, Who
from scorer.process.screen import say
from scorer.process.signing import SAID
from scorer.process.waiting import waiting
from scorer.settings import load
from shadow.comparison.case import by_transaction
from shadow.intake.erasure import Erasing, erasing
from shadow.release.erasures import NOBODY, entry, note, reason_of, require_notable
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
@click.option("--by", type=SAID, help="Your name, for the record. [default: that of your signing key or token, if any]")
@click.option("--reason", type=SAID, help="Why, for the record, such as the number of the person's request.")
def erase(card: str, wait: float, as_json: bool, by: str | None, reason: str | None) -> None:
    """Delete the samples, cases and labels of a card from Redis, in every slot, and its state from the scorers.

    A scorer that owns a partition forgets what the card did there, in memory and on the topic of card states; the card
    then counts as new. Exit code 1: not every partition has answered yet. The request stays for 30 days, and is carried
    out as soon as a scorer runs.

    An archive (`shadow archive run`) deletes its rows and the files that had them, once it has archived what is on the
    topics by now; `shadow archive status` says when it has. Nobody waits for it here.

    The ledger keeps who asked for it, when and why, and how much was deleted from Redis; never the card.

    Other topics keep their records until their retention ends. If Redis loses its data before that, a shadow that reads
    them again samples the card again.
    """
    settings = load(ShadowSettings)
    who = _who(settings, by)
    with telling(settings.redis), waiting("erasing, and waiting for the scorers"):
        gone, found, seq = asyncio.run(_erase_everywhere(settings, card, wait, who, reason_of(reason, card, who)))
    if as_json:
        parts = {"erased_partitions": found.erased, "pending_partitions": found.pending}
        click.echo(orjson.dumps({**gone, **parts, "request": found.request, "archive": found.archive, "entry": seq}))
        sys.exit(1 if found.pending else 0)
    say(f"erased {gone['samples']:,} samples, {gone['cases']:,} cases and {gone['labels']:,} labels")
    if found.erased:
        say(f"erased its state in partition {_listed(found.erased)}")
    elif not found.pending:
        say("the scorers hold no state of it")
    told = f"the archive, if there is one, is asked as well: `shadow archive status` names request {found.request}"
    if found.archive is not None:
        told = "erased its rows in the archive" if found.archive == "erased" else "the archive holds no row of it"
    say(told)
    unverified = f" ({NOT_VERIFIED})" if who.verified is None else ""
    say(f"ledger entry {seq} has that, by {who.name}{unverified}, and not the card")
    if found.pending:
        say(
            f"its state is pending in partition {_listed(found.pending)}: no scorer has answered within {wait:g} s; "
            "it is erased as soon as one runs"
        )
        sys.exit(1)


def _listed(partitions: list[int]) -> str:
    return ", ".join(map(str, partitions))


def _who(settings: ShadowSettings, by: str | None) -> Who:
    """Who asks for it: where settings say who people are, a releaser."""
    is_known = settings.signing_key is not None or settings.token is not None or bool(settings.people)
    return own_identity(settings, by or (None if is_known else NOBODY), "releaser")


async def _erase_everywhere(
    settings: ShadowSettings, card: str, wait: float, who: Who, reason: str
) -> tuple[dict[str, int], Erasing, str]:
    """Erase a card from Redis, note that on the ledger, and have the scorers erase its state. What was in Redis, the
    request, and the entry's ledger key.

    The entry is there before anybody is asked, so nothing that is asked for is without one. Whoever dies before leaves
    it to the next, who finds less in Redis.
    """
    async with erasing(settings, card) as found:
        await require_notable(settings, who, reason)
        gone = await _erase(settings, card)
        line = await note(settings, entry(found.request, len(found.pending), gone, who, reason))
        await found.ask()
        await found.wait(wait)
    return gone, found, line.seq


async def _erase(settings: ShadowSettings, card: str) -> dict[str, int]:
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
        return {
            "samples": sum(samples for samples, _ in erased),
            "cases": len(cases),
            "labels": await labels.erase(card, subjects),
        }
    finally:
        await redis.aclose()
