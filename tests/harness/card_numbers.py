"""Card numbers of every brand, made without the code that looks for them: check digits come from the rule's table."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

#: What a digit counts in every second place from the right of the check digit (ISO/IEC 7812-1, annex B).
_COUNTS_TWICE = {0: 0, 1: 2, 2: 4, 3: 6, 4: 8, 5: 1, 6: 3, 7: 5, 8: 7, 9: 9}


@dataclass(frozen=True)
class Brand:
    """How the numbers of a brand begin, and how many digits they have."""

    name: str
    beginnings: tuple[str, ...]
    lengths: tuple[int, ...]


BRANDS = (
    Brand("visa", ("4",), (13, 16, 19)),
    Brand("mastercard", ("51", "52", "53", "54", "55", "2221", "2229", "2300", "2500", "2699", "2700", "2720"), (16,)),
    Brand("american express", ("34", "37"), (15,)),
    Brand("discover", ("6011", "644", "649", "65"), (16, 17, 18, 19)),
    Brand("diners club", ("36", "38", "39", "300", "303", "305"), (14, 15, 16, 17, 18, 19)),
    Brand("jcb", ("3528", "3540", "3589"), (16, 17, 18, 19)),
    Brand("unionpay", ("62", "6222", "6250"), (16, 17, 18, 19)),
    Brand("maestro", ("50", "5018", "56", "58", "6304", "6759", "69"), (12, 13, 14, 15, 16, 17, 18, 19)),
    Brand("mir", ("2200", "2204"), (16, 17, 18, 19)),
)

#: What people and programs put between digits.
SEPARATORS = (
    " ", "-", ".", "_", "/", ",", ":", ";", "|", "*", "+", "~", "#", "\\", "'", '"', "\t", "\n", "\r\n", "\x00", "  ",
    " - ", " / ", "--", "\u00a0", "\u2009", "\u202f", "\u3000", "\u2010", "\u2011", "\u2013", "\u2014", "\u2212",
    "\u00b7", "\u2022", "\u200b", "\u00ad", "\ufeff", "\u2028", "()", "[]", "{}",
)  # fmt: skip

#: Groups as they are printed on cards, by number of digits.
PRINTED = {
    13: (4, 3, 3, 3),
    14: (4, 6, 4),
    15: (4, 6, 5),
    16: (4, 4, 4, 4),
    17: (4, 4, 4, 4, 1),
    18: (4, 4, 4, 4, 2),
    19: (4, 4, 4, 4, 3),
}


def with_check_digit(body: str) -> str:
    """A number without its check digit, and the digit that makes its sum a multiple of ten."""
    total = 0
    for place, digit in enumerate(reversed(body)):
        total += _COUNTS_TWICE[int(digit)] if place % 2 == 0 else int(digit)
    return body + str(-total % 10)


def a_card_number(rng: random.Random, brand: Brand | None = None, length: int | None = None) -> str:
    """A valid number of a brand; by default of any."""
    brand = brand or rng.choice(BRANDS)
    length = length or rng.choice(brand.lengths)
    beginning = rng.choice(brand.beginnings)
    return with_check_digit(beginning + "".join(rng.choices("0123456789", k=length - len(beginning) - 1)))


def grouped(number: str, sizes: tuple[int, ...], separator: str) -> str:
    """A number cut into groups."""
    parts, at = [], 0
    for size in sizes:
        parts.append(number[at : at + size])
        at += size
    return separator.join([*parts, number[at:]] if at < len(number) else parts)


def cut_anywhere(rng: random.Random, number: str) -> tuple[int, ...]:
    """Sizes of groups with cuts at random places, at least one."""
    cuts = sorted(rng.sample(range(1, len(number)), rng.randint(1, len(number) - 1)))
    return tuple(b - a for a, b in zip([0, *cuts], [*cuts, len(number)], strict=True))


def digits_of(text: str) -> str:
    """All digits of a text without what is between them."""
    return re.sub("[^0-9]", "", text)


#: What may stand before and behind a number.
AROUND = [
    ("", ""), ("card ", " end"), ("card:", ";"), ("tok_", "_x"), ("PAN", "EUR"), ("(", ")"), ("x=", "&y=2"),
    ("https://pay.example/", "?a=b"), ("№ ", "。"), ("Karte", "ß"), ("<pan>", "</pan>"), ("c", ""), ("", "f"),
]  # fmt: skip


def everywhere(_: str) -> bool:
    """Any field counts."""
    return True
