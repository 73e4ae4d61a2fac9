"""What the cells of a field are by their looks, times, amounts, currencies or ids, and the format that reads them."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from scorer.pipeline.formats import Decimal
from scorer.pipeline.instants import INSTANT
from scorer.pipeline.lenient import moment, unit_ns

#: ISO 4217: codes by number, of currencies that are often seen.
CURRENCIES = {
    "978": "EUR", "840": "USD", "826": "GBP", "756": "CHF", "392": "JPY", "156": "CNY", "752": "SEK", "578": "NOK",
    "208": "DKK", "985": "PLN", "203": "CZK", "348": "HUF", "946": "RON", "975": "BGN", "949": "TRY", "643": "RUB",
    "980": "UAH", "356": "INR", "986": "BRL", "484": "MXN", "124": "CAD", "036": "AUD", "554": "NZD", "710": "ZAR",
    "702": "SGD", "344": "HKD", "410": "KRW", "764": "THB", "360": "IDR", "458": "MYR", "608": "PHP", "704": "VND",
    "376": "ILS", "784": "AED", "682": "SAR", "414": "KWD", "048": "BHD", "400": "JOD", "512": "OMR", "788": "TND",
    "818": "EGP", "566": "NGN", "404": "KES", "032": "ARS", "152": "CLP", "170": "COP", "604": "PEN", "352": "ISK",
    "901": "TWD", "586": "PKR", "504": "MAD",
}  # fmt: skip
_CODES = frozenset(CURRENCIES.values())
#: Patterns of times that are not ISO 8601. The first that reads all cells is proposed.
_PATTERNS = (
    "%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M", "%d.%m.%Y", "%d/%m/%Y %H:%M:%S", "%d/%m/%Y %H:%M", "%d/%m/%Y",
    "%m/%d/%Y %H:%M:%S", "%m/%d/%Y %H:%M", "%m/%d/%Y", "%m/%d/%Y %I:%M:%S %p", "%Y/%m/%d %H:%M:%S", "%Y/%m/%d",
    "%d-%m-%Y %H:%M:%S", "%d-%b-%Y %H:%M:%S", "%d %b %Y %H:%M:%S", "%a %b %d %H:%M:%S %Y", "%a, %d %b %Y %H:%M:%S %z",
    "%Y%m%d%H%M%S",
)  # fmt: skip
_UNIT = {10**9: "s", 10**6: "ms", 10**3: "us", 1: "ns"}
#: What stands before or behind a number and is no part of it: a sign of a currency, or its code.
_SYMBOL = re.compile(r"^[-+]?\s*([^\d\s.,+'\u2019-]{1,3})\s*[-+]?\d|\d\s*([^\d\s.,+'\u2019-]{1,3})$", re.ASCII)
_WHOLE = re.compile(r"[-+]?\d{1,15}", re.ASCII)
_MINOR_WORDS = {"minor", "cents", "cent", "pence", "subunits"}


@dataclass(frozen=True)
class Form:
    """How cells are read: the format as the mapping has it, None for none; and what a person should check."""

    format: dict[str, Any] | None = None
    check: str | None = None


PLAIN = Form()


def times(cells: Sequence[Any]) -> Form | None:
    """How these cells are times; None if they are none."""
    if all(isinstance(cell, str) and not cell.strip().isdigit() and _is_moment(cell) for cell in cells):
        return PLAIN
    counts = [_count(cell) for cell in cells]
    units = {unit_ns(count) for count in counts if count is not None}
    if None not in counts and len(units) == 1:
        (unit,) = units
        if unit is not None:
            return Form({"kind": "epoch", "unit": _UNIT[unit]})
    texts = [cell.strip() for cell in cells if isinstance(cell, str)]
    if len(texts) < len(cells):
        return None
    assumed = "the times say no zone, and UTC is assumed: name yours if they are local, such as Europe/Berlin"
    if all(map(_is_iso, texts)):
        return Form({"kind": "time", "zone": "UTC"}, assumed)
    for pattern in _PATTERNS:
        if all(_fits(text, pattern) for text in texts):
            swapped = pattern.replace("%d/%m", "%m/%d")
            if swapped != pattern and all(_fits(text, swapped) for text in texts):
                assumed += f"; day comes before month here: write {swapped} if it is the other way round"
            return Form({"kind": "time", "zone": "UTC", "pattern": pattern}, None if "%z" in pattern else assumed)
    return None


def amounts(cells: Sequence[Any], words: Sequence[str]) -> Form | None:
    """How these cells are amounts; None if they are none. words: of the field's name."""
    if any(isinstance(cell, bool) or not isinstance(cell, int | float | str) for cell in cells):
        return None
    texts = [cell.strip() for cell in cells if isinstance(cell, str)]
    is_whole = all(
        isinstance(cell, int) or (isinstance(cell, str) and _WHOLE.fullmatch(cell.strip())) for cell in cells
    )
    if is_whole:
        numbers = [int(cell) for cell in cells]
        if _MINOR_WORDS & set(words):
            return Form({"kind": "minor_units"})
        if any(number % 100 for number in numbers) and max(map(abs, numbers)) >= 100:
            return Form(
                {"kind": "minor_units"},
                f"the amounts are whole numbers and taken for minor units ({numbers[0]} is {numbers[0] / 100:.2f} in a "
                "currency with cents): without this line they are units",
            )
        return Form({"kind": "decimal"}) if texts else PLAIN
    if not texts:
        return PLAIN
    symbols = {found[1] or found[2] for text in texts if (found := _SYMBOL.search(text)) is not None}
    symbol = {"symbol": symbols.pop()} if len(symbols) == 1 else {}
    for comma in ({}, {"comma": True}):
        form: dict[str, Any] = {"kind": "decimal"} | comma | symbol
        read = Decimal.model_validate(form).read
        if all(isinstance(read(text, {}), float) for text in texts):
            return Form(form)
    if len(texts) == len(cells) and all(map(_is_base64, texts)):
        return Form(
            {"kind": "base64_decimal", "scale": 2},
            "the amounts are decimals in base 64, and a scale of 2 is assumed: take it from the schema",
        )
    return None


def currencies(cells: Sequence[Any], is_named: bool) -> Form | None:
    """How these cells are currencies; None if they are none. is_named: whether the field's name says so."""
    texts = [
        cell.strip() if isinstance(cell, str) else str(cell) for cell in cells if not isinstance(cell, bool | float)
    ]
    if len(texts) < len(cells):
        return None
    numbers = {text: CURRENCIES.get(text.zfill(3)) for text in texts if text.isdigit()}
    if numbers:
        known = {text: code for text, code in numbers.items() if code is not None}
        if not is_named or len(known) < len(numbers) or len(numbers) < len(set(texts)):
            return None
        return Form({"kind": "words", "words": known}, "add the other numeric codes that your topic has")
    if all(text.upper() in _CODES for text in texts):
        return PLAIN
    return PLAIN if is_named and all(re.fullmatch("[A-Za-z]{3}", text) for text in texts) else None


def ids(cells: Sequence[Any]) -> Form | None:
    """How these cells are ids; None if they are none."""
    return PLAIN if all(isinstance(cell, str | int) and not isinstance(cell, bool) for cell in cells) else None


def _count(cell: Any) -> int | float | None:
    if isinstance(cell, str) and re.fullmatch(r"\d{1,19}", cell.strip(), re.ASCII):
        return int(cell)
    return cell if isinstance(cell, int | float) and not isinstance(cell, bool) else None


def _is_moment(cell: Any) -> bool:
    found = moment(cell)
    return isinstance(found, str) and INSTANT.fullmatch(found) is not None


def _is_iso(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return not text.isdigit()


def _fits(text: str, pattern: str) -> bool:
    try:
        datetime.strptime(text, pattern)  # noqa: DTZ007 - only whether it fits
    except ValueError:
        return False
    return True


def _is_base64(text: str) -> bool:
    try:
        return 0 < len(base64.b64decode(text, validate=True)) <= 16
    except (binascii.Error, ValueError):
        return False


_DATE = re.compile(r"\d{4}-\d\d?-\d\d?|\d{1,2}([./-])\d{1,2}\1(\d{4}|\d\d)|\d{4}/\d\d?/\d\d?", re.ASCII)
_CLOCK = re.compile(r"\d{1,2}:\d\d(:\d\d([.,]\d+)?)?( ?[AP]M)?", re.ASCII | re.IGNORECASE)


def date_and_time(columns: Mapping[str, Sequence[Any]]) -> tuple[str, str] | None:
    """The two columns that are a date and its time of day; None if there are none, or others that they might be.

    >>> date_and_time({"day": ["2026-01-31"], "at": ["12:00"], "n": [3]})
    ('day', 'at')
    """
    texts = {name: cells for name, cells in columns.items() if cells and all(isinstance(cell, str) for cell in cells)}
    dates, clocks = (
        [name for name, cells in texts.items() if all(map(pattern.fullmatch, map(str.strip, cells)))]
        for pattern in (_DATE, _CLOCK)
    )
    return (dates[0], clocks[0]) if len(dates) == len(clocks) == 1 else None
