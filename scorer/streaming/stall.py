"""Judges whether a worker stands still: records wait, everything that it needs answers, and nothing moves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

#: What one look may add to the time, in looks: a process that was stopped, or got little of the machine, did not look.
MOST_LOOKS = 2.0


@dataclass
class Stall:
    """Adds up how long nothing has moved while records waited.

    limit_seconds: how long that may last. every_seconds: time between two looks. still_seconds: how long it has lasted.
    """

    limit_seconds: float
    every_seconds: float
    still_seconds: float = 0.0
    _signs: Any = field(default=None, repr=False)

    def look(self, signs: Any, seconds: float) -> None:
        """Note what can be seen of the worker's progress; whatever differs from the last look ends a stall.

        seconds: since the last look, of which no more than `MOST_LOOKS` looks count.
        """
        if signs != self._signs:
            self._signs, self.still_seconds = signs, 0.0
        else:
            self.still_seconds += min(seconds, MOST_LOOKS * self.every_seconds)

    def excuse(self) -> None:
        """There is a reason to stand still: nothing waits, or something that the worker needs does not answer."""
        self.still_seconds = 0.0

    @property
    def is_due(self) -> bool:
        """Whether it is time to ask for a reason: the broker is asked only about a worker that has not moved."""
        return self.still_seconds >= self.limit_seconds / 3

    @property
    def is_over(self) -> bool:
        """Whether the worker has stood still for too long."""
        return self.still_seconds >= self.limit_seconds
