"""`shadow labels`: bring in what is known of transactions, and show what stands."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from scorer.errors import UserError
from scorer.settings import load as load_settings
from shadow.cases import by_transaction
from shadow.connection import connect, telling
from shadow.labelfeed import send
from shadow.labelfile import read_labels
from shadow.labels import Votes, merge, state
from shadow.labelstore import LabelStore
from shadow.settings import ShadowSettings

#: Bad rows that are told one by one.
TOLD = 5


@click.group()
def labels() -> None:
    """Chargebacks and reviews: load a file of them, or show what stands on a transaction."""


@labels.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--source", type=click.Choice(["chargeback", "review"]), help="Of rows that do not say.")
@click.option("--verdict", type=click.Choice(["fraud", "legit", "unsure"]), help="Of rows that do not say.")
@click.option("--by", help="Person or feed, of rows that do not say.")
@click.option(
    "--field", "renamed", multiple=True, metavar="OURS=THEIRS", help="How the file calls a field; repeatable."
)
@click.option("--skip-bad", is_flag=True, help="Load the rest of a file that has bad rows.")
def load(
    file: Path, source: str | None, verdict: str | None, by: str | None, renamed: tuple[str, ...], skip_bad: bool
) -> None:
    """Append the labels of FILE (CSV, JSON Lines, Parquet) to the labels topic.

    A row names transaction_id, or card_id and occurred_at; and source, verdict (fraud, legit, unsure; 1 and 0 will do),
    at (when it was decided) and by. Loading a file twice changes nothing.
    """
    fields = {}
    for text in renamed:
        ours, _, theirs = text.partition("=")
        if not (ours and theirs):
            raise UserError(f"--field {text}: expected OURS=THEIRS, such as at=decided_on")
        fields[ours] = theirs
    given = {"source": source, "verdict": verdict, "by": by}
    found, bad = read_labels(file, fields, {name: value for name, value in given.items() if value is not None})
    for line in bad[:TOLD] if skip_bad else ():
        click.echo(line, err=True)
    if bad and not skip_bad:
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        raise UserError(f"{bad[0]}{more}; nothing was loaded: mend the file, or pass over bad rows with --skip-bad")
    asyncio.run(send(load_settings(ShadowSettings), found))
    click.echo(f"loaded {len(found)} labels" + (f", passed over {len(bad)} bad rows" if bad else ""))


@labels.command()
@click.argument("transaction")
def show(transaction: str) -> None:
    """What stands on a transaction, source by source and person by person."""
    votes = asyncio.run(_votes(load_settings(ShadowSettings), transaction))
    if not votes:
        click.echo(f"{transaction}: pending; nobody has said anything")
    for source, people in sorted(votes.items()):
        told = ", ".join(f"{by} says {verdict}" for by, (_, verdict) in sorted(people.items()))
        click.echo(f"{transaction}: {source}: {state(people)} ({told})")


async def _votes(settings: ShadowSettings, transaction: str) -> Votes:
    redis = connect(settings.redis)
    with telling(settings.redis):
        try:
            found = await LabelStore(redis, settings.prefix).of([by_transaction(transaction)])
        finally:
            await redis.aclose()
    return merge(*found.get(by_transaction(transaction), []))
