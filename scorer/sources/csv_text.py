"""CSV in all its writings as columns of texts, and numbers where no digit is lost by it."""

from __future__ import annotations

import csv
import io
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from scorer.errors import UserError
from scorer.pipeline.layout import Layout

DELIMITERS = ",;\t|"
#: What pandas, R and SQL write for a missing number. In a column of texts these are texts: NA is Namibia.
MISSING = ("NA", "N/A", "#N/A", "NaN", "nan", "NULL", "null", "None", "\\N")
#: Numbers as programs write them, so that none loses a digit or a leading zero by being read.
_INTEGER = r"^-?(0|[1-9][0-9]{0,17})$"
_REAL = r"^-?(0|[1-9][0-9]{0,14})?(\.[0-9]+)?([eE][-+][0-9]{2,3})?$"
_TRUTH = r"^(true|false|True|False|TRUE|FALSE)$"


def arrow() -> Any:
    """The library that reads columns. Raises UserError if it is not installed."""
    try:
        import pyarrow
        import pyarrow.compute
        import pyarrow.csv
        import pyarrow.parquet
    except ImportError:
        raise UserError("files: pyarrow is not installed; run pip install 'shadow-scorer[files]'") from None
    return pyarrow


def csv_table(path: Path, text: str, layout: Layout) -> Any:
    """A table of texts; cells that are empty are null."""
    lib = arrow()
    names, delimiter, begin = _header(path, text, layout)
    content = text[begin:].encode()
    quote = '"' if layout.quotes else False
    if layout.quotes and content.count(b'"') % 2:
        _check_quotes(path, text[begin:], delimiter)
    texts = dict.fromkeys(names, lib.string())
    try:
        table = (
            lib.csv.read_csv(
                lib.BufferReader(content),
                lib.csv.ReadOptions(column_names=names, block_size=max(1 << 20, min(len(content) + 1, 1 << 30))),
                lib.csv.ParseOptions(delimiter=delimiter, quote_char=quote, newlines_in_values=layout.quotes),
                lib.csv.ConvertOptions(column_types=texts, null_values=[""], strings_can_be_null=True),
            )
            if content.strip()
            else lib.table({name: lib.array([], lib.string()) for name in names})
        )
    except lib.ArrowInvalid as error:
        raise _bad_row(path, content, names, delimiter, quote, error) from None
    trimmed = {name: _trimmed(table.column(name)) for name in names}
    return lib.table(trimmed)


def _trimmed(column: Any) -> Any:
    """Blanks around a cell are no part of it; a cell of blanks is empty."""
    lib = arrow()
    cells = lib.compute.utf8_trim_whitespace(column)
    return lib.compute.if_else(lib.compute.equal(cells, ""), lib.scalar(None, lib.string()), cells)


def _header(path: Path, text: str, layout: Layout) -> tuple[list[str], str, int]:
    """The names of the columns, the delimiter, and where the rows begin."""
    begin, delimiter = 0, layout.delimiter
    stated = re.match(r"\s*sep=(.)\r?\n", text)  # Excel's own
    if stated:
        begin, delimiter = stated.end(), delimiter or stated[1]
    begin += len(text[begin:]) - len(text[begin:].lstrip("\r\n"))
    line = re.match(r'(?:"[^"]*"|[^"\r\n])*' if layout.quotes else r"[^\r\n]*", text[begin:])
    header = line[0] if line else ""
    if not header.strip():
        raise UserError(f"{path}: has no line of names; put the names of the columns into the first line")
    if delimiter is None:
        bare = re.sub(r'"[^"]*"', "", header) if layout.quotes else header
        delimiter = max(DELIMITERS, key=bare.count)
    reader = csv.reader([header], delimiter=delimiter) if layout.quotes else [header.split(delimiter)]
    try:
        names = [name.strip() for name in next(iter(reader))]
    except csv.Error:
        raise UserError(f"{path}: the line of names has a quote that is not closed; correct it") from None
    twice = next((name for at, name in enumerate(names) if name and name in names[:at]), None)
    if twice is not None:
        raise UserError(f"{path}: column {twice} is there twice; keep one of them, or rename one")
    names = [name or f"column_{at}" for at, name in enumerate(names, 1)]
    return names, delimiter, begin + len(header)


def _check_quotes(path: Path, text: str, delimiter: str) -> None:
    """Raise UserError for a quote that nothing closes: all rows behind it would be one cell."""
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    last = 0
    try:
        for _ in rows:
            last = rows.line_num
    except csv.Error:
        raise UserError(
            f"{path}: line {last + 1} has a quote that is not closed; correct it, or set files.quotes to false if "
            "quotes are part of the cells"
        ) from None


def _bad_row(path: Path, content: bytes, names: list[str], delimiter: str, quote: Any, error: Exception) -> UserError:
    """What is wrong with the rows of a file, without the content of any."""
    lib = arrow()
    found: list[str] = []

    def note(row: Any) -> str:
        found.append(f"row {row.number}: {row.actual_columns} cells, expected {row.expected_columns}")
        return "error"

    with suppress(lib.ArrowInvalid):
        lib.csv.read_csv(
            lib.BufferReader(content),
            lib.csv.ReadOptions(column_names=names, use_threads=False),
            lib.csv.ParseOptions(
                delimiter=delimiter, quote_char=quote, newlines_in_values=quote is not False, invalid_row_handler=note
            ),
        )
    told = found[0] if found else str(error).splitlines()[0]
    return UserError(
        f"{path}: {told}; correct the row, or state another delimiter than {delimiter!r} in files.delimiter"
    )


def typed(column: Any) -> Any:
    """Numbers and booleans of a column of texts, if every cell is one as programs write them; else the texts."""
    lib = arrow()
    compute = lib.compute
    known = compute.if_else(compute.is_in(column, lib.array(MISSING)), lib.scalar(None, lib.string()), column)
    if known.null_count == len(known):
        return column
    for pattern, kind in ((_INTEGER, lib.int64()), (_REAL, lib.float64()), (_TRUTH, lib.bool_())):
        if compute.all(compute.match_substring_regex(known, pattern)).as_py():
            try:
                return (compute.utf8_lower(known) if kind == lib.bool_() else known).cast(kind)
            except lib.ArrowInvalid:
                return column
    return column
