"""Reads decisions off the wire: a batch of JSON values in, columns out. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from scorer.events import instants_ms


@dataclass(frozen=True)
class Decisions:
    """n decisions as columns, in log order.

    rows: decoded JSON. offsets, sources: int64 (n,), offsets on `decisions` and on `transactions`. epochs: int64 (n,)
    of the live slot. scores: float64 (n,), NaN under an override. blocks, repeats: bool (n,). minor: int64 (n,), minor
    units of the reporting currency. occurred_ms, scored_ms: int64 (n,).
    """

    rows: list[dict[str, Any]]
    offsets: npt.NDArray[np.int64]
    sources: npt.NDArray[np.int64]
    epochs: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]
    blocks: npt.NDArray[np.bool_]
    repeats: npt.NDArray[np.bool_]
    minor: npt.NDArray[np.int64]
    occurred_ms: npt.NDArray[np.int64]
    scored_ms: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def column(self, field: str) -> list[Any]:
        """A field of the transactions, None where it is missing."""
        return [row["transaction"].get(field) for row in self.rows]

    def views(self) -> dict[str, npt.NDArray[np.int64]]:
        """Positions by feature view: all of them under one, but for the moment of a change."""
        views = [row["view"] for row in self.rows]
        if len(set(views)) == 1:
            return {views[0]: np.arange(len(views), dtype=np.int64)}
        found: dict[str, list[int]] = {}
        for at, view in enumerate(views):
            found.setdefault(view, []).append(at)
        return {view: np.array(rows, dtype=np.int64) for view, rows in found.items()}

    def matrix(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Snapshots at some positions of one view, bit for bit as the scorer saw them: float64 (k, features)."""
        return np.array([self.rows[at]["features"] for at in rows], dtype=np.float64)

    def take(self, rows: npt.NDArray[np.int64]) -> Decisions:
        """The decisions at some positions."""
        arrays = {name: getattr(self, name)[rows] for name in self.__dataclass_fields__ if name != "rows"}
        return Decisions(rows=[self.rows[at] for at in rows], **arrays)


def read(values: Sequence[bytes | None], offsets: Sequence[int]) -> tuple[Decisions, list[int]]:
    """Decode a batch. Returns the decisions and the offsets of values that are none (nothing here writes such)."""
    rows: list[dict[str, Any]] = []
    good: list[int] = []
    bad: list[int] = []
    for offset, value in zip(offsets, values, strict=True):
        try:
            row = orjson.loads(value or b"")
            row["source"]["offset"], row["transaction"]["transaction_id"], row["features"], row["epoch"], row["view"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            bad.append(offset)
        else:
            rows.append(row)
            good.append(offset)
    return _columns(rows, good), bad


def _columns(rows: list[dict[str, Any]], offsets: list[int]) -> Decisions:
    def ints(cells: list[Any]) -> npt.NDArray[np.int64]:
        return np.array(cells, dtype=np.int64)

    return Decisions(
        rows=rows,
        offsets=ints(offsets),
        sources=ints([row["source"]["offset"] for row in rows]),
        epochs=ints([row["epoch"] for row in rows]),
        scores=np.array([row["score"] for row in rows], dtype=np.float64),
        blocks=np.array([row["decision"] == "block" for row in rows], dtype=bool),
        repeats=np.array(["repeat" in row for row in rows], dtype=bool),
        minor=ints([row["amount_minor"] for row in rows]),
        occurred_ms=instants_ms([row["transaction"]["occurred_at"] for row in rows]),
        scored_ms=instants_ms([row["scored_at"] for row in rows]),
    )
