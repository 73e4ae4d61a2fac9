"""Tables for narrow terminals: the short columns in line, and the long text of each row below it. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

#: Terminals that are at least this wide show a table whose last column is text.
WIDE = 110


def stacked(heads: Sequence[str], rows: Sequence[tuple[Sequence[str], str]], width: int) -> Iterator[str]:
    """Lines of a table, none wider than a terminal. rows: the cells of each, and the text below them.

    What a column has no room for is cut; the text is not.
    """
    cells = [list(heads), *(list(row) for row, _ in rows)]
    room = _room([max(len(row[at]) for row in cells) for at in range(len(heads))], width - 2 * (len(heads) - 1))
    for row, text in zip(cells, ["", *(text for _, text in rows)], strict=True):
        yield "  ".join(_cut(cell, wide).ljust(wide) for cell, wide in zip(row, room, strict=True)).rstrip()
        yield from textwrap.wrap(text, width, initial_indent="    ", subsequent_indent="    ")


def _room(widths: list[int], width: int) -> list[int]:
    """How wide each column is: the widest give way to a terminal that is too narrow."""
    left = list(widths)
    while sum(left) > width and max(left) > 1:
        left[left.index(max(left))] -= 1
    return left


def _cut(cell: str, wide: int) -> str:
    return cell if len(cell) <= wide else f"{cell[: wide - 1]}…"
