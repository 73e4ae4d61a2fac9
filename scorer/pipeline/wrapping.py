"""Recognises what records that nobody has described are wrapped in: their envelope, and what they say was done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from scorer.pipeline import lenient
from scorer.pipeline.likeness import words
from scorer.pipeline.mapping import EVENTS, MADE, OPERATIONS
from scorer.pipeline.origin import Origin

#: Deepest path that is looked at, and how many items of a list.
DEEPEST, ITEMS = 8, 2
#: Brackets of a value beyond which it is not parsed here: `decode` refuses it anyway.
DEEPEST_TRIED = 500
#: Fields that hold the row in records that tell of changes, and names of those that say what was done with it.
ROWS = ("data", "after", "before", "old")
OPERATION_NAMES = {"op", "optype", "operation", "operationtype", "type", "eventtype", "action", "changetype"}
#: What is said there of a new row, by those who say it in the same words; and of a change.
NEW_OF = (("insert", "bootstrap-insert", "load"), ("create", "read"), ("i",), ("c", "r"))
NEW = {word for several in NEW_OF for word in several}
CHANGED = {"update", "u", "delete", "d", "truncate", "t", "upsert", "modify", "remove", "replace"}
#: Fields that a text must have to be taken for an envelope.
FEWEST_IN_TEXT = 3


def object_of(value: bytes | None) -> dict[str, Any] | None:
    """The JSON object in a value, None if it is none."""
    if value is None or value.count(b"{") + value.count(b"[") > DEEPEST_TRIED:
        return None
    try:
        record = orjson.loads(value)
    except orjson.JSONDecodeError:
        try:
            record = lenient.parsed(value)
        except (ValueError, RecursionError):
            return None
    return record if isinstance(record, dict) else None


def envelope_of_most(records: Sequence[dict[str, Any]], origins: Sequence[Origin]) -> str | None:
    """The envelope that most of the records have."""
    seen = [_envelope_of(*pair) for pair in zip(records, origins, strict=True)]
    found = [name for name in seen if name is not None]
    best = max(set(found), key=found.count, default=None)
    return best if 2 * len(found) > len(seen) else None


def _envelope_of(record: dict[str, Any], origin: Origin) -> str | None:
    payload = record.get("payload")
    for body in (record, payload if isinstance(payload, dict) else {}):
        if body.get("op") in (*MADE, *OPERATIONS) and ("after" in body or "before" in body or "source" in body):
            return "debezium"
    if origin.is_binary_event or ("specversion" in record and isinstance(record.get("data"), dict)):
        return EVENTS
    if isinstance(payload, dict) and set(record) <= {"schema", "payload"}:
        return "connect"
    (name, inner), *more = record.items() if record else (("", None),)
    if not more and isinstance(inner, dict) and name.isidentifier():
        return name
    texts = [name for name, cell in record.items() if name.isidentifier() and _is_object_in_text(cell)]
    return texts[0] if len(texts) == 1 else None


def _is_object_in_text(cell: Any) -> bool:
    """Whether a cell is a text that is an object of some fields, as outboxes and log shippers have it."""
    return isinstance(cell, str) and cell.startswith("{") and len(object_of(cell.encode()) or ()) >= FEWEST_IN_TEXT


def rows_in(records: Sequence[dict[str, Any]]) -> str | None:
    """The field that has the row in most of the records that tell of changes of rows, None if there is none."""
    seen = [name for name in ROWS if 2 * sum(isinstance(record.get(name), dict) for record in records) > len(records)]
    return seen[0] if seen else None


def operation_of(records: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Where records say what was done with a row, and what they say of a new one; None if they do not.

    Maxwell and Canal have `type`, GoldenGate `op_type`, AWS DMS `metadata.operation`, flattened records of Debezium
    `__op`.
    """
    found: dict[str, list[Any]] = {}
    for record in records:
        for theirs, path, cell in leaves({name: cell for name, cell in record.items() if name not in ROWS}):
            if len(path) <= 2 and "".join(words(path[-1])) in OPERATION_NAMES:
                found.setdefault(theirs, []).append(cell)
    for theirs, told in found.items():
        seen = {cell for cell in told if isinstance(cell, str)}
        if len(told) == len(records) and all(cell in seen and cell.lower() in NEW | CHANGED for cell in told):
            kin = next((several for several in NEW_OF if any(cell.lower() in several for cell in seen)), None)
            if kin is None:
                kin = NEW_OF[0] if all(len(cell) > 1 for cell in seen) else ("i", "c", "r")
            is_upper = all(map(str.isupper, seen))
            return {"field": theirs, "new": [word.upper() if is_upper else word for word in kin]}
    return None


def is_change(record: dict[str, Any], envelope: str | None) -> bool:
    body = record.get("payload") if "op" not in record and isinstance(record.get("payload"), dict) else record
    return envelope == "debezium" and isinstance(body, dict) and body.get("op") in OPERATIONS


def leaves(cell: Any, theirs: str = "", path: tuple[str, ...] = ()) -> Iterator[tuple[str, tuple[str, ...], Any]]:
    """Place, names on the way, and content of everything in an object that is no object or list itself."""
    if isinstance(cell, dict) and len(path) < DEEPEST:
        for name, inner in cell.items():
            if not path or not (set(name) & set(".[]")):
                yield from leaves(inner, f"{theirs}.{name}" if theirs else name, (*path, name))
    elif isinstance(cell, list) and path and len(path) < DEEPEST:
        for at, inner in enumerate(cell[:ITEMS]):
            yield from leaves(inner, f"{theirs}[{at}]", path)
    elif path and not isinstance(cell, dict | list):
        yield theirs, path, cell
