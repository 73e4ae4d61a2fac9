"""The escapes of JSON's texts, resolved even where the text is no JSON."""

from __future__ import annotations

import re

ESCAPED = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\.", re.DOTALL)
_SHORT = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


def unescaped(escape: str) -> str:
    """The character that a JSON escape stands for; a `\\u` without digits, which is no JSON, stands for its letter."""
    if len(escape) == 2:
        return _SHORT.get(escape[1], escape[1])
    if len(escape) == 6:
        return chr(int(escape[2:], 16))
    return chr(0x10000 + ((int(escape[2:6], 16) - 0xD800) << 10) + int(escape[8:], 16) - 0xDC00)


def text_of(literal: str) -> str:
    """The text that a literal of JSON, without its quotes, stands for."""
    return ESCAPED.sub(lambda match: unescaped(match[0]), literal) if "\\" in literal else literal
