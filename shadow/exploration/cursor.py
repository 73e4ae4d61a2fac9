"""Places in an ordered list, as texts that a client hands back to get what comes after.

A page goes on behind the last sample of the one before, by sort key and hash. So it neither repeats nor leaves out what
stays, however many samples arrive or are evicted meanwhile.
"""

from __future__ import annotations

import base64
import binascii
import math
import struct
import zlib
from dataclasses import dataclass

_FORM = struct.Struct("<ddI")


class BadCursorError(ValueError):
    """A cursor that this list did not give out."""

    def __init__(self) -> None:
        super().__init__("the cursor is not of this question and order; leave it out to begin at the first page")


@dataclass(frozen=True, slots=True)
class Place:
    """A sample in an order. key: what is sorted by. hash: of its transaction id, which decides among equals."""

    key: float
    hash: float


def written(place: Place, of: str) -> str:
    """The cursor of a place. of: what identifies the question and the order."""
    packed = _FORM.pack(place.key, place.hash, zlib.crc32(of.encode()))
    return base64.urlsafe_b64encode(packed + struct.pack("<I", zlib.crc32(packed))).rstrip(b"=").decode()


def read(text: str, of: str) -> Place:
    """The place that a cursor names. Raises BadCursorError if it is no cursor, or one of another question or order."""
    try:
        whole = base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        raise BadCursorError from None
    if len(whole) != _FORM.size + 4:
        raise BadCursorError
    packed = whole[: _FORM.size]
    key, value, crc = _FORM.unpack(packed)
    is_whole = struct.pack("<I", zlib.crc32(packed)) == whole[_FORM.size :]
    if not is_whole or crc != zlib.crc32(of.encode()) or not math.isfinite(key) or not 0 <= value < 1:
        raise BadCursorError
    return Place(key, value)
