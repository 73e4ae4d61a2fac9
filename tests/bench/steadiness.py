"""How steady the machine is by itself: a virtual core shares its silicon with strangers, who take part of its speed."""

from __future__ import annotations

import time

import numpy as np

SECONDS, WINDOW_SECONDS = 10.0, 0.1


def speeds(seconds: float = SECONDS) -> list[float]:
    """Rounds of the same arithmetic a second, within the first cache, in each tenth of a second on this core."""
    numbers, found = np.linspace(0.0, 1.0, 2000), []
    end = time.perf_counter() + seconds
    began, rounds = time.perf_counter(), 0
    while (now := time.perf_counter()) < end:
        if now - began >= WINDOW_SECONDS:
            found.append(rounds / (now - began))
            began, rounds = now, 0
        numbers @ numbers
        rounds += 1
    return found


def summary(found: list[float]) -> dict[str, float]:
    """Slow, usual and slowest tenths of a second, as shares of a fast one (its 95th percentile)."""
    slowest, slow, usual, fast = np.quantile(found, [0.0, 0.05, 0.5, 0.95])
    return {"slowest": float(slowest / fast), "p5": float(slow / fast), "median": float(usual / fast)}
