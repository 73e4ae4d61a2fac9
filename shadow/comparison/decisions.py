"""Parses decisions: a batch of values in, JSON or Avro, columns out. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from scorer.pipeline.decision_avro import decision_of, is_avro
from scorer.pipeline.instants import instants_ms


@dataclass(frozen=True)
class Decisions:
    """n decisions as columns, in log order.

    rows: as JSON decodes. offsets, sources: int64 (n,), offsets on `decisions` and on `transactions`. epochs: int64
    (n,), of the live slot. scores: float64 (n,), live's, NaN under an override. blocks: bool (n,), whether live blocks,
    or would block what exploration released. released: bool (n,), whether it did. repeats, refunds: bool (n,), whether
    the scorer marked the transaction as one. minor: int64 (n,), minor units of the reporting currency; 0 for a credit,
    whose amount is negative. occurred_ms, scored_ms: int64 (n,), since 1970.
    """

    rows: list[dict[str, Any]]
    offsets: npt.NDArray[np.int64]
    sources: npt.NDArray[np.int64]
    epochs: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]
    blocks: npt.NDArray[np.bool_]
    released: npt.NDArray[np.bool_]
    repeats: npt.NDArray[np.bool_]
    refunds: npt.NDArray[np.bool_]
    minor: npt.NDArray[np.int64]
    occurred_ms: npt.NDArray[np.int64]
    scored_ms: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def column(self, field: str) -> list[Any]:
        """One field of every transaction, None where it is missing."""
        return [row["transaction"].get(field) for row in self.rows]

    def views(self) -> dict[str, npt.NDArray[np.int64]]:
        """Row positions by feature view. Only a batch in which the view changes has more than one."""
        views = [row["view"] for row in self.rows]
        if len(set(views)) == 1:
            return {views[0]: np.arange(len(views), dtype=np.int64)}
        found: dict[str, list[int]] = {}
        for at, view in enumerate(views):
            found.setdefault(view, []).append(at)
        return {view: np.array(rows, dtype=np.int64) for view, rows in found.items()}

    @cached_property
    def snapshots(self) -> dict[str, tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]]:
        """By feature view: k row positions, and their feature snapshots, bit for bit as the scorer saw them: float64
        (k, features)."""
        return {
            view: (at, np.array([self.rows[i]["features"] for i in at], dtype=np.float64))
            for view, at in self.views().items()
        }

    def split(self, offset: int) -> tuple[Decisions, Decisions]:
        """The decisions before an offset on `decisions`, and those from there on. Of one part that is all, the same
        object, so that what is worked out for it is worked out once."""
        at = int(np.searchsorted(self.offsets, offset))
        if at in (0, len(self)):
            nothing = self.take(np.empty(0, dtype=np.int64))
            return (nothing, self) if at == 0 else (self, nothing)
        positions = np.arange(len(self))
        return self.take(positions[:at]), self.take(positions[at:])

    def take(self, rows: npt.NDArray[np.int64]) -> Decisions:
        """The decisions at some positions."""
        arrays = {name: getattr(self, name)[rows] for name in self.__dataclass_fields__ if name != "rows"}
        return Decisions(rows=[self.rows[at] for at in rows], **arrays)


#: What a record that is no decision makes the reading of columns raise.
_MISFITS = (ValueError, TypeError, KeyError, AttributeError, OverflowError)
_NUMBER = {int, float}
_OPTIONAL_NUMBER = {*_NUMBER, type(None)}
#: Most that an epoch, and an offset or an amount, can be.
_MOST_EPOCH, _MOST = 2**31, 2**62


def read(
    values: Sequence[bytes | None], offsets: Sequence[int], partition: int | None = None
) -> tuple[Decisions, list[int]]:
    """Parse a batch. Returns the decisions, and the offsets of values that are no decisions; the scorer writes none.

    partition: that of the batch. A decision lies where its transaction does; None does not check that.

    Never raises: a record that somebody else wrote, however odd, is only reported.
    """
    rows: list[Any] = []
    good: list[int] = []
    bad: list[int] = []
    loads: Callable[[bytes], Any] = orjson.loads
    for offset, value in zip(offsets, values, strict=True):
        try:
            rows.append(loads(value or b""))
        except ValueError:
            loads = _either  # slower than JSON alone
            try:
                rows.append(loads(value or b""))
            except ValueError:
                bad.append(offset)
                continue
        good.append(offset)
    decisions, unfit = of_rows(rows, good, partition)
    return decisions, sorted(bad + unfit)


def of_rows(rows: list[Any], offsets: list[int], partition: int | None = None) -> tuple[Decisions, list[int]]:
    """The same of values that are decoded already; never raises either."""
    try:
        return _columns(rows, offsets, partition), []
    except _MISFITS:
        fits = [_fits(row, partition) for row in rows]
    bad = [offset for offset, is_good in zip(offsets, fits, strict=True) if not is_good]
    kept = [at for at, is_good in enumerate(fits) if is_good]
    return _columns([rows[at] for at in kept], [offsets[at] for at in kept], partition), sorted(bad)


def _either(value: bytes) -> Any:
    """A decision in Avro or in JSON. Raises ValueError."""
    return decision_of(value) if is_avro(value) else orjson.loads(value)


def _fits(row: Any, partition: int | None) -> bool:
    try:
        _columns([row], [0], partition)
    except _MISFITS:
        return False
    return True


def _columns(rows: list[Any], offsets: list[int], partition: int | None) -> Decisions:
    """Raises one of `_MISFITS` if any row is not a decision."""
    transactions = [row["transaction"] for row in rows]
    _check(rows, dict)
    _check(transactions, dict)
    for name in ("transaction_id", "card_id"):
        _check([transaction[name] for transaction in transactions], str)
    _check([row["view"] for row in rows], str)
    _check([row["bundle"] for row in rows], str, type(None))
    _check([row["threshold"] for row in rows], *_OPTIONAL_NUMBER)
    features = [row["features"] for row in rows]
    _check(features, list)
    if not set(map(type, chain.from_iterable(features))) <= _OPTIONAL_NUMBER:
        raise TypeError("features are not all numbers")
    verdicts = [row["decision"] for row in rows]
    if not set(verdicts) <= {"allow", "block"}:
        raise ValueError("a decision is neither allow nor block")
    allows = np.array([verdict == "allow" for verdict in verdicts], dtype=bool)
    drawn = _drawn(rows)
    scores = [row["score"] for row in rows]
    _check(scores, *_OPTIONAL_NUMBER)
    if not all(score is None or 0 <= score <= 1 for score in scores):
        raise ValueError("a score is no probability")
    partitions = _whole([row["source"]["partition"] for row in rows], _MOST_EPOCH)
    if partition is not None and (partitions != partition).any():
        raise ValueError("a decision lies in another partition than its transaction")
    return Decisions(
        rows=rows,
        offsets=np.array(offsets, dtype=np.int64),
        sources=_whole([row["source"]["offset"] for row in rows], _MOST),
        epochs=_whole([row["epoch"] for row in rows], _MOST_EPOCH),
        scores=np.array(scores, dtype=np.float64),
        blocks=~allows | drawn,
        released=allows & drawn,
        repeats=np.array(["repeat" in row for row in rows], dtype=bool),
        refunds=np.array(["refund" in row for row in rows], dtype=bool),
        minor=_money(rows),
        occurred_ms=instants_ms([transaction["occurred_at"] for transaction in transactions]),
        scored_ms=instants_ms([row["scored_at"] for row in rows]),
    )


def _drawn(rows: list[Any]) -> npt.NDArray[np.bool_]:
    """Which decisions are would-be blocks that exploration drew: bool (n,). Decisions of before it say nothing."""
    told = [row.get("release_probability", 1.0) for row in rows]
    if told and not (set(map(type, told)) <= _NUMBER and 0 < min(told) <= max(told) <= 1):
        raise ValueError("a release_probability is none")
    return np.array(told, dtype=np.float64) < 1


def _check(cells: list[Any], *kinds: type) -> None:
    if not set(map(type, cells)) <= set(kinds):
        raise TypeError(f"expected {kinds}")


def _money(rows: list[Any]) -> npt.NDArray[np.int64]:
    """Amounts of 0 to the most: int64 (n,). A negative amount is one of a refund or a credit, which blocks no money."""
    cells = [row["amount_minor"] for row in rows]
    try:
        return _whole(cells, _MOST)
    except ValueError:
        return _whole([0 if _is_negative(row) else row["amount_minor"] for row in rows], _MOST)


def _is_negative(row: Any) -> bool:
    return bool(-_MOST <= row["amount_minor"] < 0 > row["transaction"]["amount"])


def _whole(cells: list[Any], most: int) -> npt.NDArray[np.int64]:
    """Whole numbers of 0 to `most`: int64 (n,)."""
    _check(cells, int)
    if cells and not 0 <= min(cells) <= max(cells) <= most:
        raise ValueError(f"expected 0 to {most}")
    return np.array(cells, dtype=np.int64)
