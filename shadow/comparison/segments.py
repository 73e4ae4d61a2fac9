"""Segments: the parts of the traffic in which a model must be good, each on its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, RootModel, model_validator

from shadow.tally import ALL

#: Most segments in all: tallies, samples and metrics are kept for each.
MOST = 64


class SegmentField(BaseModel):
    """How one field of the transaction divides the traffic: by values, or into bands of a number.

    `amount` means the amount in units of the reporting currency. Whatever fits nowhere is `other`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    field: str = Field(min_length=1)
    values: tuple[str, ...] | None = Field(None, min_length=1)
    bands: tuple[float, ...] | None = Field(None, min_length=1)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.values is None) == (self.bands is None):
            raise ValueError("give either values or bands")
        if self.bands is not None and list(self.bands) != sorted(set(self.bands)):
            raise ValueError("bands must ascend")
        if self.values is not None and len(set(self.values)) != len(self.values):
            raise ValueError("a value is there twice")
        return self

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Values or bands in order, `other` last."""
        if self.values is not None:
            return (*self.values, "other")
        edges = [f"{edge:g}" for edge in self.bands or ()]
        between = [f"{low}-{high}" for low, high in pairwise(edges)]
        return (f"<{edges[0]}", *between, f">={edges[-1]}", "other")

    def codes(self, column: Sequence[Any]) -> npt.NDArray[np.int64]:
        """Which label each cell has: int64 (n,)."""
        other = len(self.labels) - 1
        if self.values is not None:
            known = {value: code for code, value in enumerate(self.values)}
            return np.array([known.get(cell, other) for cell in column], dtype=np.int64)
        numbers = np.array([cell if type(cell) in (int, float) else np.nan for cell in column], dtype=np.float64)
        return np.where(np.isnan(numbers), other, np.searchsorted(np.array(self.bands), numbers, side="right"))


class Segments(RootModel[dict[str, SegmentField]]):
    """All declared segments, by the name of the division: `{"country": {"field": "country", "values": ["DE"]}}`."""

    model_config = ConfigDict(frozen=True)

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        for name in self.root:
            if not name.isidentifier():
                raise ValueError(f"{name!r}: expected letters, digits and underscores")
        if len(self.names) > MOST:
            raise ValueError(
                f"{len(self.names)} segments with `other` and `{ALL}`, at most {MOST} are kept; merge some"
            )
        return self

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Every segment: `all` first, then `country=DE` and so on."""
        return (ALL, *(f"{name}={label}" for name, part in self.root.items() for label in part.labels))

    @property
    def fields(self) -> set[str]:
        """Fields of the transaction that are needed."""
        return {part.field for part in self.root.values()}

    def assign(self, columns: Mapping[str, Sequence[Any]], n: int) -> npt.NDArray[np.int64]:
        """The segments of n transactions: int64 (n, 1 + divisions), positions in `names`, `all` in the first column.

        columns: by field, n cells each, None where missing.
        """
        out = np.zeros((n, 1 + len(self.root)), dtype=np.int64)
        base = 1
        for at, part in enumerate(self.root.values(), start=1):
            out[:, at] = base + part.codes(columns[part.field])
            base += len(part.labels)
        return out
