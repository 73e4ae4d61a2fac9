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

from scorer.pipeline.card_columns import CardColumns, CardEvents, Sight, card_events
from scorer.pipeline.card_row import DAY, IDLE_DAYS, NO_TIME, RAW, ROW
from scorer.pipeline.card_states import CardStates
from scorer.pipeline.clock import NO_DAY
from scorer.pipeline.turns import Order, in_order, unranked
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
    newest day of a card that starts anew with the event. places: int64 (n,), of the cards' rows; those of the i-th
    partition begin at bases[i]. order: of all places, None if it is not known. windows: what it saw in each track of
    the view. undo: puts every card back to where it was before these events.
    """

    features: npt.NDArray[np.float64]
    repeat: npt.NDArray[np.bool_]
    absorbed: npt.NDArray[np.bool_]
    since_last: npt.NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    adds: npt.NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, dtype=bool))
    floors: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    places: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    bases: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    order: Order | None = None
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
    found = [place for part, cut in zip(states, cuts, strict=True) for place in part.places_of(cards[cut])]
    bases = np.array([0, *accumulate(part.places for part in states)])
    rows = _Rows(states, bases)
    within = np.array(found, dtype=np.int64)
    places = within + np.repeat(bases[:-1], sizes)
    events = card_events(hashes, occurred_ms, minor, offsets, trusted)
    days = np.where(trusted, events.buckets[DAY].astype(np.int64), NO_DAY)
    units, has_last = states[0].units, states[0].has_last
    put_back: list[Callable[[], None]] = [part.checkpoint() for part in states]

    def undo() -> None:
        for put in reversed(put_back):
            put()

    order: Order
    try:
        for piece in _pieces(states, cuts, within, days, offsets):
            order = in_order(places[piece.positions])
            at, positions = order.rows, piece.positions[order.events]
            was = rows.take(at)
            put_back.append(partial(rows.put, at, was))
            columns = CardColumns(was[order.ranked])
            last = None
            if has_last:
                last_was = rows.take_last(at)
                put_back.append(partial(rows.put_last, at, last_was))
                last = last_was[order.ranked]
            _take_turns(columns, last, order, events.at(positions), piece.floors[order.events], positions, seen)
            now = unranked(columns.raw(), order)
            rows.put(at, now)
            if last is not None:
                rows.put_last(at, unranked(last, order))
            seen.floors[piece.positions] = piece.floors
            rows.note(at, was.view(ROW)["heads"][:, DAY], now.view(ROW)["heads"][:, DAY], piece.last)
    except BaseException:
        undo()
        raise
    means, counts = seen.features[:, 1::3], seen.features[:, 0::3]
    np.divide(means, units, out=means)
    np.divide(means, counts, out=means, where=counts > 0)
    means[counts == 0] = np.nan
    with np.errstate(divide="ignore", invalid="ignore"):
        seen.features[:, 2::3] = np.where(means > 0, (minor / units)[:, None] / means, np.nan)
    of_all = order if len(order.events) == n else None
    return replace(seen, places=places, bases=bases, order=of_all, undo=undo)


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
        return taken

    def put(self, places: npt.NDArray[np.int64], raw: npt.NDArray[np.void]) -> None:
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


def _take_turns(
    cards: CardColumns,
    last: npt.NDArray[np.int64] | None,
    order: Order,
    events: CardEvents,
    floors: npt.NDArray[np.int64],
    positions: npt.NDArray[np.int64],
    seen: Seen,
) -> None:
    """Add events to the rows of distinct cards, in turns, and note in `seen` what they saw; means are sums as yet.

    last: int64 (c,), when the cards had their last transaction; None if that is not kept. events, floors, positions
    (int64, in the batch): turn by turn, as in the order.
    """
    sights: list[Sight] = []
    start = 0
    for end in order.ends.tolist():
        cut = slice(start, end)
        sight = cards.add(events.at(cut), floors[cut])
        if last is not None:
            occurred_ms, its = events.occurred_ms[cut], last[: end - start]
            its[sight.starts_anew] = NO_TIME
            seen.since_last[positions[cut]] = np.where(its == NO_TIME, np.nan, (occurred_ms - its) / 1000)
            np.maximum(its, occurred_ms, out=its, where=sight.adds)
        sights.append(sight)
        start = end
    seen.features[positions, 0::3] = np.concatenate([sight.counts for sight in sights], axis=1).T
    seen.features[positions, 1::3] = np.concatenate([sight.sums for sight in sights], axis=1).T
    for name in ("absorbed", "repeat", "adds"):
        getattr(seen, name)[positions] = np.concatenate([getattr(sight, name) for sight in sights])
