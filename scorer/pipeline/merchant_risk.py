"""Merchant risk: how much was paid at a merchant over some windows, and how much of it was fraud, as snapshots.

A snapshot is a function of which transactions there are and when each label became known, whatever the order in which
these come. Its windows end a label delay before it, in whole hours; only labels known before it count. So what a scorer
looks up in a snapshot from its topic, and what training computes from a history, are the same numbers.

A merchant without transactions in a window has count 0, no mean, and the overall rate: what the formula says of nobody.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, repeat
from typing import Any

import numpy as np
import numpy.typing as npt

from scorer.pipeline.instants import HOUR_MS
from scorer.pipeline.risk_view import EFFECTIVE_AFTER_MS, Risk

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
#: Nobody's place among the merchants.
NOBODY = -1
#: Snapshots whose transactions' features a history computes at once. More only costs memory.
STEPS = 128


def as_of(risk: Risk, occurred_ms: Ints) -> Ints:
    """Time of the snapshot that transactions are decided with if none is late: int64 (n,), ms since 1970."""
    return (occurred_ms - EFFECTIVE_AFTER_MS) // risk.period_ms * risk.period_ms


def features(count: Ints | Floats, minor: Ints, rate: Floats, units: float) -> Floats:
    """Features of n transactions: float64 (n, 3 w). count, minor, rate: of their merchants by window, (n, w). units:
    minor units in a unit of the currency."""
    n, w = count.shape
    out = np.empty((n, w, 3))
    out[:, :, 0] = count
    with np.errstate(divide="ignore", invalid="ignore"):
        out[:, :, 1] = np.where(count > 0, minor / units / count, np.nan)
    out[:, :, 2] = rate
    return out.reshape(n, 3 * w)


@dataclass(frozen=True)
class Snapshot:
    """What is known of m merchants at a time; of all others, that they had no transaction.

    as_of_ms: milliseconds since 1970. keys: of the merchants, ascending. count, minor: int64 (m, w), transactions and
    their minor units by window. rate: float64 (m, w), the share that was fraud, smoothed and capped. overall: of all.
    """

    as_of_ms: int
    keys: tuple[str, ...]
    count: Ints
    minor: Ints
    rate: Floats
    overall: float

    @property
    def effective_ms(self) -> int:
        """It counts for transactions from this time on."""
        return self.as_of_ms + EFFECTIVE_AFTER_MS

    @cached_property
    def version(self) -> str:
        """16 hex digits of the SHA-256 of its content."""
        parts = hashlib.sha256(np.array([self.as_of_ms, *self.count.shape], "<i8").tobytes())
        parts.update(np.array([self.overall], "<f8").tobytes())
        for key in self.keys:
            parts.update(len(key.encode()).to_bytes(4, "big") + key.encode())
        parts.update(np.ascontiguousarray(self.count, "<i8").tobytes())
        parts.update(np.ascontiguousarray(self.minor, "<i8").tobytes())
        parts.update(np.ascontiguousarray(self.rate, "<f8").tobytes())
        return parts.hexdigest()[:16]


@dataclass(frozen=True)
class Moved:
    """What a step did. merchants: how many had transactions. capped: the rate of how many of them would have moved
    further than it may."""

    merchants: int
    capped: int


class Ids:
    """Transactions by the hash of their id: m sorted blocks, so that 30 million take half a gigabyte."""

    def __init__(self) -> None:
        self._blocks: list[tuple[npt.NDArray[np.uint64], Ints, Ints]] = []

    def __len__(self) -> int:
        return sum(len(block[0]) for block in self._blocks)

    def add(self, hashes: npt.NDArray[np.uint64], codes: Ints, at_hours: Ints, oldest: int) -> None:
        """Add transactions. oldest: those before this hour may be forgotten."""
        order = np.argsort(hashes, kind="stable")
        self._blocks.append((hashes[order], codes[order], at_hours[order]))
        while len(self._blocks) > 1 and 2 * len(self._blocks[-1][0]) >= len(self._blocks[-2][0]):
            last, before = self._blocks.pop(), self._blocks.pop()
            joined = [np.concatenate(pair) for pair in zip(before, last, strict=True)]
            kept = np.flatnonzero(joined[2] >= oldest)
            kept = kept[np.argsort(joined[0][kept], kind="stable")]
            self._blocks.append((joined[0][kept], joined[1][kept], joined[2][kept]))

    def find(self, hashes: npt.NDArray[np.uint64]) -> tuple[Ints, Ints]:
        """Merchant and hour of each transaction: int64 (n,) twice; NOBODY where it is not known."""
        codes, at_hours = np.full((2, len(hashes)), NOBODY, dtype=np.int64)
        for ids, its_codes, its_hours in self._blocks:
            if len(ids):
                at = np.minimum(np.searchsorted(ids, hashes), len(ids) - 1)
                hit = ids[at] == hashes
                codes[hit], at_hours[hit] = its_codes[at[hit]], its_hours[at[hit]]
        return codes, at_hours


class Past:
    """What happened at each merchant. Transactions and labels come in any order; steps go forward in time."""

    def __init__(self, risk: Risk) -> None:
        self.risk = risk
        w = len(risk.lengths)
        self._codes: dict[str, int] = {}
        self._paid: dict[int, list[tuple[Ints, Ints]]] = defaultdict(list)  # by hour: merchants and minor units
        self._frauds: dict[int, list[tuple[Ints, Ints]]] = defaultdict(list)  # by hour: merchants and changes
        # Labels that do not count yet, in order, and new ones: known_ms, hour, merchant, change.
        self._changes: tuple[Ints, Ints, Ints, Ints] | None = None
        self._new: list[tuple[Ints, Ints, Ints, Ints]] = []
        self._ids = Ids()
        self._said: dict[int, list[tuple[int, bool]]] = {}  # what was said of a transaction, by time
        # By window and merchant, with room for more: payments and frauds (whole, as float64), minor units, and rates.
        self._count, self._fraud, self._rate = (np.zeros((w, 0)) for _ in range(3))
        self._minor = np.zeros((w, 0), dtype=np.int64)
        self._overall = np.nan
        self._floor = int(np.iinfo(np.int64).min)
        self._end: int | None = None  # the hour at which all windows end
        self._was: tuple[Floats, float] | None = None

    @property
    def overall(self) -> float:
        """Share of all transactions that was fraud, as of the last step; NaN without any."""
        return self._overall

    # What happened

    def begin(self, hour: int) -> None:
        """Pass over what happened before an hour: no step will look back at it."""
        self._floor = hour

    def add(self, hashes: npt.NDArray[np.uint64], keys: Sequence[str | None], occurred_ms: Ints, minor: Ints) -> None:
        """Add n transactions, by the hashes of their ids, of which one that is there already does not count again.

        minor: int64 (n,), minor units.
        """
        codes, at_hours = self.codes(keys), occurred_ms // HOUR_MS
        known, _ = self._ids.find(hashes)
        fresh = np.zeros(len(hashes), dtype=bool)
        fresh[np.unique(hashes, return_index=True)[1]] = True
        rows = np.flatnonzero(fresh & (known == NOBODY) & (codes != NOBODY) & (at_hours >= self._oldest))
        self.take(codes[rows], at_hours[rows], minor[rows])
        self._ids.add(hashes[rows], codes[rows], at_hours[rows], self._oldest)
        for name, code, hour in zip(hashes[rows].tolist(), codes[rows].tolist(), at_hours[rows].tolist(), strict=True):
            if name in self._said:  # the label came first
                self._changed(_steps(self._said[name]), code, hour)

    def label(self, hashes: npt.NDArray[np.uint64], frauds: Sequence[bool], known_ms: Sequence[int]) -> None:
        """Add n labels. frauds: False takes an earlier label back. Of several on a transaction the newest counts."""
        codes, at_hours = self._ids.find(hashes)
        given = zip(hashes.tolist(), frauds, known_ms, codes.tolist(), at_hours.tolist(), strict=True)
        for name, is_fraud, known, code, hour in given:
            said = self._said.setdefault(name, [])
            one = (int(known), bool(is_fraud))
            at = bisect_left(said, one)
            if said[at : at + 1] == [one]:
                continue
            before = [(-change, moment) for change, moment in _steps(said)]
            insort(said, one)
            if code != NOBODY:
                self._changed(before + _steps(said), code, hour)

    def _changed(self, steps: list[tuple[int, int]], code: int, hour: int) -> None:
        if steps:
            n = len(steps)
            changes, moments = np.array(steps, dtype=np.int64).T
            self.learn(moments, np.full(n, hour, np.int64), np.full(n, code, np.int64), changes)

    def codes(self, keys: Sequence[str | None]) -> Ints:
        """Number of each merchant: int64 (n,); NOBODY without a key. New ones get the next numbers."""
        table, known = self._codes, len(self._codes)
        get: Callable[[Any, int], int] = table.get
        codes = np.fromiter(map(get, keys, repeat(NOBODY)), np.int64, len(keys))
        for at in np.flatnonzero(codes == NOBODY).tolist():
            key = keys[at]
            if key is not None:
                codes[at] = table.setdefault(key, len(table))
        if len(table) > self._rate.shape[1]:
            room = max(len(table), 2 * self._rate.shape[1])
            self._count, self._fraud, self._minor, self._rate = (
                np.concatenate([cells, np.zeros((len(cells), room - cells.shape[1]), cells.dtype)], axis=1)
                for cells in (self._count, self._fraud, self._minor, self._rate)
            )
        self._rate[:, known : len(table)] = self._overall
        return codes

    def take(self, codes: Ints, at_hours: Ints, minor: Ints) -> None:
        """Add transactions of merchants by number, each once."""
        for hour, rows in _by(at_hours):
            self._paid[hour].append((codes[rows], minor[rows]))
            for window in self._windows_with(hour):
                np.add.at(self._count[window], codes[rows], 1.0)
                np.add.at(self._minor[window], codes[rows], minor[rows])

    def learn(self, known_ms: Ints, at_hours: Ints, codes: Ints, changes: Ints) -> None:
        """Add n labels of transactions. known_ms: when they became known. changes: 1 for fraud, -1 to take one back."""
        self._new.append((known_ms, at_hours, codes, changes))

    def _windows_with(self, hour: int) -> list[int]:
        if self._end is None or hour >= self._end:
            return []
        return [at for at, length in enumerate(self.risk.lengths) if hour >= self._end - length]

    @property
    def _oldest(self) -> int:
        return self._floor if self._end is None else self._end - self.risk.lengths[-1]

    # Snapshots

    @property
    def first_ms(self) -> int | None:
        """Time of the first snapshot that has a transaction; None without transactions."""
        if not self._paid:
            return None
        first = (min(self._paid) + 1 + self.risk.delay_hours) * HOUR_MS
        return -(-first // self.risk.period_ms) * self.risk.period_ms

    def step(self, as_of_ms: int) -> Moved:
        """Go forward to the snapshot of a time, a multiple of the period; `undo` takes its rates back."""
        self._was = self._rate, self._overall  # `_rates` makes others
        self._windows_to(as_of_ms // HOUR_MS - self.risk.delay_hours)
        self._labels_to(as_of_ms)
        return self._rates()

    def undo(self) -> None:
        """Leave the rates as they were before the last step."""
        if self._was is not None:
            rate, self._overall = self._was
            self._rate[:, : rate.shape[1]] = rate
            self._rate[:, rate.shape[1] :] = self._overall
            self._was = None

    @property
    def is_empty(self) -> bool:
        """Whether the longest window has no transaction: then there is no snapshot."""
        return not self._count[-1].any()

    def _windows_to(self, end: int) -> None:
        begin = end - self.risk.lengths[-1] if self._end is None else self._end
        for at, length in enumerate(self.risk.lengths):
            for hour in _between(self._paid, max(begin, end - length), end):
                self._apply(hour, at, 1)
            if self._end is not None:
                for hour in _between(self._paid, begin - length, min(begin, end - length)):
                    self._apply(hour, at, -1)
        self._end = end
        oldest = self._oldest
        began = min(self._paid, default=end) if begin == oldest else begin - self.risk.lengths[-1]
        for gone in _between(self._paid, began, oldest):
            del self._paid[gone]
            self._frauds.pop(gone, None)
        oldest_ms = oldest * HOUR_MS
        for name in [name for name, said in self._said.items() if said[-1][0] < oldest_ms]:
            del self._said[name]

    def _apply(self, hour: int, window: int, sign: int) -> None:
        for codes, minor in self._paid[hour]:
            np.add.at(self._count[window], codes, float(sign))  # of one type numpy is fast
            np.add.at(self._minor[window], codes, sign * minor)
        for codes, changes in self._frauds.get(hour, ()):
            np.add.at(self._fraud[window], codes, float(sign) * changes)

    def _labels_to(self, as_of_ms: int) -> None:
        if self._new:
            parts = [self._changes, *self._new] if self._changes is not None else self._new
            known, at_hours, codes, changes = (np.concatenate(column) for column in zip(*parts, strict=True))
            order = np.argsort(known, kind="stable")
            self._changes, self._new = (known[order], at_hours[order], codes[order], changes[order]), []
        if self._changes is None:
            return
        known, at_hours, codes, changes = self._changes
        n = int(np.searchsorted(known, as_of_ms))
        for hour, rows in _by(at_hours[:n]):
            if hour < self._oldest:
                continue
            self._frauds[hour].append((codes[rows], changes[rows]))
            for window in self._windows_with(hour):
                np.add.at(self._fraud[window], codes[rows], changes[rows].astype(np.float64))
        self._changes = (known[n:], at_hours[n:], codes[n:], changes[n:]) if n < len(known) else None

    def _rates(self) -> Moved:
        n, room = len(self._codes), self._rate.shape[1]
        count, frauds, before = self._count[:, :n], self._fraud[:, :n], self._rate[:, :n]
        total = int(count[-1].sum())
        if not total:
            self._rate, self._overall = np.full_like(self._rate, np.nan), np.nan
            return Moved(0, 0)
        most, prior, was = self.risk.most_move, self.risk.prior, self._overall
        overall = float(frauds[-1].sum() / total)
        if np.isnan(was):
            self._overall = overall
            before = np.broadcast_to(overall, before.shape)
        else:
            self._overall = min(max(overall, was - most), was + most)
        self._rate = np.empty((len(count), room))
        raw = np.add(frauds, prior * self._overall, out=self._rate[:, :n])
        raw /= count + prior
        if prior * self._overall / prior != self._overall:  # by rounding; who has no payments has the overall rate
            raw[count == 0] = self._overall
        moved = raw - before
        there = count[-1] > 0  # the longest window has what the others have
        capped = 0
        if moved.max() > most or moved.min() < -most:
            free = raw.copy()
            np.clip(free, before - most, before + most, out=raw)
            capped = int(((raw != free).any(axis=0) & there).sum())
        return Moved(int(np.count_nonzero(there)), capped)

    def look(self, codes: Ints) -> tuple[Floats, Ints, Floats]:
        """Payments, their minor units and rates of n merchants by number, where the last step came to: (w, n) each.

        What it says of NOBODY means nothing.
        """
        return self._count[:, codes], self._minor[:, codes], self._rate[:, codes]

    def snapshot(self, as_of_ms: int) -> Snapshot:
        """Where the last step, to this time, came to. Merchants of whom it says nothing are left out."""
        n = len(self._codes)
        count, minor, rate = self._count[:, :n].astype(np.int64), self._minor[:, :n], self._rate[:, :n]
        says = ((count > 0) | (rate != self._overall)).any(axis=0)
        named = sorted((key, code) for key, code in self._codes.items() if says[code])
        at = np.array([code for _, code in named], dtype=np.int64)
        keys = tuple(key for key, _ in named)
        return Snapshot(
            as_of_ms, keys, count[:, at].T.copy(), minor[:, at].T.copy(), rate[:, at].T.copy(), self._overall
        )

    def resume(self, snapshot: Snapshot) -> None:
        """Go on from a snapshot: the next step's rates move from its."""
        codes = self.codes(snapshot.keys)
        self._overall = snapshot.overall
        self._rate[:] = snapshot.overall
        self._rate[:, codes] = snapshot.rate.T


def _steps(said: list[tuple[int, bool]]) -> list[tuple[int, int]]:
    """Changes of a transaction's frauds, and when, from what was said of it in order of time."""
    out, now = [], 0
    for moment, is_fraud in said:
        if int(is_fraud) != now:
            out.append((int(is_fraud) - now, moment))
            now = int(is_fraud)
    return out


def _by(at_hours: Ints) -> list[tuple[int, Ints]]:
    """Positions by hour."""
    if not len(at_hours):
        return []
    order = np.argsort(at_hours, kind="stable")
    found, starts = np.unique(at_hours[order], return_index=True)
    return list(zip(found.tolist(), np.split(order, starts[1:]), strict=True))


def _between(hours: dict[int, object] | dict[int, list[tuple[Ints, Ints]]], begin: int, end: int) -> list[int]:
    """The hours from `begin` to before `end` that there are."""
    if end - begin > len(hours):
        return [hour for hour in hours if begin <= hour < end]
    return [hour for hour in range(begin, end) if hour in hours]


def history(
    past: Past,
    codes: Ints,
    occurred_ms: Ints,
    minor: Ints,
    labels: npt.NDArray[np.int8],
    known_ms: Ints,
    is_repeat: npt.NDArray[np.bool_],
    units: float,
) -> Floats:
    """Features of n transactions in order of time, as scorers have them if no snapshot is late: float64 (n, 3 w).

    past: a new one, whose numbers of the merchants are `codes`, int64 (n,). labels: int8 (n,), 1 is fraud. known_ms:
    int64 (n,), when each label became known, milliseconds since 1970; 0 if unknown: a label delay after the
    transaction. is_repeat: bool (n,), what does not count, as its id has counted.
    """
    risk, at_hours = past.risk, occurred_ms // HOUR_MS
    counted = np.flatnonzero((codes != NOBODY) & ~is_repeat)
    past.take(codes[counted], at_hours[counted], minor[counted])
    frauds = counted[labels[counted] == 1]
    known = np.where(known_ms != 0, known_ms, occurred_ms + risk.delay_hours * HOUR_MS)
    past.learn(known[frauds], at_hours[frauds], codes[frauds], np.ones(len(frauds), dtype=np.int64))
    out = np.full((len(codes), len(risk.names)), np.nan)
    first = past.first_ms
    if first is None:
        return out
    looks = _looks(past, codes, as_of(risk, occurred_ms), first)
    while some := list(islice(looks, STEPS)):
        rows = np.concatenate([its for its, _ in some])
        count, paid, rate = (np.concatenate(cells, axis=1).T for cells in zip(*(of for _, of in some), strict=True))
        out[rows] = features(count, paid, rate, units)
    out[codes == NOBODY] = np.nan
    return out


def _looks(past: Past, codes: Ints, snapshots: Ints, first: int) -> Iterator[tuple[Ints, tuple[Floats, Ints, Floats]]]:
    """Steps to each snapshot from the first; which transactions have it, and what `Past.look` says of their merchants.

    snapshots: int64 (n,), the time of that of each transaction. Of a snapshot that says nothing there is nothing.
    """
    order = np.argsort(snapshots, kind="stable")
    ordered = snapshots[order]
    for moment in range(first, int(ordered[-1]) + 1, past.risk.period_ms):
        past.step(moment)
        rows = order[slice(*np.searchsorted(ordered, [moment, moment + 1]).tolist())]
        if len(rows) and not past.is_empty:
            yield rows, past.look(codes[rows])
