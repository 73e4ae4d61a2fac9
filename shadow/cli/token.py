"""`shadow token`: makes the token with which a person uses the API and decides on the command line."""

from __future__ import annotations

import hashlib
import secrets

import click
import orjson

from scorer.people import RANKS, Person, PersonRole
from scorer.process.answers import answer
from scorer.process.signing import SAID


@click.command()
@click.argument("name", type=SAID)
@click.option(
    "--role",
    type=click.Choice(RANKS),
    default="viewer",
    show_default=True,
    help="viewer: may read; reviewer: may also mark cases and comment; releaser: may also decide; admin: everything.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object, which has the token itself: keep it out of files."
)
def token(name: str, role: PersonRole, as_json: bool) -> None:
    """Make a token for NAME, and print what lets the API and the commands know it.

    The token is shown once, and kept nowhere. NAME uses it over HTTP, or sets SCORER_TOKEN and SHADOW_TOKEN to it.
    """
    made = secrets.token_urlsafe(32)
    person = Person(token=hashlib.sha256(made.encode()).hexdigest(), role=role)
    people = {name: person.model_dump()}
    if as_json:
        answer({"name": name, "role": role, "token": made, "people": people})
        return
    click.echo(f"the token of {name}: {made}", err=True)
    click.echo("give it to nobody else; add this to the setting people:", err=True)
    click.echo(orjson.dumps(people).decode())
