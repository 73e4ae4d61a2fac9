"""Counts card-days of drawn transactions, up to each look: what the store does with states, here with arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from shadow.comparison.totals import CAP_PARTS, CELLS, HELD_CAPS, MONEY_SUMS, MONEY_TOPS

Array = npt.NDArray[Any]


def card_days(
    card_day: Array, look: Array, segments: Array, side: Array, parts: Array, looks: int, n_segments: int
) -> dict[str, Array]:
    """`cells`, `money` and `tops` of `shadow.gate.sums.Sums`: (looks, S, ...).

    Of n blocked transactions: card_day: which one it belongs to. look: the first that sees it. segments: (n, d). side:
    0 if both block, 1 if live alone, 2 if the candidate alone. parts: amounts in thousandths of the cap.
    """
    key = (card_day[:, None].astype(np.int64) * n_segments + segments).ravel()
    look, side, parts = (np.repeat(column, segments.shape[1]) for column in (look, side, parts))
    # one number for both: rows would be sorted as bytes, which takes five times as long
    at, place = np.unique(key * looks + look, return_inverse=True)
    at = np.stack(np.divmod(at, looks), axis=1)
    # transactions of each side, then their money, of one card-day at one look
    cell = place * 3 + side
    seen = np.concatenate(
        [np.bincount(cell, weights, minlength=3 * len(at)).reshape(-1, 3) for weights in (None, parts)], axis=1
    )
    first = np.concatenate([[True], at[1:, 0] != at[:-1, 0]]) if len(at) else np.zeros(0, dtype=bool)
    summed = seen.cumsum(axis=0)
    group = np.cumsum(first) - 1
    after = summed - (summed - seen)[first][group] if len(at) else seen
    before = np.where(first[:, None], 0.0, np.roll(after, 1, axis=0))
    where = at[:, 1] * n_segments + at[:, 0] % n_segments
    added, heaviest = _counted(after)
    again = np.flatnonzero(~first)  # what a card-day counted for before, is taken off
    added[again] -= _counted(before[again])[0]
    columns = [np.bincount(where, column, minlength=looks * n_segments) for column in added.T]
    sums = np.stack(columns, axis=-1).reshape(looks, n_segments, -1).cumsum(axis=0)
    tops = np.zeros((looks * n_segments, 2 * MONEY_TOPS))
    for at_top, column in enumerate(heaviest.T):
        np.maximum.at(tops[:, at_top], where, column)
    return {
        "cells": sums[..., :CELLS],
        "money": sums[..., CELLS:].reshape(looks, n_segments, 2, MONEY_SUMS),
        "tops": np.maximum.accumulate(tops.reshape(looks, n_segments, 2, MONEY_TOPS), axis=0),
    }


def _counted(seen: Array) -> tuple[Array, Array]:
    """What card-days count for: sums and maxima."""
    n = len(seen)
    cells = np.zeros((n, CELLS))
    kind = (seen[:, :3] > 0) @ np.array([1, 2, 4])
    cells[np.arange(n), kind] = kind > 0
    whole = seen[:, 3:]
    total = whole.sum(axis=1, keepdims=True)
    cut = np.where(total > CAP_PARTS, np.ceil(whole * CAP_PARTS / np.maximum(total, 1)), whole)
    sums, tops = [cells], []
    for money, most in ((cut, CAP_PARTS), (whole, np.inf)):
        both, live, candidate = money.T
        net, base = candidate - live, both + live
        held = np.minimum(base, HELD_CAPS * CAP_PARTS)
        products = (net * net, net * base, base * base, net * held, held * held)
        columns = (net, base, held, *products, live, live * live, candidate * candidate)
        sums.append(np.stack(columns, axis=1))
        heaviest = (whole[:, 2], whole[:, 1], whole[:, 0] + whole[:, 1])
        tops.append(np.minimum(np.stack(heaviest, axis=1), most))
    return np.concatenate(sums, axis=1), np.concatenate(tops, axis=1)
