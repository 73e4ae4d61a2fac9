"""Reads levels from the archive: every decision of some event days, scored again with the candidate, and its label.

The archive has no score of a candidate, but the features that live saw, bit for bit. The candidate's bundle scores them
again, so its decisions are what its shadow would have seen, not an estimate from samples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from scorer.deployments.slots import Deployments
from scorer.errors import UserError
from scorer.pipeline.instants import DAY_MS
from shadow.archive.drawn import LEAST_PROBABILITY, Counts, Draw, Flags
from shadow.archive.level_sums import FRAUD, HONEST, UNKNOWN, Judged, LevelSums
from shadow.archive.rows import IDS
from shadow.archive.tables import TopicTable
from shadow.archive.votes import by_subject
from shadow.comparison.case import by_card, by_transaction, card_hash
from shadow.comparison.segments import Segments
from shadow.labels.label import Votes, merge
from shadow.labels.truth import Truth, contradict, truth
from shadow.worker.candidate import Candidate

#: Rows that are read at once.
BATCH = 20_000
_NARROW = ["partition", "offset", "source_offset", "problem", "card_id", "occurred_at"]
_WIDE = [
    *("partition", "offset", *IDS, "occurred_at", "others", "decision", "score", "threshold", "release_probability"),
    *("view", "override", "features", "amount_minor", "repeat", "refund", "problem"),
]


@dataclass(frozen=True, slots=True)
class Window:
    """What is asked. first, last: event days, in UTC, both among them. delay: time that a label has to come. as_of:
    what came to be known later does not count."""

    first: date | None
    last: date | None
    as_of: datetime
    delay: timedelta

    @property
    def as_of_ms(self) -> int:
        return round(self.as_of.timestamp() * 1000)

    @property
    def judged_before_ms(self) -> int:
        """Transactions from then on are pending: milliseconds since 1970."""
        return self.as_of_ms - round(self.delay.total_seconds() * 1000)

    def days_of(self, table: TopicTable) -> list[str]:
        """The days of a table that are asked for."""
        first, last = (None if one is None else one.isoformat() for one in (self.first, self.last))
        return [day for day in table.days() if (first is None or day >= first) and (last is None or day <= last)]


@dataclass
class Gathered:
    """The sums, and what is in none of them, by reason. days: first and last event day that had decisions.
    odd_probabilities: judged transactions whose probability of a release does not fit their decision."""

    sums: LevelSums
    days: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    labels_differ: int = 0
    odd_probabilities: int = 0


def deployments_of(table: TopicTable, trusted: Any) -> Deployments:
    """The ledger, as the archive has it. trusted: the keys whose entries count; None if everybody's do."""
    columns = ["partition", "offset", "key", "body", "problem"]
    rows = pa.Table.from_batches(list(table.batches(columns)), schema=table.schema_of(columns))
    deployments = Deployments(trusted=trusted)
    for row in rows.sort_by([("partition", "ascending"), ("offset", "ascending")]).to_pylist():
        if row["problem"] is None and row["key"] is not None:
            body = row["body"]
            deployments.fold(row["key"].encode(), None if body is None else body.encode())
    return deployments


def gathered(
    decisions: TopicTable,
    labels: TopicTable | None,
    candidate: Candidate,
    segments: Segments,
    minor_per_unit: float,
    window: Window,
) -> Gathered:
    """Sum every decision of a window once. Memory grows with the labels and the card-days on which something is
    blocked or fraud, and with the decisions of a single day.

    Raises UserError if there is none.
    """
    out = Gathered(LevelSums(len(segments.names)), window.days_of(decisions))
    if not out.days:
        raise UserError(
            "archive: has no decisions of these days; see `shadow archive status`, or correct --from and --to"
        )
    votes = {} if labels is None else by_subject(labels, window.as_of_ms)
    for day in out.days:
        again, ambiguous = _of_day(decisions, day, votes)
        mine = {subject: one for subject, one in votes.items() if subject not in ambiguous} if ambiguous else votes
        out.left_out["labels_that_fit_several"] += len(ambiguous)
        for batch in decisions.batches(_WIDE, day, BATCH):
            _add(batch, out, again, mine, candidate, segments, minor_per_unit, window)
    return out


def _of_day(decisions: TopicTable, day: str, votes: Mapping[str, Votes]) -> tuple[set[tuple[int, int]], set[str]]:
    """Places of decisions on a transaction that was decided before, and card subjects that fit several transactions.

    A transaction has one event day, so both can be told from that day alone.
    """
    firsts: dict[int, list[Any]] = {}
    seen: Counter[str] = Counter()
    has_cards = any(subject.startswith("c:") for subject in votes)
    for batch in decisions.batches(_NARROW, day, BATCH):
        batch = batch.filter(pc.is_null(batch.column("problem")))
        partitions = batch.column("partition").to_numpy(zero_copy_only=False)
        pairs = np.stack([batch.column(name).to_numpy(zero_copy_only=False) for name in ("source_offset", "offset")])
        for partition in np.unique(partitions):
            firsts.setdefault(int(partition), []).append(pairs[:, partitions == partition])
        if has_cards:
            times = _ms_of(batch.column("occurred_at")).tolist()
            for card, ms in zip(batch.column("card_id").to_pylist(), times, strict=True):
                subject = by_card(card_hash(card or ""), ms)
                if subject in votes:
                    seen[subject] += 1
    again: set[tuple[int, int]] = set()
    for partition, parts in firsts.items():
        sources, offsets = np.concatenate(parts, axis=1)
        order = np.lexsort((offsets, sources))
        later = order[1:][np.diff(sources[order]) == 0]
        again |= {(partition, int(offset)) for offset in offsets[later]}
    return again, {subject for subject, many in seen.items() if many > 1}


def _add(
    batch: pa.RecordBatch,
    out: Gathered,
    again: set[tuple[int, int]],
    votes: Mapping[str, Votes],
    candidate: Candidate,
    segments: Segments,
    minor_per_unit: float,
    window: Window,
) -> None:
    """Add the rows of a batch."""
    reasons = {
        "unreadable": pc.is_valid(batch.column("problem")),
        "repeats": pc.fill_null(batch.column("repeat"), False),
        "refunds": pc.fill_null(batch.column("refund"), False),
        "by_override": pc.or_(pc.is_valid(batch.column("override")), pc.is_null(batch.column("score"))),
        "decided_again": pa.array(
            [
                place in again
                for place in zip(batch.column("partition").to_pylist(), batch.column("offset").to_pylist(), strict=True)
            ]
        ),
    }
    kept = np.ones(batch.num_rows, dtype=bool)
    for reason, mask in reasons.items():
        hit = kept & np.asarray(mask.to_numpy(zero_copy_only=False), dtype=bool)
        out.left_out[reason] += int(hit.sum())
        kept &= ~hit
    batch = batch.filter(pa.array(kept))
    if not batch.num_rows:
        return
    occurred = _ms_of(batch.column("occurred_at"))
    minor = batch.column("amount_minor").to_numpy(zero_copy_only=False).astype(np.int64)
    divided = segments.assign(_columns(batch, segments, minor, minor_per_unit), batch.num_rows)
    scores = _scored(batch, candidate)
    is_young = occurred >= window.judged_before_ms
    is_unscored = ~is_young & np.isnan(scores)
    out.sums.leave_out(divided[is_young], is_pending=True)
    out.sums.leave_out(divided[is_unscored], is_pending=False)
    judged = np.flatnonzero(~is_young & ~is_unscored)
    if not len(judged):
        return
    batch = batch.take(pa.array(judged))
    occurred, minor, divided, scores = occurred[judged], minor[judged], divided[judged], scores[judged]
    is_block, lots = _lots(batch)
    out.odd_probabilities += int(lots.is_odd.sum())
    states, card_days = np.empty(len(judged), dtype=np.int64), np.empty(len(judged), dtype=np.uint64)
    hashes = np.empty(len(judged), dtype=np.uint64)
    ids, cards = batch.column("transaction_id").to_pylist(), batch.column("card_id").to_pylist()
    for at, (transaction, card, ms) in enumerate(zip(ids, cards, occurred.tolist(), strict=True)):
        hashed = card_hash(card or "")
        number = int(hashed, 16)
        hashes[at] = number % 2**64
        card_days[at] = (number + ms // DAY_MS * 0x9E3779B97F4A7C15) % 2**64
        found = [votes[s] for s in (by_transaction(transaction), by_card(hashed, ms)) if s in votes]
        states[at], differ = known(found, bool(is_block[at]))
        out.labels_differ += differ
    theirs = batch.column("score").to_numpy(zero_copy_only=False)
    out.sums.add(
        Judged(
            np.stack([is_block | lots.is_released, scores >= candidate.threshold]),
            np.stack([theirs, scores]),
            states,
            minor,
            divided,
            card_days,
            Draw(lots.probabilities, lots.is_released, hashes),
        )
    )


@dataclass(frozen=True)
class _Lots:
    """What the probability of a release says of decisions, (n,) each. probabilities: 1 for what was not drawn.
    is_released: live would have blocked it. is_odd: what no scorer of ours writes."""

    probabilities: npt.NDArray[np.float64]
    is_released: Flags
    is_odd: Flags


def _lots(batch: pa.RecordBatch) -> tuple[Flags, _Lots]:
    """Which decisions are blocks, and what was drawn and released.

    A would-be block has a score of at least live's threshold. If it was drawn, it has a probability between 0 and 1,
    released or not. A release whose probability can be none has no weight: what its label says is known, and it is not
    among the drawn. An allowance below the threshold is no release, whatever its probability.
    """
    is_block = pc.fill_null(pc.equal(batch.column("decision"), "block"), False).to_numpy(zero_copy_only=False)
    score, threshold = (
        batch.column(name).to_numpy(zero_copy_only=False).astype(np.float64) for name in ("score", "threshold")
    )
    told = pc.fill_null(batch.column("release_probability"), 1.0).to_numpy(zero_copy_only=False).astype(np.float64)
    would, is_one = score >= threshold, told == 1
    is_drawn = would & (told >= LEAST_PROBABILITY) & (told < 1)
    is_odd = ~is_one & ~(would & (told > 0) & (told < 1))
    return is_block, _Lots(np.where(is_drawn, told, 1.0), would & ~is_block & ~is_one, is_odd)


def known(found: list[Votes], is_blocked: bool) -> tuple[int, bool]:
    """What is known of a transaction whose label had time to come, and whether its sources contradict each other.

    found: the votes on its subjects. is_blocked: by live, so that no chargeback can follow.
    """
    votes = merge(*found)
    return _STATES[truth(votes, is_blocked)], contradict(votes)


#: Whose label had time to come, and did not, was honest.
_STATES = {Truth.FRAUD: FRAUD, Truth.LEGIT: HONEST, Truth.PENDING: HONEST, Truth.UNKNOWN: UNKNOWN}


def _columns(batch: pa.RecordBatch, segments: Segments, minor: Counts, minor_per_unit: float) -> dict[str, list[Any]]:
    """The fields by which segments divide, as the shadow has them."""
    columns: dict[str, list[Any]] = {"amount": (minor / minor_per_unit).tolist()}
    wanted = segments.fields - {"amount"}
    for name in wanted & set(IDS):
        columns[name] = batch.column(name).to_pylist()
    rest = wanted - set(IDS)
    if rest:
        others = [orjson.loads(text) for text in batch.column("others").to_pylist()]
        columns |= {name: [row.get(name) for row in others] for name in rest}
    return columns


def _scored(batch: pa.RecordBatch, candidate: Candidate) -> Any:
    """The candidate's scores: float64 (n,), NaN where it cannot score."""
    features, out = batch.column("features"), np.full(batch.num_rows, np.nan)
    views, widths = batch.column("view").to_pylist(), pc.list_value_length(features).to_pylist()
    alike: dict[tuple[str, int], list[int]] = {}
    for at, kind in enumerate(zip(views, widths, strict=True)):
        alike.setdefault(kind, []).append(at)
    for (view, width), rows in alike.items():  # a snapshot of another width than its view's must not spoil the others
        flat = features.take(pa.array(rows)).flatten().to_numpy(zero_copy_only=False)
        out[rows] = candidate.score(view, flat.astype(np.float64).reshape(len(rows), width))
    return out


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)


def _ms_of(column: Any) -> Counts:
    """Milliseconds since 1970 of times: int64 (n,)."""
    return np.asarray(column.cast(pa.int64()).to_numpy(zero_copy_only=False) // 1000, dtype=np.int64)
