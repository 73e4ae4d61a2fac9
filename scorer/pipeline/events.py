"""Transactions as columns, checked column by column, and what is said of those that are none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt

from scorer.pipeline.instants import instant_ms, instants_ms
from scorer.pipeline.money import MOST
from scorer.pipeline.transaction import LONGEST, REQUIRED, Reading, unclean

#: One field of n transactions.
Column = list[Any] | npt.NDArray[Any]


@dataclass(frozen=True)
class Events:
    """n transactions as columns.

    occurred_ms: int64 (n,), milliseconds since 1970. amount: float64 (n,), units of the reporting currency. minor:
    int64 (n,), the same in minor units. attributes: by name; numbers as float64 (n,), NaN where missing, others as
    lists, None where missing. documents: JSON under our field names.
    """

    ids: list[str]
    cards: list[str]
    merchants: list[str]
    occurred_ms: npt.NDArray[np.int64]
    amount: npt.NDArray[np.float64]
    minor: npt.NDArray[np.int64]
    attributes: dict[str, Column]
    documents: list[bytes]

    def __len__(self) -> int:
        return len(self.ids)


def joined(parts: Sequence[Events]) -> Events:
    """The transactions of several, at least one, in order."""
    return Events(
        ids=list(chain.from_iterable(part.ids for part in parts)),
        cards=list(chain.from_iterable(part.cards for part in parts)),
        merchants=list(chain.from_iterable(part.merchants for part in parts)),
        occurred_ms=np.concatenate([part.occurred_ms for part in parts]),
        amount=np.concatenate([part.amount for part in parts]),
        minor=np.concatenate([part.minor for part in parts]),
        attributes={name: _column([part.attributes[name] for part in parts]) for name in parts[0].attributes},
        documents=list(chain.from_iterable(part.documents for part in parts)),
    )


def _column(parts: Sequence[Column]) -> Column:
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    return list(chain.from_iterable(parts))


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the value at `position` of a batch is not a transaction. field: the field at fault, `value` for the whole."""

    position: int
    field: str
    reason: str


def _cells(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> dict[str, list[Any]]:
    """The named fields of n rows: lists of n, None where missing.

    Takes all fields of a row at once as long as no row lacks one, which is several times faster.
    """
    try:
        columns = list(map(list, zip(*map(itemgetter(*names), rows), strict=True)))
    except KeyError:
        columns = [[row.get(name) for row in rows] for name in names]
    return dict(zip(names, columns or [[] for _ in names], strict=True))


def columns_of(
    records: dict[int, dict[str, Any]], reading: Reading, suspects: dict[int, Refusal]
) -> dict[str, Column | dict[str, Column]]:
    """Columns of all records. Adds a refusal to `suspects` for each position that seems to break the contract.

    If there are any, their rows hold placeholders: read the columns again without them.
    """
    at = list(records)
    rows = list(records.values())

    def suspect(bad: Sequence[bool] | npt.NDArray[np.bool_], name: str, why: str) -> None:
        for position, is_bad in zip(at, bad, strict=True):
            if is_bad:
                suspects.setdefault(position, Refusal(position, name, f"{name}: {why}"))

    cells = _cells(rows, (*REQUIRED, *(attribute.name for attribute in reading.attributes)))

    def typed(name: str, allowed: set[type], stand_in: Any) -> list[Any]:
        column = cells[name]
        if not set(map(type, column)) <= allowed:
            bad = [type(cell) not in allowed for cell in column]
            suspect(bad, name, "missing, or of the wrong type")
            column = [stand_in if is_bad else cell for cell, is_bad in zip(column, bad, strict=True)]
        return column

    texts = {}
    for name in ("transaction_id", "card_id", "merchant_id"):
        texts[name] = column = typed(name, {str}, "-")
        lengths = list(map(len, column))
        if lengths and not (min(lengths) >= 1 and max(lengths) <= LONGEST):
            suspect([not 1 <= n <= LONGEST for n in lengths], name, f"expected 1 to {LONGEST} characters")
        if not _are_clean(column):
            suspect([unclean(text) is not None for text in column], name, "not clean")

    moments = typed("occurred_at", {str}, "1970-01-01T00:00:00Z")
    try:
        occurred_ms = instants_ms(moments)
    except ValueError:
        occurred_ms = np.zeros(len(rows), np.int64)
        for i, text in enumerate(moments):
            try:
                occurred_ms[i] = instant_ms(text)
            except ValueError as error:
                suspects.setdefault(at[i], Refusal(at[i], "occurred_at", f"occurred_at: {error}"))

    amount = np.array(typed("amount", {int, float}, 0.0), dtype=np.float64)
    in_range = (amount >= reading.least) & (amount <= MOST)
    if not in_range.all():
        suspect(~in_range, "amount", f"expected a number from {reading.least:.0f} to {MOST:.0f}")
        amount = np.where(in_range, amount, 0.0)
    rate = reading.money.rates_for(typed("currency", {str}, reading.money.currency), occurred_ms)
    if np.isnan(rate).any():
        suspect(np.isnan(rate), "currency", "no rate on that day; add it to the table of rates")
        rate = np.nan_to_num(rate, nan=1.0)
    amount = amount * rate
    too_much = np.abs(amount) > MOST
    if too_much.any():
        suspect(too_much, "amount", f"expected at most {MOST:.0f} in the reporting currency")
        amount = np.where(too_much, 0.0, amount)

    attributes: dict[str, Column] = {a.name: typed(a.name, a.accepts, None) for a in reading.attributes}
    numbers = [attribute.name for attribute in reading.attributes if attribute.kind == "number"]
    # All numbers as one array, because a check of each column costs more than its cells. A missing number is NaN.
    cells_of = np.array([attributes[name] for name in numbers], dtype=np.float64).reshape(len(numbers), len(rows))
    unclear = ~np.isfinite(cells_of)
    for i in np.flatnonzero(unclear.any(axis=1)).tolist():
        present = [cell is not None for cell in attributes[numbers[i]]]
        suspect(unclear[i] & present, numbers[i], "not finite")
    attributes |= zip(numbers, cells_of, strict=True)
    return {
        "ids": texts["transaction_id"],
        "cards": texts["card_id"],
        "merchants": texts["merchant_id"],
        "occurred_ms": occurred_ms,
        "amount": amount,
        "minor": reading.money.minor(amount),
        "attributes": attributes,
    }


def _are_clean(texts: list[str]) -> bool:
    """Whether none of many texts is unclean. May be wrong only in saying no."""
    joined = "|".join(texts)
    if not (joined.isascii() and joined.isprintable()):
        return False
    return " " not in joined or not (" |" in joined or "| " in joined or " " in (joined[:1], joined[-1:]))
