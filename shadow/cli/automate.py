"""`shadow automate`: which kinds of changes are carried out by themselves, and what it takes to earn that."""

from __future__ import annotations

import asyncio
from dataclasses import asdict

import click
import orjson

from scorer.deployments.identity import own_identity
from scorer.deployments.ledger import read
from scorer.process.answers import answer
from scorer.process.screen import say
from scorer.process.signing import SAID
from scorer.process.waiting import waiting
from scorer.settings import load
from shadow.release.automatic import rules_of, switch
from shadow.release.streak import KINDS, Rules, Streak, streaks
from shadow.settings import ShadowSettings


@click.command()
@click.argument("kind", type=click.Choice(KINDS), required=False)
@click.option("--on", "state", flag_value="on", help="Carry out suggestions of this kind that nobody stops.")
@click.option("--off", "state", flag_value="off", help="Leave them to people.")
@click.option("--by", type=SAID, help="Your name, for the record. [default: that of your signing key or token]")
@click.option("--reason", type=SAID, help="Reason, for the record.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of lines.")
def automate(kind: str | None, state: str | None, by: str | None, reason: str | None, as_json: bool) -> None:
    """Show which kinds of changes are automated, or switch one on or off.

    KIND: retrain (same features and parameters), threshold (same model), design (anything else), or rollback.

    It is off until people have accepted suggestions of the kind, as they were, often enough in a row. A rejection, an
    edit, a rollback, a forced release, other criteria, or harm found after a release takes it away.
    """
    settings = load(ShadowSettings)
    if state is None:
        rules = rules_of(settings)
        with waiting("reading the ledger"):
            found = list(streaks(asyncio.run(read(settings)), rules).values())
        shown = [one for one in found if kind in (None, one.kind)]
        if as_json:
            click.echo(orjson.dumps([_json(one, rules) for one in shown]))
            return
        for one in shown:
            say(_line(one, rules), " " * 11)
        return
    if kind is None:
        raise click.UsageError(f"--{state}: which KIND? One of {', '.join(KINDS)}.")
    if reason is None:
        raise click.UsageError("Missing option '--reason'.")
    who = own_identity(settings, by, "admin")
    with waiting("writing to the ledger"):
        line = asyncio.run(switch(settings, kind, state, who, reason))  # type: ignore[arg-type]
    if as_json:
        answer({"kind": kind, "state": state, "entry": line.seq, "by": who.name, "verified": who.verified})
        return
    say(f"automation of {kind}: {state} (ledger entry {line.seq})")


def _line(one: Streak, rules: Rules) -> str:
    if one.is_on:
        return f"{one.kind:<10} ON, by entry {one.switched}"
    missing = one.missing(rules)
    return f"{one.kind:<10} off; " + ("earned: an admin may switch it on" if missing is None else missing)


def _json(one: Streak, rules: Rules) -> dict[str, object]:
    return {
        **asdict(one),
        "first": None if one.first is None else one.first.isoformat(),
        "last": None if one.last is None else one.last.isoformat(),
        "days": round(one.days, 2),
        "earned": one.is_earned(rules),
        "missing": one.missing(rules),
    }
