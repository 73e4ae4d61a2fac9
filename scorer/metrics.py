"""Every metric of the scorer: name, unit, labels and meaning. `docs/metrics.md` is rendered from here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

REGISTRY = CollectorRegistry()
#: Of `scorer risk`.
RISK_REGISTRY = CollectorRegistry()

#: Upper bounds of scores, finer at low ones: block rates of 0.2 to 5 % put their thresholds there.
SCORE_BUCKETS = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
RECORD_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)


class ArrayHistogram(Collector):
    """A Prometheus histogram that observes whole arrays with one numpy call, instead of one Python call for each value.

    buckets: upper bounds, ascending. label: name of its one label, None for a histogram without labels.
    """

    def __init__(
        self,
        name: str,
        documentation: str,
        buckets: Sequence[float],
        registry: CollectorRegistry,
        label: str | None = None,
    ) -> None:
        self.name, self.documentation, self.label = name, documentation, label
        self._bounds = np.asarray(buckets, dtype=np.float64)
        self._series: dict[str, tuple[npt.NDArray[np.int64], float]] = {}  # counts and sum
        registry.register(self)

    def observe(self, values: npt.NDArray[np.float64], label: str = "") -> None:
        """Count values, float64 (n,), without those that are NaN. label: value of the label, if there is one."""
        values = values[~np.isnan(values)]
        if not values.size:
            return
        bins = np.bincount(np.searchsorted(self._bounds, values), minlength=len(self._bounds) + 1)
        counts, total = self._series.get(label, (np.zeros_like(bins), 0.0))
        self._series[label] = counts + bins, total + float(values.sum())

    def keep(self, label: str) -> None:
        """Drop the series of every other label."""
        for other in self._series.keys() - {label}:
            del self._series[other]

    def describe(self) -> Iterator[HistogramMetricFamily]:
        yield HistogramMetricFamily(self.name, self.documentation, labels=[self.label] if self.label else None)

    def collect(self) -> Iterator[HistogramMetricFamily]:
        family = next(self.describe())
        bounds = [*(format(bound, "g") for bound in self._bounds), "+Inf"]
        for label, (counts, total) in list(self._series.items()):
            cumulative = np.cumsum(counts).tolist()
            family.add_metric(
                [label] if self.label else [],
                [(bound, float(count)) for bound, count in zip(bounds, cumulative, strict=True)],
                total,
            )
        yield family


TRANSACTIONS = Counter("scorer_transactions_total", "Transactions read.", registry=REGISTRY)
DECISIONS = Counter(
    "scorer_decisions_total",
    "Decisions published and acknowledged, by verdict and bundle (first 12 digits of its digest).",
    ["decision", "bundle"],
    registry=REGISTRY,
)
SCORES = ArrayHistogram("scorer_score", "Scores of the live model, by bundle.", SCORE_BUCKETS, REGISTRY, "bundle")
REJECTED = Counter("scorer_rejected_total", "Dead letters, by the field at fault.", ["field"], registry=REGISTRY)
SKIPPED = Counter(
    "scorer_skipped_records_total",
    "Records that the mapping passes over, by what they are: `update`, `deletion`, `truncation`, `message`, "
    "`change`, `tombstone`.",
    ["what"],
    registry=REGISTRY,
)
REPEATS = Counter(
    "scorer_repeats_total", "Decisions on transaction ids that their sender had sent before.", registry=REGISTRY
)
MISKEYED = Counter(
    "scorer_miskeyed_total",
    "Transactions whose record key is not their card, so their velocity features are wrong.",
    registry=REGISTRY,
)
SPLIT = Counter(
    "scorer_split_cards_total",
    "New cards that another partition of the same scorer already has, so their velocity is split. Looked for among "
    "some hundred new cards of each partition a second.",
    registry=REGISTRY,
)
UNTRUSTED = Counter(
    "scorer_untrusted_dates_total",
    "Transactions dated more than `ahead_seconds` after their arrival, which do not count in velocity.",
    registry=REGISTRY,
)
FEATURE_FAILED = Counter(
    "scorer_feature_failed_total",
    "Transactions for which a feature in Python raised, or returned no float64: it is missing in their snapshots.",
    ["feature"],
    registry=REGISTRY,
)
REFUNDS = Counter(
    "scorer_refunds_total",
    "Decisions on refunds: negative amounts, allowed without a score because the mapping says so.",
    registry=REGISTRY,
)
DRAWN = Counter(
    "scorer_drawn_total", "Would-be blocks that were drawn by exploration, released or not.", registry=REGISTRY
)
RELEASED = Counter("scorer_released_total", "Would-be blocks that exploration released.", registry=REGISTRY)
RELEASED_MONEY = Counter(
    "scorer_released_money_total",
    "Money of the would-be blocks that exploration released, in units of the reporting currency.",
    registry=REGISTRY,
)
EXPLORATION_SPENT = Gauge(
    "scorer_exploration_spent_share",
    "Share of a partition's part of the exploration budget that is spent today (UTC; by the event clock: on its newest "
    "day), by partition. Without series while exploration is off.",
    ["partition"],
    registry=REGISTRY,
)
EXPLORATION_EXHAUSTED = Gauge(
    "scorer_exploration_exhausted",
    "1 while nothing more of a partition may be released today, as its part of the exploration budget has no room for "
    "the largest amount, by partition. Without series while exploration is off.",
    ["partition"],
    registry=REGISTRY,
)
MISSED = Counter(
    "scorer_missed_transactions_total",
    "Offsets that retention deleted before this scorer had decided them.",
    registry=REGISTRY,
)
WAITING = Gauge(
    "scorer_waiting_partitions",
    "Partitions of `transactions` that this scorer owns and does not decide, as a topic beside it lacks them.",
    registry=REGISTRY,
)
FENCE = Gauge(
    "scorer_fence",
    "1 while the broker refuses a scorer whose partitions another has taken over, 0 if it cannot.",
    registry=REGISTRY,
)
FENCED = Counter(
    "scorer_fenced_transactions_total",
    "Transactions that this worker gave up because another scorer had taken over their partition; that one decides "
    "them.",
    registry=REGISTRY,
)
BATCH_RECORDS = Histogram(
    "scorer_batch_records", "Records of a fetch that are decided together.", buckets=RECORD_BUCKETS, registry=REGISTRY
)
STAGE = Histogram(
    "scorer_stage_seconds",
    "Time of a fetch in a stage: `compute`; `publish`, until decisions and dead letters are acknowledged; `state`, "
    "from then until card states are.",
    ["stage"],
    buckets=LATENCY_BUCKETS,
    registry=REGISTRY,
)
END_TO_END = ArrayHistogram(
    "scorer_end_to_end_seconds",
    "Time from the broker's timestamp of a transaction to the acknowledgement of its decision.",
    LATENCY_BUCKETS,
    REGISTRY,
)
LAG = Gauge("scorer_lag_records", "Records that wait for a decision, by partition.", ["partition"], registry=REGISTRY)
CARDS = Gauge("scorer_cards", "Cards whose state is in memory.", registry=REGISTRY)
CARD_BYTES = Gauge("scorer_card_bytes", "About how much memory card states take.", registry=REGISTRY)
MEMORY_LIMIT = Gauge("scorer_memory_limit_bytes", "Memory that this scorer may use: `memory_bytes`.", registry=REGISTRY)
DROPPED = Counter(
    "scorer_cards_dropped_total",
    "Cards whose state was dropped: `idle`, or `erased` by a request.",
    ["why"],
    registry=REGISTRY,
)
MODEL_AGE = Gauge(
    "scorer_model_age_seconds",
    "Time since the data of the live bundle ended; if it does not say, since it was made.",
    registry=REGISTRY,
)
PREDICTOR = Gauge(
    "scorer_predictor",
    "1 for what predicts the live bundle's scores, 0 for the other: `pylignum`, `lightgbm`.",
    ["predictor"],
    registry=REGISTRY,
)
THRESHOLD = Gauge(
    "scorer_live_threshold", "Score from which this worker blocks; NaN while the kill switch is on.", registry=REGISTRY
)
FOREIGN = Counter(
    "scorer_foreign_records_total",
    "Records of our own topics that this product did not write, and passed over, by topic.",
    ["topic"],
    registry=REGISTRY,
)
REFUSED_ENTRIES = Counter(
    "scorer_refused_entries_total",
    "Records that came to the ledger and do not count: no trusted key has signed them, or they write over an entry.",
    registry=REGISTRY,
)
EPOCH = Gauge("scorer_live_epoch", "Epoch of the live slot that this worker decides with.", registry=REGISTRY)
MODEL_BEHIND = Gauge(
    "scorer_model_behind",
    "1 while this worker cannot load the bundle of the live slot and decides with an older one.",
    registry=REGISTRY,
)
OVERRIDE = Gauge("scorer_override", "1 while the kill switch is on, by override.", ["override"], registry=REGISTRY)
RISK_MISSING = Counter(
    "scorer_risk_missing_total",
    "Decisions without a snapshot of merchant risk, though the feature view has merchant risk: none was there that "
    "counts at the transaction's time.",
    registry=REGISTRY,
)
RISK_OVERDUE = Gauge(
    "scorer_risk_overdue_seconds",
    "Time since a newer snapshot of merchant risk should have come than this worker has; 0 if none is due, and without "
    "merchant risk in the feature view.",
    registry=REGISTRY,
)
RISK_PUBLISHED = Counter("scorer_risk_snapshots_total", "Snapshots of merchant risk published.", registry=RISK_REGISTRY)
RISK_HELD = Gauge(
    "scorer_risk_held", "1 while the snapshot of merchant risk that is due is held back.", registry=RISK_REGISTRY
)
RISK_MERCHANTS = Gauge(
    "scorer_risk_merchants",
    "Merchants of the last snapshot, by what they are: `paid`, with a transaction in a window; `capped`, whose rate "
    "would have moved further than it may.",
    ["what"],
    registry=RISK_REGISTRY,
)
