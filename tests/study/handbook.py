"""Real data: the handbook's card payments, cut into four windows, with models that `scorer train`'s own code makes.

The data set knows terminals only by number, so the file is enriched as a payment system would do it before it sends a
transaction: how much was paid and how much of it was fraud at this terminal in the last 7 and 30 days, as known with a
delay of a week, and to which of five groups it belongs. Labels are known a week later, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from scorer.bundles.bundle import Bundle
from scorer.bundles.lineage import ByRate, Recipe
from scorer.pipeline.mapping import FieldNames
from scorer.pipeline.transaction import Reading
from scorer.pipeline.view import Attribute, FeatureView
from scorer.sources.files import read_transactions, time_bound, write_table
from scorer.sources.tables import read_parquet
from scorer.training.history import History, read_history
from scorer.training.train import train as fit

#: Where the first window begins; each takes four weeks, and all together end with the data.
FIRST_DAY = "2018-04-25"
WEEKS, WINDOWS = 4, 4
DAY_MS = 86_400_000
WINDOW_MS = WEEKS * 7 * DAY_MS
DELAY_DAYS = 7
GROUPS, TERMINALS = 5, 10_000
NAMES = tuple(f"t{group}" for group in range(GROUPS))
MERCHANT = tuple(f"merchant_{what}_{days}d" for days in (7, 30) for what in ("count", "risk"))
VIEW = FeatureView(
    name="handbook",
    attributes=(
        *(Attribute(name=name, kind="number") for name in MERCHANT),
        Attribute(name="terminals", kind="category", values=NAMES),
    ),
)
MAPPING = FieldNames.model_validate(
    {
        "fields": {
            "transaction_id": "TRANSACTION_ID",
            "occurred_at": "TX_DATETIME",
            "card_id": "CUSTOMER_ID",
            "merchant_id": "TERMINAL_ID",
            "amount": "TX_AMOUNT",
        },
        "defaults": {"currency": "EUR"},
        "label": "TX_FRAUD",
        "drop": ["TX_FRAUD_SCENARIO"],
    }
)
READING = Reading(attributes=VIEW.attributes)
#: Live blocks so many.
BLOCK_RATE = 0.01


def enrich(source: Path, target: Path) -> Path:
    """Write the data set with what is known of each terminal on the day of the transaction."""
    table = read_parquet(source)
    columns: dict[str, Any] = {name: table.column(name) for name in table.column_names}
    occurred = np.asarray(table.column("TX_DATETIME").to_numpy()).astype("datetime64[ms]").astype(np.int64)
    terminal = np.asarray(table.column("TERMINAL_ID").to_numpy()).astype(np.int64)
    fraud = np.asarray(table.column("TX_FRAUD").to_numpy()).astype(np.int64)
    day = (occurred - occurred.min()) // DAY_MS
    daily = np.zeros((2, TERMINALS, int(day.max()) + 2))
    np.add.at(daily[0], (terminal, day + 1), 1)
    np.add.at(daily[1], (terminal, day + 1), fraud)
    until = daily.cumsum(axis=2)  # at d: what was before day d
    for days in (7, 30):
        end = np.maximum(day - DELAY_DAYS, 0)
        start = np.maximum(end - days, 0)
        count, frauds = (until[what, terminal, end] - until[what, terminal, start] for what in range(2))
        columns[f"merchant_count_{days}d"] = count
        columns[f"merchant_risk_{days}d"] = np.divide(frauds, count, out=np.zeros(len(count)), where=count > 0)
    columns["terminals"] = np.array(NAMES, dtype=object)[terminal * GROUPS // TERMINALS].tolist()
    columns["label_available_at"] = (occurred + DELAY_DAYS * DAY_MS).astype("datetime64[ms]")
    write_table(target, columns)
    return target


@dataclass(frozen=True)
class Handbook:
    """The data set and its windows. history: all of it, with snapshots. path: the enriched file."""

    history: History
    path: Path

    @classmethod
    def read(cls, source: Path, folder: Path) -> Handbook:
        """Enrich and read. Takes a minute and 3 GB."""
        path = enrich(source, folder / "handbook.parquet")
        return cls(read_history(read_transactions(path, MAPPING, reading=READING), VIEW, READING, str(path)), path)

    def bounds(self, window: int) -> tuple[int, int]:
        """Begin and end of a window, milliseconds since 1970."""
        first = time_bound(FIRST_DAY, "FIRST_DAY") + window * WINDOW_MS
        return first, first + WINDOW_MS

    @cached_property
    def fraud(self) -> dict[str, bool]:
        """The truth, by transaction id."""
        return dict(zip(self.history.ids, (self.history.labels > 0).tolist(), strict=True))

    def train(
        self,
        window: int,
        seed: int,
        without: Sequence[str] = (),
        block_rate: float = BLOCK_RATE,
        flipped: str | None = None,
        all_before: bool = False,
        rounds: int | None = None,
    ) -> Bundle:
        """A model as of the end of a window, from its four weeks or from all there is before.

        flipped: a group of terminals whose frauds are labelled legitimate, and as many others fraud.
        """
        begin, end = self.bounds(window)
        part = self.history.between(None if all_before else begin, end)
        if flipped is not None:
            part = replace(part, labels=_flipped(part, flipped, np.random.default_rng(seed)))
        recipe = Recipe(
            features=tuple(name for name in VIEW.names if name not in without),
            parameters={} if rounds is None else {"num_iterations": rounds},
            seed=seed,
            threshold=ByRate(rate=block_rate),
        )
        return fit(_known_by(part, end, recipe.calibrate), recipe, threads=2)


def _known_by(part: History, end: int, kept_out: float) -> History:
    """With the labels that were known at a time to fit on. The last ones, of which hardly any are known, only test."""
    labels = part.labels.copy()
    order = np.argsort(part.occurred_ms, kind="stable")
    fitted = order[: int(len(order) * (1 - kept_out))]
    labels[fitted[part.known_ms[fitted] > end]] = 0
    return replace(part, labels=labels)


def _flipped(part: History, group: str, rng: np.random.Generator) -> np.ndarray[Any, np.dtype[np.int8]]:
    labels = part.labels.copy()
    mine = part.matrix[:, VIEW.names.index("terminals")] == NAMES.index(group)
    frauds, others = np.flatnonzero(mine & (labels > 0)), np.flatnonzero(mine & (labels == 0))
    labels[frauds] = 0
    labels[rng.choice(others, len(frauds), replace=False)] = 1
    return labels
