"""Maps the records of a batch all at once, a field at a time: several times faster than one record after the other."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from operator import contains
from typing import Any

from scorer.pipeline.mapping import FieldNames, UnmappableError, unwrapped
from scorer.pipeline.origin import ABSENT, within

Rows = list[dict[str, Any]]


def apply_all(mapping: FieldNames, records: Rows) -> Rows | None:
    """What `FieldNames.apply` makes of each record, but for the order of fields. The records are changed by it.

    None, with nothing changed, where each record needs a look of its own: the mapping reads more than its value, or one
    of them is not in the envelope that is expected.
    """
    if mapping.has_origin or mapping.operation is not None:
        return None
    try:
        rows = _inner(mapping, records)
    except UnmappableError:
        return None
    found = [
        (place.ours, _column(records if place.is_outside else rows, rows, place.theirs, place.steps))
        for place in mapping.places
    ]
    for name in mapping.taken:
        if _any_has(rows, name):
            for row in rows:
                row.pop(name, None)
    for ours, cells in found:
        _put(rows, ours, cells)
    for name, form in mapping.formats.items():
        _put(rows, name, form.read_all([row.get(name, ABSENT) for row in rows], rows))
    for name, cell in mapping.defaults.items():
        for row in rows:
            if name not in row or (mapping.has_nulls and row[name] is None):
                row[name] = cell
    return rows


def _inner(mapping: FieldNames, records: Rows) -> Rows:
    """What is within the envelope of each record; a copy where what is outside of it is read, too, and may hold it."""
    envelope = mapping.envelope
    rows = records if envelope is None else [unwrapped(record, envelope) for record in records]
    return [dict(row) for row in rows] if any(place.is_outside for place in mapping.places) else rows


def _column(start: Rows, rows: Rows, theirs: str, steps: tuple[str | int, ...] | None) -> list[Any]:
    """The cells of one of our fields, ABSENT where a record has none. start: what the steps lead from. A field whose
    name looks like a path is meant before the path."""
    if steps is None:
        return [row.get(theirs, ABSENT) for row in rows]
    cells = _at_the_end(start, steps)
    if _any_has(rows, theirs):
        cells = [row.get(theirs, cell) for row, cell in zip(rows, cells, strict=True)]
    return cells


def _any_has(rows: Rows, name: str) -> bool:
    return any(map(contains, rows, repeat(name)))


def _at_the_end(start: Rows, steps: tuple[str | int, ...]) -> list[Any]:
    """`within` of each record."""
    cells: list[Any] = start
    try:
        for step in steps:
            if type(step) is int:
                raise TypeError  # a text has positions, too
            cells = [cell[step] for cell in cells]
    except (KeyError, TypeError):
        return [within(row, steps) for row in start]
    return cells


def _put(rows: Rows, name: str, cells: Sequence[Any]) -> None:
    for row, cell in zip(rows, cells, strict=True):
        if cell is not ABSENT:
            row[name] = cell
