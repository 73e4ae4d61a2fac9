r"""The rows of all windows in one partition: kept, loaded, erased with their card, and dropped once they are idle.

A row is known by a text that begins with its card. On the changelog its key is `\xffw`, the id of its track, `/`, and
that text. No card has such a key, as it is no UTF-8.

Rows of windows that the view does not declare are kept without what they add up: their card can still be erased, and
they are dropped once they are idle.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from scorer.pipeline.clock import NO_DAY
from scorer.pipeline.window import Track
from scorer.pipeline.window_row import FREE, GRAVE, HEADER, LIVE, blank, blank_of, idle_days, row_type

#: What the changelog's keys of windows begin with.
PREFIX = b"\xffw"
KEY = re.compile(rb"\xffw([0-9a-f]{8})/(.+)", re.DOTALL)
#: How texts are read and written: a text of a sender's may be no proper Unicode, and must not stop a partition.
_SURROGATES = "surrogatepass"
#: Places that `sweep` looks at for each event of a batch, and at least; see `card_states`.
SWEPT_PER_EVENT, SWEPT_AT_LEAST = 4, 256
GROWTH = 1.5
#: About what Python takes for a row beside it: its text and its share of the tables of places.
_TEXT_BYTES = 140
_HEADER = np.dtype(HEADER)

Places = npt.NDArray[np.int64]
Row = npt.NDArray[np.void]


class Gone(NamedTuple):
    """A row that is no more: its key on the changelog, and the last source offset that it had absorbed."""

    key: bytes
    offset: int


def text_of(card: str) -> str:
    """How the text begins that a row of a card is known by."""
    return f"{len(card)}:{card}"


def row_texts(
    cards: Sequence[str], codes: Sequence[npt.NDArray[np.float64]], merchants: Sequence[str] | None
) -> list[str | None]:
    """What the row of each of n events is known by; None for an event that lacks a key.

    codes: of each attribute that is a key: float64 (n,), NaN where missing. merchants: None if these are no key.
    """
    known = {card: text_of(card) for card in dict.fromkeys(cards)}
    texts = [known[card] for card in cards]
    rests = [""] * len(cards) if merchants is None else [f"|{merchant}" for merchant in merchants]
    if not codes:
        return [text + rest for text, rest in zip(texts, rests, strict=True)]
    table = np.array(codes).T
    lacks = np.isnan(table.sum(axis=1))
    coded = np.where(lacks[:, None], 0, table).astype(np.int64).tolist()
    return [
        None if is_lacking else f"{text}{''.join([f'#{code}' for code in row])}{rest}"
        for text, rest, row, is_lacking in zip(texts, rests, coded, lacks.tolist(), strict=True)
    ]


def card_of(text: str) -> str | None:
    """The card of a row; None if the text is none of ours."""
    digits, colon, rest = text.partition(":")
    if not (colon and digits.isascii() and digits.isdigit() and len(digits) < 10 and 0 < int(digits) <= len(rest)):
        return None
    return rest[: int(digits)]


def _card_hash(text: str) -> int:
    """Of the card of a row's text, which must be one of ours."""
    start = text.index(":") + 1
    return hash(text[start : start + int(text[: start - 1])])


class WindowStates:
    """The rows of one track. track: its id. empty: a row that holds nothing."""

    def __init__(self, track: str, empty: Row, capacity: int = 1024) -> None:
        self._prefix, self._empty = b"%s%s/" % (PREFIX, track.encode()), empty
        self._raw = np.dtype((np.void, empty.dtype.itemsize))
        self._places: dict[str, int] = {}
        self._texts: list[str | None] = []  # by place
        self._free: list[int] = []
        self._rows = np.zeros(capacity, dtype=empty.dtype)
        self._cards = np.zeros(capacity, dtype=np.int64)  # hash of each row's card, by place
        self._changed: list[Places] = []
        self._cursor = self._unswept = 0
        self._day = NO_DAY

    def __len__(self) -> int:
        return len(self._places)

    @property
    def _used(self) -> Row:
        return self._rows[: len(self._texts)]

    @property
    def memory_bytes(self) -> int:
        """About how much memory the rows take."""
        tables = sys.getsizeof(self._places) + sys.getsizeof(self._texts) + sys.getsizeof(self._free)
        return int(self._rows.nbytes) + int(self._cards.nbytes) + tables + _TEXT_BYTES * len(self._places)

    @property
    def highest_offset(self) -> int:
        """Highest source offset absorbed by any row, or by one that was dropped; -1 without rows."""
        return int(self._used["offset"].max(initial=-1))

    def find(self, texts: Sequence[str]) -> Places:
        """Place of each text's row: int64 (n,). Adds a row for each new one."""
        get = self._places.get
        found = np.array([get(text, -1) for text in texts], dtype=np.int64)
        new = np.flatnonzero(found < 0).tolist()
        if new:
            distinct = dict.fromkeys([texts[at] for at in new])
            added = dict(zip(distinct, self._add(list(distinct)), strict=True))
            found[new] = [added[texts[at]] for at in new]
        return found

    def _add(self, texts: list[str]) -> list[int]:
        """Places of texts that are all new, each once."""
        reused = [self._free.pop() for _ in range(min(len(texts), len(self._free)))]
        first = len(self._texts)
        places = [*reused, *range(first, first + len(texts) - len(reused))]
        for place, text in zip(reused, texts, strict=False):
            self._texts[place] = text
        self._texts += texts[len(reused) :]
        self._places.update(zip(texts, places, strict=True))
        if len(self._texts) > len(self._rows):
            more = int(GROWTH * len(self._texts)) + 16
            rows, cards = np.zeros(more, dtype=self._rows.dtype), np.zeros(more, dtype=np.int64)
            rows[:first], cards[:first] = self._rows[:first], self._cards[:first]
            self._rows, self._cards = rows, cards
        self._rows[places] = self._empty[0]
        self._cards[places] = [_card_hash(text) for text in texts]
        return places

    def take(self, places: Places) -> Row:
        """Copies of the rows at some places, as plain bytes."""
        return self._rows.view(self._raw)[places]

    def put(self, places: Places, rows: Row) -> None:
        """Write rows that `take` returned back to their places, which must be distinct."""
        self._rows.view(self._raw)[places] = rows

    def note(self, places: Places) -> Callable[[], None]:
        """Remember that rows have changed, for `packed`; returns what forgets it again."""
        n = len(self._changed)
        self._changed.append(places)

        def forget() -> None:
            del self._changed[n:]

        return forget

    def packed(self) -> list[tuple[bytes, bytes]]:
        """Changelog key and value of each row that has changed since the last call."""
        if not self._changed:
            return []
        places = np.unique(np.concatenate(self._changed))
        self._changed = []
        places = places[self._rows["layout"][places] == LIVE]
        rows = self._rows.view(self._raw)[places].tolist()
        return [(self._key(place), row) for place, row in zip(places.tolist(), rows, strict=True)]

    def _key(self, place: int) -> bytes:
        return self._prefix + str(self._texts[place]).encode(errors=_SURROGATES)

    def load(self, texts: Sequence[str], rows: Row) -> None:
        """Load rows. Of several for a text the one with the highest source offset wins."""
        places = self.find(texts)
        order = np.argsort(rows["offset"], kind="stable")  # numpy keeps the last assignment to a place
        places, rows = places[order], rows[order]
        held = self._rows[["offset", "layout"]][places]
        newer = (rows["offset"] > held["offset"]) | ((rows["offset"] == held["offset"]) & (held["layout"] != GRAVE))
        self.put(places[newer], rows.view(self._raw)[newer])
        self._unswept = len(self._texts)

    def bury(self, texts: Sequence[str], offsets: Sequence[int]) -> None:
        """Load that rows were dropped up to some offsets; see `CardStates.bury`."""
        rows = np.repeat(self._empty, len(texts))
        rows["layout"], rows["offset"] = GRAVE, offsets
        self.load(texts, rows)

    def erase(self, card: str) -> list[Gone]:
        """Forget all rows of a card; returns those that held something."""
        gone = []
        for place in np.flatnonzero(self._cards[: len(self._texts)] == hash(card)).tolist():
            text, row = self._texts[place], self._rows[place]
            if text is None or card_of(text) != card or row["layout"] != LIVE:
                continue
            offset = int(row["offset"])
            self._rows[place] = self._empty[0]
            self._rows["layout"][place], self._rows["offset"][place] = GRAVE, offset
            if offset >= 0:
                gone.append(Gone(self._key(place), offset))
        self._unswept = len(self._texts)
        return gone

    def sweep(self, events: int, position: int, day: int) -> list[Gone]:
        """Drop idle rows among the places that come next in turn; returns those that held something. day: where the
        partition's clock stands. events, position: see `CardStates.sweep`."""
        if day != self._day:
            self._day, self._unswept = day, len(self._texts)
        left = min(SWEPT_PER_EVENT * events + SWEPT_AT_LEAST, self._unswept)
        gone: list[Gone] = []
        while left:
            start = self._cursor % len(self._texts)
            self._cursor = min(start + left, len(self._texts))
            left -= self._cursor - start
            self._unswept -= self._cursor - start
            gone += self._sweep(start, self._cursor, position)
        return gone

    def _sweep(self, start: int, end: int, position: int) -> list[Gone]:
        rows = self._rows[start:end]
        is_idle = rows["day"] <= np.maximum(self._day - rows["idle"].astype(np.int64), NO_DAY)
        places = start + np.flatnonzero(is_idle & (rows["layout"] != FREE) & (rows["offset"] < position))
        is_told = (self._rows["layout"][places] == LIVE) & (self._rows["offset"][places] >= 0)
        offsets = self._rows["offset"][places][is_told].tolist()
        gone = [Gone(self._key(place), at) for place, at in zip(places[is_told].tolist(), offsets, strict=True)]
        for place in places.tolist():
            del self._places[str(self._texts[place])]
            self._texts[place] = None
        self._free += places.tolist()
        self._rows["layout"][places], self._rows["offset"][places], self._rows["day"][places] = FREE, -1, NO_DAY
        return gone


class Windows:
    """The rows of all windows of one partition. tracks: those that the view declares."""

    def __init__(self, tracks: Sequence[Track] = ()) -> None:
        self._tracks = {track.id: track for track in tracks}
        self._states = {track.id: WindowStates(track.id, blank_of(track)) for track in tracks}
        self._retired: dict[str, WindowStates] = {}

    def of(self, track: Track) -> WindowStates:
        """The rows of a track. Raises KeyError."""
        return self._states[track.id]

    def _all(self) -> Iterator[WindowStates]:
        yield from self._states.values()
        yield from self._retired.values()

    def __len__(self) -> int:
        return sum(map(len, self._all()))

    @property
    def memory_bytes(self) -> int:
        """About how much memory the rows take."""
        return sum(states.memory_bytes for states in self._all())

    @property
    def highest_offset(self) -> int:
        """Highest source offset absorbed by any row; -1 without rows."""
        return max((states.highest_offset for states in self._all()), default=-1)

    def packed(self) -> list[tuple[bytes, bytes]]:
        """Changelog key and value of each row that has changed since the last call."""
        return [record for states in self._states.values() for record in states.packed()]

    def erase(self, card: str) -> list[Gone]:
        """Forget all rows of a card; returns those that held something."""
        return [gone for states in self._all() for gone in states.erase(card)]

    def sweep(self, events: int, position: int, day: int) -> list[Gone]:
        """See `WindowStates.sweep`."""
        return [gone for states in self._all() for gone in states.sweep(events, position, day)]

    def load(self, keys: Sequence[bytes], values: Sequence[bytes], end: int) -> int:
        """Load rows of the changelog; returns how many were passed over. end: see `CardStates.load`."""
        by_track: dict[str, list[tuple[str, bytes]]] = {}
        for key, value in zip(keys, values, strict=True):
            name, text = _read(key)
            if name and len(value) >= _HEADER.itemsize:
                by_track.setdefault(name, []).append((text, value))
        loaded = 0
        for name, told in by_track.items():
            is_ours = name in self._states
            dtype = row_type(self._tracks[name]) if is_ours else _HEADER
            fits = [(text, value) for text, value in told if not is_ours or len(value) == dtype.itemsize]
            rows = np.frombuffer(b"".join([value[: dtype.itemsize] for _, value in fits]), dtype=dtype)
            good = (rows["layout"] == LIVE) & (rows["offset"] >= 0) & (rows["offset"] < end)
            if is_ours:
                good &= rows["idle"] == idle_days(self._tracks[name])
            if good.any():
                texts = [text for (text, _), is_good in zip(fits, good.tolist(), strict=True) if is_good]
                self._any(name).load(texts, rows[good])
            loaded += int(good.sum())
        return len(keys) - loaded

    def bury(self, keys: Sequence[bytes], offsets: Sequence[int], end: int) -> int:
        """Load what the changelog says of dropped rows; returns how many were passed over. end: see `load`."""
        by_track: dict[str, list[tuple[str, int]]] = {}
        for key, offset in zip(keys, offsets, strict=True):
            name, text = _read(key)
            if name and 0 <= offset < end:
                by_track.setdefault(name, []).append((text, offset))
        for name, told in by_track.items():
            self._any(name).bury([text for text, _ in told], [offset for _, offset in told])
        return len(keys) - sum(map(len, by_track.values()))

    def _any(self, name: str) -> WindowStates:
        if name in self._states:
            return self._states[name]
        if name not in self._retired:
            self._retired[name] = WindowStates(name, blank(_HEADER, 0), capacity=16)
        return self._retired[name]


def _read(key: bytes) -> tuple[str, str]:
    """Track and text of a changelog's key; two empty texts for one that is none of ours."""
    found = KEY.fullmatch(key)
    if found is None:
        return "", ""
    try:
        text = found[2].decode(errors=_SURROGATES)
    except UnicodeDecodeError:
        return "", ""
    return (found[1].decode(), text) if card_of(text) else ("", "")
