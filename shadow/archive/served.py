"""Snapshots that live has decided on, with what is known of each: what `scorer train --from-archive` learns from.

The scorer finds `served` by the entry point `scorer.served`, so that it knows nothing of the archive.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from scorer.bundles.lineage import SourceFile
from scorer.errors import UserError
from scorer.pipeline.view import FeatureView
from scorer.settings import load
from scorer.sources.label_cells import UNKNOWN
from scorer.training.served import ServedRows
from shadow.archive.rows import KINDS
from shadow.archive.tables import UNREADABLE, Archive, TopicTable, in_a_line
from shadow.archive.votes import by_subject
from shadow.comparison.case import by_card, by_transaction, card_hash
from shadow.labels.label import Votes, merge
from shadow.labels.truth import Truth, truth
from shadow.settings import ShadowSettings

_DECISIONS, _LABELS = "decisions", "labels"
#: What is read of a decision.
_COLUMNS = (
    *("partition", "offset", "transaction_id", "card_id", "occurred_at", "amount_minor", "decision", "features"),
)
_BLOCK = "block"
Times = npt.NDArray[np.int64]


@dataclass
class _Read:
    """What was read of decisions so far; positions tell which came first. misshapen: without all features."""

    partitions: list[Times] = field(default_factory=list)
    offsets: list[Times] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    cards: list[str] = field(default_factory=list)
    occurred_ms: list[Times] = field(default_factory=list)
    minor: list[Times] = field(default_factory=list)
    blocks: list[npt.NDArray[np.bool_]] = field(default_factory=list)
    matrix: list[npt.NDArray[np.float64]] = field(default_factory=list)
    misshapen: int = 0

    def add(self, batch: pa.RecordBatch, features: int) -> None:
        """Add a batch of rows."""
        whole = pc.fill_null(pc.equal(pc.list_value_length(batch["features"]), features), False)
        self.misshapen += batch.num_rows - int(pc.sum(whole).as_py() or 0)
        rows = batch.filter(whole)
        if not rows.num_rows:
            return
        flat = pc.fill_null(pc.list_flatten(rows["features"]), np.nan)
        self.matrix.append(np.asarray(flat, dtype=np.float64).reshape(-1, features))
        self.ids += rows["transaction_id"].to_pylist()
        self.cards += rows["card_id"].to_pylist()
        self.partitions.append(np.asarray(rows["partition"], dtype=np.int64))
        self.offsets.append(np.asarray(rows["offset"], dtype=np.int64))
        self.occurred_ms.append(_ms(rows["occurred_at"]))
        self.minor.append(np.asarray(rows["amount_minor"], dtype=np.int64))
        self.blocks.append(np.asarray(pc.equal(rows["decision"], _BLOCK), dtype=bool))


def served(
    address: str,
    view: FeatureView,
    since_ms: int | None,
    until_ms: int | None,
    as_of_ms: int,
    tell: Callable[[str], Any],
) -> ServedRows:
    """The decisions on a view, as `scorer.training.served.Served` says. Repeats, refunds and transactions that bear an
    earlier one's id are left out. Raises UserError."""
    settings = load(ShadowSettings, archive=address)
    options = {name: secret.get_secret_value() for name, secret in settings.archive_options.items()}
    place = Archive(address, options)
    try:
        tables = {
            kind.table: place.existing(kind, getattr(settings.topics, kind.role))
            for kind in KINDS
            if kind.table in (_DECISIONS, _LABELS)
        }
        decisions, labels = tables[_DECISIONS], tables[_LABELS]
        if decisions is None:
            raise UserError(f"--from-archive {address}: has no decisions; start `shadow archive run`, or name another")
        read = _decisions(decisions, view, since_ms, until_ms, as_of_ms)
        votes = {} if labels is None else by_subject(labels, as_of_ms)
        others = _on_other_views(decisions, view, since_ms, until_ms, as_of_ms)
    except UNREADABLE as error:
        raise UserError(f"--from-archive {address}: cannot be read ({in_a_line(error)})") from None
    if others:
        tell(f"{others} decisions were made on other feature views, and are not used")
    if read.misshapen:
        tell(f"{read.misshapen} decisions do not have the features of their view, and are not used")
    sources = tuple(_source(address, name, table) for name, table in tables.items() if table is not None)
    return _joined(read, votes, len(view.names), sources)


def _within(view: FeatureView | None, since_ms: int | None, until_ms: int | None, as_of_ms: int) -> pc.Expression:
    """Which rows of decisions count; those of all views but one if there is none."""
    found = pc.field("problem").is_null() & ~pc.field("repeat") & ~pc.field("refund")
    found &= pc.field("appended_at").is_null() | (pc.field("appended_at") <= _time(as_of_ms))
    found &= pc.field("occurred_at") <= _time(as_of_ms)
    if view is not None:
        found &= pc.field("view") == view.id
    if since_ms is not None:
        found &= (pc.field("occurred_at") >= _time(since_ms)) & (pc.field("day") >= _time(since_ms).date())
    if until_ms is not None:
        found &= (pc.field("occurred_at") < _time(until_ms)) & (pc.field("day") <= _time(until_ms).date())
    return found


def _time(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def _ms(column: pa.Array) -> Times:
    return np.asarray(column.cast(pa.int64()), dtype=np.int64) // 1000


def _decisions(
    table: TopicTable, view: FeatureView, since_ms: int | None, until_ms: int | None, as_of_ms: int
) -> _Read:
    read = _Read()
    rows = table.stored().to_batches(columns=list(_COLUMNS), filter=_within(view, since_ms, until_ms, as_of_ms))
    for batch in rows:
        read.add(batch, len(view.names))
    return read


def _on_other_views(
    table: TopicTable, view: FeatureView, since_ms: int | None, until_ms: int | None, as_of_ms: int
) -> int:
    within = _within(None, since_ms, until_ms, as_of_ms) & (pc.field("view") != view.id)
    return int(table.stored().count_rows(filter=within))


def _joined(read: _Read, votes: Mapping[str, Votes], features: int, sources: tuple[SourceFile, ...]) -> ServedRows:
    if not read.ids:
        empty = np.zeros(0, dtype=np.int64)
        return ServedRows([], empty, empty, np.zeros((0, features)), empty.astype(np.int8), 0, sources)
    order = np.lexsort((np.concatenate(read.offsets), np.concatenate(read.partitions)))
    seen: set[str] = set()
    first = []
    for row in order.tolist():
        if read.ids[row] not in seen:
            seen.add(read.ids[row])
            first.append(row)
    rows = np.array(first, dtype=np.int64)
    ids, cards = [read.ids[row] for row in first], [read.cards[row] for row in first]
    occurred_ms, blocks = np.concatenate(read.occurred_ms)[rows], np.concatenate(read.blocks)[rows]
    minor, matrix = np.concatenate(read.minor)[rows], np.concatenate(read.matrix)[rows]
    labels = _labels(ids, cards, occurred_ms, blocks, votes)
    return ServedRows(ids, occurred_ms, minor, matrix, labels, len(order) - len(first), sources)


def _labels(
    ids: list[str], cards: list[str], occurred_ms: Times, blocks: npt.NDArray[np.bool_], votes: Mapping[str, Votes]
) -> npt.NDArray[np.int8]:
    """What each transaction was: int8 (n,). A label that names a card and a second counts if that is one of them."""
    labels = np.where(blocks, UNKNOWN, 0).astype(np.int8)
    said = [votes.get(by_transaction(name)) for name in ids]
    seconds = {subject for subject in votes if subject.startswith("c:")}
    fits: dict[str, list[int]] = {}
    if seconds:
        named = {int(subject.rpartition(":")[2]) for subject in seconds}
        near = np.flatnonzero(np.isin(occurred_ms // 1000, np.array(sorted(named), dtype=np.int64)))
        for row in near.tolist():
            subject = by_card(card_hash(cards[row]), int(occurred_ms[row]))
            if subject in seconds:
                fits.setdefault(subject, []).append(row)
    for subject, rows in fits.items():
        if len(rows) == 1:
            said[rows[0]] = merge(said[rows[0]] or {}, votes[subject])
    for row, of_row in enumerate(said):
        if of_row is not None:
            found = truth(of_row, bool(blocks[row]))
            labels[row] = 0 if found is Truth.PENDING else int(found)
    return labels


def _source(address: str, name: str, table: TopicTable) -> SourceFile:
    _, size = table.files
    return SourceFile(
        name=f"{address.rstrip('/')}/{name}@{table.version}",
        rows=table.rows,
        bytes=size,
        sha256=table.fingerprint,
        columns={field.name: str(field.type) for field in table.kind.schema},
    )
