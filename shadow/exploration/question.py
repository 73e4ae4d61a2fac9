"""What an explorer may be asked for: filters that people combine, order and pages."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Annotated, Literal
from urllib.parse import unquote

import orjson
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from shadow.comparison.query import Direction, Instant, query_ms

#: Most conditions of one kind in a question.
MOST_CONDITIONS = 30

#: What reviews say of a sample: `waiting` is a case without an answer, `none` no case at all.
LabelState = Literal["fraud", "legit", "unsure", "contradictory", "waiting", "none"]
Text = Annotated[str, StringConstraints(min_length=1, max_length=300)]
#: Before a field that is meant as the transaction has it, even if we have a field of that name, too.
OF_TRANSACTION = "transaction."


class Question(BaseModel):
    """Which samples are meant. Amounts are in units of the reporting currency; a gap is candidate minus live score.

    Conditions on different things must all hold; several of `segment` in one division, or of `where` on one field, are
    alternatives.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    direction: Direction | None = Field(None, description="the only model that blocks")
    agreements: bool = Field(False, description="include samples of agreements")
    segment: list[Text] = Field([], max_length=MOST_CONDITIONS, description="segment such as `country=FR`; repeatable")
    where: list[Text] = Field(
        [],
        max_length=MOST_CONDITIONS,
        description="`field=value`, such as `merchant_id=m-17` or `hour=13`; repeatable. A field is that of the "
        "transaction, or `hour`, `weekday` or `day` (UTC). `%` and `=` in the name of a field are written %25 and %3D",
    )
    top_feature: Text | None = Field(None, description="the feature that makes the largest difference")
    label: LabelState | None = Field(None, description="what reviews say; `waiting`: a case without an answer")
    min_amount: float | None = Field(None, allow_inf_nan=False)
    max_amount: float | None = Field(None, allow_inf_nan=False)
    min_gap: float | None = Field(None, allow_inf_nan=False)
    max_gap: float | None = Field(None, allow_inf_nan=False)
    min_size: float | None = Field(
        None, ge=0, allow_inf_nan=False, description="least size of the gap, whatever its sign"
    )
    since: Instant | None = Field(None, description="occurred at or after this time")
    until: Instant | None = Field(None, description="occurred before this time")
    scored_since: Instant | None = Field(None, description="scored by live at or after this time")
    scored_until: Instant | None = Field(None, description="scored by live before this time")
    card: Text | None = Field(None, description="token of a card; not for viewers")
    transaction: Text | None = Field(None, description="id of a transaction")

    @field_validator("since", "until", "scored_since", "scored_until")
    @classmethod
    def _an_instant(cls, value: str | None) -> str | None:
        if value is not None:
            query_ms(value)
        return value

    @field_validator("where")
    @classmethod
    def _conditions(cls, value: list[str]) -> list[str]:
        for text in value:
            condition(text)
        return value

    @model_validator(mode="after")
    def _ordered(self) -> Question:
        for low, high in (("min_amount", "max_amount"), ("min_gap", "max_gap")):
            first, last = getattr(self, low), getattr(self, high)
            if first is not None and last is not None and first > last:
                raise ValueError(f"{low} is {first:g} and {high} is {last:g}; nothing lies between them")
        return self

    @property
    def digest(self) -> str:
        """Identifies what is asked for, whatever the order and page."""
        plain = {name: getattr(self, name) for name in Question.model_fields}
        return hashlib.blake2b(orjson.dumps(plain, option=orjson.OPT_SORT_KEYS), digest_size=6).hexdigest()

    @property
    def conditions(self) -> dict[str, list[str]]:
        """The values that are asked for, by field."""
        found: dict[str, list[str]] = {}
        for text in self.where:
            name, value = condition(text)
            found.setdefault(name, []).append(value)
        return found

    @property
    def divisions(self) -> dict[str, list[str]]:
        """The segments that are asked for, by division; `all` is in one of its own."""
        return by_division(self.segment)


def by_division(segments: Iterable[str]) -> dict[str, list[str]]:
    """Segments by their division: what is before the equals sign."""
    found: dict[str, list[str]] = {}
    for name in segments:
        found.setdefault(name.partition("=")[0], []).append(name)
    return found


def condition(text: str) -> tuple[str, str]:
    """Field and value of a condition. Raises ValueError for a text that is none.

    >>> condition("merchant_id=m=1"), condition("a%3Db=2")
    (('merchant_id', 'm=1'), ('a=b', '2'))
    """
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ValueError(f"{text!r} is no condition; expected field=value, such as merchant_id=m-17")
    return unquote(name), value


def as_condition(name: str, value: str) -> str:
    """The text of a condition, which `condition` reads.

    >>> as_condition("a=b", "2")
    'a%3Db=2'
    """
    return f"{name.replace('%', '%25').replace('=', '%3D')}={value}"
