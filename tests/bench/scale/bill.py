"""The bill for a rate of transactions, from what one transaction, one flush and one card cost. No IO."""

from __future__ import annotations

import math
from dataclasses import dataclass

RATES = (1_000, 10_000, 100_000, 1_000_000)
CARDS = (10_000_000, 100_000_000, 1_000_000_000)
SLOTS = 3
#: How full a process is planned to be: it has room for peaks, and for a share of a neighbour's work.
PLANNED = 0.5
#: Partitions for each scorer, so that they can be shared out evenly when there is one scorer more or less.
PARTITIONS_EACH = 4
REPLICAS = 3
#: Memory of a scorer, and the share of it that cards may take: the alert fires above that.
WORKER_BYTES, CARD_SHARE = 8 * 2**30, 0.5
DAY_SECONDS = 86_400


@dataclass(frozen=True)
class Pieces:
    """What was measured.

    scorer_ms, shadow_ms, broker_ms: CPU milliseconds of a transaction: of the scorer, of the shadow of one slot, and of
    the broker that stores both topics' records and serves the scorer. transaction_bytes, decision_bytes, state_bytes:
    in Kafka's log, for each transaction. flush_ms, comparison_ms: CPU milliseconds of Valkey for a flush of one
    partition, and for each comparison in it. flush_commands: commands that Valkey counts for a flush.
    card_bytes: memory of a card. cards_per_s: cards taken over a second. drop_us: CPU microseconds to drop an idle
    card. takeover_s: seconds from the death of a scorer without cards to decisions on all its partitions, beyond the
    session's. session_s, flush_s, flush_records: settings. archive_bytes: of a decision in the archive.
    """

    scorer_ms: float
    shadow_ms: float
    broker_ms: float
    transaction_bytes: float
    decision_bytes: float
    state_bytes: float
    flush_ms: float
    comparison_ms: float
    flush_commands: float
    card_bytes: float
    cards_per_s: float
    drop_us: float
    takeover_s: float
    session_s: float
    flush_s: float
    flush_records: float
    archive_bytes: float


@dataclass(frozen=True)
class Bill:
    """What a rate needs. Cores are what is used; processes are planned to be PLANNED full.

    kafka_in, kafka_out: bytes a second that clients write and read; replication comes on top. log_bytes: a day, on all
    replicas. flushes, commands: a second, of all slots.
    """

    rate: int
    scorer_cores: float
    scorers: int
    partitions: int
    shadow_cores: float
    shadows: int
    broker_cores: float
    kafka_in: float
    kafka_out: float
    log_bytes: float
    flushes: float
    commands: float
    redis_cores: float
    shards: int
    archive_bytes: float


@dataclass(frozen=True)
class Cards:
    """What a number of cards needs. takeover_s: until the cards of one lost scorer are decided on again."""

    cards: int
    bytes: float
    scorers: int
    takeover_s: float
    drop_cores: float


def bill(pieces: Pieces, rate: int, slots: int = SLOTS) -> Bill:
    """What so many transactions a second need, with one live model and so many slots.

    A partition is flushed every `flush_s` seconds, or after `flush_records` comparisons if that is sooner.
    """
    scorer, shadow = rate * pieces.scorer_ms / 1000, rate * pieces.shadow_ms / 1000
    scorers = _processes(scorer)
    partitions = 2 ** math.ceil(math.log2(PARTITIONS_EACH * scorers))
    flushes = slots * max(min(partitions, rate * pieces.flush_s) / pieces.flush_s, rate / pieces.flush_records)
    redis = flushes * pieces.flush_ms / 1000 + slots * rate * pieces.comparison_ms / 1000
    into = rate * (pieces.transaction_bytes + pieces.decision_bytes + pieces.state_bytes)
    return Bill(
        rate=rate,
        scorer_cores=scorer,
        scorers=scorers,
        partitions=partitions,
        shadow_cores=slots * shadow,
        shadows=slots * _processes(shadow),
        broker_cores=rate * pieces.broker_ms / 1000,
        kafka_in=into,
        kafka_out=rate * (pieces.transaction_bytes + (slots + 1) * pieces.decision_bytes),  # the archive reads, too
        log_bytes=REPLICAS * DAY_SECONDS * rate * (pieces.transaction_bytes + pieces.decision_bytes),
        flushes=flushes,
        commands=flushes * pieces.flush_commands,
        redis_cores=redis,
        shards=_processes(redis),
        archive_bytes=DAY_SECONDS * rate * pieces.archive_bytes,
    )


def cards(pieces: Pieces, n: int, idle_days: float = 37.0) -> Cards:
    """What so many cards that were seen within the last days need. As many drop out in that time as come in."""
    held = WORKER_BYTES * CARD_SHARE / pieces.card_bytes
    scorers = max(2, math.ceil(n / held))  # one alone has nobody to take over
    takeover = pieces.session_s + pieces.takeover_s + n / scorers / pieces.cards_per_s
    return Cards(n, n * pieces.card_bytes, scorers, takeover, n * pieces.drop_us / 1e6 / (idle_days * DAY_SECONDS))


def line(small: tuple[float, float], large: tuple[float, float]) -> tuple[float, float]:
    """Fixed cost and cost of each, from two sizes and their costs. Neither is below zero.

    >>> line((10.0, 3.0), (110.0, 5.0))
    (2.8, 0.02)
    """
    each = max(0.0, (large[1] - small[1]) / (large[0] - small[0]))
    return max(0.0, small[1] - each * small[0]), each


def _processes(cores: float) -> int:
    return max(1, math.ceil(cores / PLANNED))
