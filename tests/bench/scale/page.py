"""The tables of docs/scale.md, from what a run measured. No IO."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields

from bench.scale.bill import CARDS, PLANNED, RATES, SLOTS, Pieces, bill, cards
from bench.scale.found import Flushed, Found, Grown, Shared, Slotted

WHAT = "`make scale`"
UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
TOLD = {
    "scorer_ms": "scorer, CPU ms for a transaction",
    "shadow_ms": "shadow of one slot, CPU ms for a transaction",
    "broker_ms": "Kafka, CPU ms for a transaction",
    "transaction_bytes": "a transaction on its topic, bytes",
    "decision_bytes": "a decision, bytes",
    "state_bytes": "the card state that goes with it, bytes",
    "flush_ms": "Valkey, CPU ms for a flush of one partition",
    "comparison_ms": "Valkey, CPU ms for each comparison in it",
    "flush_commands": "commands of a flush, those within the script included",
    "card_bytes": "memory of a card, bytes",
    "cards_per_s": "cards taken over a second",
    "drop_us": "CPU µs to drop an idle card",
    "takeover_s": "from a scorer's death to decisions on its partitions, beyond the session, s",
    "session_s": "`session_seconds`, s",
    "flush_s": "`flush_seconds`, s",
    "flush_records": "`flush_records`",
    "archive_bytes": "a decision in the archive, bytes",
}


def size(n: float) -> str:
    """Bytes with three significant digits.

    >>> size(1_234_567), size(999.0), size(12e15)
    ('1.23 MB', '999 B', '12 PB')
    """
    unit = 0
    while n >= 999.5 and unit < len(UNITS) - 1:
        n, unit = n / 1000, unit + 1
    return f"{n:.3g} {UNITS[unit]}"


def number(value: float) -> str:
    """Three significant digits, thousands apart.

    >>> number(12345.6), number(0.01234), number(0.0)
    ('12,300', '0.0123', '0')
    """
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if rounded >= 100 or rounded == 0 else f"{rounded:g}"


def seconds(value: float) -> str:
    """As one reads a time.

    >>> seconds(12.3), seconds(100.0), seconds(7300.0)
    ('12 s', '100 s', '122 min')
    """
    return f"{value:.0f} s" if value < 600 else f"{value / 60:.0f} min"


def page(found: Found) -> str:
    """All tables, with their titles."""
    parts = [
        found.beside,
        "### The bill",
        *_table(_bill(found.pieces)),
        f"Cores are those in use. Processes and shards are planned to be {100 * PLANNED:.0f} % full. Kafka: what "
        "clients write and read; replicas come on top, and are in the log of a day.",
        *_table(_cards(found.pieces)),
        "### What it is made of",
        *_table(_pieces(found.pieces)),
        "### Partitions",
        *_table(_partitions(found.partitions, found.backlogs)),
        "### Scorers of one group",
        *_table(_scorers(found.scorers)),
        "### Masters of a Valkey Cluster",
        *_table(_stores(found.stores)),
        "### Segments",
        *_table(_segments(found.segments)),
        f"{found.refused} segments are refused: a release file may declare 64.",
        "### Slots",
        *_table(_slots(found.slots)),
    ]
    return "\n\n".join(parts)


def ratios(partitions: Sequence[int], backlogs: Sequence[Shared], scorers: Sequence[Shared]) -> dict[str, float]:
    """The two that have targets.

    CPU time of a scorer for a transaction of a backlog, where batches are as large as they may be: with the most
    partitions, of that with the fewest. And transactions for each CPU second of two scorers, of those of one.
    """
    one, more = scorers[0], scorers[-1]
    return {
        f"partitions_{partitions[-1]}/{partitions[0]}": backlogs[-1].scorer_ms / backlogs[0].scorer_ms,
        f"scorers_{more.scorers}/{one.scorers}": one.scorer_ms / more.scorer_ms,
    }


def _table(rows: Iterator[Sequence[str]]) -> Iterator[str]:
    """One block of Markdown; the first row is the head."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    columns = lines[0].count("|") - 1
    yield "\n".join([lines[0], "|---" + "|---:" * (columns - 1) + "|", *lines[1:]])


def _bill(pieces: Pieces) -> Iterator[Sequence[str]]:
    every = [bill(pieces, rate) for rate in RATES]
    yield [f"one live model, {SLOTS} slots", *(f"{rate:,} a second" for rate in RATES)]
    yield ["cores of scorers", *(number(one.scorer_cores) for one in every)]
    yield ["scorers", *(f"{one.scorers:,}" for one in every)]
    yield ["partitions", *(f"{one.partitions:,}" for one in every)]
    yield ["cores of shadows, all slots", *(number(one.shadow_cores) for one in every)]
    yield ["shadows, all slots", *(f"{one.shadows:,}" for one in every)]
    yield ["cores of Kafka, without replication", *(number(one.broker_cores) for one in every)]
    yield ["written to Kafka, a second", *(size(one.kafka_in) for one in every)]
    yield ["read from Kafka, a second", *(size(one.kafka_out) for one in every)]
    yield ["Kafka's log of a day, three replicas, without `velocity`", *(size(one.log_bytes) for one in every)]
    yield ["flushes to Redis, a second", *(number(one.flushes) for one in every)]
    yield ["commands of Redis, a second", *(number(one.commands) for one in every)]
    yield ["cores of Redis", *(number(one.redis_cores) for one in every)]
    yield ["shards of Redis", *(f"{one.shards:,}" for one in every)]
    yield ["archive, a day", *(size(one.archive_bytes) for one in every)]


def _cards(pieces: Pieces) -> Iterator[Sequence[str]]:
    every = [cards(pieces, n) for n in CARDS]
    yield ["cards seen within 37 days", *(f"{n:,}" for n in CARDS)]
    yield ["memory of all", *(size(one.bytes) for one in every)]
    yield ["scorers of 8 GiB, cards in half of it", *(f"{one.scorers:,}" for one in every)]
    yield ["to take over a lost one, session included", *(seconds(one.takeover_s) for one in every)]
    yield ["CPU seconds a day to drop idle ones", *(number(one.drop_s) for one in every)]


def _pieces(pieces: Pieces) -> Iterator[Sequence[str]]:
    yield ["piece", "measured, or as set"]
    for field in fields(pieces):
        yield [TOLD[field.name], number(getattr(pieces, field.name))]


def _partitions(every: Sequence[Grown], backlogs: Sequence[Shared]) -> Iterator[Sequence[str]]:
    yield ["one scorer, one Kafka, the same load", *(f"{one.partitions} partitions" for one in every)]
    yield ["start to a decision on each, s", *(f"{one.start_s:.1f}" for one in every)]
    yield ["of that, taking partitions over, s", *(f"{one.ready_s:.2f}" for one in every)]
    yield ["a second scorer: from its start to both at work, s", *(f"{one.join_s:.1f}" for one in every)]
    yield ["the first dies: to decisions on all, s", *(f"{one.takeover_s:.1f}" for one in every)]
    yield ["latency p50 / p99, ms", *(f"{one.p50:.0f} / {one.p99:.0f}" for one in every)]
    yield ["records of a batch", *(number(one.records) for one in every)]
    yield ["scorer, CPU ms for a batch", *(number(one.batch_ms) for one in every)]
    yield ["scorer, CPU ms for a transaction", *(number(one.worker_ms) for one in every)]
    yield ["Kafka, CPU ms for a transaction", *(number(one.broker_ms) for one in every)]
    yield ["a backlog: scorer, CPU ms for a transaction", *(number(one.scorer_ms) for one in backlogs)]
    yield ["a backlog: Kafka, CPU ms for a transaction", *(number(one.broker_ms) for one in backlogs)]


def _scorers(every: Sequence[Shared]) -> Iterator[Sequence[str]]:
    yield ["the same backlog", *(f"{one.scorers} scorer{'s' * (one.scorers > 1)}" for one in every)]
    yield ["transactions a second, together", *(number(one.rate) for one in every)]
    yield ["scorers, CPU ms for a transaction", *(number(one.scorer_ms) for one in every)]
    yield ["transactions for each CPU second of scorers", *(number(1000 / one.scorer_ms) for one in every)]
    yield ["broker, CPU ms for a transaction", *(number(one.broker_ms) for one in every)]


def _stores(every: Sequence[Flushed]) -> Iterator[Sequence[str]]:
    yield ["flushes of 256 partitions", *(f"{one.servers} master{'s' * (one.servers > 1)}" for one in every)]
    yield ["comparisons of a flush", *(number(one.comparisons) for one in every)]
    yield ["flushes a second", *(number(one.rate) for one in every)]
    yield ["Valkey, CPU ms for a flush", *(number(one.cpu_ms) for one in every)]
    yield ["commands of a flush", *(number(one.commands) for one in every)]
    yield ["share of the busiest master", *(f"{100 * max(one.shares):.0f} %" for one in every)]


def _segments(every: Sequence[Flushed]) -> Iterator[Sequence[str]]:
    yield ["one Valkey, 8 partitions", *(f"{one.segments} segments" for one in every)]
    yield ["shadow, CPU ms to sum a comparison up", *(number(one.absorb_ms) for one in every)]
    yield ["Valkey, CPU ms for a flush", *(number(one.cpu_ms) for one in every)]
    yield ["commands of a flush", *(number(one.commands) for one in every)]
    yield ["memory for eight hours of one slot", *(size(one.used_bytes) for one in every)]


def _slots(every: Sequence[Slotted]) -> Iterator[Sequence[str]]:
    yield ["the same backlog", *map(_named, every)]
    yield ["shadows, CPU ms for a transaction", *(number(one.shadow_ms) for one in every)]
    yield ["of that, each slot", *(number(one.shadow_ms / one.slots) for one in every)]
    yield ["Valkey, CPU ms for a transaction", *(number(one.redis_ms) for one in every)]
    yield ["broker, CPU ms for a transaction", *(number(one.broker_ms) for one in every)]
    yield ["memory of Valkey", *(size(one.used_bytes) for one in every)]


def _named(one: Slotted) -> str:
    """
    >>> [_named(Slotted(slots, processes, 0.1, 0.1, 0.1, 0)) for slots, processes in ((1, 1), (3, 3), (3, 1))]
    ['1 slot', '3 slots', '3 slots in one process']
    """
    apart = f"{one.slots} slot{'s' * (one.slots > 1)}"
    return apart if one.processes == one.slots else f"{apart} in one process"
