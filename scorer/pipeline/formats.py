"""How a source writes a field, where that cannot be told from the cell: counts since 1970, local times, minor units."""

from __future__ import annotations

import base64
import binascii
import math
import re
from abc import ABC, abstractmethod
from datetime import date, datetime, timedelta
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from scorer.pipeline.instants import DAY_MS, HOUR_MS, instant_ms
from scorer.pipeline.lenient import moment, rfc3339, since_1970, since_1970_all
from scorer.pipeline.money import MINOR_DIGITS
from scorer.pipeline.origin import ABSENT

_UNIT_NS = {"s": 10**9, "ms": 10**6, "us": 1000, "ns": 1}
_UNIT_MS = {"ms": 1, "s": 1000, "min": 60_000, "h": HOUR_MS, "d": DAY_MS}
_NUMBER = re.compile(r"[-+]?\d{1,30}(\.\d{0,30})?", re.ASCII)
#: As R and spreadsheets write large numbers.
_LARGE = re.compile(r"\d(\.\d{1,17})?[eE]\+\d\d", re.ASCII)


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{name[:60]!r} is no time zone; write it as Europe/Berlin") from None
    return name


def _as_text(cell: Any) -> Any:
    return cell.isoformat() if isinstance(cell, date) else cell  # YAML reads 2026-01-31 as a date


def _start(text: str) -> str:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text[:60]!r} is no time; write it as 1899-12-30 or 2026-01-31T12:00:00Z") from None
    return text


def _pattern(text: str) -> str:
    try:
        _strptime("", text)
    except (ValueError, re.error) as error:
        if "does not match format" not in str(error):  # of the pattern, not of the empty text
            raise ValueError(f"{text[:60]!r} is no pattern of strptime: {error}") from None
    return text


class _Format(BaseModel, ABC):
    model_config = ConfigDict(frozen=True, extra="forbid")

    @abstractmethod
    def read(self, cell: Any, record: dict[str, Any]) -> Any:
        """A cell as we write it. record: what it is in, under our names."""

    def read_all(self, cells: list[Any], records: list[dict[str, Any]]) -> list[Any]:
        """`read` of a cell of each record; ABSENT where it is."""
        return [cell if cell is ABSENT else self.read(cell, row) for cell, row in zip(cells, records, strict=True)]


class Epoch(_Format):
    """A count since 1970, as number or text."""

    kind: Literal["epoch"]
    unit: Literal["s", "ms", "us", "ns"]

    def read(self, cell: Any, record: dict[str, Any]) -> Any:
        """RFC 3339 in UTC; the cell itself if it is no number, None if the calendar has no such year."""
        number = _as_number(cell)
        if number is None:
            return cell
        text = since_1970(number, _UNIT_NS[self.unit])
        return text if isinstance(text, str) else None

    def read_all(self, cells: list[Any], records: list[dict[str, Any]]) -> list[Any]:
        """All at once where all are whole numbers."""
        texts = since_1970_all(cells, _UNIT_NS[self.unit]) if set(map(type, cells)) == {int} else None
        return super().read_all(cells, records) if texts is None else texts


class LocalTime(_Format):
    """A date and time, in a zone if it says none itself. pattern: of `strptime`, if it is not ISO 8601."""

    kind: Literal["time"]
    zone: Annotated[str, AfterValidator(_zone)] = "UTC"
    pattern: Annotated[str, AfterValidator(_pattern)] | None = None

    def read(self, cell: Any, record: dict[str, Any]) -> Any:
        """RFC 3339 in UTC; the cell itself if it is no such time. The earlier one, where the clock was set back."""
        if not isinstance(cell, str):
            return cell
        text = cell.strip()
        try:
            found = _strptime(text, self.pattern) if self.pattern else datetime.fromisoformat(text)
        except (ValueError, re.error):
            return moment(cell)
        if found.tzinfo is None:
            found = found.replace(tzinfo=ZoneInfo(self.zone))
        try:
            return rfc3339(instant_ms(found.isoformat(timespec="milliseconds")))
        except (ValueError, OverflowError):
            return cell


class Since(_Format):
    """A count since a start of the source's own, as number or text. Excel's serials are days since 1899-12-30.

    zone: of the start and of the counted days, if the start says none itself.
    """

    kind: Literal["since"]
    start: Annotated[str, BeforeValidator(_as_text), AfterValidator(_start)]
    unit: Literal["ms", "s", "min", "h", "d"]
    zone: Annotated[str, AfterValidator(_zone)] = "UTC"

    def read(self, cell: Any, record: dict[str, Any]) -> Any:
        """RFC 3339 in UTC; the cell itself if it is no number, None if the calendar has no such year."""
        number = float(cell) if isinstance(cell, str) and _LARGE.fullmatch(cell) else _as_number(cell)
        if number is None:
            return cell
        try:
            found = datetime.fromisoformat(self.start) + timedelta(milliseconds=round(number * _UNIT_MS[self.unit]))
            if found.tzinfo is None:
                found = found.replace(tzinfo=ZoneInfo(self.zone))
            return rfc3339(instant_ms(found.isoformat(timespec="milliseconds")))
        except (ValueError, OverflowError):
            return None


#: The part of a number before its decimal point (False) or comma (True), in groups of three.
_GROUPED = {
    is_comma: re.compile(rf"[-+]?\d{{1,3}}([{mark}'\u2019 \u00a0\u202f])\d{{3}}(?:\1\d{{3}})*", re.ASCII)
    for is_comma, mark in ((False, ","), (True, "."))
}


class Decimal(_Format):
    """A number as text. comma: 1.234,50 means 1234.5; otherwise 1,234.50 does. Thousands may be apart by a blank or an
    apostrophe, too. symbol: a text that is no part of it."""

    kind: Literal["decimal"]
    comma: bool = False
    symbol: Annotated[str, Field(min_length=1, max_length=8)] | None = None

    def read(self, cell: Any, record: dict[str, Any]) -> Any:
        """A float; the cell itself if it is no number."""
        if isinstance(cell, str):
            bare = cell if self.symbol is None else cell.replace(self.symbol, "", 1)
            whole, _, fraction = bare.strip().partition("," if self.comma else ".")
            grouped = _GROUPED[self.comma].fullmatch(whole)
            if grouped is not None:
                whole = whole.replace(grouped[1], "")
            elif ("." if self.comma else ",") in whole:
                return cell
            cell_as = f"{whole}.{fraction}" if fraction else whole
            number = _as_number(cell_as)
            return cell if number is None else float(number)
        return cell


class MinorUnits(_Format):
    """An amount in minor units of its currency, such as cents. digits: if not those of ISO 4217."""

    kind: Literal["minor_units"]
    digits: Annotated[int, Field(ge=0, le=9)] | None = None

    def read(self, cell: Any, record: dict[str, Any]) -> Any:
        """A float in units of the currency; the cell itself if it is no number."""
        number = _as_number(cell)
        if number is None:
            return cell
        digits = (
            MINOR_DIGITS.get(str(record.get("currency")).strip().upper(), 2) if self.digits is None else self.digits
        )
        return number / 10**digits


class Base64Decimal(_Format):
    """Big-endian two's complement of an unscaled number in base 64, as Kafka Connect's and Debezium's decimals are."""

    kind: Literal["base64_decimal"]
    scale: Annotated[int, Field(ge=0, le=30)]

    def read(self, cell: Any, record: dict[str, Any]) -> Any:
        """A float; the cell itself if it is no base 64."""
        if not isinstance(cell, str):
            return cell
        try:
            unscaled = base64.b64decode(cell, validate=True)
        except (binascii.Error, ValueError):
            return cell
        return int.from_bytes(unscaled, "big", signed=True) / 10**self.scale if 0 < len(unscaled) <= 16 else cell


class Translation(_Format):
    """Other words for values, such as numeric currency codes: {"978": "EUR"}. What is not listed stays as it is."""

    kind: Literal["words"]
    words: dict[str, str | float | bool | None]

    def read(self, cell: Any, record: dict[str, Any]) -> Any:
        """The other word."""
        if isinstance(cell, bool):
            return self.words.get("true" if cell else "false", cell)
        return self.words.get(str(cell), cell) if isinstance(cell, str | int) else cell


Format = Annotated[
    Epoch | LocalTime | Since | Decimal | MinorUnits | Base64Decimal | Translation, Field(discriminator="kind")
]


def _strptime(text: str, pattern: str) -> datetime:
    return datetime.strptime(text, pattern)  # noqa: DTZ007 - who calls it gives it a zone


def _as_number(cell: Any) -> int | float | None:
    """An int where the cell is whole, so that nanoseconds stay exact; None if it is no finite number."""
    if isinstance(cell, bool):
        return None
    if isinstance(cell, str):
        text = cell.strip()
        return None if not _NUMBER.fullmatch(text) else float(text) if "." in text else int(text)
    return cell if isinstance(cell, int) or (isinstance(cell, float) and math.isfinite(cell)) else None
