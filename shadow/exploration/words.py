"""Why two models score a transaction differently, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shadow.comparison.sample import Contribution, Sample

#: Differences below this, in log-odds, are no reason.
SLIGHT = 0.02


def value_in_words(value: float | None, raw: Any = None) -> str:
    """The value of a feature. raw: what the transaction has under its name: it says more than the code of
    a category does.

    >>> value_in_words(None), value_in_words(3.0), value_in_words(0.12345), value_in_words(12345.6)
    ('missing', '3', '0.123', '12,346')
    >>> value_in_words(2.0, "online"), value_in_words(1.0, True)
    ('online', 'yes')
    """
    if isinstance(raw, bool):
        return "yes" if raw else "no"
    if isinstance(raw, str):
        return raw
    if value is None:
        return "missing"
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def name_in_words(feature: str) -> str:
    """A feature as people say it.

    >>> name_in_words("card_count_1h")
    'card count 1h'
    """
    return " ".join(feature.replace("_", " ").split()) or feature


def reason(part: Contribution, transaction: Mapping[str, Any] | None = None) -> str:
    """What a feature of a transaction does to the two scores.

    >>> reason(Contribution("amount", 250.0, 0.1, 1.3, 1.2))
    'amount is 250: the candidate sees much more risk in it than live'
    """
    told = f"{name_in_words(part.feature)} is {value_in_words(part.value, (transaction or {}).get(part.feature))}"
    size = abs(part.difference)
    if size < SLIGHT:
        return f"{told}: both see it alike"
    much = "much " if size >= 1 else "slightly " if size < 0.2 else ""
    more = "more" if part.difference > 0 else "less"
    return f"{told}: the candidate sees {much}{more} risk in it than live"


def verdict(sample: Sample) -> str:
    """Who blocks, and how the scores lie to the thresholds, in one sentence."""
    sides = {
        "both_allow": "Both models allow it",
        "both_block": "Both models block it",
        "live_only": "Live blocks it, the candidate would allow it",
        "candidate_only": "Live allows it, the candidate would block it",
    }
    told = [sides[sample.outcome.key]]
    for name, one in (("live", sample.live), ("the candidate", sample.candidate)):
        if one.score is not None and one.threshold is not None:
            side = "at or above" if one.score >= one.threshold else "below"
            told.append(f"{name} scores {one.score:.3f}, {side} its threshold of {one.threshold:.3f}")
    return f"{told[0]}: {'; '.join(told[1:])}." if len(told) > 1 else f"{told[0]}."
