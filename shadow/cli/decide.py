"""`shadow approve`, `shadow reject`, `shadow rollback`: decisions of people, recorded with a name and a reason."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import click

from scorer.deployments.arrival import arrived
from scorer.deployments.deploy import kept_on
from scorer.deployments.key_files import own_name
from scorer.deployments.records import CANDIDATE, LIVE
from scorer.deployments.slots import Deployments
from scorer.process.signing import SAID, SLOT
from scorer.settings import load
from shadow.release import promotion
from shadow.settings import ShadowSettings


def signed(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options that every decision has."""
    command = click.option("--reason", type=SAID, required=True, help="Reason, for the record.")(command)
    command = click.option("--by", type=SAID, help="Your name, for the record. [default: that of your signing key]")(
        command
    )
    return click.option("--slot", type=SLOT, default=CANDIDATE, show_default=True, help="Slot of the candidate.")(
        command
    )


@click.command()
@signed
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1),
    help="Threshold of the new live model. One that was not judged makes this a forced release.",
)
@click.option(
    "--force",
    is_flag=True,
    help="Promote whatever the verdict is, and even if a scorer cannot load the bundle. Stays on record as forced.",
)
def approve(slot: str, by: str | None, reason: str, threshold: float | None, force: bool) -> None:
    """Promote the candidate to live, if the gate promotes it at this moment.

    Every scorer loads the bundle first; then all swap. The old live model runs on as a shadow in slot `previous`.
    """
    settings = load(ShadowSettings)
    name = own_name(settings, by)
    _, after = asyncio.run(promotion.approve(settings, slot, name, reason, threshold, force, click.echo))
    _say_live(settings, after)


@click.command()
@signed
def reject(slot: str, by: str | None, reason: str) -> None:
    """Reject the suggestion to promote the candidate. The candidate stays in the shadow."""
    settings = load(ShadowSettings)
    line = asyncio.run(promotion.reject(settings, slot, own_name(settings, by), reason))
    click.echo(f"slot {slot}: suggestion rejected (ledger entry {line.seq})")


@click.command()
@signed
def rollback(slot: str, by: str | None, reason: str) -> None:
    """Put the previous live model live again.

    The model that it replaces runs on in the slot of the candidate, if that is empty.
    """
    settings = load(ShadowSettings)
    _, after = asyncio.run(promotion.roll_back(settings, slot, own_name(settings, by), reason, click.echo))
    _say_live(settings, after)


def _say_live(settings: ShadowSettings, deployments: Deployments) -> None:
    """Say what is live once every scorer decides by it; exits with 1, and names the others, if some do not."""
    live = deployments.slot(LIVE)
    click.echo(f"live: bundle {str(live.digest)[:12]} at threshold {live.threshold:g}, epoch {live.epoch}")
    still = kept_on(live)
    if still is not None:
        click.echo(still)
    reached = asyncio.run(arrived(settings, settings.scorer_group, live.epoch, settings.promote_seconds))
    click.echo(reached.told, err=bool(reached.late))
    if reached.late:
        sys.exit(1)
