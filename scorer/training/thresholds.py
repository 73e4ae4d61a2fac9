"""Chooses the score from which a model blocks, on transactions that it was not fitted on. Pure."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from scorer.bundles.lineage import ByCost, ByPrecision, ByRate, Given, Rule
from scorer.errors import UserError

Scores = npt.NDArray[np.float64]
#: Digits of a threshold: the last ones of a score may be others on another machine.
DIGITS = 9


def threshold_for(rule: Rule, scores: Scores, labels: npt.NDArray[np.int8], amount: Scores) -> float:
    """The threshold by a rule. scores, labels (1 is fraud), amount: of n transactions, at least one a fraud.

    Raises UserError if no threshold keeps the rule.
    """
    if isinstance(rule, Given):
        return rule.threshold
    if isinstance(rule, ByRate):
        return _down(float(np.quantile(scores, 1 - rule.rate)))
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)  # of each group of equal scores
    is_fraud = labels[order] == 1
    if isinstance(rule, ByPrecision):
        precision = np.cumsum(is_fraud)[last] / (last + 1)
        good = np.flatnonzero(precision >= rule.precision)
        if not len(good):
            raise UserError(
                f"--precision {rule.precision:g}: no threshold reaches it, the best has {precision.max():.3f}; ask for "
                "less"
            )
        return _down(float(ranked[last[good[-1]]]))
    return _cheapest(rule, ranked, last, is_fraud, amount[order])


def _cheapest(rule: ByCost, ranked: Scores, last: Scores, is_fraud: npt.NDArray[np.bool_], amount: Scores) -> float:
    saved = np.cumsum(np.where(is_fraud, np.maximum(amount, 0.0), -rule.insult))[last]
    best = int(np.argmax(saved))
    if saved[best] <= 0:
        raise UserError(f"--insult-cost {rule.insult:g}: to block nothing would cost least; give a lower cost")
    return _down(float(ranked[last[best]]))


def _down(score: float) -> float:
    """A score rounded down, so that what equals it stays blocked."""
    if not 0 < score < 1:
        return score
    places = DIGITS - 1 - math.floor(math.log10(score))
    if places > 300:
        return 0.0
    found = math.floor(score * 10.0**places) / 10.0**places
    return found if found <= score else math.nextafter(score, 0.0)
