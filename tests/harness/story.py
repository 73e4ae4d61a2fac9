"""A small story of two models, the same each time: twenty days of a shop's cards, and what each model makes of them.

The candidate sees more risk in a card that is used often within a day and in young devices, and less in travel. From
the thirteenth day on a wave of stolen cards is tried out in France, which only the candidate notices.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from harness.stated import Push, Told

FIRST_DAY = np.datetime64("2026-01-05T00:00:00", "s")
DAYS, WAVE_FROM = 20, 12
RELEASE = """schema: 1
segments:
  country: {field: country, values: [DE, FR, GB]}
  channel: {field: channel, values: [online, pos]}
minimum_covered_hours: 336
recent_days: 5
overall: {minimum_transactions: 5000, maximum_more_blocks: 0.5, maximum_fewer_blocks: 0.5}
per_segment: {minimum_transactions: 500, maximum_more_blocks: 0.8, maximum_fewer_blocks: 0.8}
"""
SLOTS = ("candidate", "challenger", "control")
CATEGORIES = ("grocery", "fuel", "restaurant", "travel", "fashion", "electronics", "gaming")
#: Log-odds of a category, as live sees them.
_RISK = dict(zip(CATEGORIES, (-0.9, -0.6, -0.5, 0.3, 0.0, 0.7, 0.9), strict=True))
_BASES = (-2.55, -2.75)
#: Countries as often as they occur.
_COUNTRIES = ("DE",) * 5 + ("FR",) * 3 + ("GB",) * 2


def _score(odds: float) -> float:
    return round(1 / (1 + math.exp(-odds)), 6)


def rows(per_hour: int = 30, days: int = DAYS, seed: int = 7) -> list[Told]:
    """Every transaction, in the order in which they occur."""
    rng = np.random.default_rng(seed)
    found: list[Told] = []
    for hour in range(days * 24):
        is_wave = hour >= WAVE_FROM * 24
        seconds = np.sort(rng.integers(0, 3600, per_hour))
        for second in seconds.tolist():
            stolen = is_wave and rng.random() < 0.012
            n = len(found)
            amount = round(float(rng.lognormal(2.8 if stolen else 3.4, 0.9)) + 1, 2)
            country = "FR" if stolen else _COUNTRIES[int(rng.integers(10))]
            channel = "online" if stolen or rng.random() < 0.4 else "pos"
            category = CATEGORIES[int(rng.integers(5, 7) if stolen else rng.integers(7))]
            uses = int(rng.integers(5, 10)) if stolen else int(rng.poisson(1.1))
            age = int(rng.integers(0, 3)) if stolen else int(rng.exponential(220))
            card = f"card-{900 + n % 7}" if stolen else f"card-{int(rng.integers(800))}"
            night = 1.0 if hour % 24 < 5 else 0.0
            pushes = {
                "amount": (0.75 * math.log(amount / 30), 0.7 * math.log(amount / 30)),
                "card_count_1d": (0.12 * uses - 0.1, 0.5 * uses - 0.5),
                "merchant_category": (_RISK[category], _RISK[category] - (1.1 if category == "travel" else 0.0)),
                "device_age_days": (0.5 if age < 7 else -0.2, 0.8 if age < 7 else -0.25),
                "channel": (0.8, 0.75) if channel == "online" else (-0.4, -0.4),
                "hour_of_day": (0.5 * night, 0.55 * night),
            }
            odds = [_BASES[side] + sum(both[side] for both in pushes.values()) for side in (0, 1)]
            twin = odds[0] + float(rng.normal(0, 0.09))
            challenged = odds[1] - 0.5 * (category == "gaming")
            at = str(FIRST_DAY + np.timedelta64(hour * 3600 + second, "s")) + "Z"
            fields = {
                "merchant_id": f"m-{CATEGORIES.index(category) * 10 + int(rng.integers(10))}",
                "merchant_category": category,
                "country": country,
                "channel": channel,
                "device_age_days": age,
                "currency": "EUR",
            }
            values = {"amount": amount, "card_count_1d": float(uses), "device_age_days": float(age)}
            values |= {"merchant_category": float(CATEGORIES.index(category)), "hour_of_day": float(hour % 24)}
            values["channel"] = float(channel == "pos")
            found.append(
                Told(
                    id=f"tx-{n:05}",
                    card=card,
                    at=at,
                    amount=amount,
                    fields=fields,
                    scores={
                        "live": _score(odds[0]),
                        "candidate": _score(odds[1]),
                        "challenger": _score(challenged),
                        "control": _score(twin),
                    },
                    why=_whys(pushes, values, category, twin - odds[0]),
                )
            )
    return found


def _whys(
    pushes: Mapping[str, tuple[float, float]], values: Mapping[str, float], category: str, twin: float
) -> dict[str, list[Push]]:
    """What each feature adds to live's score and to that of each slot's model."""
    candidate: list[Push] = [
        (name, values[name], round(ours, 4), round(theirs, 4)) for name, (ours, theirs) in pushes.items()
    ]
    gaming = 0.5 * (category == "gaming")
    challenger: list[Push] = [
        (name, value, ours, round(theirs - gaming * (name == "merchant_category"), 4))
        for name, value, ours, theirs in candidate
    ]
    control: list[Push] = [("amount", values["amount"], 0.1, round(0.1 + twin, 4))]
    return {"candidate": candidate, "challenger": challenger, "control": control}
