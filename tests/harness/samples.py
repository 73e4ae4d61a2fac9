"""Samples of comparisons, of which a test states what matters to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shadow.comparison.outcome import Outcome
from shadow.comparison.sample import ModelDecision, Sample


def a_sample(
    n: int = 1,
    *,
    gap: float | None = -0.5,
    bundles: tuple[str | None, str] = ("b" * 64, "c" * 64),
    segments: Sequence[str] = ("all", "country=DE"),
    transaction: dict[str, Any] | None = None,
    **changes: Any,
) -> Sample:
    """The n-th of a series. gap: the candidate's score less live's; None where live has none."""
    live, candidate = (None, 0.75) if gap is None else (max(0.0, -gap), max(0.0, gap))
    named = {"transaction_id": f"t{n}", "card_id": f"c{n % 3}", "occurred_at": f"2026-01-{1 + n % 28:02}T12:00:00Z"}
    given: dict[str, Any] = {
        "transaction": named | (transaction or {}),
        "scored_at": f"2026-01-{1 + n % 28:02}T12:00:{n % 60:02}.500Z",
        "outcome": Outcome.LIVE_ONLY,
        "amount_minor": 100 * n,
        "live": ModelDecision(live, 0.5, "block", bundles[0], 1),
        "candidate": ModelDecision(candidate, 0.5, "allow", bundles[1], 1),
        "segments": tuple(segments),
        "run": "L1-C1",
        "hash": 0.5,
        "features": [1.0, None],
        "view": "v",
        "partition": 0,
        "offset": n,
    }
    return Sample(**given | changes)
