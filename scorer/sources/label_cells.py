"""Labels in the cells of a file: fraud, legitimate or unknown, and nothing that has to be guessed."""

from __future__ import annotations

import math
from typing import Any

from scorer.pipeline import lenient

UNKNOWN = -1
EXPECTED = "expected 1, 0, true, false, yes or no, or nothing if it is not known"


def label_of(cell: Any) -> int | None:
    """1 for fraud, 0 for legitimate, UNKNOWN for an empty cell; None for anything else.

    >>> [label_of(cell) for cell in ("Yes", 0, "1.0", None, -1, 0.7)]
    [1, 0, 1, -1, None, None]
    """
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return UNKNOWN
    if isinstance(cell, str):
        cell = {"1.0": 1, "0.0": 0}.get(cell.strip(), cell)
    said = lenient.boolean(cell)
    if said is None:
        return UNKNOWN
    return int(said) if isinstance(said, bool) else None
