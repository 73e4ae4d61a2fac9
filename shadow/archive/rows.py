"""Turns records of the archived topics into rows, and decisions back into what was published. Pure.

A row for each record, whatever is in it: a record that is not what its topic holds becomes a row with its bytes in
`raw` and the reason in `problem`. Card numbers are masked in such bytes, as in dead letters.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from scorer.pipeline.batch import Unreadable
from scorer.pipeline.card_number_json import masked_bytes
from scorer.pipeline.instants import DAY_MS, LAST_MS, instant_ms, stamps
from scorer.pipeline.transaction import REQUIRED
from shadow.comparison.decisions import Decisions, read
from shadow.labels.label import Label, parse

#: A time in UTC. Ours have milliseconds; microseconds are what DuckDB, Spark and pandas all read as such.
TIME = pa.timestamp("us", tz="UTC")
HEADERS = pa.list_(pa.struct([("name", pa.string()), ("value", pa.binary())]))
#: Where the record is, when the broker got it (null if it does not say), and the day of the event, which partitions
#: the table.
PLACE = [("partition", pa.int32()), ("offset", pa.int64()), ("appended_at", TIME), ("day", pa.date32())]
#: Of a record that is not what its topic holds.
PROBLEM = [("raw", pa.binary()), ("problem", pa.string())]
#: Texts of a transaction that have columns of their own.
IDS = ("transaction_id", "card_id", "merchant_id", "currency")

DECISIONS = pa.schema(
    [
        *PLACE,
        ("source_offset", pa.int64()),
        *((name, pa.string()) for name in IDS),
        ("occurred_at", TIME),
        ("amount", pa.float64()),
        ("others", pa.string()),
        ("decision", pa.string()),
        ("score", pa.float64()),
        ("threshold", pa.float64()),
        ("bundle", pa.string()),
        ("epoch", pa.int64()),
        ("view", pa.string()),
        ("release_probability", pa.float64()),
        ("override", pa.string()),
        ("features", pa.list_(pa.float64())),
        ("amount_minor", pa.int64()),
        ("scored_at", TIME),
        ("repeat", pa.bool_()),
        ("refund", pa.bool_()),
        ("more", pa.string()),
        *PROBLEM,
    ]
)
REJECTED = pa.schema(
    [
        *PLACE,
        ("reason", pa.string()),
        ("field", pa.string()),
        ("source_offset", pa.int64()),
        ("rejected_at", TIME),
        ("replayed", pa.int64()),
        ("key", pa.binary()),
        ("value", pa.binary()),
        ("headers", HEADERS),
        *PROBLEM,
    ]
)
LABELS = pa.schema(
    [
        *PLACE,
        ("transaction_id", pa.string()),
        ("card_id", pa.string()),
        ("occurred_at", TIME),
        ("source", pa.string()),
        ("verdict", pa.string()),
        ("at", TIME),
        ("by", pa.string()),
        ("reason", pa.string()),
        *PROBLEM,
    ]
)
DEPLOYMENTS = pa.schema(
    [*PLACE, ("key", pa.string()), ("kind", pa.string()), ("at", TIME), ("body", pa.string()), *PROBLEM]
)

#: Fields of a decision that have columns; `schema` is always 1, and `source.partition` is the record's own.
_KNOWN = frozenset(
    (
        *("schema", "transaction", "decision", "score", "threshold", "bundle", "epoch", "view", "release_probability"),
        *("override", "features", "amount_minor", "scored_at", "source", "repeat", "refund"),
    )
)
_OWN = frozenset(REQUIRED)
#: What a cell that its column cannot hold makes pyarrow and orjson raise.
_MISFITS = (pa.ArrowException, TypeError, ValueError, OverflowError, KeyError)

Build = Callable[[int, Sequence[Any], Collection[str]], pa.Table]


@dataclass(frozen=True)
class Kind:
    """What a topic becomes. role: its name in the setting `topics`; table: that of its table.

    build: of a partition, records in offset order and the setting `card_number_fields`, a row for each record.
    is_compacted: whether offsets go missing in it without loss.
    """

    role: str
    table: str
    schema: pa.Schema
    build: Build


def _place(partition: int, records: Sequence[Any], days: npt.NDArray[np.int64] | None = None) -> dict[str, Any]:
    """The columns of PLACE. days: int64 (n,), days since 1970; None takes the day on which the broker got them."""
    appended = np.array([record.timestamp for record in records], dtype=np.int64)
    known = (appended >= 0) & (appended <= LAST_MS)
    if days is None:
        days = np.where(known, appended, 0) // DAY_MS
    return {
        "partition": pa.array(np.full(len(records), partition), pa.int32()),
        "offset": pa.array([record.offset for record in records], pa.int64()),
        "appended_at": _times(np.where(known, appended, 0), ~known),
        "day": pa.array(days.astype(np.int32), pa.int32()).cast(pa.date32()),
    }


def _times(ms: npt.NDArray[np.int64], missing: npt.NDArray[np.bool_] | None = None) -> pa.Array:
    return pa.array(ms * 1000, pa.int64(), mask=missing).cast(TIME)


def _times_or_none(ms: Sequence[int | None]) -> pa.Array:
    return _times(np.array([at or 0 for at in ms], dtype=np.int64), np.array([at is None for at in ms], dtype=bool))


def _table(schema: pa.Schema, columns: Mapping[str, Any]) -> pa.Table:
    n = len(columns["offset"])
    cells = [columns[name] if name in columns else pa.nulls(n, schema.field(name).type) for name in schema.names]
    return pa.Table.from_arrays(
        [
            cell if isinstance(cell, pa.Array) else pa.array(cell, kind.type)
            for cell, kind in zip(cells, schema, strict=True)
        ],
        schema=schema,
    )


def _problems(schema: pa.Schema, partition: int, records: Sequence[Any], reasons: Sequence[str]) -> pa.Table:
    """Rows of records that are not what their topic holds."""
    raw = [None if record.value is None else masked_bytes(bytes(record.value)) for record in records]
    told = [
        f"{reason} (a card number is masked)" if value is not None and value != record.value else reason
        for value, record, reason in zip(raw, records, reasons, strict=True)
    ]
    return _table(schema, {**_place(partition, records), "raw": raw, "problem": told})


def _together(tables: Sequence[pa.Table], schema: pa.Schema) -> pa.Table:
    filled = [table for table in tables if table.num_rows]
    if len(filled) < 2:
        return filled[0] if filled else schema.empty_table()
    return pa.concat_tables(filled).sort_by("offset")


def decisions(partition: int, records: Sequence[Any], card_number_fields: Collection[str] = ()) -> pa.Table:
    """Rows of `decisions`. What the shadow would not count, it does not take for a decision here."""
    found, bad = read([record.value for record in records], [record.offset for record in records], partition)
    by_offset = {record.offset: record for record in records}
    unread = [by_offset[offset] for offset in bad]
    reasons = [_why_no_decision(record.value) for record in unread]
    try:
        good = _decided(partition, [by_offset[offset] for offset in found.offsets.tolist()], found)
    except _MISFITS:
        rows = []
        for at, offset in enumerate(found.offsets.tolist()):
            one = [by_offset[offset]]
            try:
                rows.append(_decided(partition, one, found.take(np.array([at]))))
            except _MISFITS as error:
                unread += one
                reasons.append(f"decision: holds what no column can ({type(error).__name__})")
        good = _together(rows, DECISIONS)
    return _together([good, _problems(DECISIONS, partition, unread, reasons)], DECISIONS)


def _why_no_decision(value: bytes | None) -> str:
    if isinstance(value, Unreadable):
        return value.reason
    if not value:
        return "value: is empty"
    if value[:1] == b"\x00":
        return "value: is no decision in Avro"
    try:
        orjson.loads(value)
    except ValueError:
        return "value: is no JSON"
    return "value: is no decision of this partition"


def _decided(partition: int, records: Sequence[Any], found: Decisions) -> pa.Table:
    """Raises one of _MISFITS if a cell does not fit."""
    rows = found.rows
    transactions = [row["transaction"] for row in rows]
    columns: dict[str, Any] = {name: [_text(row.get(name)) for row in transactions] for name in IDS}
    columns |= {
        name: [row.get(name) for row in rows]
        for name in ("decision", "threshold", "bundle", "view", "override", "release_probability", "features")
    }
    return _table(
        DECISIONS,
        {
            **_place(partition, records, found.occurred_ms // DAY_MS),
            "source_offset": found.sources,
            **columns,
            "occurred_at": _times(found.occurred_ms),
            "amount": [_number(row.get("amount")) for row in transactions],
            "others": [_others(row) for row in transactions],
            "score": [row["score"] for row in rows],
            "epoch": found.epochs,
            "amount_minor": [row["amount_minor"] for row in rows],
            "scored_at": _times(found.scored_ms),
            "repeat": found.repeats,
            "refund": found.refunds,
            "more": [None if row.keys() <= _KNOWN else _more(row) for row in rows],
        },
    )


def _text(cell: Any) -> str | None:
    return cell if type(cell) is str else None


def _number(cell: Any) -> float | None:
    return float(cell) if type(cell) in (float, int) else None


def _others(transaction: dict[str, Any]) -> str:
    """Every field that has no column, or does not fit into its own, as a JSON object."""
    others = {name: cell for name, cell in transaction.items() if name not in _OWN}
    for name in IDS:
        if name in transaction and type(transaction[name]) is not str:
            others[name] = transaction[name]
    if "amount" in transaction and type(transaction["amount"]) not in (float, int):
        others["amount"] = transaction["amount"]
    return orjson.dumps(others).decode()


def _more(row: dict[str, Any]) -> str:
    return orjson.dumps({name: cell for name, cell in row.items() if name not in _KNOWN}).decode()


def decision_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """The decision in a row of `decisions`, as the scorer published it; times to the millisecond, in UTC.

    row: as pyarrow's `to_pylist` has it. Raises KeyError for a row with a `problem`.
    """
    if row["problem"] is not None:
        raise KeyError(f"partition {row['partition']}, offset {row['offset']}: is no decision: {row['problem']}")
    return _decision({**row, **{name: _stamp(row[name]) for name in _TIMES}})


def decisions_of(rows: pa.Table) -> list[dict[str, Any]]:
    """The decisions in rows of `decisions` without a `problem`, some times as fast as one by one."""
    names = [name for name in DECISIONS.names if name not in ("appended_at", "day", *(n for n, _ in PROBLEM))]
    columns = [_cells(rows[name], name) for name in names]
    return [_decision(dict(zip(names, cells, strict=True))) for cells in zip(*columns, strict=True)]


#: Times of a decision.
_TIMES = ("occurred_at", "scored_at")


def _cells(column: pa.ChunkedArray, name: str) -> list[Any]:
    """The cells of a column of decisions: texts for times, lists for features."""
    if name in _TIMES:
        return stamps(column.cast(pa.int64()).to_numpy() // 1000)
    if name != "features":
        cells: list[Any] = column.to_pylist()
        return cells
    out: list[Any] = []
    for part in column.chunks:
        values = part.flatten()
        flat = values.to_numpy(zero_copy_only=False).tolist()
        if values.null_count:
            for at in np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False)).tolist():
                flat[at] = None
        ends = np.cumsum(part.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)).tolist()
        out += [flat[first:end] for first, end in zip([0, *ends], ends, strict=False)]
    return out


def _decision(cells: Mapping[str, Any]) -> dict[str, Any]:
    """A decision of the cells of its row, times as texts."""
    transaction: dict[str, Any] = {name: cells[name] for name in IDS if cells[name] is not None}
    transaction["occurred_at"] = cells["occurred_at"]
    if cells["amount"] is not None:
        transaction["amount"] = cells["amount"]
    transaction |= orjson.loads(cells["others"])
    found: dict[str, Any] = {"schema": 1, "transaction": transaction}
    for name in ("decision", "score", "threshold", "bundle", "epoch", "view", "release_probability"):
        found[name] = cells[name]
    if cells["override"] is not None:
        found["override"] = cells["override"]
    found["features"], found["amount_minor"] = cells["features"], cells["amount_minor"]
    found["scored_at"] = cells["scored_at"]
    found["source"] = {"partition": cells["partition"], "offset": cells["source_offset"]}
    for name in ("repeat", "refund"):
        if cells[name]:
            found[name] = True
    if cells["more"] is not None:
        found |= orjson.loads(cells["more"])
    return found


def _stamp(at: Any) -> str:
    (text,) = stamps(np.array([at.timestamp() * 1000]).round().astype(np.int64))
    return text


def label_of(row: Mapping[str, Any]) -> tuple[Label, int]:
    """The label in a row of `labels`, and when it became known, in milliseconds since 1970, -1 if that is not known.

    row: as pyarrow's `to_pylist` has it. Raises KeyError for a row with a `problem`.
    """
    if row["problem"] is not None:
        raise KeyError(f"partition {row['partition']}, offset {row['offset']}: is no label: {row['problem']}")
    names = ("transaction_id", "card_id", "source", "verdict", "by", "reason")
    occurred = None if row["occurred_at"] is None else _stamp(row["occurred_at"])
    told = {name: row[name] for name in names}
    label = Label.model_construct(**told, occurred_at=occurred, at=_stamp(row["at"]))
    return label, -1 if row["appended_at"] is None else round(row["appended_at"].timestamp() * 1000)


def rejected(partition: int, records: Sequence[Any], card_number_fields: Collection[str] = ()) -> pa.Table:
    """Rows of `transactions.rejected`: dead letters, and the marks of those that were sent again."""
    told = [{name: _utf8(value) for name, value in record.headers} for record in records]
    times = [_ms(headers.get("rejected_at")) for headers in told]
    days = np.array([_day_of(record, ms) for record, ms in zip(records, times, strict=True)], dtype=np.int64)
    problems = [_why_no_letter(record, headers) for record, headers in zip(records, told, strict=True)]
    return _table(
        REJECTED,
        {
            **_place(partition, records, days),
            "reason": [headers.get("reason") for headers in told],
            "field": [headers.get("field") for headers in told],
            "source_offset": [_whole(headers.get("offset")) for headers in told],
            "rejected_at": _times_or_none(times),
            "replayed": [_whole(headers.get("replayed")) for headers in told],
            "key": [
                _masked_unless(record.key, is_ours=problem is None)
                for record, problem in zip(records, problems, strict=True)
            ],
            "value": [None if problem else record.value for record, problem in zip(records, problems, strict=True)],
            "headers": [
                [{"name": n, "value": _masked_unless(v, is_ours=problem is None)} for n, v in record.headers]
                for record, problem in zip(records, problems, strict=True)
            ],
            "raw": [
                _masked_unless(record.value, is_ours=False) if problem else None
                for record, problem in zip(records, problems, strict=True)
            ],
            "problem": problems,
        },
    )


def _masked_unless(value: bytes | None, is_ours: bool) -> bytes | None:
    """Bytes as they are where the scorer wrote them, which has masked them already."""
    return value if value is None or is_ours else masked_bytes(bytes(value))


def _why_no_letter(record: Any, headers: Mapping[str, str | None]) -> str | None:
    if isinstance(record.value, Unreadable):
        return record.value.reason
    if _whole(headers.get("replayed")) is not None:
        return None
    for name in ("reason", "field", "offset"):
        if headers.get(name) is None:
            return f"header {name}: is missing"
    return None if _whole(headers["offset"]) is not None else "header offset: is no number"


def labels(partition: int, records: Sequence[Any], card_number_fields: Collection[str] = ()) -> pa.Table:
    """Rows of `labels`. The event day is the day of the verdict."""
    good: list[tuple[Any, Label]] = []
    bad: list[tuple[Any, str]] = []
    for record in records:
        try:
            if isinstance(record.value, Unreadable):
                raise ValueError(record.value.reason)
            good.append((record, parse(orjson.loads(record.value or b""), card_number_fields)))
        except ValueError as error:
            bad.append((record, "value: is no JSON" if isinstance(error, orjson.JSONDecodeError) else str(error)))
    found = [label for _, label in good]
    at = np.array([instant_ms(label.at) for label in found], dtype=np.int64)
    occurred = [None if label.occurred_at is None else instant_ms(label.occurred_at) for label in found]
    table = _table(
        LABELS,
        {
            **_place(partition, [record for record, _ in good], at // DAY_MS),
            **{
                name: [getattr(label, name) for label in found]
                for name in ("transaction_id", "card_id", "source", "verdict", "by", "reason")
            },
            "occurred_at": _times_or_none(occurred),
            "at": _times(at),
        },
    )
    return _together([table, _problems(LABELS, partition, [r for r, _ in bad], [why for _, why in bad])], LABELS)


def deployments(partition: int, records: Sequence[Any], card_number_fields: Collection[str] = ()) -> pa.Table:
    """Rows of `deployments`: ledger, slots, views, reports, each as it is written there. A deletion has no body."""
    good: list[tuple[Any, str | None, str | None, str | None, int | None]] = []
    bad: list[tuple[Any, str]] = []
    for record in records:
        key, body = _utf8(record.key), None if record.value is None else _utf8(record.value)
        if isinstance(record.value, Unreadable):
            bad.append((record, record.value.reason))
            continue
        try:
            entry = {} if record.value is None else orjson.loads(record.value)
        except ValueError:
            bad.append((record, "value: is no JSON"))
            continue
        if not isinstance(entry, dict) or (record.key is not None and key is None):
            bad.append((record, "value: is no object" if not isinstance(entry, dict) else "key: is no text"))
            continue
        good.append((record, key, _text(entry.get("kind")), body, _ms(entry.get("at"))))
    days = np.array([_day_of(record, ms) for record, *_, ms in good], dtype=np.int64)
    table = _table(
        DEPLOYMENTS,
        {
            **_place(partition, [record for record, *_ in good], days),
            "key": [key for _, key, *_ in good],
            "kind": [kind for _, _, kind, *_ in good],
            "at": _times_or_none([ms for *_, ms in good]),
            "body": [body for *_, body, _ in good],
        },
    )
    return _together(
        [table, _problems(DEPLOYMENTS, partition, [r for r, _ in bad], [why for _, why in bad])], DEPLOYMENTS
    )


def _day_of(record: Any, ms: int | None) -> int:
    """The day of an event that may tell no time: then that on which the broker got its record."""
    if ms is not None:
        return ms // DAY_MS
    return record.timestamp // DAY_MS if 0 <= record.timestamp <= LAST_MS else 0


def _utf8(value: bytes | None) -> str | None:
    try:
        return None if value is None else bytes(value).decode()
    except ValueError:
        return None


def _ms(text: Any) -> int | None:
    try:
        return instant_ms(text)
    except (TypeError, ValueError, OverflowError):
        return None


def _whole(text: str | None) -> int | None:
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 18:
        return None
    return int(text)


#: By name of the table.
KINDS = (
    Kind("decisions", "decisions", DECISIONS, decisions),
    Kind("rejected", "rejected", REJECTED, rejected),
    Kind("labels", "labels", LABELS, labels),
    Kind("deployments", "deployments", DEPLOYMENTS, deployments),
)
