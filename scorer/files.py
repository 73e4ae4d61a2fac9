"""Files of transactions - Parquet, CSV, JSON Lines - as the JSON values that Kafka would bring, in order of time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from scorer.errors import UserError
from scorer.events import Mapping, instant_ms

#: What `scorer simulate` calls the label and the time from which it is known; never sent.
LABEL, LABEL_TIME = "is_fraud", "label_available_at"
IDS = ("transaction_id", "card_id", "merchant_id")
CHUNK = 20_000


@dataclass(frozen=True)
class FileChunk:
    """n transactions. keys: card ids. labels: int8 (n,), 1 is fraud, or None without a label column.
    known_ms: int64 (n,), when each label was known, 0 where the file does not say."""

    keys: list[bytes]
    values: list[bytes]
    labels: npt.NDArray[np.int8] | None
    known_ms: npt.NDArray[np.int64]


def read_transactions(
    path: Path,
    mapping: Mapping,
    since: str | None = None,
    until: str | None = None,
    skip: int = 0,
    limit: int | None = None,
) -> Iterator[FileChunk]:
    """Transactions of a file under our names, ordered by `occurred_at`, then id; the file must fit in memory.

    Times without an offset are UTC; whole numbers in id fields become texts; empty cells are left out. since, until:
    RFC 3339 times or dates, the second exclusive. skip, limit: of what is left, in order. Raises UserError naming the
    file and the field.
    """
    table = read_table(path)
    theirs = {ours: mapping.fields.get(ours, ours) for ours in (*IDS, "occurred_at")}
    for ours, name in theirs.items():
        if name not in table.column_names:
            raise UserError(f"{path}: has no field {name} for {ours}; set it in the setting mapping (SCORER_MAPPING)")
    occurred = _times(table, theirs["occurred_at"], path)
    ids = np.array(table.column(theirs["transaction_id"]).to_pylist(), dtype=object)
    keep = np.arange(table.num_rows)
    if since is not None:
        keep = keep[occurred[keep] >= time_bound(since, "--from")]
    if until is not None:
        keep = keep[occurred[keep] < time_bound(until, "--to")]
    keep = keep[np.lexsort((ids[keep].astype(str), occurred[keep]))][skip:][:limit]
    label = mapping.label or LABEL
    gone = {label, LABEL_TIME, *mapping.drop}
    if mapping.label is not None and label not in table.column_names:
        raise UserError(f"{path}: has no field {label} for the label; set mapping.label to another")
    labels = np.array(table.column(label).to_pylist(), np.int8) if label in table.column_names else None
    has_times = LABEL_TIME in table.column_names
    known = _times(table, LABEL_TIME, path) if has_times else np.zeros(table.num_rows, np.int64)
    body = table.drop_columns([name for name in table.column_names if name in gone])
    ours_of = {source: ours for ours, source in mapping.fields.items()}
    body = body.rename_columns([ours_of.get(name, name) for name in body.column_names])
    for start in range(0, len(keep), CHUNK):
        rows = keep[start : start + CHUNK]
        stamps = np.datetime_as_string(occurred[rows].astype("datetime64[ms]"), unit="ms")
        values, keys = [], []
        for record, stamp in zip(body.take(rows).to_pylist(), stamps, strict=True):
            plain = {name: _plain(cell) for name, cell in record.items() if cell is not None}
            plain |= {name: str(plain[name]) for name in IDS if name in plain}
            plain["occurred_at"] = f"{stamp}Z"
            values.append(orjson.dumps({**mapping.defaults, **plain}))
            keys.append(str(plain.get("card_id", "")).encode())
        yield FileChunk(keys, values, None if labels is None else labels[rows], known[rows])


def _plain(cell: Any) -> Any:
    if isinstance(cell, datetime):
        return (cell if cell.tzinfo else cell.replace(tzinfo=UTC)).isoformat()
    return cell.isoformat() if isinstance(cell, date) else cell


def time_bound(text: str, option: str) -> int:
    try:
        return instant_ms(text if "T" in text.upper() or " " in text else f"{text}T00:00:00Z")
    except ValueError as error:
        raise UserError(f"{option} {text}: {error}") from None


def _arrow() -> Any:
    try:
        import pyarrow
        import pyarrow.csv
        import pyarrow.json
        import pyarrow.parquet
    except ImportError:
        raise UserError("files: reading them needs pyarrow; pip install 'shadow-scorer[files]'") from None
    return pyarrow


def read_table(path: Path) -> Any:
    """A file as an Arrow table. Raises UserError naming the file."""
    arrow = _arrow()
    readers = {
        ".parquet": arrow.parquet.read_table,
        ".csv": arrow.csv.read_csv,
        ".jsonl": arrow.json.read_json,
        ".ndjson": arrow.json.read_json,
    }
    reader = readers.get(path.suffix)
    if reader is None:
        raise UserError(f"{path}: cannot tell its kind; name it .parquet, .csv or .jsonl")
    try:
        return reader(path)
    except (OSError, arrow.ArrowInvalid) as error:
        raise UserError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from None


def _times(table: Any, name: str, path: Path) -> npt.NDArray[np.int64]:
    arrow = _arrow()
    column = table.column(name)
    if arrow.types.is_timestamp(column.type):
        cells = column.cast(arrow.timestamp("ms", column.type.tz), safe=False).cast(arrow.int64())
        if cells.null_count:
            raise UserError(f"{path}: field {name} is empty in {cells.null_count} rows; every transaction needs a time")
        return np.asarray(cells.to_numpy(), dtype=np.int64)
    try:
        return np.array([instant_ms(cell) for cell in column.to_pylist()], dtype=np.int64)
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: field {name}: {error}") from None


def write_table(path: Path, columns: dict[str, Any]) -> None:
    """Write columns to a file of the kind that its name says. Raises UserError for another kind."""
    arrow = _arrow()
    table = arrow.table(columns)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        arrow.parquet.write_table(table, path)
    elif path.suffix == ".csv":
        arrow.csv.write_csv(table, path)
    elif path.suffix in (".jsonl", ".ndjson"):
        with path.open("wb") as out:
            for record in table.to_pylist():
                out.write(orjson.dumps({n: _plain(c) for n, c in record.items() if c is not None}) + b"\n")
    else:
        raise UserError(f"{path}: cannot tell its kind; name it .parquet, .csv or .jsonl")
