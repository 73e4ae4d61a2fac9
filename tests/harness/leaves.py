"""Every command of both programs that is no group."""

from __future__ import annotations

from collections.abc import Iterator

import click

from scorer.cli import cli as scorer
from shadow.cli import cli as shadow


def leaves() -> dict[str, click.Command]:
    """The commands by what somebody types, such as `scorer bundle list`."""
    return dict([*_below(scorer, "scorer"), *_below(shadow, "shadow")])


def _below(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        yield name, command
        return
    context = click.Context(command)
    for one in command.list_commands(context):
        found = command.get_command(context, one)
        assert found is not None, f"{name} {one}: is listed, and cannot be loaded"
        yield from _below(found, f"{name} {one}")
