r"""The changelog of card states, as records of the topic `velocity`: how they are written, and read back.

| key | value | header | says |
|---|---|---|---|
| card | row | | the card's state |
| card | none | `offset`, perhaps `erasure` | the state up to a source offset is dropped, perhaps by a request |
| `\xffw`, a track's id, `/`, a card and keys | row | | what a window has added up; see `window_states` |
| the same | none | as of a card | the same |
| `\xffreleased` | account | | what was released by event day, up to a source offset |
| empty | none | `clock` | how the partition's clock steps in the batch whose states follow |
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from scorer.pipeline.batch import Marked
from scorer.pipeline.card_states import CardStates, Dropped
from scorer.pipeline.clock import Steps
from scorer.pipeline.exploration import KEY, Spending, read_account
from scorer.pipeline.window_states import PREFIX, Gone

#: Texts of the headers `clock` and `offset`.
CLOCK = re.compile(rb"-?\d{1,10}(?: \d{1,19}:-?\d{1,10})+")
OFFSET = re.compile(rb"\d{1,19}")


def dropped(card: Dropped, erasure: str | None = None) -> Marked:
    """Says that a card's state is dropped. erasure: id of the request that asked for it."""
    headers = [("offset", b"%d" % card.offset)]
    if erasure is not None:
        headers.append(("erasure", erasure.encode()))
    return Marked((card.card.encode(), None), headers)


def swept(states: CardStates, events: int, position: int) -> list[Marked]:
    """Drops idle states, and says so; see `CardStates.sweep`."""
    windows = states.windows.sweep(events, position, states.day)
    return [*map(dropped, states.sweep(events, position)), *map(_gone, windows)]


def erased(states: CardStates, card: str, request: str) -> list[Marked]:
    """Erases all states of a card, and says so: none if there were none. The last one names the request, so that
    whoever finds that finds the others."""
    windows = states.windows.erase(card)
    own = states.erase(card)
    marks = [_gone(gone) for gone in windows]
    if own is not None:
        return [*marks, dropped(own, request)]
    if marks:
        marks[-1].headers.append(("erasure", request.encode()))
    return marks


def count_cards(marks: Sequence[Marked]) -> int:
    """How many cards are dropped, without windows."""
    return sum(not _is_window(mark.record[0]) for mark in marks)


def _gone(window: Gone) -> Marked:
    return Marked((window.key, None), [("offset", b"%d" % window.offset)])


def clock(stood: int, steps: Steps) -> Marked:
    """Says how a clock steps; see `CardStates.resume`. It must be on the topic before any state that has seen a step.

    A worker that takes over and finds only some of a batch's states reads that batch again, and could not tell from the
    states where the clock stood at each transaction.
    """
    text = " ".join([str(stood), *(f"{offset}:{day}" for offset, day in steps)])
    return Marked((b"", None), [("clock", text.encode())])


class ChangelogReader:
    """Brings the records of one partition into card states.

    end: offset after the partition's last transaction; see `CardStates.load`. passed_over: records that are none of
    ours. erasures: ids of the requests that were carried out, as far as the topic still tells. spending, spent_through:
    the newest account of what was released, and its source offset; None and -1 without one.
    """

    def __init__(self, states: CardStates, end: int = 2**62) -> None:
        self._states, self._end = states, end
        self._clock: tuple[int, Steps] | None = None
        self.passed_over = 0
        self.erasures: set[str] = set()
        self.spending: Spending | None = None
        self.spent_through = -1

    def fold(self, records: Sequence[Any]) -> None:
        """Take in records, in log order. Each has `key`, `value` and `headers`."""
        states = [record for record in records if record.value is not None and record.key != KEY]
        rows = [record for record in states if not _is_window(record.key)]
        windows = [record for record in states if _is_window(record.key)]
        for value in [record.value for record in records if record.key == KEY and record.value is not None]:
            self._read_account(value)
        self.passed_over += self._states.load(
            [record.key for record in rows], [record.value for record in rows], self._end
        )
        self.passed_over += self._states.windows.load(
            [record.key for record in windows], [record.value for record in windows], self._end
        )
        keys: list[bytes | None] = []
        offsets: list[int] = []
        gone: list[tuple[bytes, int]] = []
        for record in records:
            if record.value is not None:
                continue
            headers = dict(record.headers)
            offset = headers.get("offset") or b""
            if record.key == b"":
                self._read_clock(headers.get("clock") or b"")
            elif OFFSET.fullmatch(offset):
                if _is_window(record.key):
                    gone.append((record.key, int(offset)))
                else:
                    keys.append(record.key)
                    offsets.append(int(offset))
                self.erasures.add((headers.get("erasure") or b"").decode("ascii", "replace"))
            else:
                self.passed_over += 1
        self.passed_over += self._states.bury(keys, offsets, self._end)
        self.passed_over += self._states.windows.bury([key for key, _ in gone], [at for _, at in gone], self._end)

    def finish(self) -> None:
        """Call this after the last record."""
        self.erasures.discard("")
        if self._clock is not None:
            self._states.resume(*self._clock)

    def _read_account(self, value: bytes) -> None:
        found = read_account(value, self._end)
        if found is None:
            self.passed_over += 1
        elif self.spending is None or found[0] >= self.spent_through:
            self.spent_through, self.spending = found

    def _read_clock(self, text: bytes) -> None:
        if not CLOCK.fullmatch(text):
            self.passed_over += 1
            return
        stood, *steps = text.split(b" ")
        course = [(int(step.partition(b":")[0]), int(step.partition(b":")[2])) for step in steps]
        days = [int(stood), *(day for _, day in course)]
        offsets = [offset for offset, _ in course]
        if sorted(set(offsets)) == offsets and sorted(set(days)) == days and offsets[-1] < self._end:
            self._clock = int(stood), course
        else:
            self.passed_over += 1


def is_card(record: Any) -> bool:
    """Whether a record would be the state of a card, if it is one of ours."""
    return record.value is not None and not (record.key or b"").startswith(b"\xff")


def _is_window(key: bytes | None) -> bool:
    return key is not None and key.startswith(PREFIX)
