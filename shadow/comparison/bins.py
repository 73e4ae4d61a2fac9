"""How scores and features fall into bins.

*Scores* are binned in log-odds: in steps of 1/32 between 0.7 % and 99.3 %, where thresholds lie, and of 1/2 beyond, so
that a threshold can be read off without scores being kept. The candidate's are counted apart by what live decided, in
transactions and in money: that is all it takes to say what any other threshold would have blocked, and on whom the two
would differ.

*Features* are binned by sign and size, four bins to an octave, so that nobody has to know their range: whole numbers up
to 8 are told apart, what is larger within 19 %. Missing and zero have bins of their own. (The idea of bins of equal
relative width is DDSketch's: Masson, Rim and Lee 2019, "DDSketch: a fast and fully-mergeable quantile sketch".)
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

#: Sums.
Counts = npt.NDArray[np.int64]

#: Lower edges of the score bins after the first: probabilities.
EDGES = 1 / (1 + np.exp(-np.concatenate([np.arange(-8, -5, 0.5), np.arange(-5, 5, 1 / 32), np.arange(5, 8.5, 0.5)])))
BINS = len(EDGES) + 1
#: What is counted in each score bin, in this order.
KINDS = ("live", "candidate_live_allows", "candidate_live_blocks", "money_live_allows", "money_live_blocks")
LIVE, ALLOWED, BLOCKED, ALLOWED_MONEY, BLOCKED_MONEY = range(len(KINDS))

#: Bins of an octave of a feature's size, and the octaves that there are: from 2 ** -10 to 2 ** 34.
PER_OCTAVE, LOWEST_OCTAVE, HIGHEST_OCTAVE = 4, -10, 34
_SIZES = PER_OCTAVE * (HIGHEST_OCTAVE - LOWEST_OCTAVE)
MISSING, ZERO, POSITIVE, NEGATIVE = 0, 1, 2, 2 + _SIZES
FEATURE_BINS = 2 + 2 * _SIZES
#: Positions of the feature bins in the order of their values, missing first.
BY_VALUE = np.concatenate(
    [[MISSING], np.arange(NEGATIVE, FEATURE_BINS)[::-1], [ZERO], np.arange(POSITIVE, NEGATIVE)]
).astype(np.int64)


def score_bins(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Bin of each score, -1 for NaN: int64 (n,). A score equal to a lower edge is in that bin, as it would block."""
    return np.where(np.isnan(scores), -1, np.searchsorted(EDGES, scores, side="right")).astype(np.int64)


def feature_bins(values: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Bin of each value of a feature, of any shape. What is smaller or larger than the octaves counts as at their end.

    >>> feature_bins(np.array([np.nan, 0.0, 1.0, 1.1, 2.0, -1.0])).tolist()
    [0, 1, 42, 42, 46, 218]
    """
    size = np.abs(values)
    known = np.isfinite(size) & (size > 0)
    octave = np.log2(np.where(known, size, 1.0))
    at = np.clip(np.floor((octave - LOWEST_OCTAVE) * PER_OCTAVE), 0, _SIZES - 1).astype(np.int64)
    at = np.where(np.isinf(size), _SIZES - 1, at)
    return np.where(np.isnan(size), MISSING, np.where(size == 0, ZERO, np.where(values > 0, POSITIVE, NEGATIVE) + at))
