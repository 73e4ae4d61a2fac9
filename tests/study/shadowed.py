"""Real decisions through the shadow itself: the live path writes them, `absorb` compares them, Valkey adds them up.

Only Kafka is left out. The stream is read day by day; after each day the review queue, the product's own, hands out its
cases, and reviewers who know the truth answer them, right 95 % of the time.
"""

from __future__ import annotations

import asyncio
import math
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson

from scorer.bundles.bundle import Bundle
from scorer.deployments.records import PublishedView
from scorer.deployments.slots import Slot
from scorer.pipeline.batch import Incoming, LiveModel, Part, Published, Rules
from scorer.pipeline.card_states import CardStates
from scorer.pipeline.settle import settle_all
from scorer.sources.files import read_transactions
from scorer.worker.live import live_model
from shadow.comparison.absorb import absorb
from shadow.comparison.bins import ALLOWED, BINS, BLOCKED, KINDS, LIVE
from shadow.comparison.card_days import CardDay, count
from shadow.comparison.case import Case
from shadow.comparison.decisions import read
from shadow.comparison.increment import Increment
from shadow.comparison.memory import Memory
from shadow.comparison.totals import (
    CAPPED,
    CELLS,
    COLUMNS,
    COUNTS,
    DAY_SUMS,
    DAY_TOPS,
    ERRORS,
    MONEY,
    Run,
    RunTotals,
)
from shadow.gate.criteria import Release
from shadow.gate.harm import LabelledPairs, harm_claims, label_claims, labelled, labels_wanted, needs
from shadow.gate.sums import Sums
from shadow.labels.label import Known, State
from shadow.labels.queue import turns
from shadow.store.connection import connect
from shadow.store.tallies import Applied, TallyStore
from shadow.worker.candidate import Candidate
from study.handbook import DAY_MS, MAPPING, READING, VIEW, Handbook
from study.model import DAYS, HOURS, Array
from study.tallies import REVIEWS_A_DAY, RIGHT, at_hour

PARTITIONS = 4
#: Snapshots of the live path are trusted whatever their date: the clock is that of the events.
RULES = Rules(VIEW, READING, None)
MINOR_PER_UNIT = 100.0

#: Decisions of a day, by partition: values and offsets on `decisions`.
Day = list[tuple[list[bytes | None], list[int]]]


class Stream:
    """All transactions, in order of time, through the live path; card states go on from window to window."""

    def __init__(self, handbook: Handbook) -> None:
        self._chunks = read_transactions(handbook.path, MAPPING)
        self._waiting: list[tuple[int, bytes, bytes]] = []
        self._states = [CardStates(READING.money.digits) for _ in range(PARTITIONS)]
        self._sources, self._written = [0] * PARTITIONS, [0] * PARTITIONS

    def pass_over(self, until_ms: int) -> None:
        """Let transactions before a time into the card states, decided by nobody."""
        self._decide(until_ms, LiveModel(None, 0, None, "allow_all", None))

    def decide(self, window: tuple[int, int], live: Bundle, epoch: int) -> list[Day]:
        """Decisions of a window, day by day."""
        model = live_model(Slot(epoch=epoch, digest=live.digest), live, VIEW)
        return [self._decide(day + DAY_MS, model) for day in range(*window, DAY_MS)]

    def _decide(self, until_ms: int, model: LiveModel) -> Day:
        parts: list[Any] = [([], []) for _ in range(PARTITIONS)]
        for key, value in self._until(until_ms):
            keys, values = parts[zlib.crc32(key) % PARTITIONS]
            keys.append(key)
            values.append(value)
        pieces = []
        for at, (keys, values) in enumerate(parts):
            offsets = self._sources[at] + np.arange(len(values), dtype=np.int64)
            self._sources[at] += len(values)
            incoming = Incoming(at, keys, values, offsets, np.full(len(values), -1, dtype=np.int64))
            pieces.append(Part(incoming, self._states[at], Published()))
        day: Day = []
        for at, settled in enumerate(settle_all(pieces, model, RULES, None)):
            assert not settled.rejected, settled.headers[0]
            values = [value for _, value in settled.decisions]
            day.append((values, list(range(self._written[at], self._written[at] + len(values)))))
            self._written[at] += len(values)
        return day

    def _until(self, until_ms: int) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values before a time; what is read beyond it waits."""
        while not self._waiting or self._waiting[-1][0] < until_ms:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            stamps = [_ms(orjson.loads(value)["occurred_at"]) for value in chunk.values]
            self._waiting += list(zip(stamps, chunk.keys, chunk.values, strict=True))
        cut = next((at for at, (ms, _, _) in enumerate(self._waiting) if ms >= until_ms), len(self._waiting))
        mine, self._waiting = self._waiting[:cut], self._waiting[cut:]
        for _, key, value in mine:
            yield key, value


def _ms(text: str) -> int:
    return int(np.datetime64(text[:-1], "ms").astype(np.int64))


@dataclass
class Recorded:
    """A candidate, as absorbing needs it, that remembers what it said."""

    candidate: Candidate
    said: list[Array] = field(default_factory=list)

    @property
    def digest(self) -> str:
        return self.candidate.digest

    @property
    def epoch(self) -> int:
        return self.candidate.epoch

    @property
    def threshold(self) -> float:
        return self.candidate.threshold

    @property
    def score(self) -> Callable[[str, Array], Array]:
        def scored(view: str, matrix: Array) -> Array:
            self.said.append(self.candidate.score(view, matrix))
            return self.said[-1]

        return scored


@dataclass(frozen=True)
class Pairs:
    """Every transaction of a window, as both models decided it: n each. names: ids."""

    names: list[str]
    live: np.ndarray[Any, np.dtype[np.bool_]]
    candidate: np.ndarray[Any, np.dtype[np.bool_]]
    minor: np.ndarray[Any, np.dtype[np.int64]]
    segments: np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Shadowed:
    """What a shadow has of a slot after a window. path: (HOURS, S, ...). labels: as known at every hour. scores: live's
    and the candidate's by deciles of live's, at every day's end, (DAYS, S, 10)."""

    path: Sums
    totals: RunTotals
    pairs: Pairs
    labels: LabelledPairs
    scores: tuple[Array, Array]


def shadow(
    days: list[Day],
    bundle: Bundle,
    threshold: float,
    live_epoch: int,
    first_hour: int,
    release: Release,
    redis: str,
    fraud: Mapping[str, bool],
    control: Sums | None,
    rng: np.random.Generator,
) -> Shadowed:
    """A bundle in the shadow of a window.

    first_hour: since 1970. control: the seed twin's path; without it nothing is reviewed.
    """
    views = {VIEW.id: PublishedView(names=VIEW.names, definitions=VIEW.definitions(VIEW.names))}
    model = Recorded(Candidate(bundle.digest, 1, threshold, bundle, views))
    return asyncio.run(_shadow(days, model, Run(live_epoch, 1), first_hour, release, redis, fraud, control, rng))


async def _shadow(
    days: list[Day],
    model: Recorded,
    run: Run,
    first_hour: int,
    release: Release,
    address: str,
    fraud: Mapping[str, bool],
    control: Sums | None,
    rng: np.random.Generator,
) -> Shadowed:
    names, cap = release.segments.names, release.cap_minor(MINOR_PER_UNIT)
    redis = connect(address)
    await redis.flushall()
    store = TallyStore(redis, "candidate", names)
    fences = [await store.open_partition(at, day[1][0]) for at, day in enumerate(days[0])]
    memories, taus = [Memory() for _ in fences], [dict[Any, float]() for _ in fences]
    reviewers, path = Reviewers(fraud, rng), _Path(names, first_hour)
    seen: list[Pairs] = []
    labels: list[LabelledPairs] = []
    for today, day in enumerate(days):
        for at, (values, offsets) in enumerate(day):
            decisions, unreadable = read(values, offsets)
            assert not unreadable
            what = absorb(decisions, model, memories[at], release.segments, taus[at], MINOR_PER_UNIT, cap)
            done = await store.apply(at, fences[at], offsets[-1] + 1, what)
            assert isinstance(done, Applied), done
            path.add(at, what)
            taus[at] |= done.taus
            fences[at] = type(fences[at])(fences[at].nonce, offsets[-1] + 1, what.source, False)
            seen.append(_pairs(decisions, model, release))
        cases = [] if control is None else await store.cases(run)
        if control is not None:
            sums = Sums.of(await store.totals(run), names)
            reviewers.work(cases, sums, at_hour(control, today * 24 + 23), release)
        labels.append(labelled(cases, reviewers.known(cases), names, cap))
    whole, scores = path.whole()
    totals = await store.totals(run)
    _check(whole, totals, names)
    await redis.aclose()
    return Shadowed(whole, totals, _joined(seen), _by_hour(labels), scores)


def _pairs(decisions: Any, model: Recorded, release: Release) -> Pairs:
    columns: dict[str, Any] = {name: decisions.column(name) for name in release.segments.fields - {"amount"}}
    columns["amount"] = (decisions.minor / MINOR_PER_UNIT).tolist()
    return Pairs(
        [row["transaction"]["transaction_id"] for row in decisions.rows],
        decisions.blocks,
        model.said[-1] >= model.threshold,
        decisions.minor,
        release.segments.assign(columns, len(decisions)),
    )


def _joined(several: list[Pairs]) -> Pairs:
    columns = ("live", "candidate", "minor", "segments")
    return Pairs(
        [name for one in several for name in one.names],
        *(np.concatenate([getattr(one, column) for one in several]) for column in columns),
    )


def _by_hour(days: list[LabelledPairs]) -> LabelledPairs:
    """Labels as they are known at every hour: those of a day at its end."""

    def stacked(name: str) -> Array:
        whole = np.stack([getattr(day, name) for day in days])
        return np.concatenate([np.zeros_like(whole[:1]), whole[:-1]]).repeat(24, axis=0)

    return LabelledPairs(*map(stacked, LabelledPairs.__dataclass_fields__))


class _Path:
    """Adds up by hour what was applied, as the gate would have seen it at the end of each.

    Valkey could say it, too, but 30,000 small answers take longer than all the rest; that it says the same in the end
    is checked.
    """

    def __init__(self, names: tuple[str, ...], first: int) -> None:
        self._names, self._first = names, first
        self._sums = np.zeros((HOURS, len(names), COLUMNS), dtype=np.int64)
        self._card_days = np.zeros((HOURS, len(names), DAY_SUMS), dtype=np.int64)
        self._tops = np.zeros((HOURS, len(names), DAY_TOPS), dtype=np.int64)
        self._scores = np.zeros((DAYS, len(names), len(KINDS), BINS), dtype=np.int64)
        self._states: dict[int, dict[CardDay, bytes]] = defaultdict(dict)

    def add(self, partition: int, what: Increment) -> None:
        """Take in what was applied to a partition."""
        for (_, hour), sums in what.tallies.items():
            self._sums[hour - self._first] += sums
        for (_, day), scores in what.histograms.items():
            self._scores[day - self._first // 24] += scores
        by_hour = defaultdict(list)
        for one in what.blocked:
            by_hour[one.hour].append(one)
        for hour, mine in sorted(by_hour.items()):
            changes, states = count(mine, self._states[partition], len(self._names))
            self._states[partition] |= states
            for change in changes.values():
                at = hour - self._first
                self._card_days[at] += change.sums
                self._tops[at] = np.maximum(self._tops[at], change.tops)

    def whole(self) -> tuple[Sums, tuple[Array, Array]]:
        """The sums up to every hour; and scores up to every day's end."""
        sums = self._sums.cumsum(axis=0).astype(np.float64)
        scores = self._scores.cumsum(axis=0).astype(np.float64)
        live, candidate = scores[:, :, LIVE], scores[:, :, ALLOWED] + scores[:, :, BLOCKED]
        card_days = self._card_days.cumsum(axis=0).astype(np.float64)
        tops = np.maximum.accumulate(self._tops, axis=0).astype(np.float64)
        path = Sums(
            counts=sums[..., COUNTS],
            capped=sums[..., CAPPED],
            cells=card_days[..., :CELLS],
            money=card_days[..., MONEY].reshape(*sums.shape[:2], 2, -1),
            tops=tops.reshape(*sums.shape[:2], 2, -1),
            errors=sums[..., ERRORS],
        )
        return path, by_deciles(live, candidate)


def by_deciles(live: Array, candidate: Array) -> tuple[Array, Array]:
    """Two sets of histograms (DAYS, S, BINS) in ten bins that hold a tenth of live's scores of all segments each, as
    near as bins allow: what a population stability index is mostly taken over."""
    below = live[-1, 0].cumsum() - live[-1, 0]
    decile = np.minimum(10 * below // max(live[-1, 0].sum(), 1), 9).astype(np.int64)
    member = (decile[:, None] == np.arange(10)).astype(np.float64)
    return live @ member, candidate @ member


def _check(path: Sums, totals: RunTotals, names: tuple[str, ...]) -> None:
    """Raises AssertionError where Valkey has other sums."""
    there = Sums.of(totals, names)
    for name in Sums.__dataclass_fields__:
        assert np.array_equal(getattr(path, name)[-1], getattr(there, name)), name


class Reviewers:
    """People who answer what the queue hands them, right 95 % of the time."""

    def __init__(self, fraud: Mapping[str, bool], rng: np.random.Generator) -> None:
        self._fraud, self._rng = fraud, rng
        self._answers: dict[str, State] = {}

    def known(self, cases: list[Case]) -> list[Known]:
        """What stands on cases. Chargebacks take longer than the window."""
        return [Known(State.PENDING, self._answers.get(case.transaction, State.PENDING)) for case in cases]

    def work(self, cases: list[Case], sums: Sums, control: Sums, release: Release) -> None:
        """A day's reviews: the first cases of the queue, as `shadow review next` hands them out."""
        names, bar = release.segments.names, -math.log(release.promote_error)
        known = self.known(cases)
        cap = release.cap_minor(MINOR_PER_UNIT)
        by_labels = label_claims(labelled(cases, known, names, cap), sums, release)
        claims = harm_claims(by_labels, sums, control, release)
        asked = labels_wanted(claims, sums, release)
        wanted = needs(claims, {name for name, ask in zip(names, asked, strict=True) if ask}, names, bar)
        for case, _ in turns(cases, [one.review for one in known], wanted)[:REVIEWS_A_DAY]:
            is_fraud = self._fraud[case.transaction] ^ (self._rng.random() >= RIGHT)
            self._answers[case.transaction] = State.FRAUD if is_fraud else State.LEGIT
