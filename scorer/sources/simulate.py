"""Simulates a history of card payments with fraud in it, from a seed. It contains nobody's data.

Cards have a home country and spending habits; merchants have a country and a category. There are three patterns of
fraud: a stolen card is used in a quick burst; a compromised merchant lets a thief copy its customers' payments for some
days; an account is taken over and used online, at night, from a new device. Labels become known after a delay, which is
weeks longer in France.
"""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt

from scorer.sources.source import LABEL, LABEL_TIME

COUNTRIES = ("DE", "ES", "FR", "GB")
COUNTRY_SHARE = (0.40, 0.25, 0.14, 0.21)
CHANNELS = ("pos", "contactless", "online")
CATEGORIES = ("grocery", "fuel", "restaurant", "travel", "fashion", "electronics", "gaming", "services")
#: Days until a label is known: the least, and the mean of what comes on top. In France, longer than most rotations.
LEAST_LABEL_DAYS = {"DE": 1.0, "ES": 1.0, "FR": 45.0, "GB": 1.0}
LABEL_DAYS = {"DE": 5.0, "ES": 7.0, "FR": 40.0, "GB": 4.0}
DAY_S = 86_400
#: Bursts and takeovers as shares of all transactions, compromised merchants as a share of all merchants.
BURSTS, SKIMMED_MERCHANTS, TAKEOVERS = 0.0025, 0.05, 0.011

#: at: seconds since 1970. pattern: 0 for a legitimate payment, 1 burst, 2 compromised merchant, 3 takeover.
PAYMENT = np.dtype(
    [
        ("card", "i8"),
        ("at", "i8"),
        ("shop", "i8"),
        ("amount", "f8"),
        ("channel", "i8"),
        ("device", "f8"),
        ("pattern", "i8"),
    ]
)

Ints = npt.NDArray[np.int64]
Payments = npt.NDArray[np.void]


def simulate(n: int, cards: int, merchants: int, first: date, days: int, seed: int) -> dict[str, Any]:
    """About n transactions as columns, in order of time. The same arguments give the same columns.

    `occurred_at`, and `label_available_at`, when the label became known, are datetime64[ms] in UTC; `is_fraud` is 0 or
    1. first: day on which the history begins.
    """
    rng = np.random.default_rng(seed)
    start = np.datetime64(first, "s").astype(np.int64)
    home = rng.choice(len(COUNTRIES), cards, p=COUNTRY_SHARE)
    habit = rng.lognormal(3.3, 0.5, cards)
    activity = rng.gamma(2.0, 1.0, cards) + 0.05
    shop_country = rng.choice(len(COUNTRIES), merchants, p=COUNTRY_SHARE)
    shop_category = rng.integers(0, len(CATEGORIES), merchants)
    shops_of = [np.flatnonzero(shop_country == country) for country in range(len(COUNTRIES))]

    bursts, takeovers = int(n * BURSTS), int(n * TAKEOVERS)

    def payments(card: Ints, at: Ints, pattern: int, abroad: float = 0.08) -> Payments:
        """Ordinary payments of these cards at these times."""
        made = np.zeros(len(card), dtype=PAYMENT)
        made["card"], made["at"], made["pattern"] = card, start + at, pattern
        made["shop"] = _shops(rng, home[card], shops_of, abroad)
        made["amount"] = habit[card] * rng.lognormal(0.0, 0.6, len(card))
        made["channel"] = rng.choice(3, len(card), p=(0.4, 0.3, 0.3))
        made["device"] = rng.gamma(2.0, 150.0, len(card))
        return made

    normal = n - int(bursts * 6.5) - takeovers
    usual = payments(rng.choice(cards, normal, p=activity / activity.sum()), _moments(rng, normal, days), 0)
    # Compromised merchants: for four days, a third of the payments there are a thief's, with higher amounts.
    skimmed = rng.choice(merchants, max(1, int(merchants * SKIMMED_MERCHANTS)), replace=False)
    since = start + rng.integers(0, max(1, days - 4), len(skimmed)) * DAY_S
    for merchant, begin in zip(skimmed.tolist(), since.tolist(), strict=True):
        open_days = (usual["at"] >= begin) & (usual["at"] < begin + 4 * DAY_S)
        hit = np.flatnonzero((usual["shop"] == merchant) & open_days & (rng.random(normal) < 0.35))
        usual["amount"][hit] = habit[usual["card"][hit]] * rng.lognormal(1.1, 0.3, len(hit))
        usual["channel"][hit] = 0
        usual["pattern"][hit] = 2

    # Stolen cards: 4 to 9 purchases within two hours, above the cardholder's habit.
    count = rng.integers(4, 10, bursts)
    card = np.repeat(rng.integers(0, cards, bursts), count)
    burst = payments(card, np.repeat(_moments(rng, bursts, days), count) + rng.integers(0, 7200, len(card)), 1)
    burst["amount"] *= 2.5

    # Takeovers: online, at night, from a new device, often abroad, far above the cardholder's habit.
    night = rng.integers(0, days, takeovers) * DAY_S + rng.integers(0, 6 * 3600, takeovers)
    taken = payments(rng.integers(0, cards, takeovers), night, 3, abroad=0.4)
    taken["amount"] *= 3.2
    taken["channel"] = 2
    taken["device"] = rng.gamma(1.0, 40.0, takeovers)

    made = np.concatenate([usual, burst, taken])
    millis = made["at"] * 1000 + rng.integers(0, 1000, len(made))
    order = np.lexsort((made["card"], millis))
    made, millis = made[order], millis[order]
    card, at, shop, fraud = made["card"], made["at"], made["shop"], made["pattern"] > 0
    country = shop_country[shop]
    wait = np.array([LABEL_DAYS[name] for name in COUNTRIES])[country]
    least = np.array([LEAST_LABEL_DAYS[name] for name in COUNTRIES])[country]
    known = at + (np.where(fraud, least + rng.exponential(wait), 1.0) * DAY_S).astype(np.int64)
    return {
        "transaction_id": [f"t{seed}-{i}" for i in range(len(at))],
        "occurred_at": millis.astype("datetime64[ms]"),
        "card_id": [f"card-{i}" for i in card.tolist()],
        "merchant_id": [f"m-{i}" for i in shop.tolist()],
        "amount": np.round(made["amount"], 2),
        "currency": ["EUR"] * len(at),
        "country": [COUNTRIES[i] for i in country.tolist()],
        "channel": [CHANNELS[i] for i in made["channel"].tolist()],
        "merchant_category": [CATEGORIES[i] for i in shop_category[shop].tolist()],
        "cross_border": country != home[card],
        "device_age_days": np.round(made["device"], 1),
        LABEL: fraud.astype(np.int8),
        LABEL_TIME: (known * 1000).astype("datetime64[ms]"),
    }


def _moments(rng: np.random.Generator, n: int, days: int) -> Ints:
    """Random times, in seconds from the start: on any day, mostly in the afternoon."""
    second = np.clip(rng.normal(15 * 3600, 4.5 * 3600, n), 0, DAY_S - 1)
    moments: Ints = rng.integers(0, days, n) * DAY_S + second.astype(np.int64)
    return moments


def _shops(rng: np.random.Generator, home: Ints, shops_of: list[Ints], abroad: float) -> Ints:
    """A random merchant for each purchase, in the home country except for a share `abroad`, which may be anywhere."""
    where = np.where(rng.random(len(home)) < abroad, rng.choice(len(COUNTRIES), len(home), p=COUNTRY_SHARE), home)
    out = np.zeros(len(home), dtype=np.int64)
    for country, shops in enumerate(shops_of):
        mine = where == country
        out[mine] = rng.choice(shops, int(mine.sum())) if len(shops) else 0
    return out
