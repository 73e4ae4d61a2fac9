"""How large a JSON object may be: a quick look at the bytes, and a count where that is not enough."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

#: Deepest nesting of objects and arrays, and most fields in all, that a transaction may have. Every parser gives up at
#: a depth of its own, and the scorer must never publish a decision that a reader cannot read.
DEEPEST, MOST_FIELDS = 32, 2000
#: A field takes at least five bytes: `"":0,`.
_FIELD_BYTES = 5


def may_one_be_too_large(values: Sequence[bytes]) -> bool:
    """`may_be_too_large` of any value, from all bytes at once."""
    if max(map(len, values), default=0) > _FIELD_BYTES * MOST_FIELDS:
        return any(map(may_be_too_large, values))
    codes = np.frombuffer(b"".join(values), np.uint8)
    is_opening = codes | np.uint8(0x20) == ord("{")  # the bit by which it differs from [
    if np.count_nonzero(is_opening) < len(values) + DEEPEST:
        return False  # each has one at least, so none has more than DEEPEST
    opening = np.flatnonzero(is_opening)
    ends = np.cumsum(np.fromiter(map(len, values), np.int64, len(values)))
    return bool((np.diff(np.searchsorted(opening, ends), prepend=0) > DEEPEST).any())


def may_be_too_large(value: bytes | None) -> bool:
    """A quick look at the bytes, which may be wrong only in saying yes."""
    if value is None:
        return False
    if value.count(b"{") + value.count(b"[") > DEEPEST:
        return True
    return len(value) > _FIELD_BYTES * MOST_FIELDS and value.count(b":") > MOST_FIELDS


def too_large(record: dict[str, Any], text: bytes) -> str | None:
    """Why a record is nested too deeply or has too many fields; None if neither. text: the record as JSON."""
    return _too_large(record) if may_be_too_large(text) else None


def _too_large(record: dict[str, Any]) -> str | None:
    """Why a record is nested too deeply or has too many fields; None if neither."""
    fields, depth = 0, 0
    level: list[Any] = [record]
    while level:
        depth += 1
        if depth > DEEPEST:
            return f"nested deeper than {DEEPEST} levels; flatten it"
        below: list[Any] = []
        for cell in level:
            if isinstance(cell, dict):
                fields += len(cell)
                below += [part for part in cell.values() if isinstance(part, (dict, list))]
            else:
                below += [part for part in cell if isinstance(part, (dict, list))]
        if fields > MOST_FIELDS:
            return f"more than {MOST_FIELDS} fields; send those that are needed"
        level = below
    return None
