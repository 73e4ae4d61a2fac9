"""The published protocol: a week to train on, a week until labels are known, a week to test on, five weeks in a row.

Features are those of the streaming path, of the whole file from its first day on. A card that is known as compromised
when a day begins is not tested on that day. Prints JSON; a process of its own, as its memory is nobody else's.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from scorer.bundles.lineage import Recipe
from scorer.pipeline.instants import DAY_MS, stamps
from scorer.pipeline.transaction import Reading
from scorer.sources.files import read_transactions
from scorer.sources.tables import read_parquet
from scorer.training.history import History, read_history
from scorer.training.train import train
from study.handbook import MAPPING
from study.training.places import VIEW
from study.training.recount import auc_roc, average_precision, card_precision

#: Where the last week to train on begins. Each earlier one begins a week before.
LAST = datetime(2018, 7, 25, tzinfo=UTC)
WEEKS = 5
WEEK_MS = 7 * DAY_MS
SEED = 1


def _millis(when: datetime) -> int:
    return int(when.timestamp() * 1000)


def _cards(path: Path, ids: list[str]) -> list[str]:
    """The card of each transaction, straight from the file."""
    table = read_parquet(path)
    known = dict(
        zip(
            map(str, table.column("TRANSACTION_ID").to_pylist()),
            map(str, table.column("CUSTOMER_ID").to_pylist()),
            strict=True,
        )
    )
    return [known[one] for one in ids]


class Protocol:
    """The data with their features, and a card of each transaction."""

    def __init__(self, path: Path) -> None:
        reading = Reading(attributes=VIEW.attributes)
        self.history: History = read_history(
            read_transactions(path, MAPPING, reading=reading), VIEW, reading, str(path)
        )
        self.cards = np.array(_cards(path, self.history.ids))
        self.fraud = self.history.labels == 1
        self.day = self.history.occurred_ms // DAY_MS

    def week(self, begin_ms: int, everything_before: bool = False) -> dict[str, Any]:
        """Train on a week, or on all up to its end, and test on the second week after it."""
        end = begin_ms + WEEK_MS
        first = int(self.history.occurred_ms[0]) if everything_before else begin_ms
        since, until = stamps(np.array([first, end + DAY_MS], dtype=np.int64))
        # all of the week is fitted on: what sets a threshold, of which the protocol has no use, is the day after it
        taken = self.history.occurred_ms[(self.history.occurred_ms >= first)]
        fitted, read = int((taken < end).sum()), int((taken < end + DAY_MS).sum())
        recipe = Recipe(
            features=VIEW.names, since=since, until=until, calibrate=1 - (fitted + 0.5) / read, seed=SEED, label_delay=0
        )
        bundle = train(self.history, recipe, threads=2)
        assert bundle.manifest.training is not None
        assert bundle.manifest.training.rows == fitted
        rows = self._tested(begin_ms)
        scores = bundle.score(self.history.matrix[rows]).tolist()
        frauds, days, cards = self.fraud[rows].tolist(), self.day[rows].tolist(), self.cards[rows].tolist()
        return {
            "from": stamps(np.array([begin_ms], dtype=np.int64))[0][:10],
            "auc_roc": auc_roc(scores, frauds),
            "average_precision": average_precision(scores, frauds),
            "card_precision_at_100": card_precision(zip(days, cards, scores, frauds, strict=True)),
        }

    def _tested(self, begin_ms: int) -> Any:
        """The week to test on, without cards whose compromise is known when each day begins."""
        start = begin_ms // DAY_MS
        trained = (self.day >= start) & (self.day < start + 7)
        known = set(self.cards[trained & self.fraud].tolist())
        found = []
        for day in range(7):
            reported = (self.day == start + 7 + day - 1) & self.fraud
            known |= set(self.cards[reported].tolist())
            rows = np.flatnonzero(self.day == start + 14 + day)
            found.append(rows[[card not in known for card in self.cards[rows].tolist()]])
        return np.concatenate(found)


def main() -> None:
    """Print the figures of each week, and of the last one when all before it was learnt."""
    protocol = Protocol(Path(sys.argv[1]))
    begins = [_millis(LAST) - back * WEEK_MS for back in range(WEEKS)]
    weeks = [protocol.week(begin) for begin in begins]
    told = {"weeks": weeks, "all_earlier": protocol.week(begins[0], everything_before=True)}
    sys.stdout.write(orjson.dumps(told).decode())


if __name__ == "__main__":
    main()
