"""Run candidates in the shadow of live, see where they differ, judge them, and decide."""

from __future__ import annotations

import click

from scorer.process.commands import LazyGroup, run_command

COMMANDS = {
    "up": "up",
    "run": "run",
    "serve": "serve",
    "plan": "plan",
    "gate": "gate",
    "evidence": "evidence",
    "disagreements": "disagreements",
    "automate": "automate",
    "approve": "decide",
    "reject": "decide",
    "rollback": "decide",
    "comment": "decide",
    "status": "status",
    "history": "history",
    "replay": "replay",
    "verify": "verify",
    "labels": "labels",
    "review": "review",
    "notify": "notify",
    "token": "token",
    "report": "report",
    "erase": "erase",
    "archive": "archive",
    "levels": "levels",
    "backtest": "backtest",
}


@click.group(cls=LazyGroup, package="shadow.cli", commands_in=COMMANDS, help=__doc__)
@click.version_option(package_name="shadow-scorer")
def cli() -> None:
    """The `shadow` command."""


def main() -> None:
    """Entry point of the console script."""
    run_command(cli, "shadow")
