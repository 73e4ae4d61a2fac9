"""Counts card-days: one card on one event day, once in each segment, by what was blocked on it. Pure.

Transactions of one card on one day are not independent, so they are one piece of evidence. On a card-day, live and the
candidate may block together, live alone, and the candidate alone. Each of these *directions* counts once, however many
transactions it has, so a card-day is one of CELLS kinds. Its money is summed by direction, once whole, and once cut: if
all of it is more than the cap, each direction has its share of the cap.

What a card-day counts for changes while its day goes on. So the sums of a batch are changes: what a card-day counts
for with the batch, less what it counted for before. The result does not depend on how a stream is cut.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from shadow.comparison.bins import Counts
from shadow.comparison.outcome import Outcome
from shadow.comparison.totals import (
    CAP_PARTS,
    DAY_SUMS,
    DAY_TOPS,
    HEAVIEST_PARTS,
    HELD_CAPS,
    MONEY,
    MONEY_SUMS,
    MONEY_TOPS,
    Run,
    event_day,
)

#: The three outcomes in which something is blocked, in the order of a card-day's columns.
DIRECTIONS = (Outcome.BOTH_BLOCK, Outcome.LIVE_ONLY, Outcome.CANDIDATE_ONLY)
_N = len(DIRECTIONS)
#: What a card-day has seen in a segment: whether there is a transaction in each direction, then their parts of the cap.
_COLUMNS = 2 * _N
_BITS = 1 << np.arange(_N)


@dataclass(frozen=True, slots=True)
class Blocked:
    """A transaction that live or the candidate blocks.

    card: from `card_hash`. parts: the amount, in thousandths of the cap, rounded up. segments: positions in
    `Segments.names`.
    """

    run: Run
    hour: int
    card: str
    outcome: Outcome
    parts: int
    segments: tuple[int, ...]

    @property
    def card_day(self) -> CardDay:
        return self.run, event_day(self.hour), self.card


#: Run, event day (LATE_DAY for late transactions) and card.
CardDay = tuple[Run, int, str]


@dataclass(frozen=True, slots=True)
class DaySums:
    """The change of an event day's sums.

    sums: int64 (segments, DAY_SUMS), to be added. tops: int64 (segments, DAY_TOPS), of which the larger stays.
    """

    sums: Counts
    tops: Counts

    @classmethod
    def of(cls, n_segments: int) -> DaySums:
        """No change."""
        return cls(*(np.zeros((n_segments, n), dtype=np.int64) for n in (DAY_SUMS, DAY_TOPS)))

    def with_more(self, more: DaySums) -> DaySums:
        """Both changes, one after the other."""
        return DaySums(self.sums + more.sums, np.maximum(self.tops, more.tops))


def in_parts(minor: Counts, cap_minor: int) -> Counts:
    """Amounts in thousandths of the cap, rounded up, at most HEAVIEST_PARTS: int64, of the same shape."""
    fits = np.minimum(minor, 2**62 // CAP_PARTS)
    return np.asarray(np.minimum(-(-fits * CAP_PARTS // cap_minor), HEAVIEST_PARTS))


def card_days(blocked: Iterable[Blocked]) -> list[CardDay]:
    """The card-days of some transactions, each once, in order."""
    return list(dict.fromkeys(one.card_day for one in blocked))


def count(
    blocked: Iterable[Blocked], states: Mapping[CardDay, bytes], n_segments: int
) -> tuple[dict[tuple[Run, int], DaySums], dict[CardDay, bytes]]:
    """Count transactions, in any order. Returns the changes by run and event day, and the new states.

    states: what is known of card-days so far, from earlier results; of one that is missing nothing is known.
    """
    by_day: dict[CardDay, list[Blocked]] = defaultdict(list)
    for one in blocked:
        by_day[one.card_day].append(one)
    place: dict[tuple[Run, int], int] = {}
    after: dict[CardDay, bytes] = {}
    days, segments, was, now = list[int](), list[int](), list[list[int]](), list[list[int]]()
    for day, several in by_day.items():
        seen = _decode(states.get(day, b""))
        before: dict[int, list[int]] = {}
        for one in several:
            column = DIRECTIONS.index(one.outcome)
            for segment in one.segments:
                cell = seen.get(segment) or seen.setdefault(segment, [0] * _COLUMNS)
                if segment not in before:
                    before[segment] = cell.copy()
                cell[column] = 1
                cell[_N + column] = min(cell[_N + column] + one.parts, HEAVIEST_PARTS)
        days += [place.setdefault(day[:2], len(place))] * len(before)
        segments += before
        was += before.values()
        now += [seen[segment] for segment in before]
        after[day] = _encode(seen)
    sums = np.zeros((len(place), n_segments, DAY_SUMS), dtype=np.int64)
    tops = np.zeros((len(place), n_segments, DAY_TOPS), dtype=np.int64)
    if was:
        (less, _), (more, heaviest) = (_measured(np.array(cells, dtype=np.int64)) for cells in (was, now))
        np.add.at(sums, (days, segments), more - less)
        np.maximum.at(tops, (days, segments), heaviest)
    return {key: DaySums(sums[at], tops[at]) for key, at in place.items()}, after


def _measured(seen: Counts) -> tuple[Counts, Counts]:
    """What m card-days count for: int64 (m, DAY_SUMS) and (m, DAY_TOPS), of (m, 2 * directions)."""
    n = len(seen)
    sums, tops = np.zeros((n, DAY_SUMS), dtype=np.int64), np.zeros((n, DAY_TOPS), dtype=np.int64)
    sums[np.arange(n), seen[:, :_N] @ _BITS] = 1
    whole = seen[:, _N:]
    for at, (parts, most) in enumerate(((cut(whole), np.minimum(whole, CAP_PARTS)), (whole, whole))):
        both, live, candidate = parts.T
        net, base = candidate - live, both + live
        held = np.minimum(base, HELD_CAPS * CAP_PARTS)
        of = MONEY.start + at * MONEY_SUMS
        products = (net * net, net * base, base * base, net * held, held * held)
        alone = (live, live * live, candidate * candidate)
        sums[:, of : of + MONEY_SUMS] = np.stack([net, base, held, *products, *alone], axis=1)
        of = at * MONEY_TOPS
        heaviest = (most[:, 2], most[:, 1], np.minimum(most[:, 0] + most[:, 1], CAP_PARTS if at == 0 else 2**62))
        tops[:, of : of + MONEY_TOPS] = np.stack(heaviest, axis=1)  # at least what there is, and none ever falls
    sums[:, 0] = 0  # nothing was blocked: no card-day
    return sums, tops


def cut(parts: Counts) -> Counts:
    """Money by direction, each cut to its share of the cap if all of it is more, rounded up: (..., directions)."""
    whole = parts.sum(axis=-1, keepdims=True)
    return np.asarray(np.where(whole > CAP_PARTS, -(-parts * CAP_PARTS // np.maximum(whole, 1)), parts))


def _encode(seen: Mapping[int, list[int]]) -> bytes:
    """For each segment: its position, the kind of card-day, and the parts of each direction that the kind has."""
    out = bytearray()
    for segment, cell in seen.items():
        kind = cell[0] | cell[1] << 1 | cell[2] << 2
        out += bytes((segment, kind))
        for at in range(_N):
            if cell[at]:
                rest = cell[_N + at]
                while rest > 127:
                    out.append(rest & 127 | 128)
                    rest >>= 7
                out.append(rest)
    return bytes(out)


def _decode(state: bytes) -> dict[int, list[int]]:
    """Read what `_encode` wrote."""
    seen: dict[int, list[int]] = defaultdict(list)
    at = 0
    while at < len(state):
        segment, kind = state[at], state[at + 1]
        at += 2
        cell = [0] * _COLUMNS
        for column in range(_N):
            cell[column] = kind >> column & 1
            if cell[column]:
                shift = 0
                while True:
                    cell[_N + column] |= (state[at] & 127) << shift
                    shift, at = shift + 7, at + 1
                    if state[at - 1] < 128:
                        break
        seen[segment] = cell
    return dict(seen)
