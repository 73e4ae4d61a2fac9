"""A window that a feature view declares: what it adds up of a card's transactions, and over which time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

#: Into how many buckets a window is cut. It covers an event's own bucket and the others before it, so between 11/12 of
#: its length and the whole of it.
BUCKETS = 12
#: Seconds of each unit of a length.
UNITS = {"m": 60, "h": 3600, "d": 86_400}
LENGTH = re.compile(r"[1-9][0-9]{0,5}[mhd]")
#: The longest window.
LONGEST_DAYS = 90
#: What a window can add up, beside the attributes that are numbers.
AMOUNT = "amount"
#: The aggregate that counts different values, and how many of them it tells apart; see `scorer.pipeline.distinct`.
DISTINCT, MOST = "distinct", 32
#: What can be a key beside the card and the attributes that are categories or booleans.
MERCHANT = "merchant_id"


@dataclass(frozen=True)
class Track:
    """What the rows of one or more windows keep; see `scorer.pipeline.window_row`.

    keys: names of the fields beside the card. bucket_ms: length of a bucket. of: what is added up, None for nothing but
    a count. is_distinct: whether it is told apart instead. id: 8 hex digits that no other definition has.
    """

    keys: tuple[str, ...]
    bucket_ms: int
    of: str | None
    id: str
    is_distinct: bool = False


class Window(BaseModel):
    """A feature: an aggregate of the card's transactions within a time, of those that have the same `key` as this one.

    key: fields beside the card. of: what is added up: `amount`, or an attribute that is a number; for `distinct`,
    what is told apart: `merchant_id`, `amount`, or any attribute.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=100, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    key: tuple[str, ...] = Field((), max_length=4)
    window: str
    aggregate: Literal["count", "sum", "mean", "distinct"]
    of: str | None = None

    @field_validator("key", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        if isinstance(value, str):
            return (value,)
        return sorted(value, key=str) if isinstance(value, list | tuple) else value  # their order says nothing

    @field_validator("window")
    @classmethod
    def _is_a_length(cls, text: str) -> str:
        if not LENGTH.fullmatch(text):
            raise ValueError(f"{text[:20]!r} is no length; write a whole number and m, h or d, as in 6h")
        return text

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if (self.aggregate == "count") != (self.of is None):
            raise ValueError(f"{self.name}: sum, mean and distinct need `of`, and a count has none")
        if len(set(self.key)) != len(self.key):
            raise ValueError(f"{self.name}: a key is named twice")
        if self.aggregate == DISTINCT and self.of in self.key:
            raise ValueError(f"{self.name}: {self.of} is a key, so there is never more than one; leave it out of `key`")
        if "card_id" in self.key:
            raise ValueError(f"{self.name}: every window is of one card; leave card_id out of `key`")
        if self.seconds > LONGEST_DAYS * UNITS["d"]:
            raise ValueError(f"{self.name}: a window is at most {LONGEST_DAYS}d long")
        return self

    @property
    def seconds(self) -> int:
        """How long it is."""
        return int(self.window[:-1]) * UNITS[self.window[-1]]

    def definition(self, keys: dict[str, dict[str, Any]], attribute: dict[str, Any] | None = None) -> dict[str, Any]:
        """How it is computed. keys: how each of its keys is defined. attribute: how what is told apart is, if it is an
        attribute."""
        told = {
            "kind": "window",
            "keys": keys,
            "seconds": self.seconds,
            "buckets": BUCKETS,
            "aggregate": self.aggregate,
        }
        if self.aggregate == DISTINCT:
            told |= {"most": MOST}
            told |= {} if attribute is None else {"attribute": attribute}
        return told if self.of is None else told | {"of": self.of}

    @classmethod
    def of_definition(cls, name: str, told: dict[str, Any]) -> Self:
        """The window that a definition tells of. Raises ValidationError."""
        seconds, keys = told.get("seconds"), told.get("keys")
        return cls.model_validate(
            {
                "name": name,
                "key": tuple(keys) if isinstance(keys, dict) else keys,
                "window": f"{seconds // UNITS['m']}m" if isinstance(seconds, int) else seconds,
                "aggregate": told.get("aggregate"),
                "of": told.get("of"),
            }
        )
