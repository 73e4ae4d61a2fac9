"""Picks samples: filters, sorting and paging over what the store kept. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from scorer.events import instant_ms

Direction = Literal["live_only", "candidate_only"]


class Query(BaseModel):
    """Which samples are wanted. Amounts are in units of the reporting currency, gaps are candidate minus live score."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    direction: Direction | None = None
    agreements: bool = Field(False, description="samples of agreements too")
    segment: str | None = None
    min_amount: float | None = None
    max_amount: float | None = None
    min_gap: float | None = None
    max_gap: float | None = None
    since: str | None = None
    until: str | None = None
    scored_since: str | None = None
    scored_until: str | None = None
    at: str | None = Field(None, description="scored near this instant, as a point of a graph has it")
    within_seconds: float = Field(300, gt=0, description="how near")
    card: str | None = None
    transaction: str | None = None
    sort: Literal["time", "amount", "gap"] = "time"
    ascending: bool = False
    limit: int = Field(20, ge=1, le=10_000)
    after: int = Field(0, ge=0, description="samples to pass over, for the next page")

    @field_validator("since", "until", "scored_since", "scored_until", "at")
    @classmethod
    def _an_instant(cls, value: str | None) -> str | None:
        if value is not None:
            _instant_ms(value)
        return value


def select(samples: Iterable[dict[str, Any]], query: Query, minor_per_unit: float) -> tuple[list[dict[str, Any]], int]:
    """One page of the samples that match, and how many match in all."""
    found = [sample for sample in samples if _matches(sample, query, minor_per_unit)]
    found.sort(key=lambda sample: (_sort_key(sample, query), sample["transaction_id"]), reverse=not query.ascending)
    return found[query.after : query.after + query.limit], len(found)


def _instant_ms(text: str) -> int:
    """Milliseconds since 1970 of an RFC 3339 text, or of a number that says just that, as links of Grafana do."""
    return int(text) if text.isdecimal() else instant_ms(text)


def _sort_key(sample: dict[str, Any], query: Query) -> float:
    if query.sort == "amount":
        return float(sample["amount_minor"])
    if query.sort == "gap":
        return abs(float(sample["gap"] or 0.0))
    return float(instant_ms(sample["occurred_at"]))


def _matches(sample: dict[str, Any], query: Query, minor_per_unit: float) -> bool:
    is_disagreement = sample["outcome"] in ("live_only", "candidate_only")
    if query.direction is not None:
        if sample["outcome"] != query.direction:
            return False
    elif not (is_disagreement or query.agreements):
        return False
    amount, gap, at = sample["amount_minor"] / minor_per_unit, sample["gap"], instant_ms(sample["occurred_at"])
    scored = instant_ms(sample["scored_at"])
    return (
        (query.segment is None or query.segment in sample["segments"])
        and (query.min_amount is None or amount >= query.min_amount)
        and (query.max_amount is None or amount <= query.max_amount)
        and (query.min_gap is None or (gap is not None and gap >= query.min_gap))
        and (query.max_gap is None or (gap is not None and gap <= query.max_gap))
        and (query.since is None or at >= _instant_ms(query.since))
        and (query.until is None or at < _instant_ms(query.until))
        and (query.scored_since is None or scored >= _instant_ms(query.scored_since))
        and (query.scored_until is None or scored < _instant_ms(query.scored_until))
        and (query.at is None or abs(scored - _instant_ms(query.at)) <= query.within_seconds * 1000)
        and (query.card is None or sample["card_id"] == query.card)
        and (query.transaction is None or sample["transaction_id"] == query.transaction)
    )
