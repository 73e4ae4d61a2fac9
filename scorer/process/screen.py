"""How wide the terminal is that shows what a command prints, and lines that fit it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

import click

from scorer.text_table import INDENT, wrapped

#: Of a terminal that does not say it.
USUAL = 80


def width() -> int | None:
    """Columns of the terminal; None in a pipe or a file, where lines stay whole. COLUMNS says another number."""
    said = os.environ.get("COLUMNS", "")
    if said.isascii() and said.isdigit() and int(said):
        return int(said)
    if sys.stdout is None or not sys.stdout.isatty():
        return None
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or USUAL
    except OSError:
        return USUAL


def say(text: str, deeper: str = INDENT) -> None:
    """Print a sentence. On a terminal it is broken between words; what goes on stands a little further in."""
    for line in wrapped(text, width(), deeper):
        click.echo(line)


def show(lines: Iterable[str]) -> None:
    """Print lines as they are."""
    for line in lines:
        click.echo(line)
