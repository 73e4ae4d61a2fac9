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
from collections.abc import Mapping, Sequence

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
    key = np.stack([comparisons.run_of[rows], days, comparisons.outcomes[rows]], axis=1)
    for group in np.unique(key, axis=0) if len(key) else ():
        mine = np.flatnonzero((key == group).all(axis=1))
        run, day, outcome = (int(part) for part in group)
        most = keep(outcome) + 1
        mine = mine[np.argsort(hashes[mine], kind="stable")]
        for column in range(segments.shape[1]):
            of = segments[mine, column]
            for segment in np.unique(of).tolist():
                stratum = (names[run], day, outcome, segment)
                tau = taus.get(stratum, 1.0)
                for at in mine[of == segment][:most].tolist():
                    if hashes[at] >= tau:
                        break
                    offered.setdefault(at, []).append(stratum)
    return offered
