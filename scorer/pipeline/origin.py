"""What comes beside a record's value, its key, headers and timestamp, and the places of a mapping that are there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from scorer.pipeline.lenient import since_1970

#: Headers of one record, in its order. A header may have no value.
Headers = Sequence[tuple[str, bytes | None]]
#: Of a place where nothing is.
ABSENT: Any = object()
KEY, HEADER, TIMESTAMP = "$key", "$header.", "$timestamp"
#: In files only: an id that is made from the file and the row.
ROW = "$row"
#: Begins the headers of an event of CloudEvents in binary mode.
EVENT = "ce_"
#: Headers that say whether a record is one.
SPECVERSION, CONTENT_TYPE = f"{EVENT}specversion", "content-type"
_NS_PER_MS = 10**6


class Origin(NamedTuple):
    """timestamp_ms: that of the record, milliseconds since 1970; negative if unknown."""

    key: bytes | None = None
    headers: Headers = ()
    timestamp_ms: int = -1

    def header(self, name: str) -> bytes | None:
        """The last header of a name, None if there is none."""
        return next((value for other, value in reversed(self.headers) if other == name), None)

    @property
    def is_binary_event(self) -> bool:
        """Whether the record is an event of CloudEvents in binary mode: its headers are the envelope."""
        if (self.header(CONTENT_TYPE) or b"").startswith(b"application/cloudevents"):
            return False
        return self.header(SPECVERSION) is not None


class PlaceError(ValueError):
    """What is at a place cannot be read. The text says why."""


@dataclass(frozen=True, slots=True)
class HeaderPlace:
    """A header of the record, as text."""

    name: str

    def read(self, origin: Origin) -> Any:
        """The text; ABSENT if there is no such header. Raises PlaceError."""
        value = origin.header(self.name)
        return ABSENT if value is None else _text(value, f"header {self.name}")


@dataclass(frozen=True, slots=True)
class KeyPlace:
    """The key of the record as text, or what is at a path in a key that is JSON."""

    steps: tuple[str | int, ...]

    def read(self, origin: Origin) -> Any:
        """The text or the cell; ABSENT if there is none. Raises PlaceError."""
        if origin.key is None:
            return ABSENT
        if not self.steps:
            return _text(origin.key, "key")
        try:
            found = within(orjson.loads(origin.key), self.steps)
        except orjson.JSONDecodeError:
            raise PlaceError("the record's key is no JSON") from None
        if isinstance(found, dict | list):  # nobody has looked how deep it is
            raise PlaceError("the record's key has an object or a list there; name a path within it")
        return found


@dataclass(frozen=True, slots=True)
class TimestampPlace:
    """The time that producer or broker gave to the record. is_time: as RFC 3339; else as milliseconds since 1970."""

    is_time: bool

    def read(self, origin: Origin) -> Any:
        """The time; ABSENT if the record has none. Raises PlaceError for one beyond the year 9999."""
        if origin.timestamp_ms < 0:
            return ABSENT
        if not self.is_time:
            return origin.timestamp_ms
        text = since_1970(origin.timestamp_ms, _NS_PER_MS)
        if not isinstance(text, str):
            raise PlaceError("the record's timestamp is no time of the calendar")
        return text


Place = HeaderPlace | KeyPlace | TimestampPlace


def within(cell: Any, steps: tuple[str | int, ...]) -> Any:
    """What is at the end of a path, ABSENT if nothing is."""
    for step in steps:
        if isinstance(step, str):
            if not isinstance(cell, dict) or step not in cell:
                return ABSENT
            cell = cell[step]
        else:
            if not isinstance(cell, list) or step >= len(cell):
                return ABSENT
            cell = cell[step]
    return cell


def _text(value: bytes, what: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise PlaceError(f"the record's {what} is not UTF-8") from None
