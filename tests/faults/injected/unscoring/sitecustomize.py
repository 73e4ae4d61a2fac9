"""Python imports this at its start where the folder is on PYTHONPATH: some scores of the candidate are no numbers.

A model whose leaves hold no numbers is no bundle. So the scores are spoiled where they are made, of the rows with the
value UNSCORED_VALUE in the column UNSCORED_COLUMN; no row of a bundle's warm-up has it.
"""

import os
from typing import Any

import numpy as np

from scorer.bundles.bundle import Bundle

_score = Bundle.score
_column, _value = int(os.environ["UNSCORED_COLUMN"]), float(os.environ["UNSCORED_VALUE"])


def _spoiled(self: Bundle, matrix: Any) -> Any:
    scores = np.array(_score(self, matrix))
    scores[np.asarray(matrix)[:, _column] == _value] = np.nan
    return scores


Bundle.score = _spoiled  # type: ignore[method-assign]
