"""Reads rows of features with their scores: CSV, JSON Lines or Parquet. Cells stay as they are written."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import orjson

from scorer.errors import UserError
from scorer.sources.tables import read_parquet


def read_scored(path: Path) -> tuple[dict[str, Sequence[object]], str]:
    """Columns by name, a cell a row, and the SHA-256 of the file, as hex.

    Cells of a CSV file are texts, so that ids keep their zeros. Raises UserError that names file and line.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"--check {path}: {error.strerror}; name a file of rows") from None
    digest = hashlib.sha256(content).hexdigest()
    kind = path.suffix.lower()
    if kind == ".parquet":
        return dict(read_parquet(path).to_pydict()), digest
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"--check {path}: not UTF-8 at byte {error.start}; save it as UTF-8") from None
    if kind == ".csv":
        return _csv(text, path), digest
    if kind in (".jsonl", ".ndjson", ".json"):
        return _json_lines(text, path), digest
    raise UserError(f"--check {path}: unknown kind of file; name it .csv, .jsonl or .parquet")


def _csv(text: str, path: Path) -> dict[str, Sequence[object]]:
    try:
        rows = list(csv.reader(io.StringIO(text, newline="")))
    except csv.Error as error:
        raise UserError(f"--check {path}: {error}; save it as plain CSV") from None
    if not rows:
        raise UserError(f"--check {path}: empty; the first line names the columns")
    names, cells = rows[0], [row for row in rows[1:] if row]
    twice = next((name for at, name in enumerate(names) if name in names[:at]), None)
    if twice is not None:
        raise UserError(f"--check {path}: column {twice} is there twice; keep one of them")
    for at, row in enumerate(cells):
        if len(row) != len(names):
            raise UserError(f"--check {path}: row {at + 1}: {len(row)} cells, expected {len(names)}")
    return {name: [row[i] for row in cells] for i, name in enumerate(names)}


def _json_lines(text: str, path: Path) -> dict[str, Sequence[object]]:
    records = []
    for number, line in enumerate(text.split("\n"), 1):  # a text may hold other ends of lines
        if not line.strip():
            continue
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise UserError(f"--check {path}: line {number}: {error}") from None
        if not isinstance(record, dict):
            raise UserError(f"--check {path}: line {number}: not an object with a field a column")
        records.append(record)
    names = dict.fromkeys(name for record in records for name in record)
    return {name: [record.get(name) for record in records] for name in names}
