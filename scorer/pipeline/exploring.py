"""Explores the would-be blocks of a batch: which are drawn and released, and what that leaves of each budget. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from scorer.pipeline.batch import Part
from scorer.pipeline.events import Events
from scorer.pipeline.exploration import Exploration, Spending, explore
from scorer.pipeline.instants import DAY_MS


@dataclass(frozen=True)
class Explored:
    """Of n events, which were drawn, and which of these released: bool (n,). probability: of a release. spendings: of
    each part, after these events."""

    drawn: npt.NDArray[np.bool_]
    released: npt.NDArray[np.bool_]
    probability: float
    spendings: Sequence[Spending]

    def counts(self, events: Events, cut: slice) -> tuple[int, int, int]:
        """Of the events of one part, how many were drawn and released, and the minor units of the released."""
        released = self.released[cut]
        return int(self.drawn[cut].sum()), int(released.sum()), int(events.minor[cut][released].sum())

    def commit(self, parts: Sequence[Part]) -> None:
        """Take what was released off the parts' budgets."""
        for part, spending in zip(parts, self.spendings, strict=True):
            part.budget.spending = spending


def explored(
    exploration: Exploration,
    parts: Sequence[Part],
    cuts: Sequence[slice],
    events: Events,
    would_block: npt.NDArray[np.bool_],
) -> Explored:
    """Explore a batch. Changes nothing before `Explored.commit`.

    cuts: which of the n events are the part's. would_block: bool (n,), events that a model blocks in a decision that is
    not published yet, and whose date is to be trusted.
    """
    eligible = would_block & (events.minor > 0) & (events.minor <= exploration.maximum)
    drawn, released = np.zeros(len(events), dtype=bool), np.zeros(len(events), dtype=bool)
    spendings = []
    for part, cut in zip(parts, cuts, strict=True):
        rows = cut.start + np.flatnonzero(eligible[cut])
        spending = part.budget.spending
        if len(rows) and part.incoming.partition < exploration.partitions:
            ids = [events.ids[at] for at in rows.tolist()]
            days = (events.occurred_ms[rows] // DAY_MS).tolist()
            drawn[rows], released[rows], spending = explore(
                exploration, spending, ids, days, events.minor[rows].tolist()
            )
        spendings.append(spending)
    return Explored(drawn, released, exploration.probability, spendings)
