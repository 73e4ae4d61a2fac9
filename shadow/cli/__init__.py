"""The `shadow` command: run candidates beside live, look at what differs, judge, and decide."""

from __future__ import annotations

import click

from scorer.cli import LazyGroup, run_command

COMMANDS = {
    "up": "up",
    "run": "run",
    "serve": "serve",
    "plan": "plan",
    "gate": "gate",
    "disagreements": "disagreements",
    "approve": "decide",
    "reject": "decide",
    "rollback": "decide",
    "verify": "verify",
    "labels": "labels",
    "review": "review",
    "report": "report",
    "erase": "erase",
}


@click.group(cls=LazyGroup, package="shadow.cli", commands_in=COMMANDS, help=__doc__)
@click.version_option(package_name="shadow-scorer")
def cli() -> None:
    """The `shadow` command."""


def main() -> None:
    """Entry point of the console script."""
    run_command(cli, "shadow")
