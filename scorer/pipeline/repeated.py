"""Finds JSON objects in which a name is there more than once. The last one wins; readers need not know of the others.

A quick look at a whole batch compares how many names end, `":`, with how many were read. Only where the two differ is a
text read once more.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

#: Where this is, a name may end although a backslash is before its last quote.
_UNSURE = b'\\\\"'


def repeated(values: Sequence[bytes], records: Sequence[dict[str, Any]]) -> set[int]:
    """Positions of the objects that have a name more than once, at whatever depth.

    values: strict JSON, of which `records` are what was read.
    """
    ends = _ends(b"".join(values))
    if ends == _least_names(records) or ends == sum(map(_names, records)):
        return set()  # each name ends at least once, so no text has one more than once
    return {at for at, value in enumerate(values) if is_repeated(value, records[at])}


def is_repeated(value: bytes, record: dict[str, Any]) -> bool:
    """`repeated` of one object."""
    return _ends(value) != _names(record) and _has(value)


def _ends(text: bytes) -> int:
    """How many names end in a text: too many if a text within looks like that, -1 if that cannot be told quickly."""
    codes = np.frombuffer(text, np.uint8)
    quotes, after = codes[:-1] == ord('"'), codes[1:]
    if (quotes & (after <= ord(" "))).any() or (b"\\" in text and _UNSURE in text):
        return -1  # a name may end with a space before its colon
    quotes &= after == ord(":")
    if b"\\" in text:  # an escaped quote
        quotes[1:] &= codes[:-2] != ord("\\")
    return int(np.count_nonzero(quotes))


def _least_names(records: Sequence[dict[str, Any]]) -> int:
    """How many names are in objects and in objects within, if all are like the first one; else maybe too few."""
    n = sum(map(len, records))
    for name in [name for name, cell in records[0].items() if type(cell) is dict] if records else ():
        within = [record.get(name) for record in records]
        if set(map(type, within)) == {dict}:
            n += _least_names(within)  # type: ignore[arg-type]
    return n


def _names(cell: Any) -> int:
    """How many names are in a cell, at whatever depth."""
    if isinstance(cell, dict):
        return len(cell) + sum([_names(part) for part in cell.values() if isinstance(part, (dict, list))])
    return sum(map(_names, cell)) if isinstance(cell, list) else 0


def _has(value: bytes) -> bool:
    found = False

    def noted(pairs: list[tuple[str, Any]]) -> None:
        nonlocal found
        found = found or len({name for name, _ in pairs}) < len(pairs)

    json.loads(value, object_pairs_hook=noted, parse_int=str, parse_float=str)
    return found
