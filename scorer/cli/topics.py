"""`scorer topics`: create the topics that are missing and check the others, ahead of the first worker."""

from __future__ import annotations

import asyncio

import click

from scorer.settings import ScorerSettings, load
from scorer.topics import ensure_topics


@click.command()
def topics() -> None:
    """Create the topics that are missing, and check the others. One that is there is never changed."""
    settings = load(ScorerSettings)
    count = asyncio.run(ensure_topics(settings))
    names = settings.topics
    every = (names.transactions, names.decisions, names.rejected, names.labels, names.deployments, names.velocity)
    click.echo(f"{', '.join(every)}: there; {names.transactions} has {count} partitions")
