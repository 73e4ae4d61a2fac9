"""A matrix whose rows come some at a time, so that all of them are in memory only once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]
#: Bytes of a block. Memory of more than 32 MiB goes back to the system as soon as it is free; smaller pieces are kept
#: by the C library, and a matrix made of these would take twice its size.
BLOCK_BYTES = 2**26


class Blocks:
    """Rows of float64 (…, columns)."""

    def __init__(self, columns: int, block_bytes: int = BLOCK_BYTES) -> None:
        self._columns, self._rows = columns, max(block_bytes // (8 * columns), 1)
        self._blocks: list[Matrix] = []  # memory that nobody has written to is not taken yet
        self._used = 0  # rows of the last block

    def add(self, rows: Matrix) -> None:
        """Take in some rows: (k, columns)."""
        at = 0
        while at < len(rows):
            if not self._blocks or self._used == self._rows:
                self._blocks.append(np.empty((self._rows, self._columns)))
                self._used = 0
            n = min(len(rows) - at, self._rows - self._used)
            self._blocks[-1][self._used : self._used + n] = rows[at : at + n]
            self._used, at = self._used + n, at + n

    def joined(self) -> Matrix:
        """All rows, in order: (n, columns). They are in here no longer."""
        blocks, used = self._blocks, self._used
        self._blocks, self._used = [], 0
        if blocks:
            blocks[-1] = blocks[-1][:used]
        matrix = np.empty((sum(map(len, blocks)), self._columns))
        at = 0
        blocks.reverse()
        while blocks:
            block = blocks.pop()
            matrix[at : at + len(block)] = block
            at += len(block)
        return matrix
