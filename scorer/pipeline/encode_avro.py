"""Encodes decisions in Avro, by the schema that we ship (`scorer.pipeline.decision_avro`)."""

from __future__ import annotations

import json
import math
import re
import struct
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from scorer.pipeline.batch import Record
from scorer.pipeline.decision_avro import OVERRIDES, VERDICTS, VERSION_1, VERSION_2
from scorer.pipeline.encode import DecisionWriter
from scorer.pipeline.encoding import MAGIC
from scorer.pipeline.transaction import REQUIRED

#: A number that may be beyond 64 bits, which orjson would round.
_LONG_NUMBER = re.compile(rb"\d{19}")
_NULL, _SET = b"\x00", b"\x02"  # the branches of ["null", …]
_FALSE, _TRUE = b"\x00", b"\x01"
_DOUBLE = struct.Struct("<d").pack


def _long(number: int) -> bytes:
    """A number as Avro writes it: zigzag, seven bits to a byte, the lowest first."""
    left = (number << 1) ^ (number >> 63)
    out = bytearray()
    while left > 127:
        out.append(left & 127 | 128)
        left >>= 7
    out.append(left)
    return bytes(out)


_SHORT = [_long(number) for number in range(4096)]


def _text(text: str) -> bytes:
    raw = text.encode()
    return (_SHORT[len(raw)] if len(raw) < len(_SHORT) else _long(len(raw))) + raw


def _optional_double(number: float | None) -> bytes:
    """Null for what is no number, as in JSON."""
    return _SET + _DOUBLE(number) if number is not None and math.isfinite(number) else _NULL


class AvroDecisionWriter(DecisionWriter):
    """A `DecisionWriter` that writes Avro. Beside what that needs: schema, the id of the schema in the registry;
    has_risk, whether the feature view has merchant risk, and the schema its fields."""

    def __init__(self, *given: Any, schema: int, has_risk: bool = False) -> None:
        super().__init__(*given)
        common = self._common
        self._has_risk = has_risk
        self._head = bytes([MAGIC]) + schema.to_bytes(4, "big") + (VERSION_2 if has_risk else VERSION_1)
        override = common.get("override")
        self._constant, self._of_drawn = (
            b"".join(
                [
                    _optional_double(common["threshold"]),
                    _NULL if common["bundle"] is None else _SET + _text(common["bundle"]),
                    _long(common["epoch"]),
                    _text(common["view"]),
                    _DOUBLE(probability),
                    _NULL if override is None else _SET + _long(OVERRIDES.index(override)),
                ]
            )
            for probability in (common["release_probability"], self._probability)
        )
        self._verdicts = [_long(VERDICTS.index("block" if blocks else "allow")) for blocks in (False, True)]

    def of(self, partition: int, rows: npt.NDArray[np.int64]) -> list[Record]:
        events, marked, drawn = self._events, self._marked, self._drawn
        head, constant = self._head + _long(partition), self._constant
        out: list[Record] = []
        for i, features in zip(rows.tolist(), _arrays(self._matrix[rows]), strict=True):
            marks = marked.get(i, ()) if marked else ()
            value = b"".join(
                (
                    head,
                    _long(self._offsets[i]),
                    self._verdicts[self._blocks[i]],
                    _optional_double(self._scores[i]),
                    self._of_drawn if drawn and i in drawn else constant,
                    features,
                    _long(self._minor[i]),
                    _text(self._stamps[i]),
                    _TRUE if "repeat" in marks else _FALSE,
                    _TRUE if "refund" in marks else _FALSE,
                    _transaction(events.documents[i]),
                    self._risk_of(i) if self._has_risk else b"",
                )
            )
            out.append((events.cards[i].encode(), value))
        return out

    def _risk_of(self, i: int) -> bytes:
        """The snapshot of merchant risk that an event found, and its age."""
        version, staleness = (None, 0) if self._risk is None else self._risk[i]
        return _NULL + _NULL if version is None else _SET + _text(version) + _SET + _long(staleness)


def _arrays(matrix: npt.NDArray[np.float64]) -> list[bytes]:
    """Each row of snapshots as an array of ["null", "double"]; null for what is no number. matrix: float64 (k, n)."""
    k, n = matrix.shape
    if n == 0:
        return [_NULL] * k  # only the block that ends it
    cells = np.empty((k, n, 9), np.uint8)
    cells[:, :, 0] = _SET[0]
    cells[:, :, 1:] = np.ascontiguousarray(matrix, "<f8").view(np.uint8).reshape(k, n, 8)
    there: npt.NDArray[np.bool_] = np.isfinite(matrix)
    cells[~there, 0] = _NULL[0]
    kept = np.ones((k, n, 9), bool)
    kept[:, :, 1:] = np.expand_dims(there, 2)
    every = cells[kept].tobytes()
    ends = np.cumsum(n + 8 * there.sum(axis=1)).tolist()
    begin = _long(n)
    return [begin + every[a:b] + _NULL for a, b in pairwise([0, *ends])]


def _transaction(document: bytes) -> bytes:
    """The transaction: the fields of the contract, and the others as JSON."""
    cells = _parsed(document)
    take = cells.pop
    return b"".join([_DOUBLE(take(name)) if name == "amount" else _text(take(name)) for name in REQUIRED]) + _text(
        _written(cells)
    )


def _parsed(document: bytes) -> dict[str, Any]:
    cells: dict[str, Any] = json.loads(document) if _LONG_NUMBER.search(document) else orjson.loads(document)
    return cells


def _written(cells: dict[str, Any]) -> str:
    try:
        return orjson.dumps(cells).decode()
    except TypeError:  # a number beyond 64 bits
        return json.dumps(cells, ensure_ascii=False, separators=(",", ":"))
