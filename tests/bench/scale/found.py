"""What each experiment finds, and all of a run together. No IO."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.scale.bill import Pieces


@dataclass(frozen=True)
class Grown:
    """topics_s: to create all topics. start_s: from a scorer's start to a decision on every partition. ready_s: of
    that, to take the partitions over. join_s: from the start of a second scorer until both have their share.
    takeover_s: from the death of the first to a decision of the second on every partition, with a session of 2 s.

    Under load: p50, p99 in milliseconds; records of a batch; compute_ms of a batch, as the scorer tells; batch_ms: CPU
    milliseconds of the scorer for a batch; worker_ms, broker_ms: CPU milliseconds for a transaction.
    """

    partitions: int
    topics_s: float
    start_s: float
    ready_s: float
    join_s: float
    takeover_s: float
    p50: float
    p99: float
    records: float
    compute_ms: float
    batch_ms: float
    worker_ms: float
    broker_ms: float


@dataclass(frozen=True)
class Shared:
    """rate: transactions a second of all scorers. scorer_ms, broker_ms: CPU milliseconds for a transaction."""

    scorers: int
    rate: float
    scorer_ms: float
    broker_ms: float


@dataclass(frozen=True)
class Flushed:
    """rate: flushes a second. p50, p99: milliseconds from the call to the answer. cpu_ms: CPU milliseconds of all
    servers for a flush. commands: that they counted for it. shares: of the CPU time, by server. absorb_ms: CPU
    milliseconds in which a shadow sums one comparison up. used_bytes: memory of all servers at the end."""

    servers: int
    segments: int
    comparisons: int
    rate: float
    p50: float
    p99: float
    cpu_ms: float
    commands: float
    shares: tuple[float, ...]
    absorb_ms: float
    used_bytes: int


@dataclass(frozen=True)
class Slotted:
    """processes: shadows that the slots are in: one for all, or one for each. shadow_ms, redis_ms, broker_ms: CPU
    milliseconds for a transaction, of all shadows together, from when every partition of every slot is open until nine
    tenths are compared. used_bytes: memory of Valkey at the end."""

    slots: int
    processes: int
    shadow_ms: float
    redis_ms: float
    broker_ms: float
    used_bytes: int


@dataclass(frozen=True)
class Found:
    """What a run found. beside: what it ran on, and how far the run was cut short."""

    pieces: Pieces
    partitions: Sequence[Grown]
    backlogs: Sequence[Shared]
    scorers: Sequence[Shared]
    stores: Sequence[Flushed]
    segments: Sequence[Flushed]
    slots: Sequence[Slotted]
    refused: int
    beside: str
