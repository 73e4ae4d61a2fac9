"""`shadow approve`, `reject` and `rollback`: what a person decides, with a name and a reason on record."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import click

from scorer.deployments import CANDIDATE, LIVE, Deployments
from scorer.settings import load
from shadow import promotion
from shadow.settings import ShadowSettings


def signed(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every decision."""
    command = click.option("--reason", required=True, help="Why; it stays on record.")(command)
    command = click.option("--by", required=True, help="Who decides.")(command)
    return click.option("--slot", default=CANDIDATE, show_default=True, help="The candidate's slot.")(command)


@click.command()
@signed
@click.option("--threshold", type=click.FloatRange(0, 1), help="Go live at this threshold instead (an edit).")
@click.option("--force", is_flag=True, help="Even without a suggestion, and even if a scorer cannot load the bundle.")
def approve(slot: str, by: str, reason: str, threshold: float | None, force: bool) -> None:
    """Put the candidate live. Every scorer loads it first; the old model goes on as a shadow in slot `previous`."""
    settings = load(ShadowSettings)
    _, after = asyncio.run(promotion.approve(settings, slot, by, reason, threshold, force, click.echo))
    _say_live(after)


@click.command()
@signed
def reject(slot: str, by: str, reason: str) -> None:
    """Say no to the standing suggestion. The candidate goes on as a shadow."""
    line = asyncio.run(promotion.reject(load(ShadowSettings), slot, by, reason))
    click.echo(f"slot {slot}: suggestion rejected (ledger {line.seq})")


@click.command()
@signed
def rollback(slot: str, by: str, reason: str) -> None:
    """Put the model before this one live again; the one it replaces goes on in the slot, if that is empty."""
    _, after = asyncio.run(promotion.roll_back(load(ShadowSettings), slot, by, reason))
    _say_live(after)


def _say_live(deployments: Deployments) -> None:
    live = deployments.slot(LIVE)
    click.echo(f"live: bundle {str(live.digest)[:12]} at threshold {live.threshold:g}, epoch {live.epoch}")
