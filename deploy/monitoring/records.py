"""Recording rules: expressions that several alerts and panels use, computed once.

Names are level:metric:operation. All are by namespace, so that several installations can share a Prometheus; without
namespaces the label is just missing. A process that is replaced begins a new series, so values that are compared with
their own past are recorded without the labels of the process.
"""

from __future__ import annotations

from dataclasses import dataclass

_LATE = """
1 - sum by (namespace) (rate(scorer_end_to_end_seconds_bucket{le="$objective"}[%s]))
  / sum by (namespace) (rate(scorer_end_to_end_seconds_count[%s]))
"""
_REJECTED = """
sum by (namespace) (rate(scorer_rejected_total[%s]))
  / sum by (namespace) (rate(scorer_transactions_total[%s]))
"""
_SHARE = """
sum by (namespace, slot, segment) (shadow_run_outcomes{outcome=~"%s"})
  / sum by (namespace, slot, segment) (shadow_run_outcomes%s)
"""
_LIVE_BLOCKS = '{outcome=~"both_block|live_only"}'


@dataclass(frozen=True)
class Record:
    """A recording rule. Its expression may hold `$names` that `settings.fill` fills in."""

    name: str
    expr: str


RECORDS = (
    Record(
        "namespace:scorer_workers:count",
        "count by (namespace) (scorer_live_epoch)",
    ),
    Record(
        "namespace:scorer_transactions:rate",
        "sum by (namespace) (rate(scorer_transactions_total[$short]))",
    ),
    Record(
        "namespace:scorer_decisions:rate",
        "sum by (namespace) (rate(scorer_decisions_total[$short]))",
    ),
    Record("namespace:scorer_late:ratio_fast_short", _LATE.replace("%s", "$fast_short")),
    Record("namespace:scorer_late:ratio_fast_long", _LATE.replace("%s", "$fast_long")),
    Record("namespace:scorer_late:ratio_slow_short", _LATE.replace("%s", "$slow_short")),
    Record("namespace:scorer_late:ratio_slow_long", _LATE.replace("%s", "$slow_long")),
    Record("namespace:scorer_rejected:ratio_now", _REJECTED.replace("%s", "$short")),
    Record("namespace:scorer_rejected:ratio_usual", _REJECTED.replace("%s", "$usual")),
    Record(
        "namespace_slot:shadow_judged:rate",
        """
sum by (namespace, slot) (rate(shadow_comparisons_total[$short]))
  + sum by (namespace, slot) (rate(shadow_candidate_errors_total[$short]))
""",
    ),
    Record(
        "namespace_slot:shadow_behind:seconds",
        """
max by (namespace, slot) (shadow_unread_records)
  / on (namespace) group_left () (namespace:scorer_decisions:rate > 0)
""",
    ),
    Record("namespace_slot:shadow_gate_decision:max", "max by (namespace, slot) (shadow_gate_decision)"),
    Record("namespace_slot:shadow_clean_period:max", "max by (namespace, slot) (shadow_clean_period_ratio)"),
    Record("namespace_slot_segment:live_block:ratio", _SHARE % ("both_block|live_only", "")),
    Record("namespace_slot_segment:candidate_block:ratio", _SHARE % ("both_block|candidate_only", "")),
    Record("namespace_slot_segment:disagreement:ratio", _SHARE % ("live_only|candidate_only", _LIVE_BLOCKS)),
    Record(
        "namespace_slot_segment:excess_disagreement:ratio",
        """
namespace_slot_segment:disagreement:ratio{slot!="control"}
  - on (namespace, segment) group_left () namespace_slot_segment:disagreement:ratio{slot="control"}
""",
    ),
)
