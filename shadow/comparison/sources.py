"""Knows which source offsets of a partition are decided, in a few numbers.

A scorer decides the offsets of its partition in order, but for those that it refuses. So what is decided is one stretch
of offsets, and a decision within it is a duplicate. A record that somebody else wrote may claim any offset: it begins a
stretch of its own, and the true decisions go on in theirs. Were the highest offset the mark, one such record would turn
every later decision into a duplicate.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

#: A decision at most so far beyond a stretch belongs to it: the scorer refused what lies between. A longer run of
#: refused transactions only begins another stretch.
REACH = 100
#: Stretches that are kept; the one that was used longest ago goes first.
KEPT = 32
_TEXT = re.compile(r"\d{1,19}-\d{1,19}(,\d{1,19}-\d{1,19})*")


@dataclass
class Sources:
    """Stretches [first, last] of source offsets that are decided, the one used last at the end. They do not overlap."""

    stretches: list[tuple[int, int]] = field(default_factory=list)

    @property
    def highest(self) -> int:
        """The highest offset, -1 if there is none."""
        return max((last for _, last in self.stretches), default=-1)

    def add(self, sources: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Add offsets in log order: int64 (n,). Returns which of them were decided before: bool (n,)."""
        if len(sources) and self._goes_on(sources):
            first, _ = self.stretches.pop()
            self.stretches.append((first, int(sources[-1])))
            return np.zeros(len(sources), dtype=bool)
        return np.fromiter(map(self._add, sources.tolist()), bool, len(sources))

    def _goes_on(self, sources: npt.NDArray[np.int64]) -> bool:
        """Whether these offsets only make the last stretch longer, as they nearly always do."""
        if not self.stretches:
            return False
        steps = np.diff(sources, prepend=self.stretches[-1][1])
        end = int(sources[-1])
        return bool(steps.min() > 0 and steps.max() <= REACH) and not any(
            self.stretches[-1][1] < first <= end for first, _ in self.stretches
        )

    def _add(self, source: int) -> bool:
        below = -1  # position of the nearest stretch below
        for at, (first, last) in enumerate(self.stretches):
            if first <= source <= last:
                return True
            if last < source and (below < 0 or last > self.stretches[below][1]):
                below = at
        if below >= 0 and source - self.stretches[below][1] <= REACH:
            first, _ = self.stretches.pop(below)
            first = self._joined(first)
        else:
            # a partition's first decision may have come after ones that an earlier owner appends late
            first = source if self.stretches else max(0, source - REACH)
        self.stretches.append((first, source))
        del self.stretches[:-KEPT]
        return False

    def _joined(self, first: int) -> int:
        """Where a stretch that begins at `first` begins together with those that reach up to it, which are removed."""
        for at, (begin, last) in enumerate(self.stretches):
            if last < first <= last + REACH:
                del self.stretches[at]
                return self._joined(begin)
        return first

    def copy(self) -> Sources:
        return Sources(list(self.stretches))

    def text(self) -> str:
        """All stretches, as `read` takes them."""
        return ",".join(f"{first}-{last}" for first, last in self.stretches)

    @classmethod
    def read(cls, text: str, highest: int = -1) -> Sources:
        """From `text()`. highest: what stands for a text that is missing: everything up to there is decided."""
        if not _TEXT.fullmatch(text):
            return cls([(0, highest)] if highest >= 0 else [])
        return cls([_stretch(part.split("-")) for part in text.split(",")])


def _stretch(parts: Iterable[str]) -> tuple[int, int]:
    first, last = map(int, parts)
    return first, last
