"""Times in the cells of a file: milliseconds since 1970, or the first cell that is none, with how it may be meant."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from scorer.pipeline.formats import Format, LocalTime
from scorer.pipeline.instants import instant_ms
from scorer.pipeline.lenient import moment
from scorer.sources.csv_text import arrow

#: What a time without a stated format is, if it says no offset: of UTC.
PLAIN = LocalTime(kind="time")
_UTC = r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,6})?Z?$"
_FIRST_MS, _LAST_MS = instant_ms("0001-01-01T00:00:00Z"), instant_ms("9999-12-31T23:59:59.999Z")
#: Writings to propose for times that are not ISO 8601.
_DAYS = ("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%d.%m.%y", "%d/%m/%y", "%m/%d/%y")
_CLOCKS = ("", " %H:%M:%S", " %H:%M", " %I:%M:%S %p", " %I:%M %p", " %H:%M:%S.%f")
#: Serials of Excel from 1954 to 2173.
_SERIALS = (20_000, 100_000)


class NoTimeError(ValueError):
    """A cell is no time. at: its position. The text is the mend."""

    def __init__(self, at: int, mend: str) -> None:
        super().__init__(mend)
        self.at = at


def column_ms(column: Any, form: Format | None, may_lack: bool) -> npt.NDArray[np.int64] | None:
    """Milliseconds since 1970 of a column of Arrow: int64 (n,); None if it has to be read cell by cell.

    form: how the source writes the field, None if the cells say it. may_lack: whether cells may be empty, which are 0.
    """
    lib = arrow()
    kind = column.type
    is_plain = form is None or form == PLAIN
    if column.null_count and not may_lack:
        return None
    if lib.types.is_string(kind) and is_plain:
        if not lib.compute.all(lib.compute.match_substring_regex(column, _UTC)).as_py():
            return None
        try:
            column = lib.compute.utf8_rtrim(column, "Z").cast(lib.timestamp("us"))
        except lib.ArrowInvalid:
            return None
    elif not lib.types.is_timestamp(kind) or (kind.tz is None and not is_plain):
        return None
    count = np.asarray(column.cast(lib.int64()).fill_null(0).to_numpy(), dtype=np.int64)
    per_ms = {"s": 0, "ms": 1, "us": 1000, "ns": 10**6}[column.type.unit]
    ms = count * 1000 if per_ms == 0 else count // per_ms
    return ms if len(ms) == 0 or (ms.min() >= _FIRST_MS and ms.max() <= _LAST_MS) else None


def cells_ms(cells: Sequence[Any], form: Format | None, setting: str) -> npt.NDArray[np.int64]:
    """Milliseconds since 1970 of each cell: int64 (n,), 0 for an empty one. Raises NoTimeError for any other."""
    out = np.zeros(len(cells), np.int64)
    for at, cell in enumerate(cells):
        if cell is None or cell == "":
            continue
        found = cell_ms(cell, form)
        if found is None:
            raise NoTimeError(at, _mend(cells[at:], setting))
        out[at] = found
    return out


def cell_ms(cell: Any, form: Format | None) -> int | None:
    """Milliseconds since 1970 of a cell, None if it is no time in that format."""
    if form is None and isinstance(cell, str):
        with suppress(ValueError):
            return instant_ms(cell)
    read = moment(cell) if form is None else form.read(cell, {})
    for text in (read, PLAIN.read(read, {}) if form is None else read):
        try:
            return instant_ms(text)
        except (TypeError, ValueError):
            continue
    return None


def _mend(cells: Sequence[Any], setting: str) -> str:
    """How cells that are no plain times may be written, as far as they show it."""
    where = f"state how it is written in {setting}"
    seen = [cell for cell in cells[:5000] if cell not in (None, "")][:500]
    texts = [cell.strip() for cell in seen if isinstance(cell, str)]
    fitting = [pattern for pattern in map("".join, product(_DAYS, _CLOCKS)) if texts and _fit(texts, pattern)]
    if len(texts) == len(seen) and fitting:
        told = " or ".join(f"{{kind: time, pattern: '{pattern}'}}" for pattern in fitting)
        return f"{where}: {told}" + (", whichever it is" if len(fitting) > 1 else "")
    try:
        numbers = [float(cell) for cell in seen]
    except (TypeError, ValueError):
        return f"{where}, or write it as 2026-01-31T12:00:00Z"
    if all(_SERIALS[0] <= number < _SERIALS[1] for number in numbers):
        return f"{where}: {{kind: since, start: 1899-12-30, unit: d}} if it is a serial of Excel"
    return f"{where}: {{kind: epoch, unit: s}}, or {{kind: since, start: 2026-01-01, unit: h}} with a start of its own"


def _fit(texts: Sequence[str], pattern: str) -> bool:
    try:
        for text in texts:
            datetime.strptime(text, pattern)  # noqa: DTZ007 - only whether it fits
    except ValueError:
        return False
    return True
