"""What other rules would have done with the same releases: each looks once a day and promotes after two weeks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.stats

from shadow.gate.sums import Sums
from study.model import Array
from study.verdicts import Outcome

PROMOTES_ON = 14
#: Disagreement that the fixed rule allows, as a share of transactions.
LIMIT = 0.001


def _daily(fails: Array, names: Sequence[str]) -> Outcome:
    """The first daily look that fails, else a promotion after two weeks. fails: bool (days, S)."""
    for day in range(PROMOTES_ON):
        if fails[day].any():
            return Outcome("reject", day + 1, tuple(names[at] for at in np.flatnonzero(fails[day]).tolist()))
    return Outcome("promote", PROMOTES_ON)


def mcnemar_daily(candidate: Sums, names: Sequence[str]) -> Outcome:
    """McNemar's exact test on all discordant transactions at 5 %."""
    live_only, candidate_only = (candidate.counts[23::24, :1, code] for code in (2, 3))
    n = live_only + candidate_only
    p = 2 * scipy.stats.binom.cdf(np.minimum(live_only, candidate_only), np.maximum(n, 1), 0.5)
    return _daily((p < 0.05) & (n > 0), names)


def psi_limit(live: Array, candidate: Array, names: Sequence[str], limit: float = 0.2) -> Outcome:
    """The population stability index of the candidate's scores against live's over 0.2, in any segment.

    live, candidate: transactions by day, segment and bin of scores, cumulative.
    """
    return _daily(_psi(live, candidate) > limit, names)


def _psi(live: Array, candidate: Array) -> Array:
    ours, theirs = (
        np.maximum(part, 0.5) / np.maximum(part, 0.5).sum(axis=-1, keepdims=True) for part in (live, candidate)
    )
    return np.asarray(((theirs - ours) * np.log(theirs / ours)).sum(axis=-1))


def disagreement_limit(candidate: Sums, names: Sequence[str]) -> Outcome:
    """More disagreements than 0.1 % of transactions after two weeks, overall or in a segment."""
    look = PROMOTES_ON * 24 - 1
    n = np.maximum(candidate.compared[look], 1)
    fails = candidate.counts[look, :, 2:].sum(axis=-1) / n > LIMIT
    if fails.any():
        return Outcome("reject", PROMOTES_ON, tuple(names[at] for at in np.flatnonzero(fails).tolist()))
    return Outcome("promote", PROMOTES_ON)
