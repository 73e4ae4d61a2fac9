"""Bins of scores and features.

*Scores* are binned in log-odds, in steps of 1/32 between 0.7 % and 99.3 %, where thresholds lie, and of 1/2 beyond. The
candidate's scores are counted separately for transactions that live allows and that live blocks, in transactions and in
money. These counts tell, for any threshold, what the candidate would block and where it would disagree with live, so no
score has to be stored.

*Features* are binned by sign and size, four bins to an octave, so that no range has to be configured. Whole numbers up
to 8 have a bin each; the values in a bin differ by at most 19 %. Missing values and zero have bins of their own. (Bins
of equal relative width: Masson, Rim and Lee 2019, "DDSketch: a fast and fully-mergeable quantile sketch".)
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

#: Integer sums.
Counts = npt.NDArray[np.int64]

#: Lower edges, as probabilities, of all score bins but the first.
EDGES = 1 / (1 + np.exp(-np.concatenate([np.arange(-8, -5, 0.5), np.arange(-5, 5, 1 / 32), np.arange(5, 8.5, 0.5)])))
BINS = len(EDGES) + 1
#: The five counts of each score bin, in array order.
KINDS = ("live", "candidate_live_allows", "candidate_live_blocks", "money_live_allows", "money_live_blocks")
LIVE, ALLOWED, BLOCKED, ALLOWED_MONEY, BLOCKED_MONEY = range(len(KINDS))

#: Bins in an octave of feature values, and the powers of two at which the octaves begin and end.
PER_OCTAVE, LOWEST_OCTAVE, HIGHEST_OCTAVE = 4, -10, 34
_SIZES = PER_OCTAVE * (HIGHEST_OCTAVE - LOWEST_OCTAVE)
MISSING, ZERO, POSITIVE, NEGATIVE = 0, 1, 2, 2 + _SIZES
FEATURE_BINS = 2 + 2 * _SIZES
#: Positions of the feature bins in ascending order of value, missing first.
BY_VALUE = np.concatenate(
    [[MISSING], np.arange(NEGATIVE, FEATURE_BINS)[::-1], [ZERO], np.arange(POSITIVE, NEGATIVE)]
).astype(np.int64)


def score_bins(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """The bin of each score, -1 for NaN: int64 (n,). A score on a lower edge is in the bin above: at it, it blocks."""
    return np.where(np.isnan(scores), -1, np.searchsorted(EDGES, scores, side="right")).astype(np.int64)


def feature_bins(values: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """The bin of each feature value: int64, of the same shape. Values beyond the octaves are in the outermost bins.

    >>> feature_bins(np.array([np.nan, 0.0, 1.0, 1.1, 2.0, -1.0])).tolist()
    [0, 1, 42, 42, 46, 218]
    """
    size = np.abs(values)
    known = np.isfinite(size) & (size > 0)
    octave = np.log2(np.where(known, size, 1.0))
    at = np.clip(np.floor((octave - LOWEST_OCTAVE) * PER_OCTAVE), 0, _SIZES - 1).astype(np.int64)
    at = np.where(np.isinf(size), _SIZES - 1, at)
    return np.where(np.isnan(size), MISSING, np.where(size == 0, ZERO, np.where(values > 0, POSITIVE, NEGATIVE) + at))
