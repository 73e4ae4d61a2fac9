"""Chooses the comparisons to store as samples: in every stratum, the k with the smallest hash of the transaction id.

A stratum is an outcome, a segment and an event day, within one partition and run. A transaction has the same hash in
all of its strata, and the hash depends on nothing but its id. So the choice is random yet the same at every redelivery,
the number stored is bounded, and the inclusion probability is known: a transaction is kept if its hash is below the
threshold tau of any of its strata, so its inclusion probability is the largest of these thresholds. Source: bottom-k
sketches with coordinated sampling, Cohen and Kaplan (2007), "Summarizing data using bottom-k sketches".

Disagreements are sampled a second time, for labels, in strata that span the whole run instead of a day. As the hash is
the same, each of these cases is also in the sample of its day, and the review queue, which follows the hash, has a
fixed random order.
"""

from __future__ import annotations

import hashlib
from bisect import insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from shadow.comparison.comparisons import Comparisons
from shadow.comparison.outcome import Outcome

#: Transactions that a stratum of disagreements keeps, and one of agreements.
KEEP_DISAGREEMENTS, KEEP_AGREEMENTS = 50, 5
#: Stands for the event day in a stratum that spans a whole run. Such a stratum keeps as many as that of a day, so what
#: is among the smallest of the run is also among the smallest of its day.
WHOLE_RUN = -2

#: Run as text, event day or WHOLE_RUN, outcome code, segment position.
Stratum = tuple[str, int, int, int]


class Offer(Protocol):
    """What may be kept. value: the hash of its transaction id."""

    @property
    def value(self) -> float: ...
    @property
    def strata(self) -> Sequence[Stratum]: ...


def sample_hashes(ids: Sequence[str]) -> npt.NDArray[np.float64]:
    """A 53-bit number in [0, 1) for each transaction id, the same on every machine: float64 (n,)."""
    blake2b = hashlib.blake2b
    digests = b"".join([blake2b(text.encode(), digest_size=8, person=b"samples").digest() for text in ids])
    return (np.frombuffer(digests, dtype="<u8") >> np.uint64(11)).astype(np.float64) / 2.0**53


def keep(outcome: int) -> int:
    """How many transactions a stratum of this outcome keeps."""
    return KEEP_DISAGREEMENTS if Outcome(outcome).is_disagreement else KEEP_AGREEMENTS


def offer(
    comparisons: Comparisons,
    rows: npt.NDArray[np.int64],
    days: npt.NDArray[np.int64],
    hashes: npt.NDArray[np.float64],
    taus: Mapping[Stratum, float],
) -> dict[int, list[Stratum]]:
    """Find the rows that may be kept: the strata that may keep each, by its position in `rows`.

    rows: int64 (n,), positions of the comparisons that take part. days: int64 (n,), their event days or WHOLE_RUN.
    hashes: float64 (n,). taus: the smallest hash that each stratum has refused, as far as known; where it is missing,
    more is offered than necessary. Each stratum is offered its k + 1 smallest: the last is refused and becomes tau.
    """
    offered: dict[int, list[Stratum]] = {}
    names, segments = [str(run) for run in comparisons.runs], comparisons.segments[rows]
    outcomes, runs = comparisons.outcomes[rows], comparisons.run_of[rows]
    n_segments = int(segments.max(initial=-1)) + 1
    for run, day, outcome in sorted(set(zip(runs.tolist(), days.tolist(), outcomes.tolist(), strict=True))):
        strata = [(names[run], day, outcome, segment) for segment in range(n_segments)]
        refused = np.array([taus.get(stratum, 1.0) for stratum in strata])
        mine = np.flatnonzero((runs == run) & (days == day) & (outcomes == outcome))
        # once the strata have seen some, nearly all are refused
        mine = mine[(hashes[mine, None] < refused[segments[mine]]).any(axis=1)]
        mine = mine[np.argsort(hashes[mine], kind="stable")]
        room = [keep(outcome) + 1] * n_segments
        for at, value, its in zip(mine.tolist(), hashes[mine].tolist(), segments[mine].tolist(), strict=True):
            for segment in its:
                if room[segment] and value < refused[segment]:
                    room[segment] -= 1
                    offered.setdefault(at, []).append(strata[segment])
    return offered


@dataclass
class Thresholds:
    """The smallest hash that each stratum of a partition has refused, or is sure to refuse, as far as known.

    known: as `offer` takes them.
    """

    known: dict[Stratum, float] = field(default_factory=dict)
    _smallest: dict[Stratum, list[float]] = field(default_factory=dict)

    def note(self, offers: Iterable[Offer]) -> None:
        """Note what the strata are about to be offered: of more than it keeps, each is sure to refuse the rest."""
        for one in offers:
            for stratum in one.strata:
                smallest, most = self._smallest.setdefault(stratum, []), keep(stratum[2])
                insort(smallest, one.value)
                if len(smallest) > most:
                    self.known[stratum] = min(self.known.get(stratum, 1.0), smallest[most])
                    del smallest[most + 1 :]

    def told(self, taus: Mapping[Stratum, float]) -> None:
        """Take over the thresholds of the store, once it has what was offered."""
        self.known.update(taus)
        self._smallest.clear()
