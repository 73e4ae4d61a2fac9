"""A batch of decisions in, what it adds up to out: the whole shadow but for its wires. Pure but for the candidate."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import orjson

from scorer.pipeline import Scores
from shadow.advance import Advance, Pair, Sample
from shadow.cases import Case, card_hash
from shadow.clean import VIEW
from shadow.compare import PairedOutcome, compare
from shadow.decisions import Decisions
from shadow.histogram import SNAPSHOT_EVERY, score_histograms, snapshot_histograms
from shadow.samples import WHOLE_RUN, Stratum, offer, sample_hashes
from shadow.segments import Segments
from shadow.tally import OUTCOMES, Run, event_days, event_hours, merge, tally

#: Decisions of a partition whose scores are remembered, to tell a harmless duplicate from a conflict.
REMEMBERED = 20_000


class Model(Protocol):
    """A candidate, as far as comparing needs it."""

    @property
    def digest(self) -> str: ...
    @property
    def epoch(self) -> int: ...
    @property
    def threshold(self) -> float: ...
    @property
    def score(self) -> Callable[[str, npt.NDArray[np.float64]], Scores]: ...


@dataclass
class Memory:
    """Scores and epochs of a partition's last decisions, by source offset: what they were first."""

    source: int = -1
    _batches: deque[_Remembered] = field(default_factory=deque)
    _n: int = 0

    def duplicates(self, decisions: Decisions) -> npt.NDArray[np.bool_]:
        """Which decisions are for a transaction that was decided before, in this batch or earlier: bool (n,)."""
        highest = np.maximum.accumulate(np.concatenate(([self.source], decisions.sources)))[:-1]
        return decisions.sources <= highest

    def conflicts(self, decisions: Decisions, at: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Which of the duplicates at these positions have another score under the same epoch than the first did."""
        first: dict[int, tuple[float, int]] = {}
        for columns in (*self._batches, _remembered(decisions)):
            for source, score, epoch in zip(*(column.tolist() for column in columns), strict=True):
                first.setdefault(source, (score, epoch))
        bad = []
        for i in at.tolist():
            score, epoch = first[int(decisions.sources[i])]
            mine = float(decisions.scores[i])
            if epoch == decisions.epochs[i] and score != mine and not (np.isnan(score) and np.isnan(mine)):
                bad.append(i)
        return np.array(bad, dtype=np.int64)

    def remember(self, decisions: Decisions) -> None:
        """Take note of decisions; whole batches are forgotten once there are enough younger ones."""
        if not len(decisions):
            return
        self.source = max(self.source, int(decisions.sources.max()))
        self._batches.append(_remembered(decisions))
        self._n += len(decisions)
        while self._n - len(self._batches[0][0]) >= REMEMBERED:
            self._n -= len(self._batches.popleft()[0])


#: Sources, scores and epochs of a batch.
_Remembered = tuple[npt.NDArray[np.int64], Scores, npt.NDArray[np.int64]]


def _remembered(decisions: Decisions) -> _Remembered:
    return decisions.sources, decisions.scores, decisions.epochs


def absorb(
    decisions: Decisions,
    candidate: Model | None,
    memory: Memory,
    segments: Segments,
    taus: Mapping[Stratum, float],
    minor_per_unit: float,
    cap_minor: int,
) -> Advance:
    """Compare a batch of one partition. `memory` is moved on; nothing else is touched.

    candidate: None while the slot is empty; then decisions are only counted as skipped. cap_minor: see `tally`.
    """
    out = Advance()
    is_duplicate = memory.duplicates(decisions)
    duplicates = np.flatnonzero(is_duplicate)
    conflicts = memory.conflicts(decisions, duplicates) if len(duplicates) else duplicates
    memory.remember(decisions)
    out.source = memory.source
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
        counters["conflicts"] = int(mine[conflicts].sum())
    fresh = np.flatnonzero(~is_duplicate & ~decisions.repeats)
    if len(fresh):
        _compare(decisions.take(fresh), candidate, segments, taus, minor_per_unit, cap_minor, out)
    return out


def _compare(
    decisions: Decisions,
    candidate: Model,
    segments: Segments,
    taus: Mapping[Stratum, float],
    minor_per_unit: float,
    cap_minor: int,
    out: Advance,
) -> None:
    scores = np.full(len(decisions), np.nan)
    hours = event_hours(decisions.occurred_ms, decisions.scored_ms)
    days = event_days(hours)
    epochs, run_of = np.unique(decisions.epochs, return_inverse=True)
    runs = [Run(epoch, candidate.epoch) for epoch in epochs.tolist()]
    for view, rows in decisions.views().items():
        matrix = decisions.matrix(rows)
        scores[rows] = candidate.score(view, matrix)
        some = decisions.sources[rows] % SNAPSHOT_EVERY == 0
        merge(out.snapshots, snapshot_histograms(runs, run_of[rows[some]], days[rows[some]], view, matrix[some]))
    outcome = compare(decisions.blocks, scores, candidate.threshold)
    columns: dict[str, Any] = {name: decisions.column(name) for name in segments.fields - {"amount"}}
    columns["amount"] = (decisions.minor / minor_per_unit).tolist()
    of = segments.assign(columns, len(decisions))
    n, usable, minor = len(segments.names), outcome.usable, decisions.minor
    out.tallies = tally(runs, run_of, hours, of, outcome.codes, minor, usable, n, cap_minor)
    out.histograms = score_histograms(
        runs, run_of, days, of, decisions.blocks, minor, decisions.scores, scores, usable, n
    )
    rows = np.flatnonzero(usable)
    out.scores = [scores[rows]]
    discordant = rows[outcome.codes[rows] >= 2]
    for i in discordant.tolist():
        card = card_hash(decisions.rows[i]["transaction"]["card_id"])
        live_only = bool(outcome.codes[i] == 2)
        out.pairs.append(Pair(runs[run_of[i]], int(days[i]), int(hours[i]), card, live_only, tuple(of[i].tolist())))
    names = [str(run) for run in runs]
    _sample(decisions, candidate, segments, taus, out, outcome, scores, rows, [names[i] for i in run_of], days, of)


def _sample(
    decisions: Decisions,
    candidate: Model,
    segments: Segments,
    taus: Mapping[Stratum, float],
    out: Advance,
    outcome: PairedOutcome,
    scores: Scores,
    rows: npt.NDArray[np.int64],
    runs: list[str],
    days: npt.NDArray[np.int64],
    of: npt.NDArray[np.int64],
) -> None:
    codes = outcome.codes
    hashes = sample_hashes([decisions.rows[i]["transaction"]["transaction_id"] for i in rows])
    offered = offer([runs[i] for i in rows], days[rows], codes[rows], of[rows], hashes, taus)
    for at, strata in offered.items():
        i = int(rows[at])
        row = decisions.rows[i]
        live = {key: row[key] for key in ("score", "threshold", "decision", "bundle", "epoch")}
        body = {
            "transaction_id": row["transaction"]["transaction_id"],
            "card_id": row["transaction"]["card_id"],
            "occurred_at": row["transaction"]["occurred_at"],
            "scored_at": row["scored_at"],
            "outcome": OUTCOMES[codes[i]],
            "outcome_code": int(codes[i]),
            "amount_minor": row["amount_minor"],
            "gap": None if row["score"] is None else float(scores[i]) - row["score"],
            "live": live,
            "candidate": {
                "score": float(scores[i]),
                "threshold": candidate.threshold,
                "decision": "block" if outcome.candidate[i] else "allow",
                "bundle": candidate.digest,
                "epoch": candidate.epoch,
            },
            "segments": [segments.names[segment] for segment in of[i].tolist()],
            "run": runs[i],
            "hash": float(hashes[at]),
            "transaction": row["transaction"],
            "features": row["features"],
            "view": row["view"],
            "source": row["source"],
            "why": None,
        }
        out.samples.append(Sample(row["source"]["offset"], float(hashes[at]), orjson.dumps(body), strata))
    differ = np.flatnonzero(codes[rows] >= 2)
    rows, hashes = rows[differ], hashes[differ]
    whole = np.full(len(rows), WHOLE_RUN, dtype=np.int64)
    for at, strata in offer([runs[i] for i in rows], whole, codes[rows], of[rows], hashes, taus).items():
        i = int(rows[at])
        row = decisions.rows[i]
        case = Case(
            transaction=row["transaction"]["transaction_id"],
            outcome=int(codes[i]),
            minor=row["amount_minor"],
            occurred_ms=int(decisions.occurred_ms[i]),
            card=card_hash(row["transaction"]["card_id"]),
            segments=tuple(segments.names[segment] for segment in of[i].tolist()),
            hash=float(hashes[at]),
            day=int(days[i]),
            offset=row["source"]["offset"],
        )
        out.samples.append(Sample(case.offset, case.hash, case.encode(), strata))
