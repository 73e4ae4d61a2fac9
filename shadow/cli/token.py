"""`shadow token`: makes the token with which a person uses the API."""

from __future__ import annotations

import hashlib
import secrets

import click
import orjson

from scorer.process.signing import SAID
from shadow.settings import Person, PersonRole


@click.command()
@click.argument("name", type=SAID)
@click.option(
    "--role",
    type=click.Choice(["viewer", "reviewer"]),
    default="viewer",
    show_default=True,
    help="viewer: may read; reviewer: may also be handed cases, and mark them.",
)
def token(name: str, role: PersonRole) -> None:
    """Make a token for NAME, and print what lets `shadow serve` know it. The token is shown once, and kept nowhere."""
    made = secrets.token_urlsafe(32)
    click.echo(f"the token of {name}: {made}", err=True)
    click.echo("give it to nobody else; add this to the setting people of `shadow serve`:", err=True)
    person = Person(token=hashlib.sha256(made.encode()).hexdigest(), role=role)
    click.echo(orjson.dumps({name: person.model_dump()}).decode())
