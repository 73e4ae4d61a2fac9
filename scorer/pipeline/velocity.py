"""Card velocity: counts and sums over event-time buckets, one packed row a card, updated a batch at a time.

A row is a ring of buckets for each window of `scorer.view.WINDOWS`. A window reaches from the event's own bucket back
over as many buckets as it has; a bucket is forgotten when its place is taken by one a full ring later. What an event
sees is its card's past in arrival order without itself, so a result never depends on where a batch begins or ends.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from scorer.view import VELOCITY_FEATURES, WINDOWS

#: Number of the packed layout; a change of WINDOWS or REMEMBERED needs a new one.
LAYOUT = 1
#: How many of a card's last transaction ids are remembered, to mark repeats.
REMEMBERED = 4

_SIZES = np.array([seconds * 1000 for _, seconds, _ in WINDOWS], dtype=np.int64)
_LENGTHS = np.array([n for _, _, n in WINDOWS], dtype=np.int64)
_WINDOW_OF = np.repeat(np.arange(len(WINDOWS)), _LENGTHS)  # of each bucket
_STARTS = np.concatenate(([0], np.cumsum(_LENGTHS)[:-1]))
_PLACE = np.arange(_LENGTHS.sum()) - _STARTS[_WINDOW_OF]  # of each bucket in its ring
_RING = _LENGTHS[_WINDOW_OF]
_LONG_AGO = -(2**30)

#: One card. `offset`: last source offset absorbed; `ids`: hashes of its last transaction ids, newest first, 0 is none;
#: `heads`: newest bucket of each window; `counts`, `sums`: transactions and minor units by bucket.
ROW = np.dtype(
    [
        ("layout", "<u4"),
        ("heads", "<i4", len(WINDOWS)),
        ("counts", "<u4", len(_RING)),
        ("offset", "<i8"),
        ("ids", "<u8", REMEMBERED),
        ("sums", "<i8", len(_RING)),
    ],
    align=True,
)
#: The same without its fields: numpy copies such rows eight times faster.
_RAW = np.dtype((np.void, ROW.itemsize))


class LayoutError(ValueError):
    """Rows were written with another layout."""


@dataclass(frozen=True)
class Seen:
    """What n events saw of their cards.

    features: float64 (n, 12), in the order of VELOCITY_FEATURES, NaN where a card has no past in the window.
    repeat: bool (n,), the card's last few transaction ids hold this one. absorbed: bool (n,), the row already held this
    source offset before the batch; the features of such an event are not what it first saw.
    """

    features: npt.NDArray[np.float64]
    repeat: npt.NDArray[np.bool_]
    absorbed: npt.NDArray[np.bool_]


def id_hashes(ids: Sequence[str]) -> npt.NDArray[np.uint64]:
    """A 64-bit hash of each transaction id, the same on every machine, never 0: uint64 (n,)."""
    blake2b = hashlib.blake2b
    digests = b"".join([blake2b(text.encode(), digest_size=8).digest() for text in ids])
    hashes: npt.NDArray[np.uint64] = np.maximum(np.frombuffer(digests, dtype="<u8"), 1).astype(np.uint64)
    return hashes


class CardStates:
    """The cards of one partition: packed rows and where each card's row is."""

    def __init__(self, minor_digits: int = 2, capacity: int = 1024) -> None:
        self.units = 10.0**minor_digits
        self._places: dict[str, int] = {}
        self._rows = np.zeros(capacity, dtype=ROW)

    def __len__(self) -> int:
        return len(self._places)

    @property
    def highest_offset(self) -> int:
        """Highest source offset that any row has absorbed, -1 without rows."""
        return int(self._rows["offset"][: len(self)].max()) if len(self) else -1

    def find(self, cards: Sequence[str]) -> npt.NDArray[np.int64]:
        """Where each card's row is; a card that was never seen gets one: int64 (n,)."""
        places = self._places
        before = len(places)
        found = np.array([places.setdefault(card, len(places)) for card in cards], dtype=np.int64)
        if len(places) > before:
            if len(places) > len(self._rows):
                grown = np.zeros(max(len(places), 2 * len(self._rows)), dtype=ROW)
                grown[:before] = self._rows[:before]
                self._rows = grown
            fresh = self._rows[before : len(places)]
            fresh["layout"] = LAYOUT
            fresh["offset"] = -1
            fresh["heads"] = _LONG_AGO
        return found

    def take(self, places: npt.NDArray[np.int64]) -> npt.NDArray[np.void]:
        """Copies of some rows, without fields."""
        return self._rows.view(_RAW)[places]

    def put(self, places: npt.NDArray[np.int64], rows: npt.NDArray[np.void]) -> None:
        """Rows back to where they came from; places are distinct."""
        self._rows.view(_RAW)[places] = rows

    def packed(self, cards: Sequence[str]) -> list[tuple[bytes, bytes]]:
        """Key and value of the changelog for each distinct card, in order of first appearance."""
        distinct = list(dict.fromkeys(cards))
        rows = self.take(np.array([self._places[card] for card in distinct], dtype=np.int64)).tolist()
        return [(card.encode(), row) for card, row in zip(distinct, rows, strict=True)]

    def load(self, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        """Take in rows of the changelog; of several for a card, the highest source offset wins, not the last.

        Raises LayoutError if a row was not written with this layout.
        """
        if not keys:
            return
        try:
            rows = np.frombuffer(b"".join(values), dtype=ROW)
        except ValueError:
            rows = np.zeros(0, dtype=ROW)
        if len(rows) != len(keys) or (rows["layout"] != LAYOUT).any():
            raise LayoutError(f"expected layout {LAYOUT} of {ROW.itemsize} bytes")
        places = self.find([key.decode() for key in keys])
        order = np.argsort(rows["offset"], kind="stable")  # of repeated places, numpy keeps the last assignment
        places, rows = places[order], rows[order]
        newer = rows["offset"] >= self._rows["offset"][places]
        self.put(places[newer], rows.view(_RAW)[newer])


def absorb(
    states: Sequence[CardStates],
    cuts: Sequence[slice],
    cards: Sequence[str],
    hashes: npt.NDArray[np.uint64],
    occurred_ms: npt.NDArray[np.int64],
    minor: npt.NDArray[np.int64],
    offsets: npt.NDArray[np.int64],
    trusted: npt.NDArray[np.bool_],
) -> Seen:
    """Show each event its card's past, then add it, in order.

    All columns have n entries, those of each partition in its cut, cut after cut; within one, offsets (source offsets)
    ascend. An event that its row already holds changes nothing. A repeat, or one whose time is not trusted, only moves
    the row's offset. All partitions in one pass: a pass takes 0.25 ms however few its events are.
    """
    n = len(cards)
    seen = Seen(np.full((n, len(VELOCITY_FEATURES)), np.nan), np.zeros(n, bool), np.zeros(n, bool))
    if n == 0:
        return seen
    places = np.concatenate([part.find(cards[cut]) for part, cut in zip(states, cuts, strict=True)])
    bases = np.cumsum([0, *(len(part) for part in states)])
    rows = _Rows(states, bases)
    places += np.repeat(bases[:-1], [cut.stop - cut.start for cut in cuts])
    buckets = occurred_ms[:, None] // _SIZES
    units = states[0].units
    for turn in _turns(places):
        at = places[turn]
        row = rows.take(at)
        _step(row, turn, hashes[turn], buckets[turn], minor[turn], offsets[turn], trusted[turn], seen)
        rows.put(at, row)
    means, counts = seen.features[:, 1::3], seen.features[:, 0::3]
    np.divide(means, units, out=means)
    np.divide(means, counts, out=means, where=counts > 0)
    means[counts == 0] = np.nan
    with np.errstate(divide="ignore", invalid="ignore"):
        seen.features[:, 2::3] = np.where(means > 0, (minor / units)[:, None] / means, np.nan)
    return seen


@dataclass(frozen=True)
class _Rows:
    """Rows of several partitions, numbered through: those of the i-th begin at bases[i]. Asked for ascending."""

    states: Sequence[CardStates]
    bases: npt.NDArray[np.int64]

    def _parts(self, places: npt.NDArray[np.int64]) -> Iterator[tuple[CardStates, int, slice]]:
        bounds = np.searchsorted(places, self.bases).tolist()
        for part, base, (start, end) in zip(self.states, self.bases.tolist(), pairwise(bounds), strict=False):
            if end > start:
                yield part, base, slice(start, end)

    def take(self, places: npt.NDArray[np.int64]) -> npt.NDArray[np.void]:
        taken = np.empty(len(places), dtype=_RAW)
        for part, base, cut in self._parts(places):
            taken[cut] = part.take(places[cut] - base)
        return taken.view(ROW)

    def put(self, places: npt.NDArray[np.int64], rows: npt.NDArray[np.void]) -> None:
        raw = rows.view(_RAW)
        for part, base, cut in self._parts(places):
            part.put(places[cut] - base, raw[cut])


def _step(
    row: npt.NDArray[np.void],
    turn: npt.NDArray[np.int64],
    hashes: npt.NDArray[np.uint64],
    now: npt.NDArray[np.int64],
    minor: npt.NDArray[np.int64],
    offsets: npt.NDArray[np.int64],
    trusted: npt.NDArray[np.bool_],
    seen: Seen,
) -> None:
    """Add one event to each row, and note what it saw at its position in the batch: its turn."""
    head = row["heads"].astype(np.int64)
    held = _bucket_numbers(head)
    counts, sums = row["counts"].astype(np.int64), row["sums"]

    in_window = (held <= now[:, _WINDOW_OF]) & (held > now[:, _WINDOW_OF] - _RING)
    seen.features[turn, 0::3] = np.add.reduceat(counts * in_window, _STARTS, axis=1)
    seen.features[turn, 1::3] = np.add.reduceat(sums * in_window, _STARTS, axis=1)  # minor units, until all are seen

    absorbed = offsets <= row["offset"]
    repeat = (row["ids"] == hashes[:, None]).any(axis=1) & ~absorbed
    seen.absorbed[turn] = absorbed
    seen.repeat[turn] = repeat
    adds = trusted & ~repeat & ~absorbed

    new_head = np.where(adds[:, None], np.maximum(head, now), head)
    stale = _bucket_numbers(new_head) > held
    counts[stale] = 0
    sums[stale] = 0
    fits = adds[:, None] & (now > new_head - _LENGTHS)
    column = _STARTS + now % _LENGTHS
    who = np.arange(len(turn))[:, None]
    counts[who, column] += fits
    sums[who, column] += np.where(fits, minor[:, None], 0)

    row["heads"] = new_head
    row["counts"] = counts
    row["ids"][adds, 1:] = row["ids"][adds, :-1]
    row["ids"][adds, 0] = hashes[adds]
    row["offset"] = np.maximum(row["offset"], offsets)


def _bucket_numbers(head: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Which bucket each place of the rings holds, given the newest of each window: int64 (n, buckets)."""
    newest = head[:, _WINDOW_OF]
    numbers: npt.NDArray[np.int64] = newest - (newest - _PLACE) % _RING
    return numbers


def _turns(places: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.int64]]:
    """Positions in batches of distinct places, these ascending: each card's first event, then each one's second, ..."""
    order = np.argsort(places, kind="stable")
    ranked = places[order]
    first = np.concatenate(([True], ranked[1:] != ranked[:-1]))
    starts = np.flatnonzero(first)
    rank = np.arange(len(places)) - np.repeat(starts, np.diff(np.append(starts, len(places))))
    if rank.max() == 0:
        yield order
        return
    by_rank = order[np.argsort(rank, kind="stable")]
    cuts = np.cumsum(np.bincount(rank))
    start = 0
    for cut in cuts:
        yield by_rank[start:cut]
        start = cut
