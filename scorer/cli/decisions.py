"""`scorer decisions`: print decisions as JSON Lines, with the names of their features if asked."""

from __future__ import annotations

import asyncio
import sys

import click
from aiokafka.errors import KafkaError

from scorer.errors import BrokerError
from scorer.settings import ScorerSettings, load
from scorer.sources.decisions import Names, is_line
from scorer.sources.decisions import decisions as read


@click.command()
@click.option("--limit", type=click.IntRange(0, 100_000), default=20, show_default=True, help="How many of the newest.")
@click.option("--follow", is_flag=True, help="Go on with those to come, until interrupted.")
@click.option("--names", is_flag=True, help="Give each number of `features` its name in the feature view.")
def decisions(limit: int, follow: bool, names: bool) -> None:
    """Print the newest decisions, one on each line as JSON, in the order of their records' times.

    Without --names each line is the record's value as it is, or what it says if it is in Avro. Records that are no JSON
    object on one line are passed over. Nothing is changed on the broker, and no consumer group is used.
    """
    settings = load(ScorerSettings)
    try:
        asyncio.run(_print(settings, limit, follow, Names(settings) if names else None))
    except KafkaError as error:
        raise BrokerError(f"topic {settings.topics.decisions}: cannot be read on ({error}); try again") from None


async def _print(settings: ScorerSettings, limit: int, follow: bool, names: Names | None) -> None:
    said: set[str] = set()
    passed_over = 0
    async for value in read(settings, limit, follow):
        if not is_line(value):
            passed_over += 1
            if follow and passed_over == 1:
                click.echo("records that are no decisions are passed over", err=True)
            continue
        line = value if names is None else await names.of(value)
        sys.stdout.buffer.write(line + b"\n")
        if follow:
            sys.stdout.buffer.flush()
        for view in set() if names is None else names.unknown - said:
            said.add(view)
            click.echo(f"view {view}: no scorer has published it, so its features have no names", err=True)
    if passed_over:
        click.echo(f"{passed_over} records that are no decisions were passed over", err=True)
