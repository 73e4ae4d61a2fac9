"""Tables and sentences for terminals of any width, and for pipes: no figure is cut, and no word broken. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

#: Terminals that are at least this wide show a table whose last column is text.
WIDE = 110
#: Text of a row stands below it, so far in.
INDENT = "    "
_GAP = "  "
#: Columns that stand above the others, at most.
MOST_ABOVE = 2
#: Blanks, and the word behind them; a command in backticks is one word, so that it can be copied,
#: and so is a figure with its percent sign.
_WORD = re.compile(r"( *)((?:`[^`]*`|(?<=[0-9]) %|[^ `]|`)+)")


def columns_of(text: str) -> int:
    """The columns of a terminal that a text takes: characters of East Asia take two, accents none.

    >>> columns_of("Zoë"), columns_of("张伟")
    (3, 4)
    """
    if text.isascii():
        return len(text)
    return sum(
        2 if unicodedata.east_asian_width(one) in "WF" else 0 if unicodedata.category(one) in ("Mn", "Me") else 1
        for one in text
    )


def printable(text: str) -> str:
    """A text with blanks for what cannot be printed: whoever wrote it, it does not speak to a terminal."""
    return "".join(one if one.isprintable() else " " for one in text)


def wrapped(text: str, width: int | None, deeper: str = INDENT, first: str = "") -> Iterator[str]:
    """Lines of a sentence, no wider than a terminal. width: None for a pipe, where it stays whole.

    first, deeper: what the first line, and those below it, begin with. A word that is wider than the terminal has a
    line of its own and stays whole, as does a command in backticks: it can be copied, and the terminal breaks it.

    >>> list(wrapped("repeat `scorer run` now", 18, "  "))
    ['repeat', '  `scorer run` now']
    """
    whole = printable(text)
    if width is None or columns_of(first) + columns_of(whole) <= width:
        yield f"{first}{whole}".rstrip()
        return
    line, is_begun = first, False
    for gap, word in _WORD.findall(whole):
        gap = gap if is_begun or not line.strip() else ""
        if columns_of(line) + columns_of(gap) + columns_of(word) <= width or not line.strip():
            line += gap + word
        else:
            yield line.rstrip()
            line = deeper + word
        is_begun = True
    yield line.rstrip()


def named(rows: Iterable[tuple[str, str]], width: int | None, least: int = 0) -> Iterator[str]:
    """Lines of names and what is said of each, in two columns. least: columns that names take, at least.

    >>> list(named([("amount", "12.50 EUR"), ("merchant", "m-17")], 80))
    ['amount    12.50 EUR', 'merchant  m-17']
    """
    pairs = [(printable(name), value) for name, value in rows]
    most = max((columns_of(name) for name, _ in pairs), default=0)
    most = max(most, least)
    if width is not None:
        most = min(most, width // 3)
    for name, value in pairs:
        head = name + " " * (most - columns_of(name)) + _GAP
        if value:
            yield from wrapped(value, width, " " * (most + len(_GAP)), head)
        else:
            yield name


def table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], width: int | None, texts: Sequence[str] = ()
) -> Iterator[str]:
    """Lines of a table. width: of a terminal; None for a pipe. texts: of each row, which stands below it.

    In line if they fit, with heads of several words below each other. If not, the one or two widest columns, which are
    names, stand on a line above the others; and on a terminal that is too narrow for that, each cell has a line of its
    own behind the head of its column.

    >>> list(table(("segment", "blocks a day", "days"), [("country=FR", "1,234", "7")], 18))
    ['segment', '  blocks  days', '  a day', 'country=FR', '  1,234   7']
    """
    cells = [[printable(cell) for cell in row] for row in rows]
    below = [*texts, *[""] * (len(cells) - len(texts))]
    widths = _widths(heads, cells)
    shown = [list(heads)]
    if width is not None and _total(widths) > width:
        broken = [head.split() for head in heads]
        shortest = _widths([max(words, key=columns_of, default="") for words in broken], cells)
        inline = _inline(shortest, width)
        above = [at for at in range(len(heads)) if at not in inline]
        if len(above) > MOST_ABOVE or not inline or _is_over(heads, cells, above, width):
            for row, text in zip(cells, below, strict=True):
                yield from _one_by_one(heads, row, width)
                yield from _below(text, width)
            return
        widths = shortest
        columns = [
            [heads[at]] if at in above else list(_stacked_words(broken[at], widths[at])) for at in range(len(heads))
        ]
        high = max(map(len, columns))
        shown = [[column[n] if n < len(column) else "" for column in columns] for n in range(high)]
    else:
        inline = list(range(len(heads)))
    for row in shown:
        yield from _lines(row, widths, inline)
    for row, text in zip(cells, below, strict=True):
        yield from _lines(row, widths, inline)
        yield from _below(text, width)


def is_wider(heads: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> bool:
    """Whether a table does not fit in line."""
    return _total(_widths(heads, rows)) > width


def _widths(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(columns_of, column)) for column in zip(heads, *rows, strict=True)]


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + len(_GAP) * max(0, len(widths) - 1)


def _inline(widths: Sequence[int], width: int) -> list[int]:
    """The columns that stand beside each other, in a line; the others stand above it."""
    found = list(range(len(widths)))
    if _total(widths) <= width:
        return found
    while found and len(_GAP) + _total([widths[at] for at in found]) > width:
        found.remove(max(found, key=lambda at: widths[at]))
    return found


def _is_over(heads: Sequence[str], rows: Sequence[Sequence[str]], above: Sequence[int], width: int) -> bool:
    """Whether a line of names does not fit, and is no single word."""
    lines = [_GAP.join(row[at] for at in above) for row in (heads, *rows)]
    return any(" " in line.strip() and columns_of(line) > width for line in lines)


def _stacked_words(words: Sequence[str], width: int) -> Iterator[str]:
    line = ""
    for word in words:
        if line and columns_of(line) + 1 + columns_of(word) > width:
            yield line
            line = word
        else:
            line = f"{line} {word}".strip()
    yield line


def _lines(row: Sequence[str], widths: Sequence[int], inline: Sequence[int]) -> Iterator[str]:
    above = [cell for at, cell in enumerate(row) if at not in inline and cell]
    if above:
        yield _GAP.join(above)
    margin = _GAP if len(inline) < len(row) else ""
    line = (margin + _GAP.join(row[at] + " " * (widths[at] - columns_of(row[at])) for at in inline)).rstrip()
    if line:
        yield line


def _one_by_one(heads: Sequence[str], row: Sequence[str], width: int) -> Iterator[str]:
    for at, (head, cell) in enumerate(zip(heads, row, strict=True)):
        said = f"{head}: {cell}" if head and cell else cell
        if said:
            yield from wrapped(said, width, _GAP * 2, _GAP if at else "")


def _below(text: str, width: int | None) -> Iterable[str]:
    return wrapped(text, width, INDENT, INDENT) if text else ()
