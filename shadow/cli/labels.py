"""`shadow labels`: load labels of transactions, and show what stands."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click
import orjson

from scorer.errors import UserError
from scorer.process.answers import answer, json_option, teller
from scorer.process.screen import say
from scorer.process.signing import SAID
from scorer.process.waiting import waiting
from scorer.settings import load as load_settings
from shadow.comparison.case import by_transaction
from shadow.intake.files import read_labels
from shadow.intake.topic import send
from shadow.labels.label import Votes, merge, state
from shadow.settings import ShadowSettings
from shadow.store.connection import connect, telling
from shadow.store.labels import LabelStore

#: Most bad rows to print.
TOLD = 5


@click.group()
def labels() -> None:
    """Load chargebacks and reviews from a file, or show what stands on a transaction."""


@labels.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--source", type=click.Choice(["chargeback", "review"]), help="Source of rows that name none.")
@click.option("--verdict", type=click.Choice(["fraud", "legit", "unsure"]), help="Verdict of rows that have none.")
@click.option("--by", type=SAID, help="Person or feed that decided, for rows that name none.")
@click.option(
    "--field",
    "renamed",
    multiple=True,
    metavar="OURS=THEIRS",
    help="The file's name of a field, such as at=decided_on; repeatable.",
)
@click.option("--skip-bad", is_flag=True, help="Load the good rows of a file that has bad ones.")
@json_option
def load(
    file: Path,
    source: str | None,
    verdict: str | None,
    by: str | None,
    renamed: tuple[str, ...],
    skip_bad: bool,
    as_json: bool,
) -> None:
    """Append the labels in FILE (CSV, JSON Lines, Parquet) to the labels topic.

    A row has transaction_id, or card_id and occurred_at; and source, verdict (fraud, legit or unsure; 1 and 0 mean
    fraud and legit), at (the time of the decision) and by. Loading a file twice changes nothing.
    """
    fields = {}
    for text in renamed:
        ours, _, theirs = text.partition("=")
        if not (ours and theirs):
            raise UserError(f"--field {text}: expected OURS=THEIRS, such as at=decided_on")
        fields[ours] = theirs
    given = {"source": source, "verdict": verdict, "by": by}
    settings = load_settings(ShadowSettings)
    defaults = {name: value for name, value in given.items() if value is not None}
    with waiting(f"reading {file.name}"):
        found, bad = read_labels(
            file, fields, defaults, settings.card_number_fields, settings.files, token_key=settings.token_bytes
        )
    for line in bad[:TOLD] if skip_bad else ():
        click.echo(line, err=True)
    if bad and not skip_bad:
        more = f" (and {len(bad) - 1} more bad rows)" if len(bad) > 1 else ""
        raise UserError(f"{bad[0]}{more}; nothing was loaded: fix the file, or skip bad rows with --skip-bad")
    with waiting(f"sending {len(found):,} labels"):
        asyncio.run(send(settings, found))
    teller(as_json)(f"loaded {len(found):,} labels" + (f", skipped {len(bad):,} bad rows" if bad else ""))
    if as_json:
        answer({"file": str(file), "loaded": len(found), "skipped": len(bad)})


@labels.command()
@click.argument("transaction")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(transaction: str, as_json: bool) -> None:
    """Show the labels of a transaction, by source and person."""
    with waiting("reading the labels"):
        votes = asyncio.run(_votes(load_settings(ShadowSettings), transaction))
    if as_json:
        sources = {
            source: {"state": state(people), "votes": {by: verdict for by, (_, verdict) in people.items()}}
            for source, people in votes.items()
        }
        click.echo(orjson.dumps({"transaction_id": transaction, **sources}, option=orjson.OPT_SORT_KEYS))
        return
    if not votes:
        say(f"{transaction}: pending; it has no label yet")
    for source, people in sorted(votes.items()):
        told = ", ".join(f"{by} says {verdict}" for by, (_, verdict) in sorted(people.items()))
        say(f"{transaction}: {source}: {state(people)} ({told})")


async def _votes(settings: ShadowSettings, transaction: str) -> Votes:
    redis = connect(settings.redis)
    with telling(settings.redis):
        try:
            found = await LabelStore(redis, settings.prefix).of([by_transaction(transaction)])
        finally:
            await redis.aclose()
    return merge(*found.get(by_transaction(transaction), []))
