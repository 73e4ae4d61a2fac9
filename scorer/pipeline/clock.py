"""The event clock of a partition: how far its cards have come in event time, in days since 1970.

The clock stands at the latest day that at least `CROWD` cards have reached. A few records that are dated far ahead thus
move nobody's clock, and the clock follows from the card states alone: whoever has read these knows it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

#: Cards that must have reached a day before the clock does.
CROWD = 100
#: Day of a card without transactions, before every day that a transaction can have.
NO_DAY = -(2**30)
#: Steps of a clock: offset of the transaction after which it showed a day, and that day; both ascend.
Steps = Sequence[tuple[int, int]]


@dataclass
class EventClock:
    """The clock of one partition.

    day: where it stands; NO_DAY + 1 until `crowd` cards have had a transaction. reached: of cards at or beyond that
    day, how many have each as their newest day.
    """

    crowd: int = CROWD
    day: int = NO_DAY + 1
    reached: dict[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, days: npt.NDArray[np.int32], crowd: int = CROWD) -> EventClock:
        """The clock that these cards make. days: int32 (n,), the newest day of each."""
        clock = cls(crowd)
        clock.note(np.full(len(days), NO_DAY, dtype=np.int32), days)
        return clock

    def copy(self) -> EventClock:
        """The same clock, that goes on by itself."""
        return EventClock(self.crowd, self.day, self.reached.copy())

    @property
    def missing(self) -> int:
        """How many cards more have to go beyond the clock's day for it to step."""
        return self.crowd - sum(self.reached.values()) + self.reached.get(self.day, 0)

    def before_step(
        self, days: npt.NDArray[np.int64], newest: npt.NDArray[np.int32], cards: npt.NDArray[np.int64]
    ) -> int:
        """How many of n events can be taken, the last of which may make the clock step; the clock stands still before.

        days: int64 (n,), of the events. newest: int32 (n,), newest day of each event's card before all of them.
        cards: int64 (n,), the same number for events of the same card.
        """
        missing = self.missing
        ahead = np.flatnonzero((days > self.day) & (newest <= self.day))
        if len(ahead) < missing:
            return len(days)
        first = np.sort(np.unique(cards[ahead], return_index=True)[1])
        return len(days) if len(first) < missing else int(ahead[first[missing - 1]]) + 1

    def note(self, before: npt.NDArray[np.int32], after: npt.NDArray[np.int32]) -> bool:
        """Take in that k cards have come to other days; returns whether the clock stepped.

        before, after: int32 (k,), the newest day of each card; NO_DAY for none.
        """
        moved = (after != before) & (after >= self.day)
        if not moved.any():
            return False
        for day, n in Counter(after[moved].tolist()).items():
            self.reached[day] = self.reached.get(day, 0) + n
        for day, n in Counter(before[moved & (before >= self.day)].tolist()).items():
            self._leave(day, n)
        return self._step()

    def leave(self, day: int) -> bool:
        """Take in that a card with this newest day is no more.

        Returns False if that leaves too few cards at the clock's day: make the clock anew, `of` the cards.
        """
        if day < self.day:
            return True
        self._leave(day, 1)
        return self.day == NO_DAY + 1 or sum(self.reached.values()) >= self.crowd

    def _leave(self, day: int, n: int) -> None:
        left = self.reached.get(day, 0) - n
        if left:
            self.reached[day] = left
        else:
            self.reached.pop(day, None)  # a card dated far ahead may see many days

    def _step(self) -> bool:
        """Move to the latest day that a crowd has reached."""
        n = 0
        for day in sorted(self.reached, reverse=True):
            n += self.reached[day]
            if n >= self.crowd:
                if day == self.day:
                    return False
                self.day = day
                self.reached = {d: n for d, n in self.reached.items() if d >= day}
                return True
        return False


@dataclass(frozen=True, slots=True)
class Course:
    """The steps of a partition's clock around where a worker is.

    day: where the clock stands while there are known steps. known: those to come, of events that are read again.
    stood, steps: those since the last call of `CardStates.steps`, and the day before them.
    """

    day: int = NO_DAY + 1
    known: Steps = ()
    stood: int = NO_DAY + 1
    steps: Steps = ()

    def at(self, offset: int) -> Course:
        """The course when the event at this offset comes."""
        here = self
        while here.known and here.known[0][0] < offset:
            (first, day), *rest = here.known
            here = replace(here.step(here.day, first, day), day=day, known=tuple(rest))
        return here

    def step(self, before: int, offset: int, day: int) -> Course:
        """The course after a step. before: the day where the clock stood."""
        return replace(self, stood=self.stood if self.steps else before, steps=(*self.steps, (offset, day)))
