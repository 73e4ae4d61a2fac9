"""Looks at a whole batch for what may be a card number, as almost no record holds one.

It takes 0.3 us for a record of 500 bytes, where the exact check (`scorer.pipeline.card_number`) would take longer than
everything else together.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from scorer.pipeline.card_number import FEWEST, ISSUED, ascii_digits, candidates, passes_luhn
from scorer.pipeline.escapes import ESCAPED, unescaped

#: Between values. It ends every text, as in JSON.
_QUOTE = b'"'
#: From this byte on, UTF-8 may be a digit that is not ASCII: the lowest of the bytes that one begins with.
_FOREIGN_DIGIT = 0xD9
_FOREIGN_DIGITS = re.compile(rb"\xd9[\xa0-\xa9]|\xdb[\xb0-\xb9]|[\xdf\xe0\xe1\xea\xef\xf0]")
_NOT_ASCII = re.compile(r"[^\D0-9]+")
_STRETCH = re.compile(rb'[^A-Za-z"]*')
_SINGLE = re.compile(rb"[^0-9]*([0-9]+)[^0-9]*")
_NOT_DIGITS = bytes(code for code in range(256) if not chr(code).isdigit() or code > 127)
#: Times of day, and decimal numbers as `_DECIMAL` has them: every record may hold some. What touches a number may be a
#: letter if it is not ASCII.
_HARMLESS = re.compile(
    rb".?\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[+-]\d\d:?\d\d)?.?"
    rb"|[^0-9]*[^0-9A-Za-z.,\x80-\xff][0-9]{1,3}\.[0-9]+(?:[^0-9A-Za-z.\x80-\xff][^0-9]*)?",
    re.DOTALL,
)


def unquoted(texts: Sequence[bytes | None]) -> Sequence[bytes | None]:
    """Texts that are no JSON, such as keys, as `screen` wants them: to it a quote ends a text, and here it does not."""
    try:
        if _QUOTE not in b"".join(texts):  # type: ignore[arg-type]
            return texts
    except TypeError:
        pass
    return [text and text.replace(_QUOTE, b"'") for text in texts]


def screen(values: Sequence[bytes | None]) -> list[int]:
    """Positions of the values that may hold a card number, ascending: a quick look, wrong only in suspecting one.

    values: JSON, or texts that are `unquoted`.
    """
    try:
        blob = _QUOTE.join(values)  # type: ignore[arg-type]
    except TypeError:
        values = [value or b"" for value in values]
        blob = _QUOTE.join(values)  # type: ignore[arg-type]
    is_latin = blob.isascii() or bool((np.frombuffer(blob, np.uint8) < _FOREIGN_DIGIT).all())
    if b"\\" in blob or not is_latin:
        values = [_plain(value or b"") for value in values]
        blob = _QUOTE.join(values)  # type: ignore[arg-type]
    starts = [start for start in _stretches(blob) if _may_hold(blob, start)]
    if not starts:
        return []
    ends = np.cumsum(np.fromiter(map(len, values), np.int64, len(values)) + len(_QUOTE))  # type: ignore[arg-type]
    return sorted(set(np.searchsorted(ends, starts, side="right").tolist()))


def _plain(value: bytes) -> bytes:
    """A value with its escapes resolved, though never to a quote, and with ASCII for every digit."""
    if b"\\" in value:
        text = value.decode("utf-8", "surrogateescape")
        text = ESCAPED.sub(lambda match: unescaped(match[0]).replace('"', "'"), text)
        value = text.encode("utf-8", "replace")
    if _FOREIGN_DIGITS.search(value):
        text = value.decode("utf-8", "replace")
        value = _NOT_ASCII.sub(lambda match: ascii_digits(match[0]), text).encode()
    return value


def _may_hold(blob: bytes, start: int) -> bool:
    """Whether the stretch that begins there may hold a card number."""
    stretch = _STRETCH.match(blob, start)
    if stretch is None or len(stretch[0].translate(None, _NOT_DIGITS)) < FEWEST:
        return False
    only = _SINGLE.fullmatch(stretch[0])
    if only is not None:
        digits = only[1].decode()
        return bool(ISSUED.fullmatch(digits)) and passes_luhn(digits)
    around = blob[max(0, start - 1) : stretch.end() + 1]  # what touches the stretch says what its digits are part of
    return not _HARMLESS.fullmatch(around) and bool(candidates(around.decode("utf-8", "replace")))


def _stretches(blob: bytes) -> list[int]:
    """Where stretches without letters and quotes begin that are long enough for a card number.

    A bit for each byte says whether it belongs to a stretch. Runs are then found in words of 64 bits, which costs next
    to nothing. Times of day with milliseconds, `12:00:00.000`, are just as long as the shortest number, and every
    record may hold some: a stretch of that length with a colon in third place is left out.
    """
    codes = np.frombuffer(blob, np.uint8)
    rest = codes | np.uint8(32)  # one block of memory for all that follows: new ones cost more than the arithmetic
    rest -= np.uint8(97)
    inside = rest.view(np.bool_)
    np.greater_equal(rest, np.uint8(26), out=inside)  # no letter of either case
    other = codes != _QUOTE[0]
    inside &= other
    words = _words(inside)
    np.equal(codes, np.uint8(ord(":")), out=other)
    runs = _runs(words, FEWEST)
    runs &= _later(runs, 1) | ~_later(_words(other), 2)
    if not runs.any():  # as in most batches
        return []
    begins = runs & ~(runs << np.uint64(1))
    begins[1:] &= ~(runs[:-1] >> np.uint64(63))
    hits = np.flatnonzero(begins)
    places = np.flatnonzero(np.unpackbits(begins[hits].view(np.uint8), bitorder="little").view(np.bool_))
    found: list[int] = (hits[places // 64] * 64 + places % 64).tolist()
    return found


def _words(bits: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint64]:
    """Bits in words of 64, the first one lowest, and a word of zeros behind them."""
    packed = np.packbits(bits, bitorder="little")
    words = np.zeros(len(packed) // 8 + 2, dtype="<u8")
    words.view(np.uint8)[: len(packed)] = packed
    return words


def _later(words: npt.NDArray[np.uint64], n: int) -> npt.NDArray[np.uint64]:
    """For each bit the one n places later. n: 1 to 63."""
    later = words >> np.uint64(n)
    later[:-1] |= words[1:] << np.uint64(64 - n)
    return later


def _runs(words: npt.NDArray[np.uint64], n: int) -> npt.NDArray[np.uint64]:
    """A bit where n set bits begin. n: up to 64."""
    length = 1
    while length < n:
        step = min(length, n - length)
        words = words & _later(words, step)
        length += step
    return words
