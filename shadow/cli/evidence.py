"""`shadow evidence`: what the run of each slot has gathered, and would lose by a change."""

from __future__ import annotations

import asyncio

import click
import orjson

from scorer.deployments.evidence import Gathered
from scorer.deployments.ledger import read
from scorer.deployments.records import LIVE
from scorer.deployments.slots import Deployments
from scorer.process.screen import say
from scorer.process.waiting import waiting
from scorer.settings import load
from shadow.release.evidence import gathered
from shadow.settings import ShadowSettings


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with runs against earlier epochs of live.")
def evidence(as_json: bool) -> None:
    """Show how many event hours and transactions the run of each slot has gathered.

    A change of the slot, or of live, ends the run.
    """
    with waiting("reading the runs"):
        deployments, found = asyncio.run(_gathered(load(ShadowSettings)))
    if as_json:
        click.echo(orjson.dumps([one.model_dump() for one in found]))
        return
    present = [one for one in found if one.live_epoch == deployments.slot(LIVE).epoch]
    for one in present:
        say(one.told)
    if not present:
        say("no slot but live holds a bundle")


async def _gathered(settings: ShadowSettings) -> tuple[Deployments, list[Gathered]]:
    deployments = await read(settings)
    return deployments, await gathered(settings, deployments)
