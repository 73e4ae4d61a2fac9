"""A simulated history is the same for the same seed, and looks like payments."""

from __future__ import annotations

import numpy as np

from harness.histories import columns
from scorer.sources.source import LABEL, LABEL_TIME


def test_the_same_seed_gives_the_same_history_and_another_another() -> None:
    first, again, other = columns(), columns(), columns(seed=2)
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["amount"][:100], other["amount"][:100])


def test_a_history_is_ordered_and_looks_like_payments() -> None:
    made = columns(n=20_000)
    n = len(made["amount"])
    assert 0.9 < n / 20_000 < 1.1
    assert (np.diff(made["occurred_at"].astype(np.int64)) >= 0).all()
    assert len(set(made["transaction_id"])) == n
    assert (made["amount"] > 0).all()
    assert 0.015 < made[LABEL].mean() < 0.06
    assert set(made["country"]) == {"DE", "ES", "FR", "GB"}
    fraud = made[LABEL] == 1
    assert made["amount"][fraud].mean() > made["amount"][~fraud].mean()
    wait = (made[LABEL_TIME] - made["occurred_at"]).astype("timedelta64[D]").astype(int)
    french = np.array(made["country"]) == "FR"
    assert (made[LABEL_TIME] > made["occurred_at"]).all()
    assert wait[fraud & french].min() >= 45 > np.median(wait[fraud & ~french])
