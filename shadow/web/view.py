"""The state of the page of differences, all of which is in its address."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal
from urllib.parse import urlencode

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, ValidationError, field_validator
from starlette.datastructures import QueryParams

from scorer.pipeline.instants import HOUR_MS
from scorer.pipeline.lenient import rfc3339
from shadow.comparison.query import Instant, query_ms
from shadow.exploration.page import Sort
from shadow.exploration.question import Question, Text, as_condition
from shadow.exploration.table import DAY, DIRECTION, HOUR, LABEL, OF_SEGMENTS, TOP_FEATURE, WEEKDAY
from shadow.web.asked import Scope

_MANY = ("segment", "where", "facet")
#: How far from the moment `at` something may have been scored.
AROUND_MS = 300_000
#: Conditions on these leave parts of days, or single days.
_PARTS_OF_TIME = {HOUR, WEEKDAY, DAY}
#: What an address to change a condition leaves out: the place in the list.
_PLACE = {"cursor": None}


def in_words(instant: str) -> str:
    """A time as people read it: Grafana gives milliseconds since 1970."""
    try:
        return rfc3339(query_ms(instant)) if instant.isdecimal() else instant
    except OverflowError:
        return instant


class _Around(BaseModel):
    """A moment, as a point of a chart names it: what was scored near it is shown."""

    at: Instant | None = None

    @field_validator("at")
    @classmethod
    def _an_instant(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                rfc3339(query_ms(value) - AROUND_MS), rfc3339(query_ms(value) + AROUND_MS)
            except OverflowError:
                raise ValueError("is in no year that a calendar has") from None
        return value

    @property
    def bounds(self) -> dict[str, str]:
        """From when to when; empty without a moment."""
        if self.at is None:
            return {}
        ms = query_ms(self.at)
        return {"scored_since": rfc3339(ms - AROUND_MS), "scored_until": rfc3339(ms + AROUND_MS)}


class View(Scope):
    """What a page of differences shows."""

    noise: Literal["hide", "show"] = "hide"
    unit: Literal["count", "percent"] = "count"
    sort: Sort = "gap"
    ascending: bool = False
    cursor: str | None = Field(None, max_length=200)
    facet: list[Text] = Field([], max_length=10)
    threshold: float | None = Field(None, ge=0, le=1)

    @classmethod
    def of(cls, params: QueryParams) -> View:
        """From an address; empty values are none. Raises RequestValidationError."""
        given: dict[str, Any] = {}
        for name, value in params.multi_items():
            if value != "":
                given[name] = [*given.get(name, ()), value] if name in _MANY else value
        try:
            around = _Around.model_validate({"at": given.pop("at", None)})
            found = cls.model_validate({**given, **around.bounds})
        except ValidationError as error:
            raise RequestValidationError(error.errors()) from None
        return found.model_copy(update={"beyond_noise": found.noise == "hide"})

    def pairs(self, **changes: Any) -> list[tuple[str, str]]:
        """Names and values of an address to this view, with some changes."""
        found: list[tuple[str, str]] = []
        for name, info in type(self).model_fields.items():
            value = changes.get(name, getattr(self, name))
            if name == "beyond_noise" or value is None or value == info.default:
                continue
            for one in value if isinstance(value, list) else [value]:
                found.append((name, str(one).lower() if isinstance(one, bool) else str(one)))
        return found

    def address(self, path: str = "/explore", **changes: Any) -> str:
        """An address to this view, with some changes."""
        query = urlencode(self.pairs(**changes))
        return f"{path}?{query}" if query else path

    def changed(self, **changes: Any) -> str:
        """An address to this view with other conditions, from its first page on."""
        return self.address(**{**_PLACE, **changes})

    def toggled(self, field: str, value: str | None) -> tuple[str, bool]:
        """An address that puts or takes away the condition that a value of a facet stands for; whether it is on."""
        if value is None:
            return "", False
        if field.startswith(OF_SEGMENTS):
            name = f"{field.removeprefix(OF_SEGMENTS)}={value}"
            return self._in_list("segment", name)
        if field == TOP_FEATURE:
            return self._single("top_feature", value)
        if field == LABEL:
            return self._single("label", value)
        if field == DIRECTION and value in ("live_only", "candidate_only"):
            return self._single("direction", value)
        return self._in_list("where", as_condition(field, value))

    def _single(self, name: str, value: str) -> tuple[str, bool]:
        is_on = getattr(self, name) == value
        return self.changed(**{name: None if is_on else value}), is_on

    def _in_list(self, name: str, value: str) -> tuple[str, bool]:
        now: list[str] = getattr(self, name)
        is_on = value in now
        return self.changed(**{name: [one for one in now if one != value] if is_on else [*now, value]}), is_on

    def chips(self) -> list[tuple[str, str]]:
        """What each condition says, and an address without it."""
        found = [(one, self._in_list("segment", one)[0]) for one in self.segment]
        found += [(one, self._in_list("where", one)[0]) for one in self.where]
        words = {
            "direction": "blocked by",
            "top_feature": "mainly by",
            "label": "label",
            "min_amount": "amount from",
            "max_amount": "amount to",
            "min_gap": "gap from",
            "max_gap": "gap to",
            "min_size": "size of gap from",
            "since": "since",
            "until": "until",
            "scored_since": "scored since",
            "scored_until": "scored until",
            "card": "card",
            "transaction": "transaction",
        }
        for name, word in words.items():
            value = getattr(self, name)
            if value is not None:
                text = f"{value:g}" if isinstance(value, float) else str(value)
                text = in_words(text) if name.endswith(("since", "until")) else text
                said = {"live_only": "live alone", "candidate_only": "the candidate alone"}.get(text, text)
                found.append((f"{word} {said}", self.changed(**{name: None})))
        if self.agreements:
            found.append(("agreements, too", self.changed(agreements=False)))
        return found

    def hours_meant(self, covered: Sequence[int]) -> int:
        """How many of these event hours, since 1970, the conditions on time leave; 0 if they are not on whole spans, so
        that nothing can be told for a week."""
        if self.scored_since or self.scored_until or self.transaction or _PARTS_OF_TIME & self.conditions.keys():
            return 0
        since = None if self.since is None else query_ms(self.since) // HOUR_MS
        until = None if self.until is None else -(-query_ms(self.until) // HOUR_MS)
        return sum((since is None or since <= one) and (until is None or one < until) for one in covered)

    @property
    def clear(self) -> str:
        """An address without any condition."""
        bare: dict[str, Any] = {name: info.default for name, info in Question.model_fields.items()}
        return self.changed(**bare)
