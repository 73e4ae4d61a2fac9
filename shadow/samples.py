"""Which comparisons are kept as samples: in every stratum the k with the smallest hash of their transaction id.

A stratum is an outcome, a segment and an event day, within one partition and run. The hash is the same in all strata
of a transaction and says nothing about it, so the choice is random yet the same at every redelivery, the number kept is
bounded, and the chance of having been kept is known: a transaction is kept if its hash is below the threshold tau of
any of its strata, so its inclusion probability is the largest of these. Source: bottom-k sketches with coordinated
sampling, Cohen and Kaplan (2007), "Summarizing data using bottom-k sketches".

Disagreements are sampled once more for labels, in strata that are a whole run instead of a day. As the hash is the
same, each of these cases is a sample of its day, too, and the review queue, which goes by it, has a fixed random order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

#: Kept in a stratum of disagreements, and of agreements.
KEEP_DISAGREEMENTS, KEEP_AGREEMENTS = 50, 5
#: What stands for the event day in a stratum that is a whole run. It keeps as many as a day does, not more: what is
#: among the smallest of the run is then among the smallest of its day.
WHOLE_RUN = -2

#: Run as text, event day or WHOLE_RUN, outcome code, segment.
Stratum = tuple[str, int, int, int]


def sample_hashes(ids: Sequence[str]) -> npt.NDArray[np.float64]:
    """A number in [0, 1) of 53 bits for each transaction id, the same on every machine: float64 (n,)."""
    blake2b = hashlib.blake2b
    digests = b"".join([blake2b(text.encode(), digest_size=8, person=b"samples").digest() for text in ids])
    return (np.frombuffer(digests, dtype="<u8") >> np.uint64(11)).astype(np.float64) / 2.0**53


def keep(outcome: int) -> int:
    """How many a stratum of an outcome keeps."""
    return KEEP_DISAGREEMENTS if outcome >= 2 else KEEP_AGREEMENTS


def offer(
    run: Sequence[str],
    days: npt.NDArray[np.int64],
    codes: npt.NDArray[np.int64],
    segments: npt.NDArray[np.int64],
    hashes: npt.NDArray[np.float64],
    taus: Mapping[Stratum, float],
) -> dict[int, list[Stratum]]:
    """Rows of a batch that may be among the kept, with the strata in which they may.

    run, days, codes, hashes: n each. segments: int64 (n, d). taus: smallest hash refused so far by stratum, as known
    here; knowing less only offers more. In each stratum the k + 1 smallest are offered: the last is refused, and says
    what tau is.
    """
    offered: dict[int, list[Stratum]] = {}
    runs = sorted(set(run))
    run_code = (
        np.array([runs.index(name) for name in run], dtype=np.int64) if len(runs) > 1 else np.zeros(len(run), int)
    )
    key = np.stack([run_code, days, codes], axis=1)
    for group in np.unique(key, axis=0) if len(key) else ():
        rows = np.flatnonzero((key == group).all(axis=1))
        which, day, code = int(group[0]), int(group[1]), int(group[2])
        most = keep(code) + 1
        rows = rows[np.argsort(hashes[rows], kind="stable")]
        for column in range(segments.shape[1]):
            of = segments[rows, column]
            for segment in np.unique(of).tolist():
                stratum = (runs[which], day, code, segment)
                tau = taus.get(stratum, 1.0)
                for row in rows[of == segment][:most].tolist():
                    if hashes[row] >= tau:
                        break
                    offered.setdefault(row, []).append(stratum)
    return offered
