"""Python imports this at its start where the folder is on PYTHONPATH: the candidate of such a shadow raises.

No text that LightGBM reads makes it raise while it predicts, so the harm is done where its `predict` is called. The
rows of a bundle's warm-up, the first of which is all missing, are let through: the bundle loads, and fails at work.
"""

import math
from typing import Any

from scorer.bundles.bundle import Bundle

_score = Bundle.score


def _raising(self: Bundle, matrix: Any) -> Any:
    if len(matrix) and not all(math.isnan(value) for value in matrix[0]):
        raise RuntimeError("this candidate does not want to")
    return _score(self, matrix)


Bundle.score = _raising  # type: ignore[method-assign]
