"""A decision in Avro: the schema that we ship, and how such a record is read. Pure.

A value is a zero byte, four bytes of the schema's id in some registry, and the record. Whoever has no registry needs
none: the record begins with the version of its format, so our own readers know its schema whatever the id is.
Decisions by a feature view with merchant risk are of version 2, which has two more fields at its end; all others are of
version 1, as ever. Our readers take both, and what is in JSON, mixed on one topic.

`transaction` has the fields of the contract, and every other field in `others`, as JSON: they are different for each
topic and each feature view, and sinks of Avro know no type for what may be anything.
"""

from __future__ import annotations

import math
import struct
from functools import cache
from typing import Any

import orjson

from scorer.pipeline.avro import DamagedError, Read, reader
from scorer.pipeline.encoding import HEADER_BYTES, MAGIC
from scorer.pipeline.transaction import REQUIRED

#: Bytes before the record.
HEADER = HEADER_BYTES["confluent"]
#: Of enums, in the order of their numbers.
VERDICTS, OVERRIDES = ("allow", "block"), ("allow_all", "block_all")
#: What a record begins with: the version of the format. The second has merchant risk.
VERSION_1, VERSION_2 = b"\x02", b"\x04"
#: The version of the format in JSON.
VERSION_OF_JSON = 1
_DOUBLE = struct.Struct("<d")


def _field(name: str, kind: Any, doc: str = "", **more: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, **({"doc": doc} if doc else {}), **more}


def _enum(name: str, symbols: tuple[str, ...]) -> dict[str, Any]:
    return {"type": "enum", "name": name, "symbols": list(symbols)}


def _record(name: str, fields: list[dict[str, Any]], doc: str) -> dict[str, Any]:
    return {"type": "record", "name": name, "doc": doc, "fields": fields}


_SOURCE = [_field("partition", "int"), _field("offset", "long")]
_TRANSACTION = [
    *(_field(name, "double" if name == "amount" else "string") for name in REQUIRED),
    _field("others", "string", "every other field, as a JSON object"),
]
#: The schema. A later version of the format has another number in `schema`, which stays the first field, and has more
#: fields at the end only, each with a default: so a registry takes it for compatible both ways.
SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "Decision",
    "namespace": "shadow_scorer",
    "doc": "A decision on a transaction, as in JSON. Times are RFC 3339.",
    "fields": [
        _field("schema", "int", "version of this format: 1"),
        _field("source", _record("Source", _SOURCE, "the transaction's record on `transactions`")),
        _field("decision", _enum("Verdict", VERDICTS)),
        _field("score", ["null", "double"], "of fraud, 0 to 1; null where no model was asked"),
        _field("threshold", ["null", "double"], "a score equal to it blocks; null without a bundle"),
        _field("bundle", ["null", "string"], "digest of the bundle that decided"),
        _field("epoch", "long", "of the live slot: how often it was changed"),
        _field("view", "string", "the feature view; `view/<id>` on `deployments` has its names"),
        _field(
            "release_probability",
            "double",
            "below 1 for a would-be block that was drawn for a random release: released if `decision` is allow; else 1",
        ),
        _field(
            "override", ["null", _enum("Override", OVERRIDES)], "set only while the kill switch is on", default=None
        ),
        _field("features", {"type": "array", "items": ["null", "double"]}, "in the order of the view; null is missing"),
        _field("amount_minor", "long", "in minor units of the reporting currency"),
        _field("scored_at", "string"),
        _field("repeat", "boolean", "whether the sender repeated an id", default=False),
        _field("refund", "boolean", "whether it is a refund, which no model scores", default=False),
        _field("transaction", _record("Transaction", _TRANSACTION, "under our names")),
    ],
}
#: The schema of version 2.
SCHEMA_OF_RISK: dict[str, Any] = SCHEMA | {
    "fields": [
        _field("schema", "int", "version of this format: 2"),
        *SCHEMA["fields"][1:],
        _field(
            "risk_snapshot",
            ["null", "string"],
            "version of the snapshot of merchant risk in `features`; null without one",
            default=None,
        ),
        _field(
            "risk_staleness_seconds",
            ["null", "long"],
            "from when that snapshot began to count to the transaction's own time",
            default=None,
        ),
    ]
}
#: Fields that the JSON has only where they say something.
SOMETIMES = ("override", "repeat", "refund", "risk_snapshot", "risk_staleness_seconds")


def text(has_risk: bool = False) -> str:
    """The schema as it is registered. has_risk: of decisions by a feature view with merchant risk."""
    return orjson.dumps(SCHEMA_OF_RISK if has_risk else SCHEMA).decode()


@cache
def _reader(has_risk: bool) -> Read:
    return reader(text(has_risk).encode())


def is_avro(value: bytes) -> bool:
    """Whether a value says that it is in Avro; JSON never begins with a zero byte."""
    return value[:1] == bytes([MAGIC])


def decision_of(value: bytes) -> dict[str, Any]:
    """The decision in a value, as its JSON decodes. Raises ValueError for one that is none."""
    found, _, others = _parts(value)
    transaction = found["transaction"]
    for name, cell in others.items():
        transaction.setdefault(name, cell)
    return found


def json_of(value: bytes) -> bytes:
    """The decision in a value as JSON; each number of the transaction's other fields as it is written there. Raises
    ValueError for one that is none."""
    found, text, others = _parts(value)
    if others.keys() & found["transaction"].keys():
        return orjson.dumps(decision_of(value))
    if others:
        own = orjson.dumps(found["transaction"])
        found["transaction"] = orjson.Fragment(own[:-1] + b"," + text.strip().encode()[1:])
    return orjson.dumps(found)


def _parts(value: bytes) -> tuple[dict[str, Any], str, dict[str, Any]]:
    """A decision without its transaction's other fields; and these, as the text of a JSON object and decoded."""
    found = _fields(value)
    text: str = found["transaction"].pop("others")
    others = orjson.loads(text)
    if not isinstance(others, dict):
        raise DamagedError("the other fields of a transaction are no object")
    doubles = found["score"], found["threshold"], found["release_probability"], found["transaction"]["amount"]
    numbers = list(filter(None, (*doubles, *found["features"])))
    if not math.isfinite(sum(numbers)) and not all(map(math.isfinite, numbers)):
        raise DamagedError("a number that JSON lacks")
    return found, text, others


def source_offset(value: bytes) -> int:
    """Source offset of a decision, from its first bytes. Raises ValueError if it has none."""
    return _number(value, _number(value, _first(value))[1])[0]


def release_probability(value: bytes) -> float:
    """That of a decision, without reading what follows it. Raises ValueError if it has none."""
    at = _first(value)
    for _ in ("partition", "offset", "verdict"):
        _, at = _number(value, at)
    for _ in ("score", "threshold"):
        is_there, at = _number(value, at)
        at += 8 * is_there
    is_there, at = _number(value, at)
    if is_there:
        length, at = _number(value, at)
        at += length
    _, at = _number(value, at)  # the epoch
    length, at = _number(value, at)  # the view
    at += length
    if not 0 < at <= len(value) - _DOUBLE.size:
        raise DamagedError("damaged: it ends before its release_probability")
    (found,) = _DOUBLE.unpack_from(value, at)
    return float(found)


def _first(value: bytes) -> int:
    """Where the first field after the version begins. Raises ValueError for another version."""
    at = HEADER + len(VERSION_1)
    if value[HEADER:at] not in (VERSION_1, VERSION_2):
        raise DamagedError("of another version")
    return at


def _number(value: bytes, at: int) -> tuple[int, int]:
    """The number at a position, and the position after it. Raises ValueError if it does not end."""
    number = shift = 0
    while True:
        if not 0 <= at < len(value) or shift > 63:
            raise DamagedError("damaged: a number that does not end")
        number |= (value[at] & 127) << shift
        shift += 7
        at += 1
        if value[at - 1] < 128:
            return (number >> 1) ^ -(number & 1), at


def _fields(value: bytes) -> dict[str, Any]:
    """The fields of a record in the order of the JSON, those that say nothing left out."""
    version = value[HEADER : HEADER + 1]
    if not is_avro(value) or version not in (VERSION_1, VERSION_2):
        raise DamagedError("is no decision in Avro of version 1 or 2")
    found = _reader(version == VERSION_2)(value, HEADER)
    found["schema"] = VERSION_OF_JSON
    return {name: found[name] for name in _ORDER if name not in SOMETIMES or _says_something(found.get(name))}


def _says_something(cell: Any) -> bool:
    return cell is not None and cell is not False


#: Fields in the order of the JSON.
_ORDER = (
    *("schema", "transaction", "decision", "score", "threshold", "bundle", "epoch", "view", "release_probability"),
    *("override", "features", "amount_minor", "scored_at", "source", "repeat", "refund"),
    *("risk_snapshot", "risk_staleness_seconds"),
)
