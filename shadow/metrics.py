"""Every metric of the shadow's processes, declared once: name, unit, labels, meaning. See also `docs/metrics.md`."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from scorer.metrics import LATENCY_BUCKETS, RECORD_BUCKETS, SCORE_BUCKETS, ArrayHistogram

#: Of `shadow run`, one process a slot and worker.
REGISTRY = CollectorRegistry()
#: Of `shadow serve`, which projects what Redis holds.
SERVE_REGISTRY = CollectorRegistry()

DECISIONS = Counter("shadow_decisions_read_total", "Decisions read.", ["slot"], registry=REGISTRY)
COMPARED = Counter(
    "shadow_comparisons_total",
    "Decisions compared and in Redis, by outcome: both_allow, both_block, live_only, candidate_only.",
    ["slot", "outcome"],
    registry=REGISTRY,
)
SCORES = ArrayHistogram("shadow_candidate_score", "Scores of the candidate.", SCORE_BUCKETS, REGISTRY, "slot")
ERRORS = Counter(
    "shadow_candidate_errors_total", "Decisions that the candidate could not score.", ["slot"], registry=REGISTRY
)
SKIPPED = Counter("shadow_skipped_total", "Decisions read while the slot was empty.", ["slot"], registry=REGISTRY)
DUPLICATES = Counter(
    "shadow_duplicates_total", "Decisions for a transaction that was compared before.", ["slot"], registry=REGISTRY
)
CONFLICTS = Counter(
    "shadow_decision_conflicts_total",
    "Second decisions for a transaction with another score under the same epoch: the live path broke its promise.",
    ["slot"],
    registry=REGISTRY,
)
UNREADABLE = Counter("shadow_unreadable_total", "Records on `decisions` that are none.", ["slot"], registry=REGISTRY)
GAPS = Counter("shadow_gap_records_total", "Decisions that retention took unread.", ["slot"], registry=REGISTRY)
REFUSED = Counter(
    "shadow_went_back_total",
    "Times that Redis had not what was applied: stale (another worker, or Redis went back), wiped (its data is gone), "
    "lost (either of them, found out while nothing came).",
    ["slot", "reason"],
    registry=REGISTRY,
)
REDIS_ERRORS = Counter(
    "shadow_redis_errors_total", "Failed calls to Redis; each is repeated.", ["slot"], registry=REGISTRY
)
BATCH_RECORDS = Histogram(
    "shadow_batch_records", "Records of a batch.", ["slot"], buckets=RECORD_BUCKETS, registry=REGISTRY
)
STAGE = Histogram(
    "shadow_stage_seconds",
    "Time of a batch in a stage: compute (score and compare), flush (one partition's sums to Redis).",
    ["slot", "stage"],
    buckets=LATENCY_BUCKETS,
    registry=REGISTRY,
)
DELAY = ArrayHistogram(
    "shadow_delay_seconds",
    "From the broker's time of a decision to its comparison being in Redis.",
    LATENCY_BUCKETS,
    REGISTRY,
    "slot",
)
LAG = Gauge("shadow_lag_records", "Decisions still to be read.", ["slot", "partition"], registry=REGISTRY)
THRESHOLD = Gauge("shadow_threshold", "Score from which the candidate blocks.", ["slot"], registry=REGISTRY)
MODEL_AGE = Gauge("shadow_model_age_seconds", "Age of the candidate bundle.", ["slot"], registry=REGISTRY)
MODEL_BROKEN = Gauge("shadow_model_broken", "1 while the slot's bundle cannot be loaded.", ["slot"], registry=REGISTRY)


def begin(slot: str) -> None:
    """Show every counter of a slot at 0: what is never seen at 0 cannot be seen to rise."""
    for counter in (DECISIONS, ERRORS, SKIPPED, DUPLICATES, CONFLICTS, UNREADABLE, GAPS, REDIS_ERRORS):
        counter.labels(slot)
    for outcome in ("both_allow", "both_block", "live_only", "candidate_only"):
        COMPARED.labels(slot, outcome)
    for reason in ("stale", "wiped", "lost"):
        REFUSED.labels(slot, reason)


OUTCOMES = Gauge(
    "shadow_run_outcomes",
    "Transactions of the current run by outcome, in each segment (`all` is everything); also of the A/A control.",
    ["slot", "segment", "outcome"],
    registry=SERVE_REGISTRY,
)
COVERAGE = Gauge(
    "shadow_run_coverage_ratio", "Compared of decided, in the current run.", ["slot"], registry=SERVE_REGISTRY
)
PROGRESS = Gauge(
    "shadow_clean_period_ratio",
    "Clean event hours of the current run over those that the criteria ask for, at most 1.",
    ["slot"],
    registry=SERVE_REGISTRY,
)


def _by_criterion(name: str, told: str) -> Gauge:
    return Gauge(name, told, ["slot", "criterion", "segment"], registry=SERVE_REGISTRY)


CRITERION = _by_criterion("shadow_gate_criterion", "Verdict of a criterion: 1 pass, 0 insufficient, -1 fail.")
OBSERVED = _by_criterion("shadow_gate_observed", "Observed value of a criterion.")
LIMIT = _by_criterion("shadow_gate_limit", "Limit of a criterion, as the release criteria say.")
DECISION = Gauge("shadow_gate_decision", "1 promote, 0 hold, -1 reject.", ["slot"], registry=SERVE_REGISTRY)
BOUND = _by_criterion("shadow_gate_bound", "End of a criterion's interval that decides; it holds at all times.")
FLOOR = _by_criterion("shadow_gate_floor", "The A/A control's value of a criterion.")
EVIDENCE = _by_criterion(
    "shadow_gate_evidence",
    "Evidence of a criterion as log10 of an e-value: above 0 that the limit is kept, below 0 that it is exceeded.",
)
MATCHED_THRESHOLD = Gauge(
    "shadow_matched_threshold",
    "Threshold at which the candidate blocked as much as live in the run's calibration window; a suggestion.",
    ["slot"],
    registry=SERVE_REGISTRY,
)
MATCHED_BLOCKS = Gauge(
    "shadow_matched_more_blocks",
    "Blocks of the candidate at that threshold beyond live's, as a share of live's, in what followed the window.",
    ["slot", "segment"],
    registry=SERVE_REGISTRY,
)
DRIFT_PSI = Gauge(
    "shadow_drift_psi",
    "Population stability index of a score or feature in the last event days against the calibration window.",
    ["slot", "what"],
    registry=SERVE_REGISTRY,
)
DRIFT_LIMIT = Gauge(
    "shadow_drift_limit",
    "What that index stays below while nothing drifts, by the counts; NaN where it cannot be told.",
    ["slot", "what"],
    registry=SERVE_REGISTRY,
)
SCORE_DISTANCE = Gauge(
    "shadow_score_distance",
    "Greatest distance between the distribution functions of scores since the calibration window and in it: estimate, "
    "and the bounds low and high, which hold at all times.",
    ["slot", "what", "end"],
    registry=SERVE_REGISTRY,
)
RESETS = Gauge(
    "shadow_clean_period_resets",
    "Event hours of the current run in which something reset the clean period, by cause, and 1 for what began the run.",
    ["slot", "cause"],
    registry=SERVE_REGISTRY,
)
SUGGESTIONS = Gauge("shadow_suggestions_waiting", "Suggestions that nobody has answered.", registry=SERVE_REGISTRY)
LABELS = Counter(
    "shadow_labels_total",
    "Labels read, by source (chargeback, review) and verdict; repeated ones, too.",
    ["source", "verdict"],
    registry=SERVE_REGISTRY,
)
LABELS_REFUSED = Counter("shadow_labels_refused_total", "Records on `labels` that are none.", registry=SERVE_REGISTRY)
LABELS_LOST = Counter(
    "shadow_labels_lost_total", "Labels that retention took before they were read.", registry=SERVE_REGISTRY
)
GATE_SECONDS = Histogram(
    "shadow_gate_seconds", "Time of one look of the gate at a slot.", buckets=LATENCY_BUCKETS, registry=SERVE_REGISTRY
)
GATE_ERRORS = Counter(
    "shadow_gate_errors_total", "Looks of the gate that failed: Kafka or Redis away.", registry=SERVE_REGISTRY
)
SLOT_EPOCH = Gauge(
    "shadow_slot_epoch",
    "Epoch of each slot that is not empty, as the ledger has it.",
    ["slot"],
    registry=SERVE_REGISTRY,
)
UNREAD = Gauge(
    "shadow_unread_records",
    "Decisions on the topic that a slot has not in Redis, seen from its fences: known even if no shadow runs.",
    ["slot"],
    registry=SERVE_REGISTRY,
)
RETENTION_USED = Gauge(
    "shadow_retention_used_ratio",
    "Of the decisions that retention has left, how many a slot has not in Redis; of the worst partition. At 1 the next "
    "to expire is one that was not compared.",
    ["slot"],
    registry=SERVE_REGISTRY,
)
REDIS_USED = Gauge("shadow_redis_used_bytes", "Memory that a node of Redis uses.", ["node"], registry=SERVE_REGISTRY)
REDIS_LIMIT = Gauge("shadow_redis_limit_bytes", "Its `maxmemory`; 0 is no limit.", ["node"], registry=SERVE_REGISTRY)
WATCH_ERRORS = Counter(
    "shadow_watch_errors_total",
    "Failed looks at how far slots have read and at the memory of Redis: Kafka or Redis away.",
    registry=SERVE_REGISTRY,
)
