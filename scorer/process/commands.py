"""Runs a command line: loads commands lazily, and prints a UserError as one line with exit code 2."""

from __future__ import annotations

import errno
import gc
import importlib
import logging
import os
import signal
import sys
from types import FrameType, ModuleType

import click
from click.shell_completion import CompletionItem

from scorer.errors import UserError

#: What it means that a write has failed: the reader has gone, or there is no room.
UNWRITTEN = frozenset({errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


class LazyGroup(click.Group):
    """A command group that imports a command's module only when that command is used.

    package: package of the modules. commands_in: module by command name; it holds the command as a function of that
    name, dashes as underscores.
    """

    def __init__(self, *args: object, package: str, commands_in: dict[str, str], **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.package = package
        self.commands_in = commands_in

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands_in)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The names, without their help: to read that takes the import of every command, and somebody waits."""
        names = [name for name in self.list_commands(ctx) if name.startswith(incomplete)]
        return [*map(CompletionItem, names), *click.Command.shell_complete(self, ctx, incomplete)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = self.commands_in.get(cmd_name)
        if module is None:
            return None
        command: click.Command = getattr(_imported(f"{self.package}.{module}"), cmd_name.replace("-", "_"))
        return command


def _imported(name: str) -> ModuleType:
    """A module. Imports leave no garbage, and to look for it meanwhile takes a tenth of a command's start."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        return importlib.import_module(name)
    finally:
        if was_on:
            gc.enable()


def _terminated(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def run_command(group: click.Group, name: str) -> None:
    """Run the command line of a program called `name`. Exits with 2 after a UserError, printed as one line; with 1, and
    one line, where its output cannot be written."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what it logs is raised, too
    # A container's first process ignores signals without a handler. Workers replace this handler with their own.
    signal.signal(signal.SIGTERM, _terminated)
    try:
        try:
            group.main(prog_name=name, standalone_mode=True)
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except UserError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    except OSError as error:
        if error.errno not in UNWRITTEN:
            raise
        _discard_output()
        if error.errno != errno.EPIPE:  # whoever reads no longer wants it
            place = error.filename or "the output"
            click.echo(f"error: {place}: cannot be written ({error.strerror}); make room, or write elsewhere", err=True)
        sys.exit(1)


def _discard_output() -> None:
    """Have what is still to be written go nowhere: to try again at the end of the process would fail again."""
    try:
        number = sys.stdout.fileno()
    except (AttributeError, OSError, ValueError):  # there is none
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)
