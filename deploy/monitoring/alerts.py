"""The alerts. Each has a section under its name in deploy/runbooks/alerts.md.

critical: wakes somebody, as decisions are wrong, late or missing, or nobody can tell whether they are. warning: for
working hours, as the evidence on a candidate suffers but live does not. info: news about a release; it is held back
briefly, so that an alert that explains it can inhibit it (deploy/prometheus/alertmanager.yaml).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["critical", "warning", "info", "none"]
Board = Literal["live", "shadow", "release"]


@dataclass(frozen=True)
class Alert:
    """hold: the field of `settings.Windows` with the time that `expr` must hold before it fires; None: at once."""

    name: str
    expr: str
    severity: Severity
    summary: str
    board: Board
    hold: str | None = None


#: Dead letters of records that a scorer could not decide through a fault of its own or of its model.
_FAULTS = 'scorer_rejected_total{field=~"raised|record|score"}'


def _counted(counter: str, by: str) -> str:
    """How much a counter rose. A new series counts with its full value: its process found the loss while starting, so
    no scrape saw it at 0."""
    return f"""
sum by ({by}) (
  increase({counter}[$event]) > 0
  or ({counter} > 0 unless {counter} offset $event)
)
"""


def _unseen(process: str, metric: str) -> str:
    """True if a metric was seen before and is gone, or was never seen."""
    return f"""
label_replace(
  (count by (namespace) (present_over_time({metric}[$memory])) unless count by (namespace) ({metric}))
    or absent_over_time({metric}[$memory]),
  "process", "{process}", "", ""
)
"""


ALERTS = (
    Alert(
        "LiveLatencyBudgetBurn",
        """
(namespace:scorer_late:ratio_fast_long > $fast_burn and namespace:scorer_late:ratio_fast_short > $fast_burn)
or
(namespace:scorer_late:ratio_slow_long > $slow_burn and namespace:scorer_late:ratio_slow_short > $slow_burn)
""",
        "critical",
        "{{ $value | humanizePercentage }} of live decisions are late; the month's latency budget will run out early",
        "live",
        hold="soon",
    ),
    Alert(
        "LiveStoppedDeciding",
        """
namespace:scorer_transactions:rate == 0
and
sum by (namespace) (increase(scorer_transactions_total[$memory])) > 0
""",
        "critical",
        "No transaction was decided in the last minutes, although some came in the last hours",
        "live",
        hold="soon",
    ),
    Alert(
        "TransactionsMissed",
        _counted("scorer_missed_transactions_total", "namespace"),
        "critical",
        "Retention deleted {{ $value | humanize }} transactions before they were decided",
        "live",
    ),
    Alert(
        "RecordsNotDecidable",
        _counted(_FAULTS, "namespace, field"),
        "critical",
        "{{ $value | humanize }} transactions became dead letters through a fault of scorer or model "
        "({{ $labels.field }})",
        "live",
    ),
    Alert(
        "PartitionStuck",
        """
max by (namespace, partition) (min_over_time(scorer_lag_records[$short])) > 0
unless on (namespace, partition)
max by (namespace, partition) (resets(scorer_lag_records[$short])) > 0
""",
        "critical",
        "Transactions of partition {{ $labels.partition }} wait, and none of them is decided",
        "live",
        hold="soon",
    ),
    Alert(
        "PartitionsNotDecided",
        "max by (namespace) (scorer_waiting_partitions) > 0",
        "critical",
        "Partitions were added to transactions, and {{ $value }} of them are not decided by one scorer",
        "live",
    ),
    Alert(
        "CardsSplit",
        f"""
{_counted("scorer_split_cards_total", "namespace").strip()}
or
sum by (namespace) (rate(scorer_miskeyed_total[$short])) / namespace:scorer_transactions:rate > 0.01
""",
        "warning",
        "Transactions of one card reach several partitions, so its velocity counts too little",
        "live",
        hold="steady",
    ),
    Alert(
        "CardMemoryNearLimit",
        "max by (namespace, instance) (scorer_card_bytes / (scorer_memory_limit_bytes > 0)) > 0.5",
        "warning",
        "Card states take {{ $value | humanizePercentage }} of the memory of scorer {{ $labels.instance }}",
        "live",
        hold="steady",
    ),
    Alert(
        "ScorerLost",
        """
namespace:scorer_workers:count
< max by (namespace) (max_over_time(namespace:scorer_workers:count[$recent]))
""",
        "warning",
        "{{ $value }} scorers run, fewer than half an hour ago",
        "live",
        hold="steady",
    ),
    Alert(
        "LiveRejectsAboveNormal",
        """
(
  namespace:scorer_rejected:ratio_now > 0.01
  and namespace:scorer_rejected:ratio_now > 3 * namespace:scorer_rejected:ratio_usual
)
or
namespace:scorer_rejected:ratio_now > 0.2
""",
        "warning",
        "{{ $value | humanizePercentage }} of transactions are rejected, more than usual",
        "live",
        hold="steady",
    ),
    Alert(
        "DecisionConflict",
        _counted("shadow_decision_conflicts_total", "namespace"),
        "critical",
        "{{ $value | humanize }} transactions got two different decisions from the same live model",
        "shadow",
    ),
    Alert(
        "LiveWorkersDisagree",
        """
max by (namespace) (scorer_live_epoch) - min by (namespace) (scorer_live_epoch) > 0
or
max by (namespace) (shadow_slot_epoch{slot="live"}) - min by (namespace) (scorer_live_epoch) > 0
or
max by (namespace) (scorer_model_behind) > 0
""",
        "critical",
        "Scorers do not decide by what the ledger names as live: another model, or the kill switch not taken up",
        "live",
        hold="swap",
    ),
    Alert(
        "LedgerEntryRefused",
        "max by (namespace) (increase(scorer_refused_entries_total[$event])) > 0",
        "critical",
        "Somebody writes to the ledger of deployments without a key that is trusted; live has not heeded it",
        "live",
    ),
    Alert(
        "LiveWorse",
        "max by (namespace) (shadow_live_worse) > 0",
        "critical",
        "Live is worse than the model that it replaced; a rollback is suggested",
        "release",
    ),
    Alert(
        "ComplaintsRose",
        "max by (namespace) (shadow_complaints_risen) > 0",
        "warning",
        "Customers complain more about blocks than before the last release",
        "release",
    ),
    Alert(
        "LiveModelOld",
        "max by (namespace) (scorer_model_age_seconds) > $rotation",
        "warning",
        "The data of the live model ended {{ $value | humanizeDuration }} ago; a new one is due",
        "live",
        hold="unanswered",
    ),
    Alert(
        "KillSwitchOn",
        "max by (namespace, override) (scorer_override) > 0",
        "warning",
        "The kill switch is on ({{ $labels.override }}); no model decides",
        "live",
    ),
    Alert(
        "ExplorationSpentEarly",
        "avg by (namespace) (scorer_exploration_exhausted) > 0.5 and on () hour() < 18",
        "warning",
        "{{ $value | humanizePercentage }} of partitions have spent today's exploration budget before 18:00 UTC",
        "live",
        hold="steady",
    ),
    Alert(
        "RiskHeldBack",
        "max by (namespace) (scorer_risk_held) > 0",
        "warning",
        "A snapshot of merchant risk is held back: too many fraud rates would move at once",
        "live",
    ),
    Alert(
        "RiskOverdue",
        "max by (namespace) (scorer_risk_overdue_seconds) > $overdue",
        "warning",
        "A snapshot of merchant risk is {{ $value | humanizeDuration }} overdue; decisions use an older one",
        "live",
        hold="steady",
    ),
    Alert(
        "CandidateGetsNothing",
        """
(
  max by (namespace, slot) (shadow_slot_epoch{slot!="live"})
  unless on (namespace, slot) namespace_slot:shadow_judged:rate > 0
)
and on (namespace) namespace:scorer_decisions:rate > 0
""",
        "warning",
        "Live decides, but slot {{ $labels.slot }} compares nothing",
        "shadow",
        hold="steady",
    ),
    Alert(
        "CandidateErrors",
        """
sum by (namespace, slot) (rate(shadow_candidate_errors_total[$short])) / namespace_slot:shadow_judged:rate > 0.001
or
max by (namespace, slot) (shadow_model_broken) > 0
""",
        "warning",
        "The candidate in slot {{ $labels.slot }} fails to score transactions that live scores",
        "shadow",
        hold="soon",
    ),
    Alert(
        "ShadowFallsBehind",
        """
namespace_slot:shadow_behind:seconds > $behind
and
namespace_slot:shadow_judged:rate > 0
""",
        "warning",
        "Slot {{ $labels.slot }} is {{ $value | humanizeDuration }} behind live, and does not catch up",
        "shadow",
        hold="patient",
    ),
    Alert(
        "ShadowNearRetention",
        "max by (namespace, slot) (shadow_retention_used_ratio) > 0.5",
        "warning",
        "Slot {{ $labels.slot }} has yet to compare {{ $value | humanizePercentage }} of the retained decisions",
        "shadow",
        hold="patient",
    ),
    Alert(
        "CleanPeriodReset",
        f"""
resets(namespace_slot:shadow_clean_period:max[$news]) > 0
or
{_counted("shadow_gap_records_total", "namespace, slot").strip()}
""",
        "info",
        "The clean period of slot {{ $labels.slot }} was reset, or decisions are missing in it",
        "release",
        hold="swap",
    ),
    Alert(
        "ShadowStoreTrouble",
        """
sum by (namespace) (rate(shadow_redis_errors_total[$short])) > 0
or
sum by (namespace) (rate(shadow_gate_errors_total[$short])) > 0
or
sum by (namespace) (increase(shadow_went_back_total[$short])) > 0
""",
        "warning",
        "Redis fails, or has lost data that was written to it",
        "shadow",
        hold="soon",
    ),
    Alert(
        "ShadowRedisMemory",
        "max by (namespace, node) (shadow_redis_used_bytes / (shadow_redis_limit_bytes > 0)) > 0.8",
        "warning",
        "Redis node {{ $labels.node }} uses {{ $value | humanizePercentage }} of its memory",
        "shadow",
        hold="steady",
    ),
    Alert(
        "ArchiveBehind",
        "max by (namespace, topic) (shadow_archive_behind_seconds) > $unarchived",
        "warning",
        "The archive of topic {{ $labels.topic }} is {{ $value | humanizeDuration }} behind, and does not catch up",
        "shadow",
        hold="patient",
    ),
    Alert(
        "ArchiveLost",
        _counted("shadow_archive_lost_records_total", "namespace, topic"),
        "warning",
        "Retention deleted {{ $value | humanize }} records of topic {{ $labels.topic }} before they were archived",
        "shadow",
    ),
    Alert(
        "ErasureOpen",
        "max by (namespace) (shadow_archive_erasure_open_seconds) > $unerased",
        "warning",
        "A card that was to be erased {{ $value | humanizeDuration }} ago is in the archive still",
        "shadow",
        hold="patient",
    ),
    Alert(
        "GateVerdictChanged",
        "changes(namespace_slot:shadow_gate_decision:max[$news]) > 0",
        "info",
        "The gate's decision on slot {{ $labels.slot }} has changed",
        "release",
        hold="swap",
    ),
    Alert(
        "SuggestionWaiting",
        "max by (namespace) (shadow_suggestions_waiting) > 0",
        "info",
        "{{ $value }} suggestions wait to be approved or rejected",
        "release",
        hold="unanswered",
    ),
    Alert(
        "NotSeenByPrometheus",
        "or\n".join(
            (
                _unseen("scorer", "scorer_live_epoch").lstrip(),
                _unseen("shadow", "shadow_decisions_read_total").lstrip(),
                _unseen("serve", "shadow_suggestions_waiting").lstrip(),
            )
        ),
        "critical",
        "Prometheus sees no {{ $labels.process }}: it is down or not scraped, and its alerts cannot fire",
        "live",
        hold="steady",
    ),
    Alert(
        "Watchdog",
        "vector(1)",
        "none",
        "Always fires; if it stops arriving, alerting itself is broken",
        "live",
    ),
)
