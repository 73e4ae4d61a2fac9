"""Every metric of the shadow's processes, declared once. `docs/metrics.md` is rendered from here."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from scorer.metrics import LATENCY_BUCKETS, RECORD_BUCKETS, SCORE_BUCKETS, ArrayHistogram

#: Metrics of `shadow run`; a process runs one slot.
REGISTRY = CollectorRegistry()
#: Metrics of `shadow serve`: what Redis and the ledger say, whichever shadows run.
SERVE_REGISTRY = CollectorRegistry()
#: Metrics of `shadow archive run`.
ARCHIVE_REGISTRY = CollectorRegistry()

DECISIONS = Counter("shadow_decisions_read_total", "Decisions of live that were read.", ["slot"], registry=REGISTRY)
COMPARED = Counter(
    "shadow_comparisons_total",
    "Decisions compared and counted in Redis, by outcome: both_allow, both_block, live_only, candidate_only.",
    ["slot", "outcome"],
    registry=REGISTRY,
)
SCORES = ArrayHistogram("shadow_candidate_score", "Scores of the candidate, by slot.", SCORE_BUCKETS, REGISTRY, "slot")
ERRORS = Counter(
    "shadow_candidate_errors_total", "Decisions that the candidate could not score.", ["slot"], registry=REGISTRY
)
SKIPPED = Counter(
    "shadow_skipped_total",
    "Decisions read while the slot was empty, or made before it was filled.",
    ["slot"],
    registry=REGISTRY,
)
DUPLICATES = Counter(
    "shadow_duplicates_total",
    "Decisions on a transaction that was compared before; they are not counted again.",
    ["slot"],
    registry=REGISTRY,
)
CONFLICTS = Counter(
    "shadow_decision_conflicts_total",
    "Transactions with two decisions of the same live epoch that differ in their score; live promises none.",
    ["slot"],
    registry=REGISTRY,
)
UNREADABLE = Counter(
    "shadow_unreadable_total", "Records on `decisions` that are not decisions.", ["slot"], registry=REGISTRY
)
GAPS = Counter(
    "shadow_gap_records_total", "Decisions that retention deleted before they were read.", ["slot"], registry=REGISTRY
)
REFUSED = Counter(
    "shadow_went_back_total",
    "Times that a shadow read decisions again because Redis did not hold what it had applied: stale (another worker "
    "wrote, or Redis lost its last writes), wiped (Redis lost all data), lost (either, noticed while idle).",
    ["slot", "reason"],
    registry=REGISTRY,
)
REDIS_ERRORS = Counter(
    "shadow_redis_errors_total", "Failed calls to Redis; the shadow repeats each.", ["slot"], registry=REGISTRY
)
BATCH_RECORDS = Histogram(
    "shadow_batch_records", "Decisions in a batch.", ["slot"], buckets=RECORD_BUCKETS, registry=REGISTRY
)
STAGE = Histogram(
    "shadow_stage_seconds",
    "Time in a stage: compute (scores and compares a batch), flush (writes a partition's sums to Redis).",
    ["slot", "stage"],
    buckets=LATENCY_BUCKETS,
    registry=REGISTRY,
)
DELAY = ArrayHistogram(
    "shadow_delay_seconds",
    "Time from the broker's timestamp of a decision until its comparison is in Redis.",
    LATENCY_BUCKETS,
    REGISTRY,
    "slot",
)
LAG = Gauge(
    "shadow_lag_records", "Decisions that the shadow has yet to compare.", ["slot", "partition"], registry=REGISTRY
)
THRESHOLD = Gauge("shadow_threshold", "Score from which the candidate blocks.", ["slot"], registry=REGISTRY)
MODEL_AGE = Gauge(
    "shadow_model_age_seconds",
    "Time since the data of the candidate's bundle ended; if it does not say, since it was made.",
    ["slot"],
    registry=REGISTRY,
)
PREDICTOR = Gauge(
    "shadow_predictor",
    "1 for what predicts the candidate's scores, 0 for the other: `pylignum`, `lightgbm`.",
    ["slot", "predictor"],
    registry=REGISTRY,
)
MODEL_BROKEN = Gauge("shadow_model_broken", "1 while the slot's bundle cannot be loaded.", ["slot"], registry=REGISTRY)


def begin(slot: str) -> None:
    """Export every counter of a slot at 0, as Prometheus misses the first rise of a counter that it never saw at 0."""
    for counter in (DECISIONS, ERRORS, SKIPPED, DUPLICATES, CONFLICTS, UNREADABLE, GAPS, REDIS_ERRORS):
        counter.labels(slot)
    for outcome in ("both_allow", "both_block", "live_only", "candidate_only"):
        COMPARED.labels(slot, outcome)
    for reason in ("stale", "wiped", "lost"):
        REFUSED.labels(slot, reason)


OUTCOMES = Gauge(
    "shadow_run_outcomes",
    "Transactions of the current run by segment (`all`: all traffic) and outcome, also for the A/A control.",
    ["slot", "segment", "outcome"],
    registry=SERVE_REGISTRY,
)
COVERAGE = Gauge(
    "shadow_run_coverage_ratio",
    "Share of live's decisions in the current run that were compared.",
    ["slot"],
    registry=SERVE_REGISTRY,
)
PROGRESS = Gauge(
    "shadow_clean_period_ratio",
    "Clean event hours of the current run as a share of `minimum_covered_hours`, at most 1.",
    ["slot"],
    registry=SERVE_REGISTRY,
)


def _by_criterion(name: str, documentation: str) -> Gauge:
    return Gauge(name, documentation, ["slot", "criterion", "segment"], registry=SERVE_REGISTRY)


CRITERION = _by_criterion("shadow_gate_criterion", "Verdict of a criterion: 1 pass, 0 insufficient, -1 fail.")
OBSERVED = _by_criterion("shadow_gate_observed", "Observed value of a criterion.")
LIMIT = _by_criterion("shadow_gate_limit", "Limit of a criterion, from release.yaml.")
DECISION = Gauge(
    "shadow_gate_decision", "Decision of the gate: 1 promote, 0 hold, -1 reject.", ["slot"], registry=SERVE_REGISTRY
)
BOUND = _by_criterion(
    "shadow_gate_bound",
    "Bound on the true value of a criterion that is compared with the limit; valid however often it is looked at.",
)
FLOOR = _by_criterion("shadow_gate_floor", "Value of a criterion for the A/A control.")
EVIDENCE = _by_criterion(
    "shadow_gate_evidence",
    "Evidence on a criterion as log10 of an e-value: above 0 for a limit that is kept, below 0 for one exceeded.",
)
MATCHED_THRESHOLD = Gauge(
    "shadow_matched_threshold",
    "Suggested threshold: at it the candidate blocked as much as live in the run's calibration window.",
    ["slot"],
    registry=SERVE_REGISTRY,
)
MATCHED_BLOCKS = Gauge(
    "shadow_matched_more_blocks",
    "Blocks of the candidate at `shadow_matched_threshold` beyond live's, as a share of live's blocks, after the "
    "calibration window.",
    ["slot", "segment"],
    registry=SERVE_REGISTRY,
)
DRIFT_PSI = Gauge(
    "shadow_drift_psi",
    "Population stability index of a score or feature: the last event days against the calibration window.",
    ["slot", "what"],
    registry=SERVE_REGISTRY,
)
DRIFT_LIMIT = Gauge(
    "shadow_drift_limit",
    "Limit of `shadow_drift_psi` that it stays below if nothing drifts; follows from the counts. NaN if unknown.",
    ["slot", "what"],
    registry=SERVE_REGISTRY,
)
SCORE_DISTANCE = Gauge(
    "shadow_score_distance",
    "Greatest distance between the score distributions in and after the calibration window: estimate, and bounds low "
    "and high, which are valid however often they are looked at.",
    ["slot", "what", "end"],
    registry=SERVE_REGISTRY,
)
RESETS = Gauge(
    "shadow_clean_period_resets",
    "Event hours of the current run that reset the clean period, by cause; 1 for the causes that began the run.",
    ["slot", "cause"],
    registry=SERVE_REGISTRY,
)
SUGGESTIONS = Gauge(
    "shadow_suggestions_waiting", "Suggestions that nobody has approved or rejected yet.", registry=SERVE_REGISTRY
)
FORCED = Gauge(
    "shadow_forced_releases",
    "Releases that somebody ever forced, by the verdict at that moment: promote, hold, reject, unknown.",
    ["verdict"],
    registry=SERVE_REGISTRY,
)
LIVE_WORSE = Gauge(
    "shadow_live_worse",
    "Whether live is found to be worse than the model that it replaced, and nobody has rejected the rollback; NaN "
    "while that is not watched.",
    registry=SERVE_REGISTRY,
)
WATCHED_SECONDS = Gauge(
    "shadow_watched_seconds", "Time for which live was watched after its release.", registry=SERVE_REGISTRY
)
WATCHED = Gauge(
    "shadow_watched_transactions",
    "Transactions that live and the model before it both decided since the release.",
    registry=SERVE_REGISTRY,
)
COMPLAINTS_RISEN = Gauge(
    "shadow_complaints_risen",
    "Whether complaints for each blocked transaction are found to have risen with the last release; NaN while that "
    "cannot be told.",
    registry=SERVE_REGISTRY,
)
COMPLAINT_RATIO = Gauge(
    "shadow_complaints_per_block_ratio",
    "Complaints for each transaction that live blocked, on whole days with a report: before the last release, and "
    "after it.",
    ["period"],
    registry=SERVE_REGISTRY,
)
AUTOMATION = Gauge(
    "shadow_automation",
    "Whether suggestions of a kind of change are carried out by themselves: retrain, threshold, design, rollback.",
    ["change"],
    registry=SERVE_REGISTRY,
)
STREAK = Gauge(
    "shadow_accepted_in_a_row",
    "Suggestions of a kind of change in a row that people accepted as they were.",
    ["change"],
    registry=SERVE_REGISTRY,
)
LABELS = Counter(
    "shadow_labels_total",
    "Labels read, by source (chargeback, review) and verdict; a repeated label counts again.",
    ["source", "verdict"],
    registry=SERVE_REGISTRY,
)
LABELS_REFUSED = Counter(
    "shadow_labels_refused_total", "Records on `labels` that are not valid labels.", registry=SERVE_REGISTRY
)
LABELS_LOST = Counter(
    "shadow_labels_lost_total", "Labels that retention deleted before they were read.", registry=SERVE_REGISTRY
)
GATE_SECONDS = Histogram(
    "shadow_gate_seconds", "Time that the gate takes to judge a slot.", buckets=LATENCY_BUCKETS, registry=SERVE_REGISTRY
)
NOTIFICATIONS = Counter(
    "shadow_notifications_total", "Messages on releases that a destination took.", ["event"], registry=SERVE_REGISTRY
)
NOTIFICATIONS_FAILED = Counter(
    "shadow_notifications_failed_total",
    "Messages on releases that a destination did not take; each is sent again.",
    registry=SERVE_REGISTRY,
)
GATE_ERRORS = Counter(
    "shadow_gate_errors_total",
    "Looks of the gate that failed because Kafka or Redis was unavailable.",
    registry=SERVE_REGISTRY,
)
SLOT_EPOCH = Gauge(
    "shadow_slot_epoch",
    "Epoch of each filled slot, from the ledger; every change of a slot adds 1.",
    ["slot"],
    registry=SERVE_REGISTRY,
)
UNREAD = Gauge(
    "shadow_unread_records",
    "Decisions that a slot has yet to count in Redis; known even if no shadow runs.",
    ["slot"],
    registry=SERVE_REGISTRY,
)
RETENTION_USED = Gauge(
    "shadow_retention_used_ratio",
    "Share of a partition's retained decisions that a slot has yet to count in Redis, in the worst partition. At 1, "
    "the next decision to expire was never compared.",
    ["slot"],
    registry=SERVE_REGISTRY,
)
REDIS_USED = Gauge("shadow_redis_used_bytes", "Memory that a Redis node uses.", ["node"], registry=SERVE_REGISTRY)
REDIS_LIMIT = Gauge(
    "shadow_redis_limit_bytes", "`maxmemory` of a Redis node; 0 is no limit.", ["node"], registry=SERVE_REGISTRY
)
WATCH_ERRORS = Counter(
    "shadow_watch_errors_total",
    "Failed looks at the backlog of slots and the memory of Redis, because Kafka or Redis was unavailable.",
    registry=SERVE_REGISTRY,
)


ARCHIVE_ROWS = Counter(
    "shadow_archive_rows_total", "Rows committed to the archive.", ["topic"], registry=ARCHIVE_REGISTRY
)
ARCHIVE_COMMITS = Counter(
    "shadow_archive_commits_total", "Commits to the archive.", ["topic"], registry=ARCHIVE_REGISTRY
)
ARCHIVE_PROBLEMS = Counter(
    "shadow_archive_problems_total",
    "Records archived as bytes, because they are not what their topic holds.",
    ["topic"],
    registry=ARCHIVE_REGISTRY,
)
ARCHIVE_CONFLICTS = Counter(
    "shadow_archive_conflicts_total",
    "Commits that another process came before; what it has written was dropped.",
    ["topic"],
    registry=ARCHIVE_REGISTRY,
)
ARCHIVE_ERRORS = Counter(
    "shadow_archive_errors_total",
    "Failed reads and writes of the archive; each is repeated.",
    ["topic"],
    registry=ARCHIVE_REGISTRY,
)
ARCHIVE_LOST = Counter(
    "shadow_archive_lost_records_total",
    "Offsets that retention deleted before they were archived.",
    ["topic"],
    registry=ARCHIVE_REGISTRY,
)
ARCHIVE_LAG = Gauge(
    "shadow_archive_lag_records",
    "Records of this process's partitions that are not in the archive yet.",
    ["topic"],
    registry=ARCHIVE_REGISTRY,
)
ARCHIVE_BEHIND = Gauge(
    "shadow_archive_behind_seconds",
    "Time since the broker's timestamp of the oldest record that was read and is not in the archive yet; 0 if none.",
    ["topic"],
    registry=ARCHIVE_REGISTRY,
)
ARCHIVE_ERASURE_OPEN = Gauge(
    "shadow_archive_erasure_open_seconds",
    "Age of the oldest request to erase a card that the archive has not carried out; 0 if none is open.",
    registry=ARCHIVE_REGISTRY,
)


def begin_archive(topic: str) -> None:
    """Export every counter of a topic at 0, as `begin` does."""
    for counter in (
        ARCHIVE_ROWS,
        ARCHIVE_COMMITS,
        ARCHIVE_PROBLEMS,
        ARCHIVE_CONFLICTS,
        ARCHIVE_ERRORS,
        ARCHIVE_LOST,
    ):
        counter.labels(topic)
