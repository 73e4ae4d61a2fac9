"""Compares one batch of decisions and sums it. No IO: the candidate is passed in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from scorer.pipeline.batch import Scores
from shadow.comparison.card_days import Blocked, in_parts
from shadow.comparison.case import Case, card_hash
from shadow.comparison.comparisons import Comparisons
from shadow.comparison.decisions import Decisions
from shadow.comparison.histograms import SNAPSHOT_EVERY, score_histograms, snapshot_histograms
from shadow.comparison.increment import Increment, Offered, add
from shadow.comparison.index import entry_of, names_digest
from shadow.comparison.memory import Memory
from shadow.comparison.outcome import Outcome, compare
from shadow.comparison.resets import VIEW
from shadow.comparison.sample import ModelDecision, Sample
from shadow.comparison.sampling import WHOLE_RUN, Stratum, offer, sample_hashes
from shadow.comparison.segments import Segments
from shadow.comparison.tally import event_hours, merge, tally
from shadow.comparison.totals import Run


class Model(Protocol):
    """What comparing needs of a candidate."""

    @property
    def digest(self) -> str: ...
    @property
    def epoch(self) -> int: ...
    @property
    def threshold(self) -> float: ...
    @property
    def score(self) -> Callable[[str, npt.NDArray[np.float64]], Scores]: ...


def absorb(
    decisions: Decisions,
    candidate: Model | None,
    memory: Memory,
    segments: Segments,
    taus: Mapping[Stratum, float],
    minor_per_unit: float,
    cap_minor: int,
) -> Increment:
    """Compare a batch of decisions of one partition and sum the results. Updates `memory` and nothing else.

    candidate: None while the slot is empty; the decisions are then only counted as skipped. taus: see `offer`.
    minor_per_unit: minor units in a unit of the reporting currency, 100 for the euro. cap_minor: see `tally`.

    No decision can take the others down: where comparing raises, the batch is halved until the one at fault is alone,
    and that one counts as unreadable.
    """
    before = memory.copy()
    given = segments, taus, minor_per_unit, cap_minor
    try:
        return _absorb(decisions, candidate, memory, *given)
    except Exception:
        memory.restore(before)
        n = len(decisions)
        if n <= 1:
            return Increment(unreadable=n, source=memory.sources.highest, decided=memory.sources.text())
        out = Increment()
        for rows in np.split(np.arange(n), [n // 2]):
            add(out, absorb(decisions.take(rows), candidate, memory, *given))
        return out


def _absorb(
    decisions: Decisions,
    candidate: Model | None,
    memory: Memory,
    segments: Segments,
    taus: Mapping[Stratum, float],
    minor_per_unit: float,
    cap_minor: int,
) -> Increment:
    """`absorb`, which may raise for a decision of a kind that nobody foresaw; then `memory` may have changed."""
    out = Increment()
    is_duplicate = memory.duplicates(decisions)
    duplicates = np.flatnonzero(is_duplicate)
    conflicts = memory.conflicts(decisions, duplicates) if len(duplicates) else duplicates
    memory.remember(decisions)
    out.source, out.decided = memory.sources.highest, memory.sources.text()
    if candidate is None:
        out.skipped = len(decisions)
        return out
    for epoch in np.unique(decisions.epochs).tolist():
        run, mine = Run(epoch, candidate.epoch), decisions.epochs == epoch
        first = int(np.flatnonzero(mine)[0])
        row = decisions.rows[first]
        out.meta[run] = {
            "live_digest": row["bundle"] or "",
            "candidate_digest": candidate.digest,
            "live_threshold": "" if row["threshold"] is None else repr(row["threshold"]),
            "candidate_threshold": repr(candidate.threshold),
            "first_offset": str(int(decisions.offsets[first])),
        }
        out.marks[run] = {VIEW: decisions.rows[int(np.flatnonzero(mine)[-1])]["view"]}
        out.reach[run] = int(decisions.offsets[mine][-1]) + 1
        counters = out.counters[run]
        counters["duplicates"] = int(is_duplicate[mine].sum())
        counters["repeats"] = int((decisions.repeats & ~is_duplicate)[mine].sum())
        counters["refunds"] = int((decisions.refunds & ~is_duplicate & ~decisions.repeats)[mine].sum())
        counters["conflicts"] = int(mine[conflicts].sum())
    fresh = np.flatnonzero(~is_duplicate & ~decisions.repeats & ~decisions.refunds)
    if len(fresh):
        some = decisions if len(fresh) == len(decisions) else decisions.take(fresh)
        _add(out, some, candidate, segments, taus, minor_per_unit, cap_minor)
    return out


def _add(
    out: Increment,
    decisions: Decisions,
    candidate: Model,
    segments: Segments,
    taus: Mapping[Stratum, float],
    minor_per_unit: float,
    cap_minor: int,
) -> None:
    """Compare decisions that are no duplicates, repeats or refunds, and put their sums into `out`."""
    scores = np.full(len(decisions), np.nan)
    for view, (rows, matrix) in decisions.snapshots.items():
        scores[rows] = candidate.score(view, matrix)
    found = _compared(decisions, candidate, scores, segments, minor_per_unit)
    n = len(segments.names)
    out.tallies = tally(found, n, cap_minor)
    out.histograms = score_histograms(found, n)
    for view, (rows, matrix) in decisions.snapshots.items():
        some = decisions.sources[rows] % SNAPSHOT_EVERY == 0
        merge(out.snapshots, snapshot_histograms(found, rows[some], view, matrix[some]))
    usable = np.flatnonzero(found.usable)
    out.scores = [scores[usable]]
    blocked = usable[found.outcomes[usable] >= Outcome.BOTH_BLOCK]
    differ = blocked[found.outcomes[blocked] >= Outcome.LIVE_ONLY]
    cards = {i: card_hash(decisions.rows[i]["transaction"]["card_id"]) for i in blocked.tolist()}
    out.blocked = list(_blocked(found, cards, cap_minor))
    out.samples = [
        *_samples(decisions, candidate, found, usable, segments, taus),
        *_cases(decisions, found, differ, cards, segments, taus),
    ]


def _compared(
    decisions: Decisions, candidate: Model, scores: Scores, segments: Segments, minor_per_unit: float
) -> Comparisons:
    """Pair each decision with the candidate's score. scores: float64 (n,), NaN where the candidate has none."""
    outcome = compare(decisions.blocks, scores, candidate.threshold)
    columns: dict[str, Any] = {name: decisions.column(name) for name in segments.fields - {"amount"}}
    columns["amount"] = (decisions.minor / minor_per_unit).tolist()
    epochs, run_of = np.unique(decisions.epochs, return_inverse=True)
    return Comparisons(
        runs=[Run(epoch, candidate.epoch) for epoch in epochs.tolist()],
        run_of=run_of,
        hours=event_hours(decisions.occurred_ms, decisions.scored_ms),
        segments=segments.assign(columns, len(decisions)),
        outcomes=outcome.codes,
        blocks=decisions.blocks,
        minor=decisions.minor,
        live_scores=decisions.scores,
        scores=scores,
        usable=outcome.usable,
    )


def _blocked(found: Comparisons, cards: Mapping[int, str], cap_minor: int) -> Iterator[Blocked]:
    """Yield the transactions that either model blocks. cards: from `card_hash`, by position."""
    parts = in_parts(found.minor, cap_minor)
    for i, card in cards.items():
        yield Blocked(
            run=found.runs[found.run_of[i]],
            hour=int(found.hours[i]),
            card=card,
            outcome=Outcome(found.outcomes[i]),
            parts=int(parts[i]),
            segments=tuple(found.segments[i].tolist()),
        )


def _samples(
    decisions: Decisions,
    candidate: Model,
    found: Comparisons,
    rows: npt.NDArray[np.int64],
    segments: Segments,
    taus: Mapping[Stratum, float],
) -> Iterator[Offered]:
    """Yield the comparisons that the sample of their event day may keep."""
    hashes, names = _hashes(decisions, rows), names_digest(segments.names)
    for at, strata in offer(found, rows, found.days[rows], hashes, taus).items():
        i = int(rows[at])
        row, score = decisions.rows[i], float(found.scores[i])
        sample = Sample(
            transaction=row["transaction"],
            scored_at=row["scored_at"],
            outcome=Outcome(found.outcomes[i]),
            amount_minor=row["amount_minor"],
            live=ModelDecision(
                row["score"], row["threshold"], _verdict(bool(decisions.blocks[i])), row["bundle"], row["epoch"]
            ),
            candidate=ModelDecision(
                score=score,
                threshold=candidate.threshold,
                decision=_verdict(score >= candidate.threshold),
                bundle=candidate.digest,
                epoch=candidate.epoch,
            ),
            segments=_names(found, i, segments),
            run=str(found.runs[found.run_of[i]]),
            hash=float(hashes[at]),
            features=row["features"],
            view=row["view"],
            partition=row["source"]["partition"],
            offset=row["source"]["offset"],
            released=bool(decisions.released[i]),
        )
        entry = entry_of(sample, found.segments[i].tolist(), names)
        yield Offered(sample.offset, sample.hash, sample.encode(), strata, entry)


def _verdict(blocks: bool) -> str:
    return "block" if blocks else "allow"


def _cases(
    decisions: Decisions,
    found: Comparisons,
    rows: npt.NDArray[np.int64],
    cards: Mapping[int, str],
    segments: Segments,
    taus: Mapping[Stratum, float],
) -> Iterator[Offered]:
    """Yield the disagreements that the label sample of their run may keep."""
    hashes, days = _hashes(decisions, rows), found.days
    whole = np.full(len(rows), WHOLE_RUN, dtype=np.int64)
    for at, strata in offer(found, rows, whole, hashes, taus).items():
        i = int(rows[at])
        row = decisions.rows[i]
        case = Case(
            transaction=row["transaction"]["transaction_id"],
            outcome=Outcome(found.outcomes[i]),
            minor=int(decisions.minor[i]),
            occurred_ms=int(decisions.occurred_ms[i]),
            card=cards[i],
            segments=_names(found, i, segments),
            hash=float(hashes[at]),
            day=int(days[i]),
            offset=row["source"]["offset"],
        )
        yield Offered(case.offset, case.hash, case.encode(), strata)


def _hashes(decisions: Decisions, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    return sample_hashes([decisions.rows[i]["transaction"]["transaction_id"] for i in rows])


def _names(found: Comparisons, row: int, segments: Segments) -> tuple[str, ...]:
    return tuple(segments.names[segment] for segment in found.segments[row].tolist())
