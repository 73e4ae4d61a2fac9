"""An independent reading of docs/contracts.md: whether a record is a transaction. Standard library only.

It answers None where the contract leaves room: most of all where a text holds so many digits that it may or may not be
a card number. Card numbers are made on purpose by the generator, which knows what it made.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from datetime import date
from typing import Any

DEEPEST, MOST_FIELDS, MOST_BYTES, MOST_ID = 32, 2000, 262_144, 128
IDS = ("transaction_id", "card_id", "merchant_id")
REQUIRED = (*IDS, "occurred_at", "amount", "currency")
#: Fewest digits of a card number.
CARD_DIGITS = 12
TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.\d{1,9})?(?:([Zz])|[+-](\d\d):(\d\d))", re.ASCII)

LETTERS = re.compile(r"[^\W\d_]+")

#: The view and the money that the attack configures, as plain facts.
NUMBERS, BOOLEANS, CATEGORIES = ("age",), ("is_new",), ("country", "channel")
#: First day of each currency's rates; EUR is the reporting currency.
RATES = {"EUR": date.min, "USD": date(2020, 1, 1), "GBP": date(2024, 6, 1)}


class _No(Exception):  # noqa: N818
    """It is none."""


class _Open(Exception):  # noqa: N818
    """The contract leaves it open."""


def _refuse(text: str) -> Any:
    raise _Open(f"{text} is a missing value to whoever knows Python")


def judged(value: bytes | None, key: bytes | None, renamed: dict[str, str], defaults: dict[str, Any],
           dropped: frozenset[str]) -> bool | None:  # fmt: skip
    """True for a transaction, False for none, None for what the contract leaves open.

    renamed: our name by the source's. dropped: fields of the source that are left out.
    """
    try:
        _check(value, key, renamed, defaults, dropped)
    except _No:
        return False
    except _Open:
        return None
    return True


def _check(value: bytes | None, key: bytes | None, renamed: dict[str, str], defaults: dict[str, Any],
           dropped: frozenset[str]) -> None:  # fmt: skip
    if value is None:
        raise _No("nothing")
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        raise _No("no UTF-8") from None
    if text.startswith("\ufeff"):
        raise _Open("a byte order mark is passed over, and what follows may be anything")
    is_open = False
    try:
        record = json.loads(text, parse_constant=_refuse)
    except RecursionError:
        raise _No("too deep") from None
    except ValueError as error:
        if "digits" in str(error):  # an integer that Python does not read
            raise _Open("a very long number") from None
        raise _No("no JSON") from None
    if not isinstance(record, dict):
        raise _No("no object")
    _check_shape(record)
    if len(value) > MOST_BYTES:
        raise _No("too long")
    if _may_hold_card_number((key or b"").decode("utf-8", "replace")):
        is_open = True
    for theirs, cell in record.items():
        if theirs in dropped:
            continue
        if any(map(_may_hold_card_number, _texts([theirs, cell]))):
            is_open = True
    ours: dict[str, Any] = dict(defaults)
    for theirs, cell in record.items():
        if theirs in dropped:
            continue
        name = str(renamed.get(theirs, theirs))
        if theirs not in renamed and name in renamed.values() and name in record:
            is_open = True  # both the source's name and ours: whichever comes last
        ours[name] = cell
    _check_fields(ours)
    if is_open:
        raise _Open("perhaps a card number")


def _may_hold_card_number(text: str) -> bool:
    """Whether there are enough digits without a letter between them."""
    return any(sum(map(_is_digit, part)) >= CARD_DIGITS for part in LETTERS.split(text))


def _is_digit(character: str) -> bool:
    return character.isdigit() or unicodedata.category(character) in ("Nd", "No")


def _texts(cell: Any) -> list[str]:
    found, left = [], [cell]
    while left:
        one = left.pop()
        if isinstance(one, str):
            found.append(one)
        elif isinstance(one, dict):
            left += [*one.keys(), *one.values()]
        elif isinstance(one, list):
            left += one
    return found


def _check_shape(record: dict[str, Any]) -> None:
    fields = 0
    left: list[tuple[Any, int]] = [(record, 1)]
    while left:
        cell, depth = left.pop()
        if depth > DEEPEST:
            raise _No("too deep")
        if isinstance(cell, dict):
            fields += len(cell)
            parts = [*cell.keys(), *cell.values()]
        else:
            parts = list(cell)
        for part in parts:
            if isinstance(part, str):
                if any("\ud800" <= character <= "\udfff" for character in part):
                    raise _No("half a surrogate pair")
            elif isinstance(part, (dict, list)):
                left.append((part, depth + 1))
            elif isinstance(part, float) and not math.isfinite(part):
                raise _Open("a number beyond all")
    if fields > MOST_FIELDS:
        raise _No("too many fields")


def _check_fields(ours: dict[str, Any]) -> None:
    for name in REQUIRED:
        if name not in ours:
            raise _No(f"{name} is missing")
    left_open = False
    for name in IDS:
        left_open |= _is_open_id(ours[name])
    left_open |= _may_be_meant(ours)
    amount = ours["amount"]
    if isinstance(amount, bool) or not isinstance(amount, (int, float)) or not 0 <= amount <= 1e11:
        raise _No("amount")
    day = _day(ours["occurred_at"])
    currency = ours["currency"]
    if not isinstance(currency, str) or currency.strip().upper() not in RATES:
        raise _No("currency")
    if day is not None and day < RATES[currency.strip().upper()]:
        raise _No("no rate")
    for name in NUMBERS:
        cell = ours.get(name)
        if isinstance(cell, str):
            continue  # `_may_be_meant` has left it open
        if cell is not None and (isinstance(cell, bool) or not isinstance(cell, (int, float))):
            raise _No(name)
        if cell is not None and abs(cell) >= 2**63:
            left_open = True
    for name in BOOLEANS:
        if not isinstance(ours.get(name), bool | str | int | float | None):
            raise _No(name)
    for name in CATEGORIES:
        if not isinstance(ours.get(name), str | int | float | None):
            raise _No(name)
    if day is None or left_open:
        raise _Open("an edge")


def _may_be_meant(ours: dict[str, Any]) -> bool:
    """Whether a cell is in another form than the contract asks for, which is read if it has only one meaning."""
    if any(isinstance(ours.get(name), str) for name in NUMBERS):
        return True
    if any(not isinstance(ours.get(name), bool | None) for name in BOOLEANS):
        return True
    if any(isinstance(ours.get(name), int | float) for name in CATEGORIES):
        return True
    currency = ours.get("currency")
    return isinstance(currency, str) and currency != currency.strip().upper()


def _is_open_id(cell: Any) -> bool:
    """Whether the contract leaves this id open; raises _No for what is no id."""
    if isinstance(cell, int | float) and not isinstance(cell, bool):
        return True  # a whole number is read as a text
    if not isinstance(cell, str) or not 1 <= len(cell) <= MOST_ID:
        raise _No("id")
    kinds = [unicodedata.category(character) for character in cell]
    if "Cc" in kinds:
        raise _No("control character")
    if any(kind in ("Zl", "Zp") for kind in kinds):
        raise _No("a separator of lines")
    if cell[0].isspace() or cell[-1].isspace():
        raise _No("blank")
    # what nobody sees at an end may count as a blank
    return (
        not (cell[0].isprintable() and cell[-1].isprintable())
        or {kinds[0], kinds[-1]} & {"Cf", "Mn", "Lo", "So"} != set()
    )


def _day(cell: Any) -> date | None:
    """The day of a time, None where its offset may move it to another, or where RFC 3339 has leap seconds."""
    found = TIME.fullmatch(cell) if isinstance(cell, str) else None
    if found is None:
        if isinstance(cell, bool) or not isinstance(cell, str | int | float) or not re.search(r"\d", str(cell)):
            raise _No("time")
        return None  # in another writing, or a count since 1970
    year, month, day, hour, minute, second = (int(part) for part in found.groups()[:6])
    if hour > 23 or minute > 59 or second > 60:
        raise _No("time")
    try:
        on = date(year, month, day)
    except ValueError:
        raise _No("day") from None
    if second == 60:
        return None
    if found[7] is not None:
        return on
    if int(found[8]) > 23 or int(found[9]) > 59:
        raise _No("offset") if int(found[8]) > 24 else _Open("offset")
    near = {first.toordinal() for first in RATES.values()}
    if year in (1, 9999) or any(abs(on.toordinal() - first) <= 1 for first in near):
        return None
    return on
