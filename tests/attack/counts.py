"""What an attack counts, and how it notices what hangs."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

#: Examples of faults that are kept of each target.
EXAMPLES = 12


class Hung(BaseException):
    """Something took longer than it may. Not an Exception, so that nothing attacked takes it for its own."""


@dataclass
class Counts:
    """Of one target.

    tried: inputs. crashes: what raised, or ended, and should not. hangs: what did not come back. wrong: what came back
    with another answer than the oracle's.
    """

    target: str
    tried: int = 0
    crashes: int = 0
    hangs: int = 0
    wrong: int = 0
    told: list[str] = field(default_factory=list)
    seen: dict[str, int] = field(default_factory=dict)  # how many inputs of each kind, to show that all are tried

    @property
    def is_clean(self) -> bool:
        return self.tried > 0 and not (self.crashes or self.hangs or self.wrong)

    def row(self) -> dict[str, Any]:
        """As build/attack.json has it."""
        return {name: getattr(self, name) for name in ("target", "tried", "crashes", "hangs", "wrong")}

    def crash(self, what: str) -> None:
        self.crashes += 1
        self._tell("crash", what)

    def hang(self, what: str) -> None:
        self.hangs += 1
        self._tell("hang", what)

    def mistake(self, what: str) -> None:
        self.wrong += 1
        self._tell("wrong", what)

    def _tell(self, how: str, what: str) -> None:
        if len(self.told) < EXAMPLES:
            self.told.append(f"{how}: {what[:400]}")

    def saw(self, kind: str, n: int = 1) -> None:
        self.seen[kind] = self.seen.get(kind, 0) + n

    def add(self, more: Counts) -> None:
        """Add what another process counted on the same target."""
        for name in ("tried", "crashes", "hangs", "wrong"):
            setattr(self, name, getattr(self, name) + getattr(more, name))
        self.told = [*self.told, *more.told][:EXAMPLES]
        for kind, n in more.seen.items():
            self.saw(kind, n)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raises Hung in the main thread if the block takes longer."""

    def ring(*_: object) -> None:
        raise Hung(f"{seconds:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
