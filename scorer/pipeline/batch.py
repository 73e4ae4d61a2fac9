"""Inputs and outputs of the pipeline: records, the live model, rules, and the records to write."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from scorer.pipeline.card_states import CardStates
from scorer.pipeline.carried import Carried
from scorer.pipeline.exploration import Budget, Exploration
from scorer.pipeline.origin import Headers
from scorer.pipeline.risk_lookup import Snapshots
from scorer.pipeline.transaction import Reading
from scorer.pipeline.view import FeatureView

#: Snapshots of n transactions: float64 (n, features).
Matrix = npt.NDArray[np.float64]
#: Probabilities of fraud: float64 (n,).
Scores = npt.NDArray[np.float64]
#: Key and value.
Record = tuple[bytes | None, bytes | None]


class Marked(NamedTuple):
    """A record without a value, and what its headers say."""

    record: Record
    headers: list[tuple[str, bytes]]


@dataclass(frozen=True)
class LiveModel:
    """What decides: a model and its threshold, or an override (`allow_all`, `block_all`), which asks no model.

    digest: of the bundle. epoch: of the live slot. threshold: a score equal to it blocks. score: takes snapshots,
    float64 (n, len(view.names)), and returns probabilities of fraud, float64 (n,).
    """

    digest: str | None
    epoch: int
    threshold: float | None
    override: str | None
    score: Callable[[Matrix], Scores] | None


class Unreadable(bytes):
    """The value of a record that cannot be read: what there is of its bytes. reason: why, after the field at fault."""

    reason: str

    def __new__(cls, raw: bytes, reason: str) -> Unreadable:
        made = super().__new__(cls, raw)
        made.reason = reason
        return made


@dataclass(frozen=True)
class Incoming:
    """n records of one partition, in offset order.

    offsets: int64 (n,). appended_ms: int64 (n,), the records' timestamps in milliseconds since 1970; negative if
    unknown. headers: of each record, or none at all if no record has any.
    """

    partition: int
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]
    offsets: npt.NDArray[np.int64]
    appended_ms: npt.NDArray[np.int64]
    headers: Sequence[Headers] = ()

    def cut(self, rows: slice) -> Incoming:
        """The records at some positions."""
        if rows == slice(0, len(self.values)):
            return self
        return Incoming(
            self.partition,
            self.keys[rows],
            self.values[rows],
            self.offsets[rows],
            self.appended_ms[rows],
            self.headers[rows],
        )


@dataclass(frozen=True)
class Published:
    """Highest source offset already on each topic, -1 for none. Nothing up to there is published again."""

    decisions: int = -1
    rejected: int = -1


@dataclass
class Settled:
    """The records to write for a batch of one partition, and numbers for the metrics. Not frozen, which takes
    longer to make; only who settles a batch changes it.

    decisions, states: records for these topics. carried: headers of each decision; empty if none has any. rejected:
    original key and value of each refused record. headers: of each rejection.

    clock, dropped: records of the changelog that go before the states and after them.

    For the metrics, of n decisions: scores and blocks, (n,); appended_ms, int64 (n,), of their transactions; repeats,
    how many have a transaction id that their card had before. Of the batch: fields, the field at fault of each
    rejection; miskeyed, how many transactions have a key that is not their card; untrusted, how many are dated too far
    ahead to count in velocity; refunds, how many decisions are on refunds; drawn, released, released_minor, how many
    would-be blocks were drawn and released, and the minor units of these; riskless, how many found no snapshot of
    merchant risk; skipped, what each record is that the mapping passes over. Of all partitions that were settled
    together, with the first: failed, the name of a feature in Python for each transaction for which it raised.
    """

    decisions: list[Record]
    rejected: list[Record]
    headers: list[list[tuple[str, bytes]]]
    states: list[Record]
    scores: Scores
    blocks: npt.NDArray[np.bool_]
    appended_ms: npt.NDArray[np.int64]
    fields: list[str] = field(default_factory=list)
    repeats: int = 0
    miskeyed: int = 0
    untrusted: int = 0
    refunds: int = 0
    drawn: int = 0
    released: int = 0
    released_minor: int = 0
    carried: list[Carried] = field(default_factory=list)
    riskless: int = 0
    skipped: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    clock: list[Marked] = field(default_factory=list)
    dropped: list[Marked] = field(default_factory=list)


@dataclass(frozen=True)
class Rules:
    """What is the same for all batches.

    ahead_ms: how many milliseconds after its arrival a transaction may be dated and still count in velocity; None
    accepts every date (event clock). carried: names of the headers that decisions have from their transactions.
    decision_schema: id of the schema by which decisions are written in Avro; None for JSON. exploration: None if it
    is off. risk: what is known of merchants; None if the view has no merchant risk.
    """

    view: FeatureView
    reading: Reading
    ahead_ms: int | None
    carried: frozenset[str] = frozenset()
    decision_schema: int | None = None
    exploration: Exploration | None = None
    risk: Snapshots | None = None


@dataclass(frozen=True)
class Part:
    """A batch of one partition, with the partition's card states, what is published already, and what was released."""

    incoming: Incoming
    states: CardStates
    published: Published
    budget: Budget = field(default_factory=Budget)


@dataclass(frozen=True)
class Whole:
    """n records of several partitions, one partition after the other.

    offsets, appended_ms, headers: as in `Incoming`. bounds: position where each partition begins, and n.
    """

    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]
    offsets: npt.NDArray[np.int64]
    appended_ms: npt.NDArray[np.int64]
    bounds: list[int]
    headers: Sequence[Headers] = ()


def joined(batches: Sequence[Incoming]) -> Whole:
    """The records of several partitions as one batch."""
    bounds = [0, *accumulate(len(batch.values) for batch in batches)]
    if len(batches) == 1:
        (one,) = batches
        return Whole(one.keys, one.values, one.offsets, one.appended_ms, bounds, one.headers)
    headers: list[Headers] = []
    if any(batch.headers for batch in batches):
        headers = [own for batch in batches for own in batch.headers or [()] * len(batch.values)]
    return Whole(
        [key for batch in batches for key in batch.keys],
        [value for batch in batches for value in batch.values],
        np.concatenate([batch.offsets for batch in batches]),
        np.concatenate([batch.appended_ms for batch in batches]),
        bounds,
        headers,
    )
