"""What is kept in memory of each sample's body: a number for each attribute and each reason, some 150 bytes in all.

A body has 2.7 kB, and the answer to one question may rest on 100,000 of them. So every body is read once, and what
questions are about is kept: the attributes of its transaction as codes, the features that make the difference, and the
candidate's score.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

#: Attributes of transactions, those that come first, and values of each that have a name.
MOST_ATTRIBUTES, NAMED = 40, 5_000
#: Features of an explanation that are kept.
TOP = 8
#: Codes of a value that is missing, and of the first one without a name.
MISSING, UNNAMED = -1, -2
#: Fields of a transaction that say which it is, not of what kind.
IDENTIFYING = frozenset({"transaction_id", "card_id", "occurred_at"})

Codes = npt.NDArray[np.int32]


@dataclass
class Vocabulary:
    """The codes of attributes, values and features, in the order in which they were met."""

    attributes: dict[str, dict[str, int]] = field(default_factory=dict)
    features: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._positions = {name: at for at, name in enumerate(self.attributes)}

    def position(self, name: str) -> int | None:
        """The column of an attribute; None for one that came too late to get one."""
        at = self._positions.get(name)
        if at is None and len(self._positions) < MOST_ATTRIBUTES:
            at = self._positions[name] = len(self._positions)
            self.attributes[name] = {}
        return at

    def code(self, name: str, value: str) -> int:
        """The code of a value of an attribute. A value without a name has one by its hash."""
        names = self.attributes[name]
        code = names.get(value)
        if code is not None:
            return code
        if len(names) < NAMED:
            return names.setdefault(value, len(names))
        return unnamed(value)

    def known(self, name: str, value: str) -> int:
        """The code of a value, without giving it a name."""
        code = self.attributes[name].get(value)
        return unnamed(value) if code is None else code

    def feature(self, name: str) -> int:
        return self.features.setdefault(name, len(self.features))


def unnamed(value: str) -> int:
    """The code of a value that has no name."""
    return UNNAMED - (zlib.crc32(value.encode("utf-8", "surrogatepass")) & 0x3FFFFFFF)


def text_of(value: Any) -> str | None:
    """An attribute as questions name it; None for one that is missing or no single value.

    >>> text_of(12.5), text_of(True), text_of("DE"), text_of([1])
    ('12.5', 'true', 'DE', None)
    """
    if value is None or isinstance(value, list | dict):
        return None
    return value if isinstance(value, str) else orjson.dumps(value).decode()


@dataclass
class Columns:
    """Of n bodies. attributes: int32 (n, attributes), codes. reasons: int32 (n, TOP), features by the size of their
    difference, -1 for none. differences: float32 (n, TOP), candidate minus live in log-odds. scores: float64 (n,), the
    candidate's. is_read, is_explained: bool (n,)."""

    attributes: Codes
    reasons: Codes
    differences: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float64]
    is_read: npt.NDArray[np.bool_]
    is_explained: npt.NDArray[np.bool_]

    @classmethod
    def empty(cls, n: int, width: int) -> Columns:
        """Of bodies that were not read yet."""
        return cls(
            np.full((n, width), MISSING, dtype=np.int32),
            np.full((n, TOP), -1, dtype=np.int32),
            np.zeros((n, TOP), dtype=np.float32),
            np.full(n, np.nan),
            np.zeros(n, dtype=bool),
            np.zeros(n, dtype=bool),
        )

    def widened(self, width: int) -> Columns:
        """The same, with room for so many attributes."""
        n, now = self.attributes.shape
        if now >= width:
            return self
        more = np.full((n, width - now), MISSING, dtype=np.int32)
        wide = np.hstack([self.attributes, more])
        return Columns(wide, self.reasons, self.differences, self.scores, self.is_read, self.is_explained)

    def take(self, rows: Any) -> Columns:
        """Some of them, by positions or by a mask."""
        return Columns(*(getattr(self, name)[rows] for name in Columns.__dataclass_fields__))

    @classmethod
    def joined(cls, parts: Sequence[Columns], width: int) -> Columns:
        """All of them in one."""
        if not parts:
            return cls.empty(0, width)
        wide = [part.widened(width) for part in parts]
        return cls(*(np.concatenate([getattr(part, name) for part in wide]) for name in cls.__dataclass_fields__))

    def put(self, row: int, body: Mapping[str, Any], words: Vocabulary) -> None:
        """Keep what matters of a body, as `Sample.encode` wrote it. There must be room for MOST_ATTRIBUTES."""
        self.is_read[row] = True
        self.scores[row] = body["candidate"]["score"]
        codes = self.attributes[row]
        for name, value in body["transaction"].items():
            if name in IDENTIFYING:
                continue
            text = text_of(value)
            at = None if text is None else words.position(name)
            if text is not None and at is not None:
                codes[at] = words.code(name, text)
        why = body["why"]
        self.is_explained[row] = why is not None
        for at, part in enumerate((why or ())[:TOP]):
            self.reasons[row, at] = words.feature(part["feature"])
            self.differences[row, at] = part["difference"]
