"""The argument of the script that applies a range: every key once, by position, and what is to be done to each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np

from shadow.advance import Advance, Pair, Sample
from shadow.bins import Counts
from shadow.clean import ERROR
from shadow.histogram import Histograms, Snapshots
from shadow.keys import TOTAL, Keys
from shadow.samples import WHOLE_RUN, keep
from shadow.tally import ERRORS, Run, Tallies

#: How long rows of hours and days live.
HISTOGRAM_DAYS = 60
HOUR_SECONDS = HISTOGRAM_DAYS * 86_400
#: Short names keep a hash of one segment in Redis's compact form.
FIELDS = (
    *(f"c{i}" for i in range(4)),
    *(f"m{i}" for i in range(4)),
    *(f"a{i}" for i in range(1, 4)),
    *(f"q{i}" for i in range(2, 4)),
    "e",
)


def day_name(day: int) -> str:
    """The day of a stratum as keys have it."""
    return "run" if day == WHOLE_RUN else str(day)


class Payload:
    """Builds the script's argument, giving each key a position."""

    def __init__(self, at: Keys, segments: tuple[str, ...], sample_seconds: int, case_seconds: int) -> None:
        self._at, self._segments = at, segments
        self._sample_seconds, self._case_seconds = sample_seconds, case_seconds
        self._position: dict[str, int] = {}

    @property
    def names(self) -> list[str]:
        return list(self._position)

    def _key(self, name: str) -> int:
        return self._position.setdefault(name, len(self._position) + 1)

    def build(self, nonce: str, start: int, to: int, what: Advance) -> dict[str, Any]:
        self._key(self._at.fence)
        counts = {"skipped": what.skipped, "unreadable": what.unreadable}
        return {
            "nonce": nonce,
            "from": start,
            "to": to,
            "source": what.source,
            "fence": {name: count for name, count in counts.items() if count},
            "runs": [[self._key(self._at.runs), str(run)] for run in what.meta],
            "meta": [
                [
                    self._key(self._at.run(str(run))),
                    texts,
                    {name: n for name, n in what.counters[run].items() if n},
                    {"next_offset": str(what.reach[run])},
                ]
                for run, texts in what.meta.items()
            ],
            "hours": list(self._hours(what.tallies)),
            "resets": list(self._resets(what.tallies)),
            "marks": list(self._marks(what)),
            "tallies": list(self._tallies(what.tallies)),
            "histograms": [*self._scores(what.histograms), *self._snapshots(what.snapshots)],
            "pairs": [self._pair(pair) for pair in what.pairs],
            "samples": [self._sample(sample) for sample in what.samples],
        }

    def _hours(self, tallies: Tallies) -> Iterable[list[int]]:
        by_run: dict[str, list[int]] = defaultdict(list)
        for run, hour in tallies:
            by_run[str(run)].append(hour)
        for run_name, hours in by_run.items():
            yield [self._key(self._at.hours(run_name)), *hours]

    def _resets(self, tallies: Tallies) -> Iterable[list[Any]]:
        """Hours in which the candidate could not score something."""
        for (run, hour), sums in tallies.items():
            if sums[0, ERRORS] and hour >= 0:
                yield [self._key(self._at.resets(str(run))), hour, ERROR]

    def _marks(self, what: Advance) -> Iterable[list[Any]]:
        """What a run was compared under; a change is noted at the first hour of it."""
        for run, marks in what.marks.items():
            hours = [hour for of, hour in what.tallies if of == run and hour >= 0]
            if hours:
                name = str(run)
                yield [self._key(self._at.run(name)), self._key(self._at.resets(name)), min(hours), marks]

    def _tallies(self, tallies: Tallies) -> Iterable[list[Any]]:
        whole: dict[Run, Any] = {}
        for (run, hour), sums in tallies.items():
            whole[run] = whole[run] + sums if run in whole else sums
            yield from self._rows(run, hour, sums, HOUR_SECONDS)
        for run, sums in whole.items():
            yield from self._rows(run, TOTAL, sums, 0)

    def _scores(self, histograms: Histograms) -> Iterable[list[int]]:
        whole: dict[Run, Counts] = {}
        for (run, day), sums in histograms.items():
            whole[run] = whole[run] + sums if run in whole else sums
            for at, segment in enumerate(self._segments):
                yield from self._histogram(self._at.scores(str(run), day, segment), HOUR_SECONDS, sums[at])
        for run, sums in whole.items():
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
            columns = np.flatnonzero(sums[at])
            if len(columns):
                row: list[Any] = [self._key(self._at.tally(str(run), hour, segment)), seconds]
                for column, count in zip(columns.tolist(), sums[at][columns].tolist(), strict=True):
                    row += [FIELDS[column], count]
                yield row

    def _pair(self, pair: Pair) -> list[Any]:
        run = str(pair.run)
        into = [
            self._key(self._at.tally(run, hour, self._segments[segment]))
            for hour in (pair.hour, TOTAL)
            for segment in pair.segments
        ]
        seen = self._key(self._at.pairs(run, pair.day))
        return [seen, HOUR_SECONDS, pair.card, "p0" if pair.live_only else "p1", *into]

    def _sample(self, sample: Sample) -> list[Any]:
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
            sample.body.decode(),
            strata,
        ]
