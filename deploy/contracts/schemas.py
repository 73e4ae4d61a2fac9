"""JSON Schema (2020-12) of every topic's records, made from the types that the code itself reads and writes."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import orjson
from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from scorer.deployments.records import KINDS, SCHEMA, SLOT_NAME, PublishedView, WorkerReport
from scorer.deployments.signatures import FIELD, SEQ
from scorer.deployments.slots import Slot
from scorer.pipeline import decision_avro, erasure, exploration
from scorer.pipeline.card_row import LAST, ROW
from scorer.pipeline.changelog import CLOCK, OFFSET
from scorer.pipeline.distinct import MASKS, VALUES
from scorer.pipeline.encode import OF_SOURCE, SENT_AT
from scorer.pipeline.erasure import ErasureAnswer, ErasureRequest
from scorer.pipeline.published import Decision, RejectionHeaders, ReplayedHeaders
from scorer.pipeline.risk_records import HEAD_KEY, PART_KEY, RiskHead, RiskPart
from scorer.pipeline.transaction import LONGEST_VALUE, Transaction
from scorer.pipeline.window_row import COUNTS, HEADER, MINOR
from scorer.settings import ScorerSettings, Topics
from shadow.labels.label import Label

DIALECT = "https://json-schema.org/draft/2020-12/schema"
#: The schema of decisions in Avro.
AVRO, AVRO_OF_RISK = "decisions.avsc", "decisions-risk.avsc"
Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
CARD: Schema = {"type": "string", "description": "the card, as in the value"}
#: The key of a record that somebody else wrote, as it was.
AS_SENT: Schema = {"description": "bytes, as they were sent", "type": ["string", "null"], "contentEncoding": "base64"}


@dataclass(frozen=True)
class Message:
    """A kind of record of a topic. value, headers: their schemas; None for a record without. says: in a few words."""

    name: str
    says: str
    key: Schema
    value: Schema | None
    headers: Schema | None = None
    content_type: Literal["application/json", "application/octet-stream"] = "application/json"


@dataclass(frozen=True)
class TopicSchemas:
    """What a topic holds. role: its name in the setting `topics`. more: further schemas, by the name of their file."""

    role: str
    says: str
    messages: tuple[Message, ...]
    more: Mapping[str, Schema] = field(default_factory=dict)


class _Plain(GenerateJsonSchema):
    """Without a title for each field, which only repeats its name."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def of_type(kind: Any, is_versioned: bool = True) -> Schema:
    """The schema of a type. is_versioned: its records begin with `schema`, which is no field of the type."""
    made: Schema = TypeAdapter(kind).json_schema(schema_generator=_Plain)
    if is_versioned:
        made["properties"] = {"schema": {"const": SCHEMA}, **made["properties"]}
        made["required"] = ["schema", *made.get("required", [])]
    tidy: Schema = _tidy(made)
    return tidy


def _tidy(schema: Any) -> Any:
    """Descriptions in one line each."""
    if isinstance(schema, dict):
        return {
            name: " ".join(cell.split()) if name == "description" and isinstance(cell, str) else _tidy(cell)
            for name, cell in schema.items()
        }
    return [_tidy(cell) for cell in schema] if isinstance(schema, list) else schema


def _text_like(pattern: bytes, says: str) -> Schema:
    return {"type": "string", "pattern": f"^(?:{pattern.decode()})$", "description": says}


def _object(properties: dict[str, Schema], *optional: str, **more: Any) -> Schema:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, **more}


def _transactions() -> TopicSchemas:
    value = of_type(Transaction, is_versioned=False)
    value["description"] += (
        f" At most {LONGEST_VALUE} bytes. This is the plain shape. With the setting `mapping` the topic's records have"
        " the names, envelopes, times, amounts and formats (Avro, Protobuf) that it says, and this is what they become."
        " A field that the feature view declares must have the declared type, be null, or be absent."
    )
    key = {"type": ["string", "null"], "description": "the card; a record under another key is decided, and counted"}
    says = "a payment to decide"
    return TopicSchemas(
        "transactions", "Payments, as your payment system sends them.", (Message("transaction", says, key, value),)
    )


def _decisions() -> TopicSchemas:
    carried = ScorerSettings.model_fields["carried_headers"].default
    headers = {
        "type": "object",
        "description": "headers of the transaction's record that the setting `carried_headers` names",
        "properties": dict.fromkeys(carried, TEXT),
    }
    value = of_type(Decision, is_versioned=False)
    message = Message("decision", "what live decided on a transaction", CARD, value, headers)
    return TopicSchemas("decisions", "A decision on each transaction that could be read.", (message,))


def _rejected() -> TopicSchemas:
    headers = of_type(RejectionHeaders, is_versioned=False)
    headers["properties"][SENT_AT] = {"type": "string", "pattern": r"^\d+$", "description": "of the refused record"}
    headers["patternProperties"] = {f"^{OF_SOURCE.replace('.', '[.]')}": TEXT}
    headers["additionalProperties"] = False
    letter = Message(
        "rejection", "a dead letter: the record that was refused", AS_SENT, AS_SENT, headers, "application/octet-stream"
    )
    mark = Message(
        "replayed",
        "says that a dead letter was sent again",
        AS_SENT,
        None,
        of_type(ReplayedHeaders, is_versioned=False),
    )
    return TopicSchemas("rejected", "Dead letters: records that could not be decided, and why.", (letter, mark))


def _labels() -> TopicSchemas:
    value = of_type(Label)
    value["required"].remove("schema")  # which nobody asks of those who send labels
    key = {"type": "string", "description": "the transaction's id, or the card"}
    message = Message("label", "whether a transaction was fraud", key, value)
    return TopicSchemas("labels", "What people and feeds say on transactions afterwards.", (message,))


#: What an entry of the ledger has where changes are signed.
SIGNATURE: dict[str, Any] = {
    "type": "object",
    "description": "whose key has signed it, and the Ed25519 signature in base64",
    "required": ["key", "value"],
    "properties": {"key": {"type": "string"}, "value": {"type": "string", "contentEncoding": "base64"}},
}


def _deployments() -> TopicSchemas:
    messages = []
    for name, kind in KINDS.items():
        value = of_type(kind)
        value["required"].append("kind")
        value["properties"][FIELD] = SIGNATURE
        key = {"type": "string", "pattern": SEQ.replace("^", "^ledger/")}
        messages.append(Message(name, _first_line(kind), key, value))
    slot = of_type(Slot) | {"additionalProperties": False}
    slot["required"] = list(slot["properties"])  # whoever writes one writes all of it
    slots = {"type": "string", "pattern": f"^slot/{SLOT_NAME.strip('^$')}$"}
    messages += [
        Message("slot", "state of a slot, for people and tools", slots, slot),
        Message("worker", _first_line(WorkerReport), {"type": "string", "pattern": "^worker/."}, of_type(WorkerReport)),
        Message("workerGone", "a scorer has stopped", {"type": "string", "pattern": "^worker/."}, None),
        Message("view", _first_line(PublishedView), {"type": "string", "pattern": "^view/."}, of_type(PublishedView)),
    ]
    return TopicSchemas("deployments", "Who is live, who changed it and why: the ledger.", tuple(messages))


def _first_line(kind: type) -> str:
    text = " ".join((kind.__doc__ or "").split("\n\n")[0].split())
    return text[0].lower() + text[1:].removesuffix(".")


def _velocity() -> TopicSchemas:
    size = ROW.itemsize
    fields: Mapping[str, Any] = ROW.fields or {}
    row: Schema = {
        "description": f"packed state of a card: {size} bytes, each number little-endian; where the feature view asks "
        f"for `since_last`, {LAST.itemsize} more: the time of its last transaction, in milliseconds since 1970",
        "type": "string",
        "contentEncoding": "base64",
        "minLength": 4 * -(-size // 3),
        "maxLength": 4 * -(-(size + LAST.itemsize) // 3),
        "x-layout": _layout(fields, ROW.names),
    }
    offset = _text_like(OFFSET.pattern, "source offset up to which the state is dropped")
    request = _text_like(erasure.KEY.pattern, "id of the request to erase, if there was one")
    clock = _text_like(CLOCK.pattern, "where the clock stood, and its steps as `offset:day`")
    closed = {"additionalProperties": False}
    return TopicSchemas(
        "velocity",
        "What scorers remember of each card, so that another one can take over.",
        (
            Message("cardState", "the state of a card", CARD, row, None, "application/octet-stream"),
            Message(
                "dropped",
                "a card's state is dropped",
                CARD,
                None,
                _object({"offset": offset, "erasure": request}, "erasure", **closed),
            ),
            Message(
                "clock", "how the partition's clock steps", {"const": ""}, None, _object({"clock": clock}, **closed)
            ),
            Message(
                "windowState",
                "what a window of the feature view has added up of a card",
                _window_key(),
                _window_row(),
                None,
                "application/octet-stream",
            ),
            Message(
                "windowDropped",
                "what a window has added up of a card is dropped",
                _window_key(),
                None,
                _object({"offset": offset, "erasure": request}, "erasure", **closed),
            ),
            Message("released", "what exploration has released, by event day", _bytes(exploration.KEY), _account()),
        ),
    )


def _bytes(value: bytes) -> Schema:
    return {"const": base64.b64encode(value).decode(), "contentEncoding": "base64", "description": "bytes, not a text"}


def _window_key() -> Schema:
    return {
        "type": "string",
        "contentEncoding": "base64",
        "pattern": "^/3[cd]",  # what PREFIX and a hexadecimal digit begin with
        "description": "bytes, not a text: 0xff, w, 8 hexadecimal digits of what is added up, /, the card and its keys",
    }


def _window_row() -> Schema:
    longest, distinct = np.dtype([*HEADER, COUNTS, MINOR]), np.dtype([*HEADER, VALUES, MASKS])
    least, most = (4 * -(-row.itemsize // 3) for row in (np.dtype([*HEADER, COUNTS]), distinct))
    return {
        "description": "packed ring of buckets, each number little-endian; without sums for a count, and with float64 "
        "for an attribute; of distinct values, these and the buckets that each was in",
        "type": "string",
        "contentEncoding": "base64",
        "minLength": least,
        "maxLength": most,
        "x-layout": _layout(longest.fields or {}, longest.names),
        "x-layout-distinct": _layout(distinct.fields or {}, distinct.names),
    }


def _layout(fields: Mapping[str, Any], names: tuple[str, ...] | None) -> list[dict[str, Any]]:
    return [
        {"name": name, "at": fields[name][1], "type": fields[name][0].base.str, "shape": list(fields[name][0].shape)}
        for name in names or ()
    ]


def _account() -> Schema:
    day = {"type": "integer", "description": "the first event day that may be explored, days since 1970"}
    money = {"type": "integer", "minimum": 0}
    days = "minor units of the reporting currency that were released, by event day as days since 1970"
    return _object(
        {
            "offset": {"type": "integer", "minimum": -1, "description": "source offset up to which it has releases"},
            "floor": day,
            "days": {
                "type": "object", "patternProperties": {"^-?[0-9]+$": money}, "additionalProperties": False,
                "description": days,
            },
        },
    )  # fmt: skip


def _erasures() -> TopicSchemas:
    key = _text_like(erasure.KEY.pattern, "id of the request")
    to_archive = _text_like(erasure.ARCHIVE_KEY.pattern, "id of the request, for the archive")
    return TopicSchemas(
        "erasures",
        "Requests to forget a card, and the answers that replace them.",
        (
            Message("erasureRequest", "asks to forget what a card did", key, of_type(ErasureRequest)),
            Message("erasureAnswer", "says that a partition has forgotten it", key, of_type(ErasureAnswer)),
            Message("archiveErasureRequest", "asks the archive to erase a card", to_archive, of_type(ErasureRequest)),
            Message("archiveErasureAnswer", "says that the archive has erased it", to_archive, of_type(ErasureAnswer)),
        ),
    )


def _risk() -> TopicSchemas:
    part = _text_like(PART_KEY, "which definition in the feature view, which place on the topic, and which part")
    head = _text_like(HEAD_KEY, "which definition in the feature view, and which place on the topic")
    return TopicSchemas(
        "risk",
        "Snapshots of merchant risk, in parts; the head that comes last makes one whole.",
        (
            Message("riskPart", "some merchants of a snapshot", part, of_type(RiskPart, is_versioned=False)),
            Message("riskHead", "the end of a snapshot of merchant risk", head, of_type(RiskHead, is_versioned=False)),
        ),
    )


def topics() -> list[TopicSchemas]:
    """Every topic, in the order of the setting."""
    made = [_transactions(), _decisions(), _rejected(), _labels(), _deployments(), _velocity(), _erasures()]
    made.append(_risk())
    return sorted(made, key=lambda topic: list(Topics.model_fields).index(topic.role))


def document(topic: TopicSchemas) -> Schema:
    """The schema of a topic's values. Where it has several messages, each is under `$defs`, by its name."""
    valued = [message for message in topic.messages if message.value is not None]
    head: Schema = {"$schema": DIALECT, "title": topic.role, "description": topic.says}
    if len(topic.messages) == 1:
        (message,) = valued
        value = dict(message.value or {})
        said = value.pop("description", "")
        return {
            **head,
            "description": f"{topic.says} {said}".strip(),
            **{k: v for k, v in value.items() if k != "title"},
        }
    return {
        **head,
        "anyOf": [
            *({"$ref": f"#/$defs/{message.name}"} for message in valued),
            *([{"type": "null"}] if len(valued) < len(topic.messages) else []),
        ],
        "$defs": _defs({message.name: message.value or {} for message in valued}),
    }


def headers_document(topic: TopicSchemas) -> Schema | None:
    """The schema of a topic's headers, as an object of texts; None if its records have none that mean anything."""
    named = {message.name: message.headers for message in topic.messages if message.headers is not None}
    if not named:
        return None
    head: Schema = {"$schema": DIALECT, "title": f"headers of {topic.role}"}
    if len(topic.messages) == 1:
        (only,) = named.values()
        return head | {name: cell for name, cell in only.items() if name != "title"}
    return {**head, "anyOf": [{"$ref": f"#/$defs/{name}"} for name in named], "$defs": _defs(named)}


def _defs(named: dict[str, Schema]) -> Schema:
    """Schemas by name, with what each of them refers to beside them."""
    found: Schema = {}
    for name, schema in named.items():
        inner = schema.get("$defs", {})
        found |= {f"{key}": cell for key, cell in inner.items()}
        found[name] = {key: cell for key, cell in schema.items() if key not in ("$defs", "title")}
    return found


def files() -> dict[str, str]:
    """Every document, by its path below docs/."""
    found = {}
    for topic in topics():
        made = {f"{topic.role}.json": document(topic), f"{topic.role}.headers.json": headers_document(topic)}
        for name, schema in made.items():
            if schema is not None:
                found[f"schemas/{name}"] = _shown(schema)
    avro = {AVRO: decision_avro.SCHEMA, AVRO_OF_RISK: decision_avro.SCHEMA_OF_RISK}
    return found | {f"schemas/{name}": _shown(schema) for name, schema in avro.items()}


def _shown(schema: Schema) -> str:
    return orjson.dumps(schema, option=orjson.OPT_INDENT_2).decode() + "\n"
