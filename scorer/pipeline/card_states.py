"""The cards of one partition: a packed row for each, kept, loaded, erased, and dropped once it is idle.

When a card starts anew follows from the events before it alone (`scorer.pipeline.card_row`). So a row that idle is as
good as none, and `CardStates.sweep` drops such rows a few at a time: when it does so changes no result.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from scorer.pipeline.card_row import BLANK, DAY, FREE, GRAVE, IDLE_DAYS, LAST, LAYOUT, NO_TIME, RAW, RAW_BLANK, ROW
from scorer.pipeline.clock import CROWD, NO_DAY, Course, EventClock, Steps
from scorer.pipeline.window import Track
from scorer.pipeline.window_states import Windows

#: Places that `sweep` looks at for each event of a batch, and at least. So a worker holds at most a quarter of the
#: cards that its partitions get in the time of one pass beyond those that are not idle.
SWEPT_PER_EVENT, SWEPT_AT_LEAST = 4, 256
#: Most new cards that are remembered for `newcomers`.
MOST_NEWCOMERS = 256
#: By how much the room for rows grows when it is used up.
GROWTH = 1.5
#: About what Python takes for a card beside its row: its text and its share of the tables of places.
_TEXT_BYTES = 80
#: A row with the time of the card's last transaction behind it.
_WITH_LAST = np.dtype([("row", RAW), ("last", LAST)])


@dataclass(frozen=True, slots=True)
class Dropped:
    """A card whose state is no more. offset: the last source offset that the state had absorbed."""

    card: str
    offset: int


class CardStates:
    """The cards of one partition: packed rows, the place of each card's row, and the partition's clock.

    minor_digits: decimal digits of the reporting currency. capacity: rows to make room for at first. crowd: see
    `EventClock`. has_last: whether to keep the time of each card's last transaction, too. tracks: of the
    windows that are declared; `windows` has their rows.
    """

    def __init__(
        self,
        minor_digits: int = 2,
        capacity: int = 1024,
        crowd: int = CROWD,
        has_last: bool = False,
        tracks: Sequence[Track] = (),
    ) -> None:
        self.units = 10.0**minor_digits
        self.windows = Windows(tracks)
        self._places: dict[str, int] = {}
        self._cards: list[str | None] = []  # by place
        self._free: list[int] = []
        self._rows = np.zeros(capacity, dtype=ROW)
        self._raw = self._rows.view(RAW)  # the same memory: numpy takes long to make a view of fields
        self._last = np.full(capacity, NO_TIME, dtype=np.int64) if has_last else None
        self._crowd = crowd
        self._clock: EventClock | None = EventClock(crowd)  # None until it is needed after `load`
        self._course = Course()
        self._cursor = self._unswept = 0
        self._newcomers: list[str] = []

    def __contains__(self, card: str) -> bool:
        return card in self._places

    def __len__(self) -> int:
        return len(self._places)

    @property
    def places(self) -> int:
        """How many places there are, with those that are free."""
        return len(self._cards)

    @property
    def memory_bytes(self) -> int:
        """About how much memory the cards take."""
        tables = sys.getsizeof(self._places) + sys.getsizeof(self._cards) + sys.getsizeof(self._free)
        last = 0 if self._last is None else int(self._last.nbytes)
        last += self.windows.memory_bytes
        return int(self._rows.nbytes) + last + tables + _TEXT_BYTES * len(self._places)

    @property
    def highest_offset(self) -> int:
        """Highest source offset absorbed by any row, or by one that was dropped; -1 without rows."""
        used = self._rows[: self.places]
        return max(int(used["offset"].max(initial=-1)), self.windows.highest_offset)

    @property
    def clock(self) -> EventClock:
        """The clock that the rows make."""
        if self._clock is None:
            used = self._rows[: self.places]
            self._clock = EventClock.of(used["heads"][used["layout"] == LAYOUT, DAY], self._crowd)
        return self._clock

    @property
    def day(self) -> int:
        """Where the clock stands for the next event, in days since 1970."""
        return self._course.day if self._course.known else self.clock.day

    def find(self, cards: Sequence[str]) -> npt.NDArray[np.int64]:
        """Place of each card's row: int64 (n,). Adds a row for each new card."""
        return np.array(self.places_of(cards), dtype=np.int64)

    def places_of(self, cards: Sequence[str]) -> list[int]:
        """`find`, as a list: of few cards, an array takes longer to make than it saves."""
        get = self._places.get
        found = [get(card, -1) for card in cards]
        if -1 in found:
            new = [at for at, place in enumerate(found) if place < 0]
            for at in new:
                found[at] = self._add(cards[at])
            places = [found[at] for at in new]
            self._raw[places] = RAW_BLANK
            if self._last is not None:
                self._last[places] = NO_TIME
            if len(self._newcomers) < MOST_NEWCOMERS:
                self._newcomers.extend([cards[at] for at in new[:MOST_NEWCOMERS]])
        return found

    def newcomers(self) -> set[str]:
        """Some of the cards that came since the last call, MOST_NEWCOMERS or a few more. For any thread."""
        new, self._newcomers = self._newcomers, []
        return set(new)

    def _add(self, card: str) -> int:
        """The place of a card that may be new; whoever asks for it makes its row blank."""
        place = self._places.get(card)
        if place is not None:
            return place
        if self._free:
            place = self._free.pop()
            self._cards[place] = card
        else:
            place = self.places
            self._cards.append(card)
            if place >= len(self._rows):
                # A copy, as numpy has the kernel back large new arrays with large pages; one that grows in place loses
                # them, and random access then takes a third longer.
                grown = np.zeros(int(GROWTH * place) + 1024, dtype=ROW)
                grown[:place] = self._rows
                self._rows, self._raw = grown, grown.view(RAW)
                if self._last is not None:
                    self._last = np.concatenate([self._last, np.full(len(grown) - len(self._last), NO_TIME)])
        self._places[card] = place
        return place

    @property
    def has_last(self) -> bool:
        """Whether the time of each card's last transaction is kept."""
        return self._last is not None

    def take_last(self, places: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """When the cards at some places had their last transaction: int64 (n,), milliseconds since 1970, or NO_TIME."""
        return np.full(len(places), NO_TIME) if self._last is None else self._last[places]

    def put_last(self, places: npt.NDArray[np.int64], times: npt.NDArray[np.int64]) -> None:
        """Write times that `take_last` returned back to their places, which must be distinct."""
        if self._last is not None:
            self._last[places] = times

    def take(self, places: npt.NDArray[np.int64]) -> npt.NDArray[np.void]:
        """Copies of the rows at some places, as plain bytes."""
        return self._raw[places]

    def put(self, places: npt.NDArray[np.int64], rows: npt.NDArray[np.void]) -> None:
        """Write rows that `take` returned back to their places, which must be distinct."""
        self._raw[places] = rows

    def newest_days(self, places: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        """Day of the newest event of the cards at some places: int32 (n,), NO_DAY for none."""
        days: npt.NDArray[np.int32] = self._rows["heads"][places, DAY]
        return days

    def packed(self, cards: Sequence[str]) -> list[tuple[bytes, bytes]]:
        """Changelog key and value of each distinct card, by first appearance. Raises KeyError for an unknown card."""
        distinct = list(dict.fromkeys(cards))
        places = np.array([self._places[card] for card in distinct], dtype=np.int64)
        rows = self.take(places)
        if self._last is not None:
            wide = np.empty(len(places), dtype=_WITH_LAST)
            wide["row"], wide["last"] = rows, self._last[places]
            rows = wide.view(np.dtype((np.void, _WITH_LAST.itemsize)))
        return [(card.encode(), row) for card, row in zip(distinct, rows.tolist(), strict=True)]

    def load(self, keys: Sequence[bytes | None], values: Sequence[bytes], end: int = 2**62) -> int:
        """Load rows of the changelog; returns how many were passed over, as they are no rows of this partition's cards.

        Of several for a card the one with the highest source offset wins, not the last. end: offset after the last
        transaction of the partition, which no row can have absorbed: a row that says so would have all transactions up
        to there taken for decided.
        """
        fits = [
            (card, value)
            for card, value in zip(map(_card, keys), values, strict=True)
            if card is not None and len(value) in (ROW.itemsize, _WITH_LAST.itemsize)
        ]
        rows = np.frombuffer(b"".join([value[: ROW.itemsize] for _, value in fits]), dtype=ROW)
        last = np.full(len(fits), NO_TIME)
        if self._last is not None:
            told = np.array([len(value) > ROW.itemsize for _, value in fits], dtype=bool)
            last[told] = np.frombuffer(b"".join([value[ROW.itemsize :] for _, value in fits]), dtype=LAST)
        good = (rows["layout"] == LAYOUT) & (rows["offset"] >= 0) & (rows["offset"] < end)
        self._load([card for (card, _), is_good in zip(fits, good, strict=True) if is_good], rows[good], last[good])
        return len(keys) - int(good.sum())

    def bury(self, keys: Sequence[bytes | None], offsets: Sequence[int], end: int = 2**62) -> int:
        """Load what the changelog says of dropped cards; returns how many were passed over. end: see `load`.

        offsets: up to which each card's state was dropped. Until the events up to there have been read again, if they
        are, the card keeps a row that has absorbed them and holds nothing else.
        """
        good = [
            (card, offset)
            for card, offset in zip(map(_card, keys), offsets, strict=True)
            if card is not None and 0 <= offset < end
        ]
        rows = np.repeat(BLANK, len(good))
        rows["layout"], rows["offset"] = GRAVE, [offset for _, offset in good]
        self._load([card for card, _ in good], rows, np.full(len(good), NO_TIME))
        return len(keys) - len(good)

    def _load(self, cards: Sequence[str], rows: npt.NDArray[np.void], last: npt.NDArray[np.int64]) -> None:
        if not len(rows):
            return
        places = self.find(cards)
        order = np.argsort(rows["offset"], kind="stable")  # numpy keeps the last assignment to a place
        places, rows, last = places[order], rows[order], last[order]
        held = self._rows[["offset", "layout"]][places]
        newer = (rows["offset"] > held["offset"]) | ((rows["offset"] == held["offset"]) & (held["layout"] != GRAVE))
        self.put(places[newer], rows.view(RAW)[newer])
        self.put_last(places[newer], last[newer])
        self._clock, self._unswept = None, self.places

    def resume(self, stood: int, steps: Steps) -> None:
        """Say how the clock went in the batch whose states were written last, and perhaps not all of them.

        While that batch is read again, the clock goes as it went then, although some of the rows are ahead. stood: its
        day before the first of the steps.
        """
        self._course = Course(stood, tuple(steps))

    def erase(self, card: str) -> Dropped | None:
        """Forget what a card did, however lately; returns what was dropped, None if there was no state.

        Its row stays until the next `sweep`, and holds nothing but the offset that it has absorbed.
        """
        place = self._places.get(card)
        if place is None or self._rows["layout"][place] != LAYOUT:
            return None
        dropped, day = Dropped(card, int(self._rows["offset"][place])), int(self._rows["heads"][place, DAY])
        clock = self.clock
        self._rows[place] = BLANK[0]
        self._rows["layout"][place], self._rows["offset"][place] = GRAVE, dropped.offset
        if self._last is not None:
            self._last[place] = NO_TIME
        if not clock.leave(day):
            self._clock = None
        self._unswept = self.places
        return dropped if dropped.offset >= 0 else None

    def sweep(self, events: int, position: int) -> list[Dropped]:
        """Drop idle cards among the places that come next in turn; returns those that had a state.

        events: that came since the last call: there are a few places for each. position: source offset of the next
        event. A row that has absorbed more stays: the events up to there are being read again.
        """
        left = min(SWEPT_PER_EVENT * events + SWEPT_AT_LEAST, self._unswept)
        dropped: list[Dropped] = []
        while left:
            start = self._cursor % self.places
            self._cursor = min(start + left, self.places)
            left -= self._cursor - start
            self._unswept -= self._cursor - start
            dropped += self._sweep(start, self._cursor, position)
        return dropped

    def _sweep(self, start: int, end: int, position: int) -> list[Dropped]:
        rows = self._rows[start:end]
        is_idle = rows["heads"][:, DAY] <= max(self.day - IDLE_DAYS, NO_DAY)
        gone = np.flatnonzero(is_idle & (rows["layout"] != FREE) & (rows["offset"] < position))
        if not len(gone):
            return []
        layouts, offsets = rows["layout"][gone].tolist(), rows["offset"][gone].tolist()
        places = (start + gone).tolist()
        dropped = [
            Dropped(str(self._cards[place]), offset)
            for place, layout, offset in zip(places, layouts, offsets, strict=True)
            if layout == LAYOUT and offset >= 0
        ]
        self._drop(places)
        return dropped

    def _drop(self, places: Sequence[int]) -> None:
        for place in places:
            del self._places[str(self._cards[place])]
            self._cards[place] = None
        rows = self._rows
        rows["layout"][places], rows["offset"][places], rows["heads"][places] = FREE, -1, NO_DAY
        self._free += places

    def steps(self) -> tuple[int, Steps]:
        """The clock's steps since the last call, and its day before them; what `resume` takes."""
        course = self._course
        if not course.steps:
            return course.stood, ()
        self._course = Course(course.day, course.known)
        return course.stood, (*course.steps, *course.known)

    def checkpoint(self) -> Callable[[], None]:
        """Remembers the clock; returns what puts it back."""
        clock, course = self.clock.copy(), self._course

        def put_back() -> None:
            self._clock, self._course = clock, course

        return put_back

    def before_step(
        self, places: npt.NDArray[np.int64], days: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64]
    ) -> int:
        """How many of n events can be taken until the clock may step; see `EventClock.before_step`.

        places, days, offsets: int64 (n,), n > 0, of the events; NO_DAY for one whose day does not count.
        """
        self._course = self._course.at(int(offsets[0]))
        if self._course.known:
            return int(np.searchsorted(offsets, self._course.known[0][0], side="right"))
        clock = self.clock
        if len(days) < clock.missing or days.max() <= clock.day:
            return len(days)
        return clock.before_step(days, self.newest_days(places), places)

    @property
    def is_repeating(self) -> bool:
        """Whether the clock goes as it is known to have gone, while events are read again."""
        return bool(self._course.known)

    def note(self, before: npt.NDArray[np.int32], after: npt.NDArray[np.int32], offset: int) -> None:
        """Tell the clock to which days k cards have come. offset: of the last event, which made the step if any."""
        day = self.day
        if self.clock.note(before, after):
            self._unswept = self.places
            if not self._course.known:
                self._course = self._course.step(day, offset, self.clock.day)


def _card(key: bytes | None) -> str | None:
    try:
        return key.decode() if key else None
    except UnicodeDecodeError:
        return None
