"""Transactions from files: Parquet, CSV, JSON, under our names, in order of time; and files of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from scorer.errors import UserError
from scorer.pipeline.events import Events
from scorer.pipeline.instants import instant_ms
from scorer.pipeline.mapping import FieldNames
from scorer.pipeline.transaction import Reading
from scorer.sources.columns import PlainColumns, events_of, plain_columns, scattered
from scorer.sources.csv_text import arrow
from scorer.sources.file_rows import FileRows
from scorer.sources.source import Source
from scorer.sources.tables import kind_of

#: Transactions of a chunk.
CHUNK = 20_000


@dataclass(frozen=True)
class Places:
    """Where n transactions were read. files: int64 (n,), positions in `paths`. rows: int64 (n,), from 0."""

    paths: tuple[Path, ...]
    files: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, at: int) -> str:
        """File and row of a transaction, for people, who count from 1."""
        return f"{self.paths[int(self.files[at])]}: row {int(self.rows[at]) + 1}"


@dataclass(frozen=True)
class FileChunk:
    """n transactions.

    keys: card ids. values: JSON. labels: int8 (n,), 1 is fraud, 0 legitimate, -1 unknown; None if the file has no
    labels. known_ms: int64 (n,), when each label became known, milliseconds since 1970; 0 if the file does not say.
    places: where each was read, None if unknown. events: the transactions as the scorer reads them, if that is known;
    then keys and values are left out.
    """

    keys: list[bytes]
    values: list[bytes]
    labels: npt.NDArray[np.int8] | None
    known_ms: npt.NDArray[np.int64]
    places: Places | None = None
    events: Events | None = None


def read_transactions(
    paths: Path | Sequence[Path],
    source: Source | FieldNames,
    since: str | None = None,
    until: str | None = None,
    skip: int = 0,
    limit: int | None = None,
    tell: Callable[[str], Any] = lambda text: None,
    reading: Reading | None = None,
    note: Callable[[FileRows], Any] = lambda part: None,
) -> Iterator[FileChunk]:
    """Read transactions under our field names, as JSON values, in order of `occurred_at`, then id.

    Those of one time are in one chunk.

    paths: files, and folders of files. They must fit in memory. Times without an offset are UTC, whole numbers in id
    fields become texts, empty cells are left out. since, until: RFC 3339 times or dates; `until` is exclusive. skip,
    limit: how many of these to leave out at the beginning, and how many to read at most. tell: called with what whoever
    reads the files should know. reading: how the scorer reads them; then chunks in which all is plain have their events
    instead of JSON. note: called with each file. Raises UserError that names file, row and field.
    """
    if isinstance(source, FieldNames):
        source = Source(source)
    source.check()
    files = files_of([paths] if isinstance(paths, Path) else paths)
    names = row_names(files)
    parts = [FileRows.read(path, name, source) for path, name in zip(files, names, strict=True)]
    if source.needs_label and len({part.labels is None for part in parts}) > 1:
        bare = next(part.path for part in parts if part.labels is None)
        raise UserError(
            f"{bare}: has no field {source.label} for the label, but other files have; name files of one kind"
        )
    for part in parts:
        note(part)
    occurred = np.concatenate([part.occurred_ms for part in parts])
    sizes = [len(part.occurred_ms) for part in parts]
    of_file = np.repeat(np.arange(len(parts)), sizes)
    row_of = np.concatenate([np.arange(size) for size in sizes])
    ids = np.array([text for part in parts for text in part.ids], dtype=object)
    keep = np.flatnonzero(np.concatenate([part.is_kept for part in parts]))
    if len(keep) < len(occurred):
        tell(f"{len(occurred) - len(keep)} changes of rows are passed over")
    if "card_id" in source.from_rows:
        tell("each row has a card of its own: no card has a past, and features of card velocity say nothing")
    if since is not None:
        keep = keep[occurred[keep] >= time_bound(since, "--from")]
    if until is not None:
        keep = keep[occurred[keep] < time_bound(until, "--to")]
    keep = keep[by_time(occurred[keep], ids[keep])][skip:][:limit]
    del ids
    for part in parts:
        part.ids.clear()  # they are as large as all columns together, and nobody needs them any more
    labels = None
    if all(part.labels is not None for part in parts):
        labels = np.concatenate([part.labels for part in parts if part.labels is not None])
    known = np.concatenate([part.known_ms for part in parts])
    plain = [None if reading is None else plain_columns(part, reading) for part in parts]
    for first, end in _cuts(occurred[keep]):
        chosen = keep[first:end]
        places = Places(tuple(files), of_file[chosen], row_of[chosen])
        at_labels = None if labels is None else labels[chosen]
        events = None if reading is None else _events(plain, places, occurred[chosen], reading)
        if events is not None:
            yield FileChunk([], [], at_labels, known[chosen], places, events)
            continue
        keys, values = _texts(parts, places, occurred[chosen])
        yield FileChunk(keys, values, at_labels, known[chosen], places)


def by_time(occurred_ms: npt.NDArray[np.int64], ids: npt.NDArray[np.object_]) -> npt.NDArray[np.int64]:
    """Positions of n transactions by time, then id: int64 (n,). Only ids of one time are compared: they may be long."""
    order = np.argsort(occurred_ms, kind="stable")
    is_same = np.diff(occurred_ms[order]) == 0
    tied = np.zeros(len(order), dtype=bool)
    tied[1:] |= is_same
    tied[:-1] |= is_same
    rows = order[tied]
    order[tied] = rows[np.lexsort((ids[rows].astype(str), occurred_ms[rows]))]
    return order


def _cuts(occurred_ms: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Where chunks begin and end: at CHUNK transactions, or when all of that time are in. Times ascend."""
    first = 0
    while first < len(occurred_ms):
        end = min(first + CHUNK, len(occurred_ms))
        end = int(np.searchsorted(occurred_ms, occurred_ms[end - 1], side="right"))
        yield first, end
        first = end


def _events(
    plain: list[PlainColumns | None], places: Places, occurred_ms: npt.NDArray[np.int64], reading: Reading
) -> Events | None:
    """The transactions of a chunk from the columns of their files; None if any is not plain."""
    found = []
    for number in np.unique(places.files).tolist():
        columns = plain[number]
        mine = np.flatnonzero(places.files == number)
        rows = places.rows[mine]
        if columns is None or columns.odd[rows].any():
            return None
        found.append((mine, columns.of(rows, occurred_ms[mine])))
    return events_of(scattered(found, len(places)), reading)


def _texts(
    parts: list[FileRows], places: Places, occurred_ms: npt.NDArray[np.int64]
) -> tuple[list[bytes], list[bytes]]:
    """Keys and values of the transactions of a chunk."""
    found: list[dict[str, Any]] = [{}] * len(places)
    for number in np.unique(places.files).tolist():
        mine = np.flatnonzero(places.files == number)
        for at, record in zip(mine.tolist(), parts[number].records(places.rows[mine]), strict=True):
            found[at] = record
    stamps = np.datetime_as_string(occurred_ms.astype("datetime64[ms]"), unit="ms").tolist()
    values, keys = [], []
    for at, (record, stamp) in enumerate(zip(found, stamps, strict=True)):
        record["occurred_at"] = f"{stamp}Z"
        values.append(_json(record, places, at))
        keys.append(str(record.get("card_id", "")).encode())
    return keys, values


def files_of(paths: Iterable[Path]) -> list[Path]:
    """Files, and those in folders, but for hidden ones and those that begin with an underscore. Raises UserError."""
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        inside = [
            file
            for file in sorted(path.rglob("*"))
            if file.is_file() and not any(part[0] in "._" for part in file.relative_to(path).parts)
        ]
        if not inside:
            raise UserError(f"{path}: has no files; name a folder of .parquet, .csv or .jsonl files")
        found += inside
    twice = next((path for at, path in enumerate(found) if path in found[:at]), None)
    if twice is not None:
        raise UserError(f"{twice}: is named twice; name each file once")
    for path in found:
        kind_of(path)
    return found


def row_names(paths: Sequence[Path]) -> list[str]:
    """Names of files in ids of rows: as short as they can be, so that a file elsewhere gives the same ids."""
    top = os.path.commonpath([path.absolute().parent for path in paths])
    return [path.absolute().relative_to(top).as_posix() for path in paths]


def _json(record: dict[str, Any], places: Places, at: int) -> bytes:
    try:
        return orjson.dumps(record)
    except TypeError:
        pass
    try:
        return orjson.dumps({name: _small(cell) for name, cell in record.items()})
    except TypeError as error:
        raise UserError(f"{places[at]}: {error}; correct the row") from None


def _small(cell: Any) -> Any:
    """Whole numbers of more than 64 bits as JSON's readers take them."""
    if isinstance(cell, int):
        return cell if -(2**63) <= cell < 2**64 else float(cell)
    if isinstance(cell, dict):
        return {name: _small(part) for name, part in cell.items()}
    return [_small(part) for part in cell] if isinstance(cell, list) else cell


def time_bound(text: str, option: str) -> int:
    """Milliseconds since 1970 of an RFC 3339 time or a date, which is its midnight in UTC.

    Raises UserError that names the option.
    """
    try:
        return instant_ms(text if "T" in text.upper() or " " in text else f"{text}T00:00:00Z")
    except ValueError as error:
        raise UserError(f"{option} {text}: {error}") from None


def write_table(path: Path, columns: dict[str, Any]) -> None:
    """Write columns to a file of the kind that its suffix names. Raises UserError for another suffix."""
    lib = arrow()
    table = lib.table(columns)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        lib.parquet.write_table(table, path)
    elif path.suffix == ".csv":
        lib.csv.write_csv(table, path)
    elif path.suffix in (".jsonl", ".ndjson"):
        with path.open("wb") as out:
            for record in table.to_pylist():
                out.write(orjson.dumps({n: _written(c) for n, c in record.items() if c is not None}) + b"\n")
    else:
        raise UserError(f"{path}: unknown suffix {path.suffix!r}; name it .parquet, .csv or .jsonl")


def _written(cell: Any) -> Any:
    if isinstance(cell, datetime):
        return (cell if cell.tzinfo else cell.replace(tzinfo=UTC)).isoformat()
    return cell.isoformat() if isinstance(cell, date) else cell
