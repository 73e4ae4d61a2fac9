"""Trains on what was served: the snapshots that live has decided on, as an archive of decisions keeps them.

What an archive is, and what its labels say, the scorer does not know: whoever keeps one says so by the entry point
`scorer.served`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from scorer.bundles.lineage import READ_FROM_ARCHIVE, Data, Recipe, SourceFile, digest_of_json
from scorer.bundles.lineage import Reading as HowRead
from scorer.errors import UserError
from scorer.pipeline.instants import instant_ms, stamps
from scorer.pipeline.money import Money
from scorer.pipeline.view import FeatureView
from scorer.sources.label_cells import UNKNOWN
from scorer.sources.source import LABEL
from scorer.training.blocks import Matrix
from scorer.training.history import History, Times, Unlabelled
from scorer.training.making import Material

GROUP = "scorer.served"
#: Between the texts of a column, as nothing in an id is.
_BETWEEN = "\n"


@dataclass(frozen=True)
class ServedRows:
    """n decisions in any order, each of a transaction of its own.

    ids: of the transactions. occurred_ms: int64 (n,), milliseconds since 1970. minor: int64 (n,), minor units of the
    reporting currency. matrix: float64 (n, features of the view), NaN is missing. labels: int8 (n,), 1 is fraud, 0
    legitimate, UNKNOWN what nobody can tell. repeats: decisions that were left out because their transactions had one
    already. sources: the tables.
    """

    ids: list[str]
    occurred_ms: Times
    minor: npt.NDArray[np.int64]
    matrix: Matrix
    labels: npt.NDArray[np.int8]
    repeats: int
    sources: tuple[SourceFile, ...]


class Served(Protocol):
    """Reads an archive."""

    def __call__(
        self,
        address: str,
        view: FeatureView,
        since_ms: int | None,
        until_ms: int | None,
        as_of_ms: int,
        tell: Callable[[str], Any],
    ) -> ServedRows:
        """The decisions on a view, from `since_ms` to before `until_ms`, with decisions and labels that were there at
        `as_of_ms`; all milliseconds since 1970. Raises UserError."""


def reader() -> Served:
    """What reads archives here. Raises UserError if nothing does."""
    found = next(iter(entry_points(group=GROUP)), None)
    if found is None:
        raise UserError("--from-archive: nothing here reads archives; install the extra `archive` of this package")
    served: Served = found.load()
    return served


@dataclass(frozen=True)
class ServedMaking:
    """How an archive is read. recipe: `labels_known_by` is when decisions and labels are looked at."""

    recipe: Recipe
    view: FeatureView
    money: Money

    def read(self, address: str, tell: Callable[[str], Any]) -> Material:
        """Read an archive. tell: called with what whoever trains should know. Raises UserError."""
        recipe = self.recipe
        assert recipe.labels_known_by is not None  # noqa: S101 - the command asks for it
        since_ms, until_ms = (None if text is None else instant_ms(text) for text in (recipe.since, recipe.until))
        as_of_ms = instant_ms(recipe.labels_known_by)
        rows = reader()(address, self.view, since_ms, until_ms, as_of_ms, tell)
        history = history_of(rows, self.view, self.money.digits, as_of_ms)
        if history.data.unknown:
            tell(
                f"{history.data.unknown} transactions were blocked by live and not reviewed, so nobody knows what they "
                "were: they are not learnt, but count for --block-rate"
            )
        return Material(history, rows.sources, _how(self.money))


def _how(money: Money) -> HowRead:
    """Amounts were converted when they were served, so that no rate counts."""
    told = Money(currency=money.currency).model_dump(mode="json")
    return HowRead(
        mapping={},
        mapping_digest=digest_of_json({}),
        files=dict(READ_FROM_ARCHIVE),
        money=told,
        rates_digest=digest_of_json(told),
    )


def history_of(rows: ServedRows, view: FeatureView, digits: int, as_of_ms: int) -> History:
    """What was served, in order of time. digits: of the reporting currency. as_of_ms: when labels were looked at.

    When a label became known has no place in it: what counts is whether it was known. Raises UserError if there is
    nothing to learn from.
    """
    if not rows.ids:
        raise UserError("--from-archive: has no decision on this feature view in that time; choose other times")
    order = np.lexsort((np.array(rows.ids, dtype=object).astype(str), rows.occurred_ms))
    ids = [rows.ids[at] for at in order.tolist()]
    occurred_ms, minor, labels = rows.occurred_ms[order], rows.minor[order], rows.labels[order]
    matrix = np.ascontiguousarray(rows.matrix[order])
    known = np.flatnonzero(labels != UNKNOWN)
    if not (labels == 1).any():
        raise UserError(
            "--from-archive: no fraud is known of these transactions at that time; choose other times, or look whether "
            "labels come (`shadow archive status`)"
        )
    columns: dict[str, npt.NDArray[Any]] = {"occurred_at": occurred_ms, "amount": minor, LABEL: labels}
    columns |= {name: np.where(np.isnan(matrix[:, at]), np.nan, matrix[:, at]) for at, name in enumerate(view.names)}
    content = {
        name: hashlib.sha256(np.ascontiguousarray(cells).tobytes()).hexdigest() for name, cells in columns.items()
    }
    content["transaction_id"] = hashlib.sha256(f"{_BETWEEN.join(ids)}{_BETWEEN}".encode()).hexdigest()
    first, last = stamps(occurred_ms[[0, -1]])
    data = Data(
        transactions=len(ids),
        first=first,
        last=last,
        unknown=len(ids) - len(known),
        repeats=rows.repeats,
        content=dict(sorted(content.items())),
    )
    amount = minor / 10.0**digits
    known_ms = np.where(labels == 1, as_of_ms, 0).astype(np.int64)
    history = History(view, ids, occurred_ms, amount, matrix, labels, known_ms, data)
    if len(known) == len(ids):
        return history
    blind = np.flatnonzero(labels == UNKNOWN)
    return replace(history.only(known), unlabelled=Unlabelled(occurred_ms[blind], matrix[blind]))
