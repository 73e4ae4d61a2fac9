"""`scorer key`: make a key to sign changes with, and name the last entry of the ledger."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import get_args

import click
import yaml

from scorer.deployments.key_files import write_new_key
from scorer.deployments.ledger import read
from scorer.deployments.signatures import NAME
from scorer.errors import UserError
from scorer.people import Role
from scorer.process.answers import answer, json_option
from scorer.process.waiting import waiting
from scorer.settings import ScorerSettings, load


@click.group()
def key() -> None:
    """Keys with which people, and `shadow serve`, sign what they write to the ledger."""


@key.command()
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice(get_args(Role)),
    default="releaser",
    show_default=True,
    help="releaser, admin: people who may change slots; reviewer: may comment; gate: `shadow serve`, which suggests; "
    "rotation: a job that runs `scorer rotate`.",
)
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="File of the private key. [default: NAME.pem]"
)
@json_option
def new(name: str, role: Role, out: Path | None, as_json: bool) -> None:
    """Make a private key for NAME, and print the lines that have it trusted."""
    path = Path(f"{name}.pem") if out is None else out
    if out is None and path.name != str(path):
        raise UserError(f"{name}: is no name of a file; add --out")
    if not (re.fullmatch(NAME, name) and name.isprintable()):
        raise UserError(f"{name!r}: is no name; expected up to 64 characters without blanks around them")
    public = write_new_key(path)
    click.echo(f"{path}: the private key; keep it to yourself, and name it in the setting signing_key", err=True)
    click.echo("add this to the file that the setting trusted_keys names, wherever it is read:", err=True)
    trusted = {"keys": {name: {"public": public, "role": role}}}
    if as_json:
        answer({"name": name, "role": role, "private_key": str(path), "trusted_keys": trusted})
        return
    click.echo(yaml.safe_dump(trusted, sort_keys=False), nl=False)


@key.command()
@json_option
def last(as_json: bool) -> None:
    """Print the key of the ledger's last entry, for `unsigned_until` or `until`."""
    settings = load(ScorerSettings)
    with waiting("reading the ledger"):
        ledger = asyncio.run(read(settings.model_copy(update={"trusted_keys": None}))).ledger
    if not ledger:
        raise UserError(f"topic {settings.topics.deployments}: has no entry; leave unsigned_until out")
    if as_json:
        answer({"entry": ledger[-1].seq, "entries": len(ledger)})
        return
    click.echo(ledger[-1].seq)
