"""Finds and masks card numbers in JSON as it was sent: what is not masked stays byte for byte."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import orjson

from scorer.pipeline.card_number import find, hidden, masked
from scorer.pipeline.escapes import ESCAPED, text_of, unescaped

#: Strings, with the colon behind a name; brackets; numbers.
_TOKEN = re.compile(r'"([^"\\]*(?:\\.[^"\\]*)*)"(\s*:)?|[{}\[\]]|-?\d[\d.eE+-]*', re.DOTALL)
#: A number that may be a card number: whole, or written as a spreadsheet does.
_NUMBER = re.compile(r"(\d+)(?:\.0*)?|(\d\.\d+)[eE]\+?1\d")


@dataclass(frozen=True)
class _Text:
    """A text in a JSON document: from where to where it is without its quotes, and the field of the record it is in.

    is_name: it is a field's name. is_number: it is no text at all, but a number.
    """

    start: int
    end: int
    field: str
    is_name: bool
    is_number: bool


def _texts(document: str) -> Iterator[_Text]:
    """The texts and numbers of a JSON object, those of nested values too, even of fields that a later one replaces."""
    depth, field = 0, ""
    for match in _TOKEN.finditer(document):
        start, end = match.span()
        opening = document[start]
        if opening == '"':
            start, end = match.span(1)
            is_name = match[2] is not None
            if is_name and depth == 1:
                field = text_of(document[start:end])
            yield _Text(start, end, field, is_name, False)
        elif opening in "{[":
            depth += 1
        elif opening in "}]":
            depth -= 1
        else:
            yield _Text(start, end, field, False, True)


def is_in(text: bytes) -> bool:
    """Whether there is a card number in a text as a record's key is one; JSON escapes count as what they stand for."""
    return bool(find(text_of(text.decode("utf-8", "surrogateescape"))))


def masked_bytes(text: bytes) -> bytes:
    """`masked` of such a text. What stays, stays byte for byte."""
    return _masked_literal(text.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")


def find_field(value: bytes, is_checked: Callable[[str], bool]) -> tuple[str, bool] | None:
    """The first field of a JSON object with a card number in it, under its name in the record; True if in a name.

    is_checked: whether a field of the object counts. Numbers do not: they are not texts.
    """
    document = value.decode()
    for text in _texts(document):
        if not text.is_number and is_checked(text.field) and find(text_of(document[text.start : text.end])):
            return text.field, text.is_name
    return None


def masked_json(value: bytes, is_checked: Callable[[str], bool]) -> bytes:
    """A record with every card number masked, in numbers too; all else stays byte for byte, and JSON stays JSON.

    is_checked: as for `find_field`. What is not a JSON object is masked as one text.
    """
    if not _is_object(value):
        return masked_bytes(value)
    document = value.decode()
    parts, done = [], 0
    for text in _texts(document):
        if not is_checked(text.field):
            continue
        literal = document[text.start : text.end]
        new = _masked_number(literal) if text.is_number else _masked_document(_masked_literal(literal))
        if new != literal:
            parts += [document[done : text.start], new]
            done = text.end
    return "".join([*parts, document[done:]]).encode()


def _is_object(value: bytes) -> bool:
    try:
        return isinstance(orjson.loads(value), dict)
    except orjson.JSONDecodeError:
        return False


def _masked_literal(literal: str) -> str:
    """`masked` of a text that may hold JSON escapes."""
    if "\\" not in literal:
        return masked(literal)
    units, done = [], 0
    for match in ESCAPED.finditer(literal):
        units += [*literal[done : match.start()], match[0]]
        done = match.end()
    units += literal[done:]
    text = "".join([unescaped(unit) if len(unit) > 1 else unit for unit in units])
    for at in hidden(text):
        units[at] = "*"
    return "".join(units)


def _masked_document(literal: str) -> str:
    """A text that holds JSON, as an envelope may, masked as JSON: what is escaped in it is escaped twice here.

    If nothing is masked in it, it stays as it is.
    """
    if "\\" not in literal:
        return literal
    inner = text_of(literal).encode()
    if not inner.lstrip().startswith(b"{"):
        return literal
    new = masked_json(inner, lambda _: True)
    return literal if new == inner else orjson.dumps(new.decode()).decode()[1:-1]


def _masked_number(literal: str) -> str:
    """A number, or the text of what is left of it if it is a card number."""
    match = _NUMBER.fullmatch(literal)
    digits = (match[1] or match[2].replace(".", "")) if match else ""
    return f'"{masked(digits)}"' if find(digits) else literal
