"""Snapshots of merchant risk as records of their topic, and back: whole snapshots only, by their digest. Pure.

A snapshot is some records of merchants and then one head, which names its version. A place on the topic is used again
after some snapshots, so that compaction leaves the last ones. A snapshot that was not written whole, or whose place is
being written anew, has no head that fits its parts, and nobody uses it.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import orjson
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from scorer.pipeline.instants import instant_ms, stamps
from scorer.pipeline.merchant_risk import Snapshot
from scorer.pipeline.published import Stamp
from scorer.pipeline.risk_view import Risk

SCHEMA: Literal[1] = 1
#: Most bytes of a record's value.
CHUNK_BYTES = 400_000
#: Bytes of the numbers of a merchant in a window, at most.
_NUMBERS = 70
#: What keys are: the definition's digest, the place, and of a part its number.
HEAD_KEY, PART_KEY = rb"[0-9a-f]{8}/\d+", rb"[0-9a-f]{8}/\d+/\d+"
Whole = Annotated[int, Field(ge=0)]
Version = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]


@with_config(ConfigDict(extra="ignore", strict=True))
class RiskHead(TypedDict):
    """The end of a snapshot of merchant risk: once it is there, the snapshot is whole."""

    schema: Annotated[Literal[1], Field(description="version of this format")]
    as_of: Annotated[Stamp, Field(description="labels that were known before it count; windows end a delay before it")]
    effective_at: Annotated[Stamp, Field(description="transactions from this time on are decided with it")]
    version: Annotated[Version, Field(description="of the content; decisions bear it as `risk_snapshot`")]
    parts: Annotated[Whole, Field(description="records of merchants")]
    merchants: Annotated[Whole, Field(description="in these records; of all others nothing was paid in any window")]
    overall: Annotated[float | None, Field(description="share of all transactions that was fraud")]
    windows: Annotated[list[str], Field(description="such as 7d")]


@with_config(ConfigDict(extra="ignore", strict=True))
class RiskPart(TypedDict):
    """Some merchants of a snapshot; each list has one entry for each merchant, with one number for each window."""

    schema: Annotated[Literal[1], Field(description="version of this format")]
    as_of: Annotated[Stamp, Field(description="as in the head")]
    merchants: Annotated[list[str], Field(description="in ascending order")]
    count: Annotated[list[list[Whole]], Field(description="transactions")]
    minor: Annotated[list[list[int]], Field(description="their sum in minor units of the reporting currency")]
    rate: Annotated[list[list[float]], Field(description="share of them that was fraud, smoothed and capped")]


_HEAD, _PART = TypeAdapter(RiskHead), TypeAdapter(RiskPart)


def definition(risk: Risk) -> str:
    """8 hex digits of the SHA-256 of how the features are made: snapshots of other views are not ours."""
    text = orjson.dumps(risk.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(text).hexdigest()[:8]


def _stamp(ms: int) -> str:
    return stamps(np.array([ms], dtype=np.int64))[0]


def records(snapshot: Snapshot, risk: Risk, kept: int) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a snapshot, the head last. kept: how many snapshots the topic keeps."""
    place = f"{definition(risk)}/{snapshot.as_of_ms // risk.period_ms % kept}"
    as_of, parts, start = _stamp(snapshot.as_of_ms), 0, 0
    sizes = [len(orjson.dumps(key)) + 8 + _NUMBERS * len(risk.windows) for key in snapshot.keys]
    while start < len(sizes):
        end, size = start, 0
        while end < len(sizes) and (end == start or size + sizes[end] <= CHUNK_BYTES):
            size += sizes[end]
            end += 1
        part: RiskPart = {
            "schema": SCHEMA,
            "as_of": as_of,
            "merchants": list(snapshot.keys[start:end]),
            "count": snapshot.count[start:end].tolist(),
            "minor": snapshot.minor[start:end].tolist(),
            "rate": snapshot.rate[start:end].tolist(),
        }
        yield f"{place}/{parts}".encode(), orjson.dumps(part)
        start, parts = end, parts + 1
    head: RiskHead = {
        "schema": SCHEMA,
        "as_of": as_of,
        "effective_at": _stamp(snapshot.effective_ms),
        "version": snapshot.version,
        "parts": parts,
        "merchants": len(snapshot.keys),
        "overall": snapshot.overall,
        "windows": list(risk.windows),
    }
    yield place.encode(), orjson.dumps(head)


class Assembly:
    """Puts snapshots together from the records of the topic, in log order."""

    def __init__(self, risk: Risk) -> None:
        self._mine, self._w = f"{definition(risk)}/", len(risk.windows)
        self._parts: dict[str, dict[int, bytes]] = defaultdict(dict)

    def fold(self, key: bytes | None, value: bytes | None) -> Snapshot | None:
        """Take a record; returns the snapshot that it makes whole, if any. Other views' records are passed over.

        Raises ValueError for a record that is none of ours, or a head that does not fit its parts.
        """
        text = (key or b"").decode("utf-8", "replace")
        if not text.startswith(self._mine):
            return None
        _, place, *number = text.split("/")
        if number:
            if value is None:
                self._parts[place].pop(int(number[0]), None)
            else:
                self._parts[place][int(number[0])] = value
            return None
        if value is None:
            self._parts.pop(place, None)
            return None
        return self._whole(self._parts.pop(place, {}), value)

    def _whole(self, parts: dict[int, bytes], value: bytes) -> Snapshot:
        try:
            head: dict[str, Any] = _HEAD.validate_json(value)  # type: ignore[assignment]
            if len(head["windows"]) != self._w:
                raise ValueError("its head has other windows")
            mine: list[Any] = [_PART.validate_json(parts[at]) for at in range(head["parts"])]
        except KeyError:
            raise ValueError("it was not written whole") from None
        except ValidationError as error:
            raise ValueError(f"it is no snapshot: {error.errors(include_input=False)[0]['msg']}") from None
        keys = tuple(name for part in mine for name in part["merchants"])
        numbers: list[npt.NDArray[Any]] = []
        kinds: dict[str, Any] = {"count": np.int64, "minor": np.int64, "rate": np.float64}
        for name, kind in kinds.items():
            rows = [row for part in mine for row in part[name]]
            if len(rows) != len(keys) or any(len(row) != self._w for row in rows):
                raise ValueError(f"{name} is not of each merchant and window")
            numbers.append(np.array(rows, dtype=kind).reshape(len(keys), self._w))
        overall = np.nan if head["overall"] is None else head["overall"]
        found = Snapshot(instant_ms(head["as_of"]), keys, numbers[0], numbers[1], numbers[2], overall)
        if found.version != head["version"]:
            raise ValueError("it was not written whole")
        return found
