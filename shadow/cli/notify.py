"""`shadow notify`: sends a test message to everybody whom `shadow serve` tells of releases."""

from __future__ import annotations

import asyncio
import sys

import click

from scorer.errors import UserError
from scorer.process.answers import answer, json_option
from scorer.process.waiting import waiting
from scorer.settings import load
from shadow.notify.notifier import Notifier
from shadow.settings import ShadowSettings


@click.command()
@json_option
def notify(as_json: bool) -> None:
    """Send a test message to every address in the setting `notify`. Exits with 1 if one does not take it."""
    notifier = Notifier(load(ShadowSettings), None)
    if not notifier.destinations:
        raise UserError("setting notify: names no address; set SHADOW_NOTIFY to one of Apprise, such as slack://…")
    with waiting("sending a test message"):
        took = asyncio.run(notifier.test())
    for name, is_taken in took.items():
        told = f"{name}: {'took it' if is_taken else 'did NOT take it; check the address'}"
        click.echo(told, err=as_json or not is_taken)
    if as_json:
        answer({"took": took})
    if not all(took.values()):
        sys.exit(1)
