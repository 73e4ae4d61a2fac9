"""`scorer topics`: create missing topics and check the others, before the first worker starts or after a change."""

from __future__ import annotations

import asyncio

import click

from scorer.kafka.topics import add_partitions, ensure_topics
from scorer.process.answers import answer, json_option, teller
from scorer.process.waiting import waiting
from scorer.settings import ScorerSettings, Topics, load


@click.command()
@click.option(
    "--add-partitions",
    "add",
    is_flag=True,
    help="Give the topics beside `transactions` as many partitions as it has. Workers may run meanwhile.",
)
@json_option
def topics(add: bool, as_json: bool) -> None:
    """Create missing topics, and check the others. Existing topics are changed only by --add-partitions."""
    settings = load(ScorerSettings)
    names = settings.topics
    with waiting("checking the topics"):
        raised = asyncio.run(add_partitions(settings)) if add else {}
        count = asyncio.run(ensure_topics(settings, must_fit=True, has_risk=True))
    tell = teller(as_json)
    for name, before in raised.items():
        tell(f"topic {name}: has {count} partitions now, {before} before")
    every = ", ".join(getattr(names, role) for role in Topics.model_fields)
    tell(f"all topics exist: {every}; {names.transactions} has {count} partitions")
    if as_json:
        had = {name: {"before": before, "now": count} for name, before in raised.items()}
        answer({"topics": names.model_dump(), "partitions": count, "raised": had})
