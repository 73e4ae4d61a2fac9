"""Decisions as the scorer publishes them, of which a test states what matters to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from shadow.comparison.decisions import Decisions, read
from shadow.comparison.segments import Segments


def a_decision(source: int, /, **changes: Any) -> dict[str, Any]:
    """One by its source offset: an allowance with score and feature 0.25 unless stated."""
    transaction = {
        "transaction_id": f"t{source}",
        "occurred_at": "2026-01-31T12:00:00Z",
        "card_id": f"card-{source % 3}",
        "country": "DE",
    }
    transaction |= {name: changes.pop(name) for name in list(changes) if name in transaction}
    return {
        "transaction": transaction,
        "decision": "allow",
        "score": 0.25,
        "threshold": 0.5,
        "bundle": "b" * 64,
        "epoch": 1,
        "view": "v",
        "features": [0.25],
        "amount_minor": 100,
        "scored_at": "2026-01-31T12:00:00Z",
        "source": {"partition": 0, "offset": source},
    } | changes


def parsed(rows: list[dict[str, Any]], start: int = 0) -> Decisions:
    """The rows as read from the topic, at offsets from `start`."""
    decisions, bad = read([orjson.dumps(row) for row in rows], list(range(start, start + len(rows))))
    assert not bad
    return decisions


SEGMENTS = Segments.model_validate({"country": {"field": "country", "values": ["DE"]}})


@dataclass(frozen=True)
class Doubling:
    """A candidate whose score is the first feature; None is no probability."""

    digest: str = "c" * 64
    epoch: int = 1
    threshold: float = 0.5

    @property
    def score(self) -> Callable[[str, Any], Any]:
        return lambda view, matrix: matrix[:, 0]
