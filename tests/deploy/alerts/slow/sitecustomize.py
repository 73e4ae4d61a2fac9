"""Python imports this at its start where the folder is on PYTHONPATH: the candidate of such a shadow is slow."""

import time
from typing import Any

from scorer.bundle import Bundle

SECONDS_A_ROW = 0.03
_score = Bundle.score


def _slow(self: Bundle, matrix: Any) -> Any:
    time.sleep(SECONDS_A_ROW * len(matrix))
    return _score(self, matrix)


Bundle.score = _slow  # type: ignore[method-assign]
