"""Files of labels: CSV, JSON Lines or Parquet."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from scorer.errors import UserError
from shadow.labels import Label, parse

#: Other ways in which files write a verdict.
VERDICTS: Mapping[str, str] = {"1": "fraud", "true": "fraud", "0": "legit", "false": "legit"}


def read_labels(path: Path, fields: Mapping[str, str], defaults: Mapping[str, str]) -> tuple[list[Label], list[str]]:
    """The labels of a file, and a line on each row that is none.

    fields: our field name to theirs. defaults: for fields that a row has not or leaves empty. Raises UserError naming
    a file that cannot be read.
    """
    labels, bad = [], []
    for number, row in _rows(path):
        try:
            ours = {name: row.get(fields.get(name, name)) for name in Label.model_fields}
            filled = {name: _text(cell) for name, cell in ours.items() if cell not in (None, "")}
            said = {**defaults, **filled}
            if "verdict" in said:
                said["verdict"] = VERDICTS.get(said["verdict"].lower(), said["verdict"].lower())
            labels.append(parse(said))
        except (AttributeError, ValueError) as error:
            bad.append(f"{path}: row {number}: {error}")
    return labels, bad


def _text(cell: Any) -> str:
    if isinstance(cell, datetime):
        return (cell if cell.tzinfo else cell.replace(tzinfo=UTC)).isoformat()
    return str(cell)


def _rows(path: Path) -> Iterator[tuple[int, Any]]:
    """Rows with their numbers, counted from 1."""
    try:
        if path.suffix == ".csv":
            with path.open(newline="", encoding="utf-8-sig") as file:
                yield from enumerate(csv.DictReader(file), start=1)
        elif path.suffix in (".jsonl", ".ndjson"):
            with path.open("rb") as lines:
                yield from enumerate((orjson.loads(line) for line in lines if line.strip()), start=1)
        elif path.suffix == ".parquet":
            from scorer.files import read_table

            yield from enumerate(read_table(path).to_pylist(), start=1)
        else:
            raise UserError(f"{path}: cannot tell its kind; name it .csv, .jsonl or .parquet")
    except (OSError, csv.Error, UnicodeDecodeError, orjson.JSONDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
