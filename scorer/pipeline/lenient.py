"""Reads what has only one meaning, though the contract asks for another form: ids as numbers, times without seconds.

Only rows that break the contract come here, so a stream that keeps to it pays nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import numpy as np

from scorer.pipeline.instants import FIRST_MS, INSTANT, LAST_MS, instant_ms, stamps
from scorer.pipeline.view import Attribute

BOM = b"\xef\xbb\xbf"
#: A time with an offset in any writing but RFC 3339's: no seconds, +0000, +00, a blank before it, a zone's name behind.
_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d)(:\d\d)?([.,]\d{1,9})?"
    r" ?([Zz]|[+-]\d\d(?::?\d\d)?| ?UTC| ?GMT)(?:\[[\w/+:-]+\])?",
    re.ASCII,
)
_DIGITS = re.compile(r"-?\d{1,19}(\.\d{1,9})?", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Nanoseconds in the unit of a count since 1970, by the least count that is taken for it. All counts of one unit from
#: 2001-09-09 to 2286 are below the next one's least, so no number has two meanings.
_UNITS = ((10**18, 1), (10**15, 10**3), (10**12, 10**6), (10**9, 10**9))
_YES = {"true", "t", "yes", "y", "1"}
_NO = {"false", "f", "no", "n", "0"}
#: What booleans are written as.
BOOLEANS = frozenset((*_YES, *_NO))
IDS = ("transaction_id", "card_id", "merchant_id")


def parsed(value: bytes) -> Any:
    """What a value means that `orjson` refuses: JSON after a byte order mark, or with Python's NaN and Infinity, which
    become null. Raises ValueError if it is no JSON in that sense either. Its nesting must be known to be small."""
    return json.loads(value.removeprefix(BOM).decode(), parse_constant=lambda _: None)


def mended(record: dict[str, Any], attributes: Sequence[Attribute]) -> dict[str, Any]:
    """A copy of a record under our names, with the cells mended that have only one meaning.

    >>> mended({"card_id": 42, "occurred_at": "2026-01-31T12:00Z", "currency": "eur"}, ())
    {'card_id': '42', 'occurred_at': '2026-01-31T12:00:00.000Z', 'currency': 'EUR'}
    """
    whole = dict(record)
    for name in IDS:
        if name in whole:
            whole[name] = whole_text(whole[name])
    if "occurred_at" in whole:
        whole["occurred_at"] = moment(whole["occurred_at"])
    currency = whole.get("currency")
    if isinstance(currency, str):
        whole["currency"] = currency.strip().upper()
    for attribute in attributes:
        if attribute.name in whole:
            whole[attribute.name] = _MEND[attribute.kind](whole[attribute.name])
    return whole


def moment(cell: Any) -> Any:
    """A time as RFC 3339 in UTC, if the cell is one in another writing or a count since 1970; else the cell itself."""
    if isinstance(cell, bool) or not isinstance(cell, int | float | str):
        return cell
    if isinstance(cell, str):
        if INSTANT.fullmatch(cell):
            return cell
        found = _TIME.fullmatch(cell.strip())
        if found:
            day, minute, second, fraction, offset = found.groups()
            digits = re.sub("[^0-9]", "", offset).ljust(4, "0")
            zone = f"{offset[0]}{digits[:2]}:{digits[2:]}" if offset[0] in "+-" else "Z"
            try:
                return rfc3339(instant_ms(f"{day}T{minute}{second or ':00'}{(fraction or '').replace(',', '.')}{zone}"))
            except ValueError:
                return cell
        if not _DIGITS.fullmatch(cell):
            return cell
        number: int | float = float(cell) if "." in cell else int(cell)
    else:
        number = cell
    unit = unit_ns(number)
    return cell if unit is None else since_1970(number, unit)


def unit_ns(count: int | float) -> int | None:
    """Nanoseconds in the unit of a count since 1970, as its size tells; None if it tells none."""
    return next((unit for least, unit in _UNITS if least <= count < least * 10), None)


def since_1970(count: int | float, unit_ns: int) -> Any:
    """A count since 1970 as RFC 3339 in UTC; the count itself if the calendar has no such year."""
    ms = count * unit_ns // 10**6 if isinstance(count, int) else round(count * unit_ns / 10**6)
    try:
        return rfc3339(int(ms))
    except (OverflowError, ValueError):
        return count


def since_1970_all(counts: Sequence[int], unit_ns: int) -> list[str] | None:
    """`since_1970` of each whole number, all at once; None if any is beyond the years 1 to 9999."""
    if not counts or not FIRST_MS <= min(counts) * unit_ns // 10**6 <= max(counts) * unit_ns // 10**6 <= LAST_MS:
        return None
    try:
        whole = np.array(counts, np.int64)
    except OverflowError:
        return None
    return stamps(whole * (unit_ns // 10**6) if unit_ns >= 10**6 else whole // (10**6 // unit_ns))


def rfc3339(ms: int) -> str:
    """Milliseconds since 1970 as RFC 3339 in UTC. Raises OverflowError beyond the years 1 to 9999."""
    days, ms = divmod(ms, 86_400_000)
    seconds, ms = divmod(ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{_day(days)}T{hours:02}:{minutes:02}:{seconds:02}.{ms:03}Z"


@lru_cache(maxsize=1024)
def _day(days: int) -> str:
    """A day by its number since 1970, as text. A stream has few, and the text takes longest to make."""
    return (_EPOCH + timedelta(days=days)).date().isoformat()


def whole_text(cell: Any) -> Any:
    """A whole number as text. A number with a fraction, or beyond what JSON's readers keep exactly, stays as it is."""
    if isinstance(cell, bool):
        return cell
    if isinstance(cell, int):
        return str(cell)
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 2**53:
        return str(int(cell))
    return cell


def mended_category(cell: Any) -> Any:
    """A boolean or whole number as the text of a category; another cell as it is."""
    return ("true" if cell else "false") if isinstance(cell, bool) else whole_text(cell)


def boolean(cell: Any) -> Any:
    """A word or number for yes or no as a boolean; None for an empty text, the cell itself if it is neither."""
    if isinstance(cell, str):
        word = cell.strip().lower()
        return None if not word else True if word in _YES else False if word in _NO else cell
    return bool(cell) if type(cell) in (int, float) and cell in (0, 1) else cell


def number(cell: Any) -> Any:
    """A text as number; None for an empty text, the cell itself if it is no number."""
    if isinstance(cell, str):
        text = cell.strip()
        try:
            return float(text) if text and re.fullmatch(r"[-+0-9.eE]+", text, re.ASCII) else cell if text else None
        except ValueError:
            return cell
    return cell


_MEND = {"category": mended_category, "boolean": boolean, "number": number}
