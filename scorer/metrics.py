"""Every metric of the scorer, declared once: name, unit, labels, meaning. `docs/metrics.md` is rendered from here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

REGISTRY = CollectorRegistry()

#: Score bounds: finer where block rates of 0.2 to 5 % put their thresholds.
SCORE_BUCKETS = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
RECORD_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)


class ArrayHistogram(Collector):
    """A Prometheus histogram that takes whole arrays: one numpy call a batch instead of one Python call a value."""

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
        """Count values; NaN is passed over."""
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
REPEATS = Counter("scorer_repeats_total", "Decisions whose transaction id their sender repeated.", registry=REGISTRY)
MISKEYED = Counter(
    "scorer_miskeyed_total", "Transactions whose key is not their card: their velocity is wrong.", registry=REGISTRY
)
UNTRUSTED = Counter(
    "scorer_untrusted_dates_total", "Transactions dated too far ahead to count in velocity.", registry=REGISTRY
)
MISSED = Counter(
    "scorer_missed_transactions_total", "Offsets that retention took before they were decided.", registry=REGISTRY
)
FENCE = Gauge(
    "scorer_fence", "1 while the broker refuses a scorer whose partitions another has taken over.", registry=REGISTRY
)
FENCED = Counter(
    "scorer_fenced_transactions_total",
    "Transactions given up because another scorer had taken over their partition, and decides them.",
    registry=REGISTRY,
)
BATCH_RECORDS = Histogram("scorer_batch_records", "Records of a batch.", buckets=RECORD_BUCKETS, registry=REGISTRY)
STAGE = Histogram(
    "scorer_stage_seconds",
    "Time of a batch in a stage: compute, publish (decisions and dead letters acknowledged), state (from then on).",
    ["stage"],
    buckets=LATENCY_BUCKETS,
    registry=REGISTRY,
)
END_TO_END = ArrayHistogram(
    "scorer_end_to_end_seconds",
    "From the broker's time of a transaction to the acknowledgement of its decision.",
    LATENCY_BUCKETS,
    REGISTRY,
)
LAG = Gauge("scorer_lag_records", "Records between the last decision and the end.", ["partition"], registry=REGISTRY)
CARDS = Gauge("scorer_cards", "Cards in memory.", registry=REGISTRY)
MODEL_AGE = Gauge("scorer_model_age_seconds", "Age of the live bundle since it was made.", registry=REGISTRY)
THRESHOLD = Gauge(
    "scorer_live_threshold", "Score from which this worker blocks; NaN while the kill switch is on.", registry=REGISTRY
)
EPOCH = Gauge("scorer_live_epoch", "Epoch of the live slot that this worker decides with.", registry=REGISTRY)
MODEL_BEHIND = Gauge(
    "scorer_model_behind",
    "1 while this worker cannot load the bundle of the live slot and goes on with an older one.",
    registry=REGISTRY,
)
OVERRIDE = Gauge("scorer_override", "1 while the kill switch is on.", ["override"], registry=REGISTRY)
