"""Finds card numbers (PANs) in texts, and masks them: the first six and the last four digits stay.

A card number is 12 to 19 digits of a length and a beginning that card schemes issue (ISO/IEC 7812-1) which pass the
Luhn test. Whatever is neither letter nor digit may stand between its digits, and any text around it. One number in ten
passes the Luhn test by chance, so what a number is part of decides, too; these are not card numbers:

* part of a longer run of digits,
* part of a UUID, an IBAN or a hexadecimal id,
* a telephone number: up to 13 digits behind a `+`,
* a decimal number: one to three digits before the point,
* digits with different separators between them, as in times; only the groups that are printed on cards may have these.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

FEWEST, MOST = 12, 19
#: Lengths and beginnings that are issued. In order: Visa; Mastercard; American Express; Diners Club; JCB; Mir; and
#: Maestro, whose range holds Discover and UnionPay, too.
ISSUED = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|(?:5[1-5]\d\d|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}|3[47]\d{13}"
    r"|3(?:0[0-5]|[689]\d)\d{11,16}|35(?:2[89]|[3-8]\d)\d{12,15}|220[0-4]\d{12,15}|(?:50|5[6-9]|6\d)\d{10,17}",
    re.ASCII,
)
#: Groups of digits that are printed on cards. Between these, separators may differ.
_PRINTED = frozenset({(4, 4, 4, 4), (4, 6, 5), (4, 6, 4), (4, 4, 4, 4, 1), (4, 4, 4, 4, 2), (4, 4, 4, 4, 3)})
#: Most groups that a number may have within a longer chain of them, and fewest digits of each.
_MOST_GROUPS, _FEWEST_DIGITS = 6, 3
#: Separators that are their own kind.
_COMMON = frozenset(" -:.,/+_")
_GROUP = re.compile(r"\d+")
_DOUBLED = str.maketrans("0123456789", "0246813579")

_DECIMAL = re.compile(r"(?<![^\W_])(?<![.,])\d{1,3}\.\d+(?:[eE][+-]?\d+)?(?![^\W_])(?![.,]\d)")
_TELEPHONE = re.compile(r"\+[ (]{0,2}\d(?:[ \u00a0()./-]{0,3}\d)*")
_LONGEST_TELEPHONE = 13
_UUID = re.compile(r"(?<![^\W_])[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?![^\W_])", re.ASCII | re.IGNORECASE)
_IBAN = re.compile(r"(?<![^\W_])([A-Z]{2})\d\d(?: ?[A-Z0-9]){11,30}", re.ASCII | re.IGNORECASE)
#: Characters of an IBAN by country (ISO 13616).
_IBAN_LENGTHS = {
    country: length
    for length, countries in {
        15: "NO", 16: "BE", 18: "DK FI FO GL NL", 19: "MK SI", 20: "AT BA EE KZ LT LU XK", 21: "CH HR LI LV",
        22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ TL", 24: "AD CZ ES MD PK RO SA SE SK TN VG",
        25: "LY PT ST", 26: "IS TR", 27: "FR GR IT MC MR SM", 28: "AL AZ BY CY DO GT HU LB PL SV",
        29: "BR EG PS QA UA", 30: "JO KW MU", 31: "MT SC", 32: "LC",
    }.items()
    for country in countries.split()
}  # fmt: skip

#: A group of digits or a card number in a text: from, to.
Span = tuple[int, int]


def find(text: str) -> list[list[int]]:
    """The card numbers in a text: for each the positions of its digits, in order.

    >>> find("4111-1111-1111-1111") == [[*range(0, 4), *range(5, 9), *range(10, 14), *range(15, 19)]]
    True
    >>> find("4111 1111 1111 1112"), find("f4111111-1111-1111-8111-111111111111")
    ([], [])
    """
    found = candidates(text)
    if not found:
        return []
    within = [match.span() for match in _UUID.finditer(text)] + list(_ibans(text))
    return [
        digits
        for digits in found
        if not any(start < digits[-1] + 1 and digits[0] < end for start, end in within)
        and not _is_in_hexadecimal(text, digits[0], digits[-1] + 1)
    ]


def masked(text: str) -> str:
    """The text with an asterisk for each digit of a card number but its first six and its last four.

    >>> masked("card 4111 1111 1111 1111")
    'card 4111 11** **** 1111'
    """
    characters = list(text)
    for at in hidden(text):
        characters[at] = "*"
    return "".join(characters)


def hidden(text: str) -> set[int]:
    """Positions of the digits to mask."""
    return {at for digits in find(text) for at in digits[6:-4]}


def candidates(text: str) -> list[list[int]]:
    """As `find`, without a look at the letters around."""
    groups = [match.span() for match in _GROUP.finditer(text)]
    if sum([end - start for start, end in groups]) < FEWEST:
        return []
    found = []
    for window in {tuple(window): None for window in _windows(text, groups)}:
        plain = "".join([text[start:end] for start, end in window])
        if not plain.isascii():
            plain = ascii_digits(plain)
        if ISSUED.fullmatch(plain) and passes_luhn(plain):
            found.append(window)
    if not found:
        return []
    numbers = [*_decimals(text), *_telephones(text)]
    return [
        [at for start, end in window for at in range(start, end)]
        for window in found
        if not any(start <= window[0][0] and window[-1][1] <= end for start, end in numbers)
    ]


def ascii_digits(digits: str) -> str:
    """Digits of any script as 0 to 9."""
    return "".join(str(unicodedata.decimal(digit)) for digit in digits)


def _decimals(text: str) -> Iterator[Span]:
    yield from (match.span() for match in _DECIMAL.finditer(text))


def _telephones(text: str) -> Iterator[Span]:
    for match in _TELEPHONE.finditer(text):
        if sum(map(str.isdecimal, match[0])) <= _LONGEST_TELEPHONE:
            yield match.span()


def passes_luhn(digits: str) -> bool:
    """The Luhn test of ASCII digits: each second digit from the right counts double, without its tens carried."""
    # 2 x 5 = 10 counts 1 + 0, 2 x 6 counts 3 and so on: what `_DOUBLED` says of 5 to 9
    return (sum(map(int, digits[-1::-2])) + sum(map(int, digits[-2::-2].translate(_DOUBLED)))) % 10 == 0


def _windows(text: str, groups: Sequence[Span]) -> Iterator[Sequence[Span]]:
    """Consecutive groups that may be a card number by their separators: FEWEST to MOST digits in all."""
    sizes = [end - start for start, end in groups]
    exact = [_separator(text[before:after]) for (_, before), (after, _) in pairwise(groups)]
    kinds = ["-" if kind == " " else kind for kind in exact]
    for first, size in enumerate(sizes):
        total = size
        if FEWEST <= total <= MOST:
            yield groups[first : first + 1]
        for last in range(first + 1, min(first + _MOST_GROUPS, len(sizes))):
            total += sizes[last]
            if total > MOST or exact[last - 1] is None:
                break
            if total < FEWEST:
                continue
            shape = tuple(sizes[first : last + 1])
            is_uniform = len(set(exact[first:last])) == 1 and min(shape) >= _FEWEST_DIGITS
            if shape in _PRINTED or is_uniform:
                yield groups[first : last + 1]
    first = 0
    for last in range(1, len(sizes) + 1):  # chains of one separator that nothing continues, with groups of any size
        if last == len(sizes) or kinds[last - 1] is None or (last - 1 > first and kinds[last - 1] != kinds[first]):
            if last - first > 1 and FEWEST <= sum(sizes[first:last]) <= MOST:
                yield groups[first:last]
            has_ended = last == len(sizes) or kinds[last - 1] is None
            first = last if has_ended else last - 1


def _separator(between: str) -> str | None:
    """What kind of separator stands between two groups: blanks are ` `, dashes are `-`, blanks around others go.

    None if a letter does.
    """
    if between in _COMMON:
        return between
    if any(map(str.isalnum, between)):
        return None
    kinds = {"-" if unicodedata.category(c) == "Pd" or c == "\u2212" else c for c in between if not _is_blank(c)}
    return "".join(sorted(kinds)) or " "


def _is_blank(character: str) -> bool:
    return character.isspace() or unicodedata.category(character) in ("Cc", "Cf", "Zs")


def _ibans(text: str) -> Iterator[Span]:
    """Where IBANs are: of the length of their country, and passing their own check (ISO 7064, MOD 97-10)."""
    for match in _IBAN.finditer(text):
        length = _IBAN_LENGTHS.get(match[1].upper())
        places = [at for at in range(*match.span()) if text[at] != " "][:length]
        if length is None or len(places) < length or text[places[-1] + 1 : places[-1] + 2].isalnum():
            continue
        account = "".join(text[at] for at in places)
        if int("".join(str(int(c, 36)) for c in account[4:] + account[:4])) % 97 == 1:
            yield places[0], places[-1] + 1


def _is_in_hexadecimal(text: str, start: int, end: int) -> bool:
    """Whether digits are part of a hexadecimal id: letters up to f touch them, and digits beyond these."""
    first, last = start, end
    while first > 0 and text[first - 1].isalnum():
        first -= 1
    while last < len(text) and text[last].isalnum():
        last += 1
    around = text[first:start].lower() + text[end:last].lower()
    return any(map(str.isdigit, around)) and all(c in "0123456789abcdef" for c in around)


def contains(cell: Any) -> bool:
    """Whether a value decoded from JSON is, or holds, a text or name with a card number."""
    level = [cell]
    while level:
        below: list[Any] = []
        for part in level:
            if isinstance(part, str):
                if find(part):
                    return True
            elif isinstance(part, Mapping):
                below += [*part, *part.values()]
            elif isinstance(part, (list, tuple)):
                below += part
        level = below
    return False
