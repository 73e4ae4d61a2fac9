"""Alerts, by what somebody would notice; each has a section of its name in deploy/runbooks/alerts.md.

critical: somebody is woken, for decisions are wrong, late or not made, or nobody can see whether they are. warning: to
be looked at in working hours, for the evidence on a candidate suffers and live does not. info: news about a release;
it waits for a moment, so that an alert that explains it can silence it (deploy/prometheus/alertmanager.yaml).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["critical", "warning", "info", "none"]
Board = Literal["live", "shadow", "release"]


@dataclass(frozen=True)
class Alert:
    """hold: how long it must be so before it fires, a name of `settings.Windows`; None is at once."""

    name: str
    expr: str
    severity: Severity
    summary: str
    board: Board
    hold: str | None = None


def _counted(counter: str, by: str) -> str:
    """How much a counter rose. A series that is new counts as a whole: its process found the loss while it started,
    and no scrape has seen it at 0."""
    return f"""
sum by ({by}) (
  increase({counter}[$event]) > 0
  or ({counter} > 0 unless {counter} offset $event)
)
"""


def _unseen(process: str, metric: str) -> str:
    """True where a metric was seen and is not, or was never."""
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
        "{{ $value | humanizePercentage }} of live decisions are late: the month's budget will not last",
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
        "No transaction has been decided for minutes, and there were some in the last hours",
        "live",
        hold="soon",
    ),
    Alert(
        "TransactionsMissed",
        _counted("scorer_missed_transactions_total", "namespace"),
        "critical",
        "{{ $value | humanize }} transactions expired before they were decided",
        "live",
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
        "{{ $value | humanizePercentage }} of transactions are refused, more than is usual here",
        "live",
        hold="steady",
    ),
    Alert(
        "DecisionConflict",
        _counted("shadow_decision_conflicts_total", "namespace"),
        "critical",
        "{{ $value | humanize }} transactions have two different decisions of one model",
        "shadow",
    ),
    Alert(
        "LiveWorkersDisagree",
        """
max by (namespace) (scorer_live_epoch) - min by (namespace) (scorer_live_epoch) > 0
or
max by (namespace) (scorer_model_behind) > 0
""",
        "critical",
        "Scorers decide with different live models, or with an older one than the ledger says",
        "live",
        hold="swap",
    ),
    Alert(
        "LiveModelOld",
        "max by (namespace) (scorer_model_age_seconds) > $rotation",
        "warning",
        "The live model was made {{ $value | humanizeDuration }} ago, longer than a rotation",
        "live",
        hold="unanswered",
    ),
    Alert(
        "KillSwitchOn",
        "max by (namespace, override) (scorer_override) > 0",
        "warning",
        "The kill switch is on ({{ $labels.override }}): no model decides",
        "live",
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
        "Live decides, and slot {{ $labels.slot }} compares nothing",
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
        "The candidate in slot {{ $labels.slot }} cannot score what live scores",
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
        "Slot {{ $labels.slot }} is {{ $value | humanizeDuration }} of decisions behind, and does not catch up",
        "shadow",
        hold="patient",
    ),
    Alert(
        "ShadowNearRetention",
        "max by (namespace, slot) (shadow_retention_used_ratio) > 0.5",
        "warning",
        "Slot {{ $labels.slot }} has {{ $value | humanizePercentage }} of what retention keeps before it",
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
        "The clean period of slot {{ $labels.slot }} begins anew, or has a hole",
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
        "Redis fails, or has not what was written to it",
        "shadow",
        hold="soon",
    ),
    Alert(
        "ShadowRedisMemory",
        "max by (namespace, node) (shadow_redis_used_bytes / (shadow_redis_limit_bytes > 0)) > 0.8",
        "warning",
        "Redis {{ $labels.node }} has used {{ $value | humanizePercentage }} of its memory",
        "shadow",
        hold="steady",
    ),
    Alert(
        "GateVerdictChanged",
        "changes(namespace_slot:shadow_gate_decision:max[$news]) > 0",
        "info",
        "The gate has changed its mind about slot {{ $labels.slot }}",
        "release",
        hold="swap",
    ),
    Alert(
        "SuggestionWaiting",
        "max by (namespace) (shadow_suggestions_waiting) > 0",
        "info",
        "{{ $value }} suggestions wait for an answer",
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
        "Prometheus sees no {{ $labels.process }}: it is down, or not scraped, and alerts on it are blind",
        "live",
        hold="steady",
    ),
    Alert(
        "Watchdog",
        "vector(1)",
        "none",
        "Always on: when it no longer arrives, alerting itself is broken",
        "live",
    ),
)
