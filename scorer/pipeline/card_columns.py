"""Rows of distinct cards as columns, while a batch is added to them.

A column for each bucket, with the cards side by side: numpy then does the same to many cards at once. Which events are
added together is `scorer.pipeline.turns`: with each of them the first k cards go on.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from scorer.pipeline.card_row import BLANK, DAY, LENGTHS, PLACE, RAW, RING, ROW, SIZES, SPAN_DAYS, STARTS, WINDOW_OF

Ints = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]

_STARTS, _RING = STARTS[:, None], RING.astype(np.int32)[:, None]
_LENGTHS = LENGTHS.astype(np.int32)[:, None]
#: Place of each bucket within its ring.
_PLACE = PLACE.astype(np.int32)[:, None]


@dataclass(frozen=True, slots=True)
class CardEvents:
    """n events as columns. hashes: uint64 (n,), of the transactions' ids. buckets: int32 (windows, n), numbers of the
    events' buckets; places: the same, within the rings. occurred_ms (milliseconds since 1970), minor (minor units),
    offsets (on the source): int64 (n,). trusted: bool (n,), whether the time is.
    """

    hashes: npt.NDArray[np.uint64]
    buckets: Numbers
    places: Numbers
    occurred_ms: Ints
    minor: Ints
    offsets: Ints
    trusted: Bools

    def at(self, which: Ints | slice) -> CardEvents:
        """Those at some positions, in that order."""
        return CardEvents(*(getattr(self, one.name)[..., which] for one in fields(self)))


def card_events(
    hashes: npt.NDArray[np.uint64], occurred_ms: Ints, minor: Ints, offsets: Ints, trusted: Bools
) -> CardEvents:
    """Events with their buckets."""
    buckets = np.array([occurred_ms // size for size in SIZES.tolist()], dtype=np.int32)
    return CardEvents(hashes, buckets, _places(buckets), occurred_ms, minor, offsets, trusted)


@dataclass(frozen=True, slots=True)
class Sight:
    """What the events of a turn saw. counts, sums: int64 (windows, k), transactions and their minor units; each bool
    (k,): absorbed, repeat, and whether the card starts anew with the event, and the event was added to it."""

    counts: Ints
    sums: Ints
    absorbed: Bools
    repeat: Bools
    starts_anew: Bools
    adds: Bools


class CardColumns:
    """The rows of c cards. raw: their bytes, (c,), which are changed; `raw` has them as they are after the turns."""

    def __init__(self, raw: npt.NDArray[np.void]) -> None:
        self._rows = rows = raw.view(ROW)
        self._heads = np.ascontiguousarray(rows["heads"].T)
        self._counts = np.array(rows["counts"].T, dtype=np.int64, order="C")
        self._sums = np.ascontiguousarray(rows["sums"].T)
        self._ids = np.ascontiguousarray(rows["ids"].T)
        self._offsets = rows["offset"].copy()
        self._places = _places(self._heads)
        self._held = _held(self._heads, self._places)

    def raw(self) -> npt.NDArray[np.void]:
        """The rows, as bytes: (c,)."""
        rows = self._rows
        rows["heads"], rows["counts"], rows["sums"] = self._heads.T, self._counts.T, self._sums.T
        rows["ids"], rows["offset"] = self._ids.T, self._offsets
        return rows.view(RAW)

    def add(self, turn: CardEvents, floors: Ints) -> Sight:
        """Add an event to each of the first k cards; what it saw before that.

        floors: int64 (k,), the newest day of a card that starts anew with the event.
        """
        k = len(floors)
        heads, places, held = self._heads[:, :k], self._places[:, :k], self._held[:, :k]
        counts, sums = self._counts[:, :k], self._sums[:, :k]
        ids, offsets = self._ids[:, :k], self._offsets[:k]
        now = turn.buckets
        absorbed = turn.offsets <= offsets
        starts_anew = ~absorbed & ((heads[DAY] <= floors) | (turn.trusted & (now[DAY] - heads[DAY] >= SPAN_DAYS)))
        if starts_anew.any():
            self._blank(np.flatnonzero(starts_anew))

        buckets = now[WINDOW_OF]
        in_window = (held <= buckets) & (held > buckets - _RING)
        seen_counts, seen_sums = (np.add.reduceat(cells * in_window, STARTS, axis=0) for cells in (counts, sums))
        repeat = (ids == turn.hashes).any(axis=0) & ~absorbed
        adds = turn.trusted & ~repeat & ~absorbed

        moves = adds & (now > heads)
        np.copyto(heads, now, where=moves)
        np.copyto(places, turn.places, where=moves)
        newest = _held(heads, places)
        stays = newest == held
        counts *= stays
        sums *= stays
        held[:] = newest
        fits = adds & (now > heads - _LENGTHS)
        cells = _STARTS + turn.places, np.arange(k)
        counts[cells] += fits
        sums[cells] += np.where(fits, turn.minor, 0)
        for at in range(len(ids) - 1, 0, -1):
            np.copyto(ids[at], ids[at - 1], where=adds)
        np.copyto(ids[0], turn.hashes, where=adds)
        np.maximum(offsets, turn.offsets, out=offsets)
        return Sight(seen_counts, seen_sums, absorbed, repeat, starts_anew, adds)

    def _blank(self, cards: Ints) -> None:
        """Have cards start anew."""
        blank = BLANK[0]
        self._rows.view(RAW)[cards] = BLANK.view(RAW)[0]
        self._heads[:, cards] = blank["heads"][:, None]
        self._counts[:, cards] = self._sums[:, cards] = self._ids[:, cards] = 0
        self._offsets[cards] = blank["offset"]
        self._places[:, cards] = _places(self._heads[:, cards])
        self._held[:, cards] = _held(self._heads[:, cards], self._places[:, cards])


def _places(buckets: Numbers) -> Numbers:
    """Place of buckets within their rings: int32 (windows, k)."""
    return np.asarray(buckets % _LENGTHS)


def _held(heads: Numbers, places: Numbers) -> Numbers:
    """Number of the bucket that each place of the rings holds: int32 (buckets, k). heads: the newest of each window, at
    `places` within their rings."""
    first = (heads - places)[WINDOW_OF]
    first += _PLACE
    first -= _RING * (places[WINDOW_OF] < _PLACE)
    return np.asarray(first)
