"""Estimates of a whole stream: right on average, and as far off as their error says."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

from shadow.comparison.index import ENTRY
from shadow.exploration.estimate import count, estimate, total
from shadow.store.explorer import chances_of

NAMES = ("all", "country=DE", "country=FR", "amount=<50", "amount=>=50")
KEEP = 50


def a_stream(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Segments as bits, hashes, and money of n disagreements of one day: a large country and a small one."""
    country = np.where(rng.random(n) < 0.9, 1, 2)
    amount = np.where(rng.random(n) < 0.5, 3, 4)
    bits = 1 | (1 << country) | (1 << amount)
    return bits, rng.random(n), rng.gamma(2.0, 50.0, n)


def sampled(bits: np.ndarray, hashes: np.ndarray) -> tuple[np.ndarray, dict[bytes, bytes]]:
    """Rows that bottom-k keeps in any stratum, and the smallest hash that each stratum refused: by hand."""
    is_kept, taus = np.zeros(len(bits), dtype=bool), {}
    for at, name in enumerate(NAMES):
        mine = np.flatnonzero(bits >> at & 1)
        order = mine[np.argsort(hashes[mine])]
        is_kept[order[:KEEP]] = True
        if len(order) > KEEP:
            taus[f"2:{name}".encode()] = repr(float(hashes[order[KEEP]])).encode()
    return np.flatnonzero(is_kept), taus


def test_bottom_k_estimates_are_unbiased_and_their_intervals_hold_what_they_promise() -> None:
    """Also of a part of the stream that is no stratum, such as one country's large amounts."""
    rng = np.random.default_rng(11)
    runs, inside = 400, {"all": 0, "small": 0, "cross": 0}
    means: dict[str, list[float]] = {name: [] for name in inside}
    squares: dict[str, list[float]] = {name: [] for name in inside}
    money: list[float] = []
    for _ in range(runs):
        bits, hashes, amounts = a_stream(2_000, rng)
        rows, taus = sampled(bits, hashes)
        entries = np.zeros(len(rows), dtype=ENTRY)
        entries["segments"], entries["hash"], entries["kind"], entries["names"] = bits[rows], hashes[rows], 2, 7
        chances = chances_of(entries, taus, {7: NAMES})
        of = {"all": bits > 0, "small": (bits >> 2 & 1) == 1, "cross": (bits & 0b10010) == 0b10010}
        for name, mask in of.items():
            found, truth = count(chances[mask[rows]]), int(mask.sum())
            means[name].append(found.value / truth - 1)
            squares[name].append((found.error / truth) ** 2)
            inside[name] += found.low <= truth <= found.high
        value, _ = total(amounts[rows], chances)
        money.append(value / amounts.sum() - 1)
    for name, errors in means.items():
        spread = float(np.std(errors))
        assert abs(np.mean(errors)) < 4 * spread / np.sqrt(runs), (name, "biased")
        assert 0.8 < np.sqrt(np.mean(squares[name])) / spread < 1.25, (name, "the error is not the error")
        assert inside[name] / runs > 0.9, (name, inside)
    assert abs(np.mean(money)) < 4 * np.std(money) / np.sqrt(runs)


def test_what_was_kept_for_certain_has_no_error() -> None:
    found = count(np.ones(7))
    assert (found.value, found.error, found.low, found.high, found.is_thin) == (7, 0, 7, 7, False)
    assert count(np.zeros(0)).high == 0


def test_fewer_than_the_samples_themselves_is_never_told() -> None:
    found = count(np.array([0.9, 0.01]))
    assert found.low >= 2
    assert found.is_thin
    assert estimate(100.0, 400.0, 5).low < 100 < estimate(100.0, 400.0, 5).high


@pytest.mark.parametrize("name", ["columns", "cursor", "estimate", "page", "question", "rows", "words"])
def test_examples_in_the_docstrings_hold(name: str) -> None:
    import importlib

    assert doctest.testmod(importlib.import_module(f"shadow.exploration.{name}")).failed == 0
