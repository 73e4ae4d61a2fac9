"""The `scorer` command: decide live transactions, make bundles, fill slots, replay files."""

from __future__ import annotations

import click

from scorer.process.commands import LazyGroup, run_command

#: Module under `scorer.cli` by command. A module is imported when its command is used.
COMMANDS = {
    "run": "run",
    "topics": "topics",
    "bundle": "bundle",
    "train": "train",
    "reproduce": "reproduce",
    "rotate": "rotate",
    "simulate": "simulate",
    "replay": "replay",
    "decisions": "decisions",
    "mapping": "mapping",
    "risk": "risk",
    "deploy": "deploy",
    "key": "key",
}


@click.group(cls=LazyGroup, package="scorer.cli", commands_in=COMMANDS, help=__doc__)
@click.version_option(package_name="shadow-scorer")
def cli() -> None:
    """The `scorer` command."""


def main() -> None:
    """Entry point of the console script."""
    run_command(cli, "scorer")
