"""`scorer topics`: create missing topics and check the others, before the first worker starts or after a change."""

from __future__ import annotations

import asyncio

import click

from scorer.kafka.topics import add_partitions, ensure_topics
from scorer.settings import ScorerSettings, Topics, load


@click.command()
@click.option(
    "--add-partitions",
    "add",
    is_flag=True,
    help="Give the topics beside `transactions` as many partitions as it has. Workers may run meanwhile.",
)
def topics(add: bool) -> None:
    """Create missing topics, and check the others. Existing topics are changed only by --add-partitions."""
    settings = load(ScorerSettings)
    names = settings.topics
    raised = asyncio.run(add_partitions(settings)) if add else {}
    count = asyncio.run(ensure_topics(settings, must_fit=True))
    for name, before in raised.items():
        click.echo(f"topic {name}: has {count} partitions now, {before} before")
    every = ", ".join(getattr(names, role) for role in Topics.model_fields)
    click.echo(f"all topics exist: {every}; {names.transactions} has {count} partitions")
