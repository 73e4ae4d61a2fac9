"""Measures of a model, counted once more in plain Python, by nothing that the product measures with.

They are those of the handbook whose data this is: Le Borgne, Siblini, Lebichot and Bontempi (2022), "Reproducible
Machine Learning for Credit Card Fraud Detection - Practical Handbook", chapter 4.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import groupby


def _tied(scores: Sequence[float], frauds: Sequence[bool]) -> Iterable[tuple[int, int]]:
    """Of each score, the highest first: how many transactions have it, and how many of them are fraud."""
    ranked = sorted(zip(scores, frauds, strict=True), key=lambda row: -row[0])
    for _, group in groupby(ranked, key=lambda row: row[0]):
        same = [is_fraud for _, is_fraud in group]
        yield len(same), sum(same)


def average_precision(scores: Sequence[float], frauds: Sequence[bool]) -> float:
    """Mean of the precision at each fraud, tied scores taken together.

    >>> average_precision([0.9, 0.8, 0.7], [True, False, True])
    0.8333333333333333
    """
    seen = found = 0
    total = 0.0
    for many, bad in _tied(scores, frauds):
        seen, found = seen + many, found + bad
        total += bad * found / seen
    return total / found


def auc_roc(scores: Sequence[float], frauds: Sequence[bool]) -> float:
    """Share of the pairs of a fraud and a legitimate transaction in which the fraud scores higher; ties count half.

    >>> auc_roc([0.9, 0.8, 0.7], [True, False, True])
    0.5
    """
    above = 0
    pairs = 0.0
    for many, bad in _tied(scores, frauds):
        good = many - bad
        pairs += good * (above + bad / 2)
        above += bad
    legitimate = len(frauds) - above
    return pairs / (above * legitimate)


def card_precision(rows: Iterable[tuple[int, str, float, bool]], k: int = 100) -> float:
    """Mean over days of the share of fraud among the k cards of the highest scores. rows: day, card, score, fraud.

    A card scores as its highest transaction of the day, and is compromised if one of that day is fraud. Once it was
    among the k and compromised, it is blocked, and no longer there on later days.
    """
    days: dict[int, dict[str, tuple[float, bool]]] = defaultdict(dict)
    for day, card, score, is_fraud in rows:
        before = days[day].get(card, (score, False))
        days[day][card] = max(before[0], score), before[1] or is_fraud
    blocked: set[str] = set()
    shares = []
    for day in sorted(days):
        open_cards = [(score, card, bad) for card, (score, bad) in days[day].items() if card not in blocked]
        top = sorted(open_cards, key=lambda one: (-one[0], one[1]))[:k]
        caught = {card for _, card, bad in top if bad}
        shares.append(len(caught) / k)
        blocked |= caught
    return sum(shares) / len(shares)
