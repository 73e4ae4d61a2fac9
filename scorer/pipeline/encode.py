"""Encodes decisions and dead letters as records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from scorer.pipeline.batch import LiveModel, Matrix, Part, Record, Rules, Scores, Unreadable, Whole
from scorer.pipeline.card_number_json import masked_bytes, masked_json
from scorer.pipeline.card_number_screen import screen, unquoted
from scorer.pipeline.decision_avro import VERSION_OF_JSON
from scorer.pipeline.events import Events
from scorer.pipeline.exploring import Explored
from scorer.pipeline.instants import stamps
from scorer.pipeline.json_text import json_text
from scorer.pipeline.published import RejectionHeaders
from scorer.pipeline.risk_lookup import Found
from scorer.pipeline.transaction import LONGEST_VALUE, Reading
from scorer.pipeline.wire import Wire

#: Version of the format of decisions and of rejections.
SCHEMA = VERSION_OF_JSON
#: Bytes of key and value together that a dead letter may have; a broker takes 1 MiB with the headers by default. What a
#: record has beyond that is cut off: it may be much more where records are compressed.
LONGEST_LETTER = 960_000
#: On dead letters: begins the name of a header that the record had; and its timestamp, milliseconds since 1970.
OF_SOURCE, SENT_AT = "header.", "timestamp"
#: Most bytes of a record's own headers that its dead letter keeps.
LONGEST_KEPT = 8192
_OPTIONS = orjson.OPT_SERIALIZE_NUMPY


class DecisionWriter:
    """Encodes the decisions on n events of several partitions, and prepares what they share once.

    positions: int64 (n,), of the events in `whole`. matrix: float64 (n, features), their snapshots. scores: float64
    (n,). blocks: bool (n,). marks: fields that only some decisions have, and which: bool (n,). now_ms: time to stamp;
    None stamps each decision with its event's own time. explored: which events were drawn; None for none. risk: which
    snapshots of merchant risk they found; None if the view has none.
    """

    def __init__(
        self,
        whole: Whole,
        positions: npt.NDArray[np.int64],
        events: Events,
        matrix: Matrix,
        scores: Scores,
        blocks: npt.NDArray[np.bool_],
        marks: Mapping[str, npt.NDArray[np.bool_]],
        model: LiveModel,
        rules: Rules,
        now_ms: int | None,
        explored: Explored | None = None,
        risk: Found | None = None,
    ) -> None:
        self._common: dict[str, Any] = {
            "threshold": model.threshold,
            "bundle": model.digest,
            "epoch": model.epoch,
            "view": rules.view.id,
            "release_probability": 1.0,
        }
        if model.override:
            self._common["override"] = model.override
        self._drawn = frozenset(np.flatnonzero(explored.drawn).tolist()) if explored is not None else frozenset()
        self._probability = 1.0 if explored is None else explored.probability
        self._events, self._matrix = events, matrix
        self._risk = None if risk is None else list(zip(risk.versions, risk.staleness_s.tolist(), strict=True))
        self._marked: dict[int, list[str]] = {}
        for name, which in marks.items():
            for at in np.flatnonzero(which).tolist():
                self._marked.setdefault(at, []).append(name)
        self._scores, self._blocks, self._minor = scores.tolist(), blocks.tolist(), events.minor.tolist()
        self._offsets = whole.offsets[positions].tolist()
        if now_ms is None:
            self._stamps = stamps(events.occurred_ms)
        else:
            self._stamps = stamps(np.array([now_ms])) * len(events)

    def of(self, partition: int, rows: npt.NDArray[np.int64]) -> list[Record]:
        """Records of the decisions on some events, all of one partition. rows: int64 (k,), positions of the events."""
        events, matrix, common, marked, drawn = self._events, self._matrix, self._common, self._marked, self._drawn
        risk = self._risk
        out: list[Record] = []
        for i in rows.tolist():
            body: dict[str, Any] = {
                "schema": SCHEMA,
                "transaction": orjson.Fragment(events.documents[i]),
                "decision": "block" if self._blocks[i] else "allow",
                "score": self._scores[i],
                **common,
                "features": matrix[i],
                "amount_minor": self._minor[i],
                "scored_at": self._stamps[i],
                "source": {"partition": partition, "offset": self._offsets[i]},
            }
            if drawn and i in drawn:
                body["release_probability"] = self._probability
            if marked and i in marked:
                body |= dict.fromkeys(marked[i], True)
            if risk is not None and risk[i][0] is not None:
                body["risk_snapshot"], body["risk_staleness_seconds"] = risk[i]
            out.append((events.cards[i].encode(), json_text(body, _OPTIONS)))
        return out


def rejections(
    whole: Whole, refused: list[tuple[int, str, str]], part: Part, reading: Reading, now_ms: int | None
) -> tuple[list[Record], list[list[tuple[str, bytes]]], list[str]]:
    """Dead letters of a partition, in offset order: records, their headers, and the field at fault of each.

    refused: position in `whole`, field and reason of each refusal. A dead letter has its record's own key and value,
    but for card numbers, which are masked; the headers tell the reason, and keep timestamp and headers of the record.
    now_ms: time to stamp; None stamps each with its record's own time.
    """
    refused = [one for one in sorted(refused) if int(whole.offsets[one[0]]) > part.published.rejected]
    if not refused:  # as in most batches: to look for card numbers in nothing took a tenth of a small batch
        return [], [], []
    positions = [position for position, _, _ in refused]
    fitting = [_fitting(whole.keys[at], whole.values[at]) for at in positions]
    keys, values = [key for key, _ in fitting], [value for _, value in fitting]
    masked = masked_letters(keys, values, reading)
    records: list[Record] = []
    headers: list[list[tuple[str, bytes]]] = []
    fields: list[str] = []
    for i, (position, name, reason) in enumerate(refused):
        offset, whole_key, value = int(whole.offsets[position]), whole.keys[position], whole.values[position]
        if isinstance(value, Unreadable):
            name, reason = "record", value.reason
        elif value is not None and len(value) > LONGEST_VALUE:
            reason = f"value: {len(value)} bytes, at most {LONGEST_VALUE} expected"
        (stamp,) = stamps(whole.appended_ms[position : position + 1] if now_ms is None else np.array([now_ms]))
        told: RejectionHeaders = {
            "reason": reason,
            "field": name,
            "partition": str(part.incoming.partition),
            "offset": str(offset),
            "schema": str(SCHEMA),
            "rejected_at": stamp,
        }
        kept, is_masked = _kept(whole, position, reading)
        if i in masked or is_masked:
            told["reason"], told["masked"] = f"{reason} (the number is masked here)", "true"
        if fitting[i] != (whole_key, value):
            size = len(whole_key or b"") + len(value or b"")
            told["reason"] = f"{told['reason']}; of {size} bytes of key and value only the beginnings are here"
        records.append(masked.get(i, fitting[i]))
        headers.append([*((header, str(text).encode()) for header, text in told.items()), *kept])
        fields.append(name)
    return records, headers, fields


def _fitting(key: bytes | None, value: bytes | None) -> Record:
    """Key and value, or their beginnings if they are too long for a dead letter."""
    if len(key or b"") + len(value or b"") <= LONGEST_LETTER:
        return key, value
    return _beginning(key), _beginning(value)


def _beginning(text: bytes | None) -> bytes | None:
    """At most LONGEST_VALUE bytes of a text, without half a number at their end, which nobody would know to mask."""
    if text is None or len(text) <= LONGEST_VALUE:
        return text
    return text[:LONGEST_VALUE].rstrip(b"0123456789 -._/")


def _kept(whole: Whole, position: int, reading: Reading) -> tuple[list[tuple[str, bytes]], bool]:
    """Timestamp and headers of a record as a dead letter keeps them, for a mapping that reads them when it is sent
    again; and whether a card number is masked in them."""
    kept: list[tuple[str, bytes]] = []
    is_masked, room = False, LONGEST_KEPT
    if whole.appended_ms[position] >= 0:
        kept.append((SENT_AT, b"%d" % whole.appended_ms[position]))
    for name, value in whole.headers[position] if whole.headers else ():
        room -= len(name) + len(value or b"")
        if value is None or room < 0:
            continue
        plain_name = masked_bytes(name.encode()).decode()
        plain = value if reading.is_header_open(name) else masked_bytes(value)
        is_masked |= (plain_name, plain) != (name, value)
        kept.append((f"{OF_SOURCE}{plain_name}", plain))
    return kept, is_masked


#: What a text that holds JSON has where that has an escape, behind which the quick look does not see digits.
ESCAPED_TWICE = rb"\\"


def masked_letters(keys: Sequence[bytes | None], values: Sequence[bytes | None], reading: Reading) -> dict[int, Record]:
    """Keys and values of those dead letters that hold card numbers, masked, by position.

    A value that is not bare JSON is masked as the JSON that it stands for: a number has other bytes there.
    """
    masked: dict[int, Record] = {}
    n = len(values)
    wire = reading.wire
    shown = values if wire is None else [_shown(value, wire) for value in values]
    texts = unquoted([*shown, *keys])  # a value may be no JSON, too
    within = {at for at, value in enumerate(shown) if value is not None and ESCAPED_TWICE in value}
    for at in {at % n for at in screen([*shown, *texts])} | within:
        key, value = keys[at], shown[at]
        if key is not None and not reading.is_key_open:
            key = masked_bytes(key)
        if value is not None:
            value = masked_json(value, reading.is_masked)
        if (key, value) != (keys[at], shown[at]):
            masked[at] = key, values[at] if value == shown[at] else value
    return masked


def _shown(value: bytes | None, wire: Wire) -> bytes | None:
    """A value as JSON, or as it is if it cannot be read."""
    return wire.text(value) or value if value is not None and len(value) <= LONGEST_VALUE else value
