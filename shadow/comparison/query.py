"""What stored samples may be asked for: filters, order and pages. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, field_validator

from scorer.pipeline.instants import instant_ms
from shadow.comparison.sample import Sample

#: An instant in RFC 3339, or in milliseconds since 1970, which links in Grafana carry.
Instant = Annotated[
    str,
    WithJsonSchema(
        {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "string", "pattern": "^[0-9]{1,18}$"}]}
    ),
]
Direction = Literal["live_only", "candidate_only"]


class Query(BaseModel):
    """Which samples to return. Amounts are in units of the reporting currency; a gap is candidate minus live score."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    direction: Direction | None = None
    agreements: bool = Field(False, description="include samples of agreements")
    segment: str | None = None
    min_amount: float | None = None
    max_amount: float | None = None
    min_gap: float | None = None
    max_gap: float | None = None
    since: Instant | None = None
    until: Instant | None = None
    scored_since: Instant | None = None
    scored_until: Instant | None = None
    at: Instant | None = Field(None, description="scored near this instant")
    within_seconds: float = Field(300, gt=0, description="greatest distance from `at`")
    card: str | None = None
    transaction: str | None = None
    sort: Literal["time", "amount", "gap"] = "time"
    ascending: bool = False
    limit: int = Field(20, ge=1, le=10_000)
    after: int = Field(0, ge=0, description="matching samples to skip, for the next page")

    @field_validator("since", "until", "scored_since", "scored_until", "at")
    @classmethod
    def _an_instant(cls, value: str | None) -> str | None:
        if value is not None:
            query_ms(value)
        return value


#: No instant is further from 1970 than this, in milliseconds, so that it fits beside others into 64 bits.
_FURTHEST = 2**62


def query_ms(text: str) -> int:
    """Milliseconds since 1970 of an `Instant`. Raises ValueError for anything else."""
    return min(int(text), _FURTHEST) if text.isdecimal() else instant_ms(text)


@dataclass(frozen=True, slots=True)
class Bounds:
    """The instants of a query, in milliseconds since 1970."""

    since: int | None
    until: int | None
    scored_since: int | None
    scored_until: int | None
    at: int | None

    @classmethod
    def of(cls, query: Query) -> Self:
        texts = (getattr(query, name) for name in cls.__slots__)
        return cls(*(None if text is None else query_ms(text) for text in texts))


def matches(sample: Sample, query: Query, minor_per_unit: float) -> bool:
    """Whether a query asks for a sample."""
    if query.direction is not None:
        if sample.outcome.key != query.direction:
            return False
    elif not (sample.outcome.is_disagreement or query.agreements):
        return False
    bounds = Bounds.of(query)
    amount, gap = sample.amount_minor / minor_per_unit, sample.gap
    at, scored = sample.occurred_ms, sample.scored_ms
    return (
        (query.segment is None or query.segment in sample.segments)
        and (query.min_amount is None or amount >= query.min_amount)
        and (query.max_amount is None or amount <= query.max_amount)
        and (query.min_gap is None or (gap is not None and gap >= query.min_gap))
        and (query.max_gap is None or (gap is not None and gap <= query.max_gap))
        and (bounds.since is None or at >= bounds.since)
        and (bounds.until is None or at < bounds.until)
        and (bounds.scored_since is None or scored >= bounds.scored_since)
        and (bounds.scored_until is None or scored < bounds.scored_until)
        and (bounds.at is None or abs(scored - bounds.at) <= query.within_seconds * 1000)
        and (query.card is None or sample.card_id == query.card)
        and (query.transaction is None or sample.transaction_id == query.transaction)
    )
