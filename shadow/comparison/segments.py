"""Segments: parts of the traffic that are counted and judged separately."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, Field, RootModel, model_validator

from scorer.frozen import Frozen
from shadow.comparison.totals import ALL

#: Limit on the number of segments, since each has tallies, samples and metrics of its own.
MOST = 64


class SegmentField(Frozen):
    """A division of the traffic by one field of the transaction: by its values, or into bands of a number.

    `amount` is in units of the reporting currency. Whatever fits nowhere is `other`.
    """

    field: str = Field(min_length=1)
    values: tuple[str, ...] | None = Field(None, min_length=1)
    bands: tuple[float, ...] | None = Field(None, min_length=1)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.values is None) == (self.bands is None):
            found = "neither" if self.values is None else "both"
            raise ValueError(f"expected either values or bands, found {found}")
        if self.bands is not None and list(self.bands) != sorted(set(self.bands)):
            raise ValueError(f"bands must ascend, found {', '.join(f'{edge:g}' for edge in self.bands)}")
        if self.values is not None and len(set(self.values)) != len(self.values):
            twice = next(value for value in self.values if self.values.count(value) > 1)
            raise ValueError(f"value {twice!r} is listed twice; remove one")
        return self

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The names of the parts: values or bands in order, `other` last."""
        if self.values is not None:
            return (*self.values, "other")
        edges = [f"{edge:g}" for edge in self.bands or ()]
        between = [f"{low}-{high}" for low, high in pairwise(edges)]
        return (f"<{edges[0]}", *between, f">={edges[-1]}", "other")

    def label_from(self, edge: float) -> str:
        """The name of the band that begins at an edge."""
        return self.labels[1 + (self.bands or ()).index(edge)]

    def codes(self, column: Sequence[Any]) -> npt.NDArray[np.int64]:
        """The position in `labels` of each cell: int64 (n,)."""
        other = len(self.labels) - 1
        if self.values is not None:
            known = {value: code for code, value in enumerate(self.values)}
            return np.array([known.get(cell, other) for cell in column], dtype=np.int64)
        numbers = np.array([cell if type(cell) in (int, float) else np.nan for cell in column], dtype=np.float64)
        return np.where(np.isnan(numbers), other, np.searchsorted(np.array(self.bands), numbers, side="right"))


class Segments(RootModel[dict[str, SegmentField]]):
    """All declared divisions, by name: `{"country": {"field": "country", "values": ["DE"]}}`."""

    model_config = ConfigDict(frozen=True)

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        for name in self.root:
            if not name.isidentifier():
                raise ValueError(f"division {name!r}: expected letters, digits and underscores, no digit first")
        if len(self.names) > MOST:
            raise ValueError(
                f"{len(self.names)} segments, `{ALL}` and each `other` included; at most {MOST} are allowed, merge some"
            )
        return self

    @cached_property
    def names(self) -> tuple[str, ...]:
        """All segments: `all` first, then `country=DE` and so on."""
        return (ALL, *(f"{name}={label}" for name, part in self.root.items() for label in part.labels))

    def with_edge(self, field: str, edge: float) -> tuple[Segments, str | None]:
        """These divisions, in which the bands of a number have this edge, and the name of the part from the edge on.

        The edge is added to the first division by bands of this field; if there is none, a division by it is added. If
        a declared one has the edge already, nothing is added, and the name is None.
        """
        banded = {name: part for name, part in self.root.items() if part.field == field and part.bands is not None}
        if any(edge in (part.bands or ()) for part in banded.values()):
            return self, None
        name = next(iter(banded), None)
        if name is None:
            name = next(free for free in (field, f"{field}_bands", f"{field}_bands_") if free not in self.root)
            bands: tuple[float, ...] = (edge,)
        else:
            bands = tuple(sorted((*(banded[name].bands or ()), edge)))
        divided = SegmentField(field=field, values=None, bands=bands)
        more = Segments({**self.root, name: divided})
        return more, f"{name}={divided.label_from(edge)}"

    @property
    def fields(self) -> set[str]:
        """The transaction fields that the divisions need."""
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
