"""`shadow notify`: sends a test message to everybody whom `shadow serve` tells of releases."""

from __future__ import annotations

import asyncio
import sys

import click

from scorer.errors import UserError
from scorer.settings import load
from shadow.notify.notifier import Notifier
from shadow.settings import ShadowSettings


@click.command()
def notify() -> None:
    """Send a test message to every address in the setting `notify`. Exits with 1 if one does not take it."""
    notifier = Notifier(load(ShadowSettings), None)
    if not notifier.destinations:
        raise UserError("setting notify: names no address; set SHADOW_NOTIFY to one of Apprise, such as slack://…")
    took = asyncio.run(notifier.test())
    for name, is_taken in took.items():
        click.echo(f"{name}: {'took it' if is_taken else 'did NOT take it; check the address'}", err=not is_taken)
    if not all(took.values()):
        sys.exit(1)
