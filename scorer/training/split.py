"""Cuts a history in time: what a model is fitted on, what sets its threshold, and what it is tested on. Pure.

Between the first two lies the time that labels take to become known: on the day on which a model is fitted, nobody
knows yet what became of the days before. For the same reason the last of these days test nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from scorer.errors import UserError

#: Fewest frauds to fit on, and fewest transactions to calibrate and test on.
LEAST_FRAUDS, LEAST_KEPT_OUT = 20, 100

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Cut:
    """Positions in the history of each part's transactions: int64 (k,)."""

    fit: Rows
    calibration: Rows
    test: Rows


def cut(
    occurred_ms: Rows,
    labels: npt.NDArray[np.int8],
    share: float,
    delay_ms: int = 0,
    as_of_ms: int | None = None,
) -> Cut:
    """Cut n transactions.

    share: of the transactions that are not fitted on: the latest ones; the first half of them sets the threshold, the
    second half tests. delay_ms: how long labels take. as_of_ms: when the labels were looked at; None for the last
    transaction.

    Raises UserError for a part that is too small, or has no fraud, or nothing else.
    """
    order = np.argsort(occurred_ms, kind="stable")
    end = int(occurred_ms[order[-1]]) if as_of_ms is None else as_of_ms
    if delay_ms:
        order = order[occurred_ms[order] <= end - delay_ms]
    at = int(len(order) * (1 - share))
    rest = order[at:]
    fit = order[:at]
    if delay_ms and len(rest):
        fit = fit[occurred_ms[fit] < occurred_ms[rest[0]] - delay_ms]
    half = len(rest) // 2
    found = Cut(fit, rest[:half], rest[half:])
    frauds = int(labels[fit].sum())
    if frauds < LEAST_FRAUDS or len(rest) < LEAST_KEPT_OUT:
        less = ", or a shorter --label-delay" if delay_ms else ""
        raise UserError(
            f"train: {frauds} frauds in {len(fit)} transactions to fit on and {len(rest)} to calibrate and test on, "
            f"expected at least {LEAST_FRAUDS} frauds and {LEAST_KEPT_OUT} to calibrate and test on; give more "
            f"transactions{less}"
        )
    for rows, what in ((fit, "to fit on"), (found.calibration, "that set the threshold"), (found.test, "to test on")):
        frauds = int(labels[rows].sum())
        if frauds == len(rows):
            raise UserError(
                f"train: all {len(rows)} transactions {what} are fraud; is the field of the label the right one "
                "(--label), and are the legitimate ones in the files?"
            )
        if not frauds:
            raise UserError(
                f"train: none of the {len(rows)} transactions {what} is fraud; keep more of the latest ones out of the "
                "fit (--calibrate), or give more of them"
            )
    return found
