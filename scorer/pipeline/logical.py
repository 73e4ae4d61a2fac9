"""Cells of Avro and Protobuf as JSON has them: times, days, decimals, bytes, single-precision numbers."""

from __future__ import annotations

import base64
import math
import struct
from datetime import date, datetime, timedelta
from uuid import UUID

from scorer.pipeline.lenient import rfc3339

_DAY_0 = date(1970, 1, 1)
_START = datetime(1970, 1, 1)  # noqa: DTZ001 - of times that say no zone
_SINGLE = struct.Struct("<f")
#: Whole numbers that JSON's readers keep exactly, and bytes of a decimal.
_EXACT, LONGEST_DECIMAL = 2**53, 64


class NoCellError(ValueError):
    """A cell means nothing. The text says why."""


def instant(count: int, per_ms: int = 1) -> str:
    """RFC 3339 in UTC of a count since 1970, to the millisecond. per_ms: how many there are in one.

    >>> instant(1769860800000500, per_ms=1000)
    '2026-01-31T12:00:00.000Z'
    """
    try:
        return rfc3339(count // per_ms)
    except (OverflowError, ValueError):
        raise NoCellError("a time beyond the calendar") from None


def local(count: int, per_ms: int = 1) -> str:
    """ISO 8601 without an offset of a count since 1970 in some zone, to the millisecond."""
    try:
        return (_START + timedelta(milliseconds=count // per_ms)).isoformat(timespec="milliseconds")
    except (OverflowError, ValueError):
        raise NoCellError("a time beyond the calendar") from None


def day(count: int) -> str:
    """ISO 8601 of a count of days since 1970."""
    try:
        return (_DAY_0 + timedelta(days=count)).isoformat()
    except (OverflowError, ValueError):
        raise NoCellError("a day beyond the calendar") from None


def time_of_day(count: int, per_ms: int = 1) -> str:
    """ISO 8601 of a count since midnight, to the millisecond."""
    ms = count // per_ms
    if not 0 <= ms < 86_400_000:
        raise NoCellError("a time beyond its day")
    return (_START + timedelta(milliseconds=ms)).time().isoformat(timespec="milliseconds")


def text_of(raw: bytes) -> str:
    """Base 64, as JSON has bytes."""
    return base64.b64encode(raw).decode()


def decimal(raw: bytes, scale: int) -> float | int | str:
    """The number of big-endian two's complement and a scale; a text if it is whole and JSON would not keep it exactly.

    >>> decimal(bytes.fromhex("04e2"), 2)
    12.5
    """
    if not 0 < len(raw) <= LONGEST_DECIMAL:
        raise NoCellError(f"a decimal of {len(raw)} bytes")
    unscaled = int.from_bytes(raw, "big", signed=True)
    if scale:
        return float(unscaled / 10**scale)
    return unscaled if abs(unscaled) < _EXACT else str(unscaled)


def uuid_of(raw: bytes) -> str:
    """The text of an UUID of 16 bytes."""
    return str(UUID(bytes=raw))


def single(number: float) -> float:
    """A number of single precision as whoever wrote it meant it: the shortest decimal that is stored so.

    >>> single(12.300000190734863)
    12.3
    """
    if not math.isfinite(number):
        return number
    raw = _SINGLE.pack(number)
    for digits in (6, 7, 8):
        shorter = float(f"{number:.{digits}g}")
        try:
            if _SINGLE.pack(shorter) == raw:
                return shorter
        except OverflowError:
            continue
    return float(f"{number:.9g}")
