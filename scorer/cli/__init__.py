"""The `scorer` command: serve live decisions, make bundles, fill slots, replay files."""

from __future__ import annotations

import importlib
import logging
import signal
import sys
from types import FrameType

import click

from scorer.errors import UserError

#: Command name to module under `scorer.cli`; loaded only when asked for, so that `--help` is quick.
COMMANDS = {
    "run": "run",
    "topics": "topics",
    "bundle": "bundle",
    "train": "train",
    "simulate": "simulate",
    "replay": "replay",
    "deploy": "deploy",
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are used."""

    def __init__(self, *args: object, package: str, commands_in: dict[str, str], **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.package = package
        self.commands_in = commands_in

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands_in)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = self.commands_in.get(cmd_name)
        if module is None:
            return None
        command: click.Command = getattr(
            importlib.import_module(f"{self.package}.{module}"), cmd_name.replace("-", "_")
        )
        return command


def _terminated(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def run_command(group: click.Group, name: str) -> None:
    """Run a command line; an error that a person can mend becomes one line and exit code 2."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what it warns of comes as an exception, too
    # The first process of a container ignores every signal that it has no handler for; workers put their own over this.
    signal.signal(signal.SIGTERM, _terminated)
    try:
        group.main(prog_name=name, standalone_mode=True)
    except UserError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)


@click.group(cls=LazyGroup, package="scorer.cli", commands_in=COMMANDS, help=__doc__)
@click.version_option(package_name="shadow-scorer")
def cli() -> None:
    """The `scorer` command."""


def main() -> None:
    """Entry point of the console script."""
    run_command(cli, "scorer")
