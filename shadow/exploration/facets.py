"""Where the samples of a question are: the largest values of a field, as estimates of the whole stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from shadow.exploration.columns import MISSING
from shadow.exploration.estimate import Estimate, estimate
from shadow.exploration.table import DAY, HOUR, WEEKDAY, Bools, Table

#: Fields whose values are shown in their own order, not by size.
ORDERED = frozenset({HOUR, WEEKDAY, DAY})


@dataclass(frozen=True, slots=True)
class Value:
    """A value of a field. name: None where the field is missing. money: of its transactions, in minor units."""

    name: str | None
    count: Estimate
    money: float

    def to_json(self, minor_per_unit: float) -> dict[str, Any]:
        """For machines."""
        return {"value": self.name, "count": self.count.to_json(), "amount": round(self.money / minor_per_unit, 2)}


@dataclass(frozen=True, slots=True)
class Facet:
    """The values of a field. more: how many further values there are, at least. rest: samples in them. whole: the
    transactions of all values."""

    field: str
    values: tuple[Value, ...]
    more: int
    rest: int
    whole: float

    def to_json(self, minor_per_unit: float) -> dict[str, Any]:
        """For machines."""
        values = [value.to_json(minor_per_unit) for value in self.values]
        return {"field": self.field, "values": values, "more_values": self.more, "samples_in_more": self.rest}


def facet(table: Table, masks: Mapping[str, Bools], name: str, top: int) -> Facet:
    """The largest values of a field among the samples that meet all conditions but those on the field itself.

    Raises UnknownFieldError.
    """
    one = table.of(name)
    rows = np.flatnonzero(table.met(masks, but=name))
    codes = one.codes[rows]
    is_named = codes >= MISSING
    shifted, n = codes[is_named] + 1, len(one.values) + 1  # missing is the first
    mine = rows[is_named]
    chances = table.chances[mine]
    values, samples = np.bincount(shifted, 1 / chances, n), np.bincount(shifted, minlength=n)
    variances = np.bincount(shifted, (1 - chances) / chances**2, n)
    money = np.bincount(shifted, table.entries["minor"][mine] / chances, n)
    largest = [at for at in np.argsort(-values, kind="stable")[:top].tolist() if samples[at]]
    if name in ORDERED:
        largest.sort()
    shown = tuple(
        Value(
            None if at == 0 else one.values[at - 1],
            estimate(float(values[at]), float(variances[at]), int(samples[at])),
            float(money[at]),
        )
        for at in largest
    )
    further = int((samples > 0).sum()) - len(largest) + len(np.unique(codes[~is_named]))
    return Facet(name, shown, further, len(rows) - int(samples[largest].sum()), float((1 / table.chances[rows]).sum()))


def facets(table: Table, masks: Mapping[str, Bools], names: Sequence[str], top: int) -> list[Facet]:
    """Facets of several fields. Raises UnknownFieldError."""
    return [facet(table, masks, name, top) for name in names]
