"""`shadow approve`, `shadow reject`, `shadow rollback`: decisions of people, recorded with a name and a reason; and
`shadow comment`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import click

from scorer.deployments.identity import own_identity
from scorer.deployments.records import CANDIDATE
from scorer.people import NOT_VERIFIED, Who
from scorer.process.answers import answer, json_option, teller
from scorer.process.signing import SAID, SLOT
from scorer.process.waiting import interrupting, waiting
from scorer.settings import load
from shadow.release import comments
from shadow.release.deciding import Wish, decide
from shadow.settings import ShadowSettings


def signed(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options that every decision has."""
    command = json_option(command)
    command = click.option("--reason", type=SAID, required=True, help="Reason, for the record.")(command)
    command = click.option(
        "--by", type=SAID, help="Your name, for the record. [default: that of your signing key or token]"
    )(command)
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
def approve(slot: str, by: str | None, reason: str, threshold: float | None, force: bool, as_json: bool) -> None:
    """Promote the candidate to live, if the gate promotes it at this moment.

    Every scorer loads the bundle first; then all swap. The old live model runs on as a shadow in slot `previous`.
    """
    settings = load(ShadowSettings)
    who = own_identity(settings, by, "releaser")
    _decide(settings, Wish("approve", reason, slot, threshold=threshold, force=force), who, as_json)


@click.command()
@signed
def reject(slot: str, by: str | None, reason: str, as_json: bool) -> None:
    """Reject the suggestion to promote the candidate. The candidate stays in the shadow."""
    settings = load(ShadowSettings)
    who = own_identity(settings, by, "releaser")
    _decide(settings, Wish("reject", reason, slot), who, as_json)


@click.command()
@signed
def rollback(slot: str, by: str | None, reason: str, as_json: bool) -> None:
    """Put the previous live model live again.

    The model that it replaces runs on in the slot of the candidate, if that is empty.
    """
    settings = load(ShadowSettings)
    who = own_identity(settings, by, "releaser")
    _decide(settings, Wish("rollback", reason, slot), who, as_json)


@click.command()
@click.argument("suggestion")
@click.argument("text", type=SAID)
@click.option("--by", type=SAID, help="Your name, for the record. [default: that of your signing key or token]")
@json_option
def comment(suggestion: str, text: str, by: str | None, as_json: bool) -> None:
    """Say something of a SUGGESTION that waits, by its ledger key; `shadow status` names it.

    It decides nothing. `shadow history` and `shadow status` show it.
    """
    settings = load(ShadowSettings)
    who = own_identity(settings, by, "reviewer")
    with waiting("writing to the ledger"):
        line = asyncio.run(comments.comment(settings, suggestion, text, who))
    tell = teller(as_json)
    if who.verified is None:
        tell(f"by {who.name} ({NOT_VERIFIED})")
    tell(f"suggestion {suggestion}: commented (ledger entry {line.seq})")
    if as_json:
        answer(comments.told_json(line))


def _decide(settings: ShadowSettings, wish: Wish, who: Who, as_json: bool) -> None:
    """Decide, and say what has become of it; exits with 1, and names the others, if a scorer does not decide by it."""
    with waiting("deciding, and waiting for the scorers"):
        settled = asyncio.run(decide(settings, wish, who, interrupting(teller(as_json))))
    reached = settled.arrival
    if reached is not None:
        click.echo(reached.told, err=as_json or bool(reached.late))
    if as_json:
        answer(settled.to_json())
    if reached is not None and reached.late:
        sys.exit(1)
