"""Card velocity: counts and sums of a card's transactions over event-time windows.

An event sees its card's earlier events in order of arrival, without itself, so results never depend on where a batch
begins or ends.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import accumulate, pairwise

import numpy as np
import numpy.typing as npt

from scorer.pipeline.card_row import (
    BLANK,
    DAY,
    IDLE_DAYS,
    LENGTHS,
    NO_TIME,
    RAW,
    RING,
    ROW,
    SIZES,
    SPAN_DAYS,
    STARTS,
    WINDOW_OF,
    bucket_numbers,
)
from scorer.pipeline.card_states import CardStates
from scorer.pipeline.clock import NO_DAY
from scorer.pipeline.turns import turns
from scorer.pipeline.view import VELOCITY_FEATURES
from scorer.pipeline.windows import Totals


@dataclass(frozen=True)
class Seen:
    """What n events saw of their cards.

    features: float64 (n, 12), in the order of VELOCITY_FEATURES; means and ratios are NaN where the card had no
    transaction in the window. repeat: bool (n,), the transaction id is among the card's last ones. absorbed: bool (n,),
    the card's row held this source offset already; the features of such an event are not those it was decided with.
    since_last: float64 (n,), seconds since the card's newest transaction, negative for an event before it; NaN for
    none, or if the states do not keep it. adds: bool (n,), the event was added to its card. floors: int64 (n,), the
    newest day of a card that starts anew with the event. windows: what it saw in each track of the view. undo: puts
    every card back to where it was before these events.
    """

    features: npt.NDArray[np.float64]
    repeat: npt.NDArray[np.bool_]
    absorbed: npt.NDArray[np.bool_]
    since_last: npt.NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    adds: npt.NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, dtype=bool))
    floors: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    windows: Mapping[str, Totals] = field(default_factory=dict)
    undo: Callable[[], None] = lambda: None


def id_hashes(ids: Sequence[str]) -> npt.NDArray[np.uint64]:
    """A 64-bit hash of each transaction id, the same on every machine, never 0: uint64 (n,)."""
    blake2b = hashlib.blake2b
    digests = b"".join([blake2b(text.encode(), digest_size=8).digest() for text in ids])
    hashes: npt.NDArray[np.uint64] = np.maximum(np.frombuffer(digests, dtype="<u8"), 1).astype(np.uint64)
    return hashes


def observe(
    states: Sequence[CardStates],
    cuts: Sequence[slice],
    cards: Sequence[str],
    hashes: npt.NDArray[np.uint64],
    occurred_ms: npt.NDArray[np.int64],
    minor: npt.NDArray[np.int64],
    offsets: npt.NDArray[np.int64],
    trusted: npt.NDArray[np.bool_],
) -> Seen:
    """Note what each event's card did before, then add the event to its card, in order.

    states: cards of each partition; `observe` updates them. cuts: which of the n events are the partition's, one after
    the other. cards, hashes, occurred_ms (milliseconds since 1970), minor (minor units), offsets (source offsets,
    ascending within a cut), trusted: of each event. An event that its row has absorbed already changes nothing. A
    repeat, or an event whose time is not trusted, only advances the row's offset.

    Takes all partitions together, because a pass has a fixed cost however few events it covers.
    """
    n = len(cards)
    seen = Seen(
        np.full((n, len(VELOCITY_FEATURES)), np.nan),
        np.zeros(n, bool),
        np.zeros(n, bool),
        np.full(n, np.nan),
        np.zeros(n, bool),
        np.zeros(n, np.int64),
    )
    if n == 0:
        return seen
    sizes = [cut.stop - cut.start for cut in cuts]
    within = [place for part, cut in zip(states, cuts, strict=True) for place in part.places_of(cards[cut])]
    bases = np.array([0, *accumulate(part.places for part in states)])
    rows = _Rows(states, bases)
    within_part = np.array(within, dtype=np.int64)
    places = within_part + np.repeat(bases[:-1], sizes)
    buckets = occurred_ms[:, None] // SIZES
    days = np.where(trusted, buckets[:, DAY], NO_DAY)
    units, has_last = states[0].units, states[0].has_last
    put_back: list[Callable[[], None]] = [part.checkpoint() for part in states]

    def undo() -> None:
        for put in reversed(put_back):
            put()

    try:
        for piece in _pieces(states, cuts, within_part, days, offsets):
            its = places[piece.positions]
            rounds = list(turns(its))
            at = its[rounds[0]]  # every card once
            was = rows.take(at)
            held = was.copy()
            put_back.append(partial(rows.put, at, was))
            was_last = rows.take_last(at) if has_last else np.empty(0, dtype=np.int64)
            last = was_last.copy()
            if has_last:
                put_back.append(partial(rows.put_last, at, was_last))
            for turn in rounds:
                now = piece.positions[turn]
                where = slice(None) if len(turn) == len(at) else np.searchsorted(at, its[turn])
                row = held[where]
                of_event = hashes[now], buckets[now], minor[now], offsets[now], trusted[now]
                starts_anew, adds = _step(row, now, piece.floors[turn], *of_event, seen)
                held[where] = row
                seen.adds[now] = adds
                if has_last:
                    its_last = np.where(starts_anew, NO_TIME, last[where])
                    seen.since_last[now] = np.where(its_last == NO_TIME, np.nan, (occurred_ms[now] - its_last) / 1000)
                    last[where] = np.where(adds, np.maximum(its_last, occurred_ms[now]), its_last)
            rows.put(at, held)
            if has_last:
                rows.put_last(at, last)
            seen.floors[piece.positions] = piece.floors
            rows.note(at, was["heads"][:, DAY], held["heads"][:, DAY], piece.last)
    except BaseException:
        undo()
        raise
    means, counts = seen.features[:, 1::3], seen.features[:, 0::3]
    np.divide(means, units, out=means)
    np.divide(means, counts, out=means, where=counts > 0)
    means[counts == 0] = np.nan
    with np.errstate(divide="ignore", invalid="ignore"):
        seen.features[:, 2::3] = np.where(means > 0, (minor / units)[:, None] / means, np.nan)
    return replace(seen, undo=undo)


@dataclass(frozen=True)
class _Rows:
    """Rows of several partitions under common places: those of the i-th begin at bases[i]. Places must ascend."""

    states: Sequence[CardStates]
    bases: npt.NDArray[np.int64]

    def _parts(self, places: npt.NDArray[np.int64]) -> Iterator[tuple[CardStates, slice, npt.NDArray[np.int64]]]:
        """Each partition with some of the places: which these are, and what they are within the partition."""
        bounds = np.searchsorted(places, self.bases)
        within = places - np.repeat(self.bases[:-1], np.diff(bounds))
        for part, (start, end) in zip(self.states, pairwise(bounds.tolist()), strict=False):
            if end > start:
                cut = slice(start, end)
                yield part, cut, within[cut]

    def take(self, places: npt.NDArray[np.int64]) -> npt.NDArray[np.void]:
        taken = np.empty(len(places), dtype=RAW)
        for part, cut, within in self._parts(places):
            taken[cut] = part.take(within)
        return taken.view(ROW)

    def put(self, places: npt.NDArray[np.int64], rows: npt.NDArray[np.void]) -> None:
        raw = rows.view(RAW)
        for part, cut, within in self._parts(places):
            part.put(within, raw[cut])

    def take_last(self, places: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        taken = np.empty(len(places), dtype=np.int64)
        for part, cut, within in self._parts(places):
            taken[cut] = part.take_last(within)
        return taken

    def put_last(self, places: npt.NDArray[np.int64], times: npt.NDArray[np.int64]) -> None:
        for part, cut, within in self._parts(places):
            part.put_last(within, times[cut])

    def note(
        self,
        places: npt.NDArray[np.int64],
        before: npt.NDArray[np.int32],
        after: npt.NDArray[np.int32],
        last: Mapping[CardStates, int],
    ) -> None:
        """Tell each partition's clock to which days its cards have come, if any has come to another one.

        before, after: int32 (k,), newest day of each card. last: offset of each partition's last event.
        """
        moved = np.flatnonzero(after != before)
        if not len(moved):
            return
        for part, cut, _ in self._parts(places[moved]):
            mine = moved[cut]
            part.note(before[mine], after[mine], last[part])


@dataclass(frozen=True, slots=True)
class _Piece:
    """Events during which the partitions' clocks stand still.

    positions: int64 (k,), of the events. floors: int64 (k,), the newest day of a card that starts anew with each.
    last: source offset of each partition's last event.
    """

    positions: npt.NDArray[np.int64]
    floors: npt.NDArray[np.int64]
    last: Mapping[CardStates, int]


def _pieces(
    states: Sequence[CardStates],
    cuts: Sequence[slice],
    places: npt.NDArray[np.int64],
    days: npt.NDArray[np.int64],
    offsets: npt.NDArray[np.int64],
) -> Iterator[_Piece]:
    """Cut the events where a clock may step. Ask for the next piece once the one before is in the rows.

    places: int64 (n,), of each event within its partition.
    """
    firsts = [cut.start for cut in cuts]
    while True:
        taken, floors, last = [], [], {}
        for i, (part, cut) in enumerate(zip(states, cuts, strict=True)):
            first = firsts[i]
            n = 0
            if first < cut.stop:
                n = part.before_step(places[first : cut.stop], days[first : cut.stop], offsets[first : cut.stop])
                firsts[i] = first + n
                last[part] = int(offsets[first + n - 1])
            taken.append(n)
            floors.append(max(part.day - IDLE_DAYS, NO_DAY))
        if not last:
            return
        total = sum(taken)
        positions = np.arange(total)
        if total < len(days):
            begins = np.array(firsts) - taken
            positions += np.repeat(begins - [0, *accumulate(taken[:-1])], taken)
        yield _Piece(positions, np.repeat(np.array(floors), taken), last)


def _step(
    row: npt.NDArray[np.void],
    turn: npt.NDArray[np.int64],
    floors: npt.NDArray[np.int64],
    hashes: npt.NDArray[np.uint64],
    now: npt.NDArray[np.int64],
    minor: npt.NDArray[np.int64],
    offsets: npt.NDArray[np.int64],
    trusted: npt.NDArray[np.bool_],
    seen: Seen,
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Add one event to each of k rows, and note in `seen` what it saw; returns which cards start anew with it, and
    which events were added: two bool (k,).

    turn: int64 (k,), positions of the events in the batch. floors: int64 (k,), the newest day of a card that starts
    anew. now: int64 (k, windows), number of each event's buckets.
    """
    absorbed = offsets <= row["offset"]
    newest = row["heads"][:, DAY]
    starts_anew = ~absorbed & ((newest <= floors) | (trusted & (now[:, DAY] - newest >= SPAN_DAYS)))
    if starts_anew.any():
        row.view(RAW)[starts_anew] = BLANK.view(RAW)[0]
    head = row["heads"].astype(np.int64)
    held = bucket_numbers(head)
    counts, sums = row["counts"].astype(np.int64), row["sums"]

    in_window = (held <= now[:, WINDOW_OF]) & (held > now[:, WINDOW_OF] - RING)
    seen.features[turn, 0::3] = np.add.reduceat(counts * in_window, STARTS, axis=1)
    seen.features[turn, 1::3] = np.add.reduceat(sums * in_window, STARTS, axis=1)  # `observe` turns sums into means

    repeat = (row["ids"] == hashes[:, None]).any(axis=1) & ~absorbed
    seen.absorbed[turn] = absorbed
    seen.repeat[turn] = repeat
    adds = trusted & ~repeat & ~absorbed

    new_head = np.where(adds[:, None], np.maximum(head, now), head)
    stale = bucket_numbers(new_head) > held
    counts[stale] = 0
    sums[stale] = 0
    fits = adds[:, None] & (now > new_head - LENGTHS)
    column = STARTS + now % LENGTHS
    who = np.arange(len(turn))[:, None]
    counts[who, column] += fits
    sums[who, column] += np.where(fits, minor[:, None], 0)

    row["heads"] = new_head
    row["counts"] = counts
    row["ids"][adds, 1:] = row["ids"][adds, :-1]
    row["ids"][adds, 0] = hashes[adds]
    row["offset"] = np.maximum(row["offset"], offsets)
    return starts_anew, adds
