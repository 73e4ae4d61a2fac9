"""Files as rows of plain cells, whatever they are written in: CSV, JSON or Parquet. Ids stay as they are written.

A row is counted from 1; the line of names in a CSV file is none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

import numpy as np
import numpy.typing as npt
import orjson

from scorer.errors import UserError
from scorer.pipeline import lenient
from scorer.pipeline.layout import Layout
from scorer.sources.csv_text import arrow, csv_table, typed
from scorer.sources.texts import COMPRESSED, content_of, text_of

CSV, JSON, PARQUET = (".csv", ".tsv", ".txt"), (".jsonl", ".ndjson", ".json"), (".parquet", ".pq")
KINDS = (*CSV, *JSON, *PARQUET)
_LONG_NUMBER = re.compile(r"\d{19}", re.ASCII)
_BATCH = 20_000


class Rows(Protocol):
    """The rows of a file."""

    names: tuple[str, ...]

    def __len__(self) -> int: ...

    def records(self, rows: npt.NDArray[np.int64], without: Collection[str] = ()) -> list[dict[str, Any]]:
        """Some rows, with None for empty cells. without: columns that nobody needs, which may be left out."""


def kind_of(path: Path) -> str:
    """The suffix that says how a file is written. Raises UserError if it says nothing."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSED:
        suffixes.pop()
    kind = suffixes[-1] if suffixes else ""
    if kind not in KINDS:
        raise UserError(f"{path}: unknown suffix {kind!r}; name it .parquet, .csv or .jsonl, or as one of their kin")
    return kind


def read_rows(
    path: Path, layout: Layout | None = None, texts: Collection[str] | None = (), only_objects: bool = True
) -> Rows:
    """Read a file.

    texts: columns of a CSV file whose cells stay texts, None for all; in others, numbers become numbers if no digit
    is lost by it. only_objects: whether a value of a JSON file that is no object is refused here.
    Raises UserError that names file and row.
    """
    layout = layout or Layout.model_validate({})
    kind = kind_of(path)
    if kind in PARQUET:
        return ArrowRows(path, read_parquet(path))
    text = text_of(content_of(path), layout.encoding, path)
    if kind in JSON:
        return JsonRows(path, text, only_objects)
    table = csv_table(path, text, layout)
    if texts is not None:
        columns = {
            name: column if name in texts else typed(column)
            for name, column in zip(table.column_names, table.columns, strict=True)
        }
        table = arrow().table(columns)
    return ArrowRows(path, table)


class ArrowRows:
    """Rows of a table of Arrow. Cells become plain when they are asked for."""

    def __init__(self, path: Path, table: Any) -> None:
        self._path, self._table = path, _simple(table)
        self.names = tuple(table.column_names)
        twice = next((name for at, name in enumerate(self.names) if name in self.names[:at]), None)
        if twice is not None:
            raise UserError(f"{path}: column {twice} is there twice; keep one of them, or rename one")

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def raw(self, name: str) -> Any:
        """A column of Arrow."""
        return self._table.column(name)

    def column(self, name: str) -> list[Any]:
        """A cell of each row, None where it is empty."""
        return self._plain(name, self.raw(name), None)

    def records(self, rows: npt.NDArray[np.int64], without: Collection[str] = ()) -> list[dict[str, Any]]:
        names = [name for name in self.names if name not in without]
        part = self._table.select(names).take(rows)
        columns = [self._plain(name, part.column(name), rows) for name in names]
        return [dict(zip(names, cells, strict=True)) for cells in zip(*columns, strict=True)]

    def _plain(self, name: str, column: Any, rows: npt.NDArray[np.int64] | None) -> list[Any]:
        """The cells of a column as JSON has them. rows: which rows these are, None for all."""
        lib = arrow()
        types = lib.types
        kind = column.type
        if types.is_timestamp(kind):
            column = column.cast(lib.timestamp("us", kind.tz), safe=False)
        elif types.is_time(kind):
            column = column.cast(lib.time64("us"), safe=False)
        elif types.is_duration(kind):
            column = column.cast(lib.duration("us"), safe=False)
        try:
            cells: list[Any] = column.to_pylist()
            if types.is_nested(kind) or not (
                types.is_integer(kind) or types.is_floating(kind) or types.is_string(kind) or types.is_boolean(kind)
            ):
                return list(map(_plain, cells))
        except (ValueError, OverflowError, TypeError, KeyError, UnicodeDecodeError):
            at = next(at for at, cell in enumerate(column) if not _is_readable(cell))
            row = at + 1 if rows is None else int(rows[at]) + 1
            raise UserError(
                f"{self._path}: row {row}: column {name} is {kind} and the cell no text, number or time; write one, or "
                "leave the column out with the setting mapping.drop"
            ) from None
        if types.is_floating(kind):
            return [None if cell is None or cell != cell else cell for cell in cells]
        return cells


def _is_readable(scalar: Any) -> bool:
    try:
        _plain(scalar.as_py())
    except (ValueError, OverflowError, TypeError, KeyError, UnicodeDecodeError):
        return False
    return True


def _plain(cell: Any) -> Any:
    """A cell as JSON has it. A duration is in seconds, bytes are text, and a whole decimal is an int of any
    size, so that an id keeps its digits. Raises ValueError for one that JSON has not."""
    if cell is None or isinstance(cell, str | int):
        return cell
    if isinstance(cell, float):
        return None if cell != cell else cell
    if isinstance(cell, Decimal):
        if not cell.is_finite():
            return None
        return int(cell) if cell == cell.to_integral_value() else float(cell)
    if isinstance(cell, datetime):
        return (cell if cell.tzinfo else cell.replace(tzinfo=UTC)).isoformat()
    if isinstance(cell, date | time):
        return cell.isoformat()
    if isinstance(cell, timedelta):
        return cell.total_seconds()
    if isinstance(cell, bytes):
        return cell.decode()
    if isinstance(cell, UUID):
        return str(cell)
    if isinstance(cell, dict):
        return {str(name): _plain(part) for name, part in cell.items()}
    if isinstance(cell, list | tuple):
        return [_plain(part) for part in cell]
    raise ValueError(f"{type(cell).__name__} is no text, number or time")


def _simple(table: Any) -> Any:
    """A table without the types that Arrow cannot take rows of."""
    lib = arrow()
    other = {lib.string_view(): lib.string(), lib.binary_view(): lib.binary()}
    for at, kind in enumerate(table.schema.types):
        if lib.types.is_dictionary(kind):
            table = table.set_column(at, table.column_names[at], table.column(at).cast(kind.value_type))
        elif kind in other:
            table = table.set_column(at, table.column_names[at], table.column(at).cast(other[kind]))
    return table


class JsonRows:
    """Rows of JSON Lines, or of an array of objects. They are kept as text, which takes far less memory."""

    def __init__(self, path: Path, text: str, only_objects: bool) -> None:
        self._path = path
        self._lines: list[bytes] = []
        self._loads = _loads if _LONG_NUMBER.search(text) else _loads_small
        names: dict[str, None] = {}
        for line, record in _objects(path, text, self._loads):
            if isinstance(record, dict):
                names.update(dict.fromkeys(record))
            elif only_objects:
                raise UserError(f"{path}: row {len(self._lines) + 1}: not an object with a field a column; correct it")
            self._lines.append(line)
        self.names = tuple(names)

    def __len__(self) -> int:
        return len(self._lines)

    def records(self, rows: npt.NDArray[np.int64], without: Collection[str] = ()) -> list[dict[str, Any]]:
        return [self._loads(self._lines[row]) for row in rows.tolist()]


def batches(rows: Rows) -> Iterator[list[dict[str, Any]]]:
    """All rows, some at a time."""
    for start in range(0, len(rows), _BATCH):
        yield rows.records(np.arange(start, min(start + _BATCH, len(rows))))


def _objects(path: Path, text: str, loads: Callable[[bytes], Any]) -> Iterator[tuple[bytes, Any]]:
    """The values of a file, each with its text on one line."""
    whole = text.lstrip()
    if whole.startswith("["):
        try:
            values = loads(whole.encode())
        except ValueError as error:
            raise UserError(f"{path}: cannot be read ({error}); correct it, or write an object a line") from None
        for value in values:
            yield json.dumps(value).encode(), value
        return
    row = 0
    for number, line in enumerate(text.split("\n"), 1):  # a text in JSON may hold other ends of lines
        if not line.strip():
            continue
        row += 1
        try:
            content = line.encode()
            yield content, loads(content)
        except ValueError as error:
            raise UserError(f"{path}: row {row}: line {number} cannot be read ({error}); correct the line") from None


def _loads(text: bytes) -> Any:
    """JSON with every digit of its whole numbers: ids may have more than orjson keeps. Raises ValueError."""
    try:
        return lenient.parsed(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _loads_small(text: bytes) -> Any:
    """`_loads` of a text without long numbers, much faster."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return _loads(text)


def read_parquet(path: Path) -> Any:
    """A table of Arrow. Raises UserError that names the file."""
    lib = arrow()
    try:
        return lib.parquet.ParquetFile(path).read()
    except (OSError, ValueError, lib.ArrowException) as error:
        told = "".join(filter(str.isprintable, (str(error).splitlines() or [""])[0]))
        raise UserError(f"{path}: cannot be read ({told}); name a readable .parquet file") from None
