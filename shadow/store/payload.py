"""Builds the argument of the script that applies a range: every key once, by position, and its changes."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import orjson

from shadow.comparison.bins import Counts
from shadow.comparison.card_days import CardDay, DaySums
from shadow.comparison.histograms import Histograms, Snapshots
from shadow.comparison.increment import Increment, Offered
from shadow.comparison.index import names_digest
from shadow.comparison.outcome import Outcome
from shadow.comparison.resets import ERROR
from shadow.comparison.sampling import WHOLE_RUN, keep
from shadow.comparison.tally import Tallies
from shadow.comparison.totals import CELLS, DAY_TOPS, ERRORS, MONEY_SUMS, Run
from shadow.store.keys import TOTAL, Keys
from shadow.store.pseudonyms import Pseudonyms

#: How long keys of hours and days live.
HISTOGRAM_DAYS = 60
HOUR_SECONDS = HISTOGRAM_DAYS * 86_400
#: Fields of a tally, in the order of its columns. Short names keep the hash in Redis's compact encoding.
FIELDS = (
    *(f"c{int(outcome)}" for outcome in Outcome),
    *(f"m{int(outcome)}" for outcome in Outcome),
    *(f"a{int(outcome)}" for outcome in Outcome if outcome >= Outcome.BOTH_BLOCK),
    "e",
)
#: Fields of the sums over card-days, in the order of their columns, and of the heaviest ones.
DAY_FIELDS = (*(f"k{kind}" for kind in range(CELLS)), *(f"{of}{at}" for of in "cu" for at in range(MONEY_SUMS)))
TOP_FIELDS = tuple(f"t{at}" for at in range(DAY_TOPS))
#: A card-day is forgotten when its partition reaches the event day this many days later. An event is dated at most two
#: days before it is scored, so only a scorer whose clock goes back by days could still add to it.
FORGOTTEN_AFTER = 8


def day_name(day: int) -> str:
    """The day of a stratum as it is written in keys."""
    return "run" if day == WHOLE_RUN else str(day)


def member(nonce: str, day: CardDay) -> bytes:
    """The digest that stands for a card on one day of one run. nonce: that of the fence, which is random."""
    run, at, card = day
    return hashlib.blake2b(f"{run}:{at}:{card}".encode(), key=nonce.encode(), digest_size=8).digest()


class Payload:
    """Builds the arguments of `apply.lua` and gives each key a position, from 1."""

    def __init__(
        self,
        at: Keys,
        segments: tuple[str, ...],
        sample_seconds: int,
        case_seconds: int,
        pseudonyms: Pseudonyms,
    ) -> None:
        self._at, self._segments, self._pseudonyms = at, segments, pseudonyms
        self._sample_seconds, self._case_seconds = sample_seconds, case_seconds
        self._position: dict[str, int] = {}
        self._indexes: dict[int, list[Any]] = {}
        self._entries: list[bytes] = []

    @property
    def names(self) -> list[str]:
        return list(self._position)

    @property
    def entries(self) -> bytes:
        """The entries of the offered samples, one after the other. Call it after `build`."""
        return b"".join(self._entries)

    def _key(self, name: str) -> int:
        return self._position.setdefault(name, len(self._position) + 1)

    def states(self, nonce: str, states: Mapping[CardDay, bytes]) -> list[int | bytes]:
        """What each card has counted for: key position, member and state of each, the arguments after the first."""
        out: list[int | bytes] = []
        keys: dict[tuple[Run, int], int] = {}
        for day, state in states.items():
            key = keys.get(day[:2]) or self._key(self._at.cards(str(day[0]), day[1], self._segments))
            keys[day[:2]] = key
            out += [key, member(nonce, day), state]
        return out

    def build(
        self, nonce: str, start: int, to: int, increment: Increment, days: Mapping[tuple[Run, int], DaySums]
    ) -> dict[str, Any]:
        """The first argument. days: changes of the sums over card-days."""
        self._key(self._at.fence)
        counts = {"skipped": increment.skipped, "unreadable": increment.unreadable}
        return {
            "nonce": nonce,
            "from": start,
            "to": to,
            "source": increment.source,
            "decided": increment.decided,
            "fence": {name: count for name, count in counts.items() if count},
            "runs": [[self._key(self._at.runs), str(run), self._key(self._at.run(str(run)))] for run in increment.meta],
            "meta": [
                [
                    self._key(self._at.run(str(run))),
                    texts,
                    {name: n for name, n in increment.counters[run].items() if n},
                    {"next_offset": str(increment.reach[run])},
                ]
                for run, texts in increment.meta.items()
            ],
            "hours": list(self._hours(increment.tallies)),
            "resets": list(self._resets(increment.tallies)),
            "marks": list(self._marks(increment)),
            "tallies": [*self._tallies(increment.tallies), *self._card_sums(days)],
            "tops": list(self._tops(days)),
            "forgotten": list(self._forgotten(increment.tallies)),
            "cards": HOUR_SECONDS,
            "histograms": [*self._scores(increment.histograms), *self._snapshots(increment.snapshots)],
            "samples": [self._sample(sample) for sample in increment.samples],
            "indexes": list(self._indexes.values()),
            "names": self._names() if self._indexes else [],
        }

    def _hours(self, tallies: Tallies) -> Iterable[list[int]]:
        by_run: dict[str, list[int]] = defaultdict(list)
        for run, hour in tallies:
            by_run[str(run)].append(hour)
        for run_name, hours in by_run.items():
            yield [self._key(self._at.hours(run_name)), *hours]

    def _resets(self, tallies: Tallies) -> Iterable[list[Any]]:
        """Hours in which the candidate failed to score a transaction."""
        for (run, hour), sums in tallies.items():
            if sums[0, ERRORS] and hour >= 0:
                yield [self._key(self._at.resets(str(run))), hour, ERROR]

    def _marks(self, increment: Increment) -> Iterable[list[Any]]:
        """The marks of each run; a change counts from the first hour of the increment."""
        for run, marks in increment.marks.items():
            hours = [hour for of, hour in increment.tallies if of == run and hour >= 0]
            if hours:
                name = str(run)
                yield [self._key(self._at.run(name)), self._key(self._at.resets(name)), min(hours), marks]

    def _tallies(self, tallies: Tallies) -> Iterable[list[Any]]:
        for (run, hour), sums in tallies.items():
            yield from self._rows(run, hour, sums, HOUR_SECONDS)
        for run, sums in _by_run((run, sums) for (run, _), sums in tallies.items()):
            yield from self._rows(run, TOTAL, sums, 0)

    def _scores(self, histograms: Histograms) -> Iterable[list[int]]:
        for (run, day), sums in histograms.items():
            for at, segment in enumerate(self._segments):
                yield from self._histogram(self._at.scores(str(run), day, segment), HOUR_SECONDS, sums[at])
        for run, sums in _by_run((run, sums) for (run, _), sums in histograms.items()):
            for at, segment in enumerate(self._segments):
                yield from self._histogram(self._at.scores(str(run), TOTAL, segment), 0, sums[at])

    def _snapshots(self, snapshots: Snapshots) -> Iterable[list[int]]:
        for (run, day, view), sums in snapshots.items():
            for position, counts in enumerate(sums):
                yield from self._histogram(self._at.feature(str(run), day, view, position), HOUR_SECONDS, counts)

    def _histogram(self, key: str, seconds: int, sums: Counts) -> Iterable[list[int]]:
        flat = sums.ravel()
        cells = np.flatnonzero(flat)
        if len(cells):
            yield [self._key(key), seconds, *np.stack([cells, flat[cells]], axis=1).ravel().tolist()]

    def _rows(self, run: Run, hour: int | str, sums: Any, seconds: int) -> Iterable[list[Any]]:
        for at, segment in enumerate(self._segments):
            key = self._at.tally(str(run), hour, segment)
            yield from self._row(key, seconds, FIELDS, sums[at])

    def _row(self, key: str, seconds: int, fields: tuple[str, ...], sums: Counts) -> Iterable[list[Any]]:
        columns = np.flatnonzero(sums)
        if len(columns):
            row: list[Any] = [self._key(key), seconds]
            for column, count in zip(columns.tolist(), sums[columns].tolist(), strict=True):
                row += [fields[column], count]
            yield row

    def _card_sums(self, days: Mapping[tuple[Run, int], DaySums]) -> Iterable[list[Any]]:
        for (run, day), change in days.items():
            for at, segment in enumerate(self._segments):
                yield from self._row(
                    self._at.card_sums(str(run), day, segment), HOUR_SECONDS, DAY_FIELDS, change.sums[at]
                )
        for run, sums in _by_run((run, change.sums) for (run, _), change in days.items()):
            for at, segment in enumerate(self._segments):
                yield from self._row(self._at.card_sums(str(run), TOTAL, segment), 0, DAY_FIELDS, sums[at])

    def _tops(self, days: Mapping[tuple[Run, int], DaySums]) -> Iterable[list[Any]]:
        for (run, day), change in days.items():
            for at, segment in enumerate(self._segments):
                for when in (day, TOTAL):
                    yield from self._row(self._at.card_sums(str(run), when, segment), 0, TOP_FIELDS, change.tops[at])

    def _forgotten(self, tallies: Tallies) -> Iterable[int]:
        """Keys of the card-days that nothing can add to any more."""
        newest: dict[Run, int] = {}
        for run, hour in tallies:
            newest[run] = max(hour // 24, newest.get(run, 0))
        for run, day in newest.items():
            if day >= FORGOTTEN_AFTER:
                yield self._key(self._at.cards(str(run), day - FORGOTTEN_AFTER, self._segments))

    def _sample(self, sample: Offered) -> list[Any]:
        run, day = sample.strata[0][0], day_name(sample.strata[0][1])
        is_case = sample.strata[0][1] == WHOLE_RUN
        strata = [
            [
                self._key(self._at.stratum(run, day, outcome, self._segments[segment])),
                self._key(self._at.taus(run, day)),
                f"{outcome}:{self._segments[segment]}",
                keep(outcome),
            ]
            for _, _, outcome, segment in sample.strata
        ]
        member = str(sample.source)
        return [
            member,
            sample.value,
            self._key(self._at.bodies(run, day)),
            self._key(self._at.references(run, day)),
            self._case_seconds if is_case else self._sample_seconds,
            self._key(self._at.why),
            "" if is_case else f"{run}/{day}/{member}",
            (self._pseudonyms.case(sample.body) if is_case else sample.body).decode(),
            strata,
            *(self._entry(sample, run, day) if sample.entry else (0, 0)),
        ]

    def _entry(self, sample: Offered, run: str, day: str) -> tuple[int, int]:
        """The index that takes a sample, and its entry's number in `entries`, from 1."""
        key = self._key(self._at.index(run, day))
        if key not in self._indexes:
            bodies, of_run = self._key(self._at.bodies(run, day)), self._key(self._at.run(run))
            days = self._key(self._at.indexed_days(run))
            self._indexes[key] = [key, bodies, of_run, days, day, self._sample_seconds]
        self._entries.append(sample.entry)
        return key, len(self._entries)

    def _names(self) -> list[Any]:
        """The list of segments to which all entries of a payload refer."""
        return [self._key(self._at.names), str(names_digest(self._segments)), orjson.dumps(self._segments).decode()]


def _by_run(parts: Iterable[tuple[Run, Counts]]) -> Iterable[tuple[Run, Counts]]:
    """The sum of all parts of each run."""
    whole: dict[Run, Counts] = {}
    for run, sums in parts:
        whole[run] = whole[run] + sums if run in whole else sums
    return whole.items()
