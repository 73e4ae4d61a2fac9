"""What the rules of automation say, counted by hand from what happened: no code of the product takes part in it."""

from __future__ import annotations

from dataclasses import dataclass, field

KINDS = ("retrain", "threshold", "design")


@dataclass
class Book:
    """needed, days: what it takes. row: days of accepted suggestions in a row, by kind. on: automated kinds."""

    needed: int = 5
    days: float = 60.0
    row: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    on: set[str] = field(default_factory=set)
    lost: int = 0

    def accepted(self, kind: str, day: float) -> None:
        self.row[kind].append(day)

    def is_earned(self, kind: str) -> bool:
        times = self.row[kind]
        return len(times) >= self.needed and times[-1] - times[0] >= self.days

    def switched_on(self, kind: str) -> None:
        if self.is_earned(kind):
            self.on.add(kind)

    def broken(self, *kinds: str) -> None:
        """Something showed that a person was needed."""
        for kind in kinds or KINDS:
            self.row[kind] = []
            if kind in self.on:
                self.on.remove(kind)
                self.lost += 1
