"""*Shadow health*: is every slot compared with live, completely and in time, and is its store well."""

from __future__ import annotations

from typing import Any

from monitoring.panels import (
    BLUE,
    GREY,
    IN,
    ORANGE,
    PURPLE,
    SLOT,
    VERMILION,
    Query,
    board,
    lines,
    links,
    number,
)


def _rate(metric: str, by: str = "slot", matchers: str = SLOT) -> str:
    return f"sum by ({by}) (rate({metric}{{{matchers}}}[$__rate_interval]))"


def _quantile(metric: str, by: str, matchers: str = SLOT) -> str:
    return f"histogram_quantile(0.99, sum by (le{by}) (rate({metric}_bucket{{{matchers}}}[$__rate_interval])))"


def shadow(samples: str) -> dict[str, Any]:
    """The dashboard as JSON. samples: where `shadow serve` answers, unless its variable says otherwise."""
    at = links("${samples}", "slot")
    return board(
        "shadow",
        "Shadow scorer: shadow health",
        "Is every slot compared with live, completely and in time? Coverage, lag, errors, Redis, gaps.",
        samples,
        ("slot",),
        [
            (
                4,
                [
                    number(
                        "Epoch of each slot",
                        "As the ledger has it; each change of a slot adds one.",
                        "short",
                        Query(f"max by (slot) (shadow_slot_epoch{{{IN}}})", "{{slot}}"),
                    ),
                    number(
                        "Unread",
                        "Decisions on the topic that a slot has not in Redis: known even if no shadow runs.",
                        "short",
                        Query(f"max by (slot) (shadow_unread_records{{{SLOT}}})", "{{slot}}"),
                    ),
                    number(
                        "Candidate cannot be loaded",
                        "1 while the bundle of a slot is damaged, missing, or does not fit.",
                        "none",
                        Query(f"max by (slot) (shadow_model_broken{{{SLOT}}})", "{{slot}}"),
                        words=((0, "no", BLUE), (1, "YES", VERMILION)),
                    ),
                    number(
                        "Age of the candidate",
                        "Since its bundle was made.",
                        "s",
                        Query(f"max by (slot) (shadow_model_age_seconds{{{SLOT}}})", "{{slot}}"),
                    ),
                ],
            ),
            "Coverage and lag",
            (
                9,
                [
                    lines(
                        "Compared, beside what live decides",
                        "Transactions a second that each slot compares. Below live's for long: it falls behind.",
                        "cps",
                        [
                            Query(f"sum(namespace:scorer_decisions:rate{{{IN}}})", "live", GREY),
                            Query(f"sum by (slot) (namespace_slot:shadow_judged:rate{{{SLOT}}})", "{{slot}}"),
                        ],
                        at,
                    ),
                    lines(
                        "Coverage",
                        "Decisions that were compared, of those that there were, in the present run.",
                        "percentunit",
                        [Query(f"max by (slot) (shadow_run_coverage_ratio{{{SLOT}}})", "{{slot}}")],
                        at,
                    ),
                    lines(
                        "Behind",
                        "For how long live has been deciding what a slot has not compared. The alert is at 5 minutes.",
                        "s",
                        [Query(f"max by (slot) (namespace_slot:shadow_behind:seconds{{{SLOT}}})", "{{slot}}")],
                        limit=300,
                    ),
                ],
            ),
            (
                9,
                [
                    lines(
                        "Delay",
                        "From the broker's time of a decision to its comparison being in Redis, 99 of 100.",
                        "s",
                        [Query(_quantile("shadow_delay_seconds", ", slot"), "{{slot}}")],
                        at,
                    ),
                    lines(
                        "Lag by partition",
                        "Decisions that a shadow has still to read, as it sees it itself.",
                        "short",
                        [
                            Query(
                                f"max by (slot, partition) (shadow_lag_records{{{SLOT}}})",
                                "{{slot}}, partition {{partition}}",
                            )
                        ],
                    ),
                    lines(
                        "Retention used",
                        "Unread decisions, of those that retention has left; of the worst partition. At 100 % the next "
                        "one to expire was never compared, and the clean period has a hole.",
                        "percentunit",
                        [Query(f"max by (slot) (shadow_retention_used_ratio{{{SLOT}}})", "{{slot}}")],
                        limit=0.5,
                    ),
                ],
            ),
            "What went wrong",
            (
                9,
                [
                    lines(
                        "Candidate errors",
                        "Decisions a second that the candidate could not score. The gate counts them against it.",
                        "cps",
                        [Query(_rate("shadow_candidate_errors_total"), "{{slot}}")],
                        at,
                    ),
                    lines(
                        "Went back to the fence",
                        "Times that Redis had not what was applied. Stale: another worker was faster, or Redis went "
                        "back. Wiped: its data is gone. Lost: found out while nothing came.",
                        "short",
                        [
                            Query(
                                f"sum by (slot, reason) (increase(shadow_went_back_total{{{SLOT}}}[$__rate_interval]))",
                                "{{slot}}: {{reason}}",
                            )
                        ],
                    ),
                    lines(
                        "Duplicates and conflicts",
                        "Second decisions for a transaction, a second. Equal ones are harmless and not counted; one "
                        "with another score under the same epoch is a broken promise.",
                        "cps",
                        [
                            Query(_rate("shadow_duplicates_total"), "{{slot}}: duplicates", BLUE),
                            Query(_rate("shadow_decision_conflicts_total"), "{{slot}}: conflicts", VERMILION),
                        ],
                    ),
                    lines(
                        "Not compared",
                        "Records a second that expired unread, were no decisions, or came while the slot was empty.",
                        "cps",
                        [
                            Query(_rate("shadow_gap_records_total"), "{{slot}}: expired", VERMILION),
                            Query(_rate("shadow_unreadable_total"), "{{slot}}: unreadable", ORANGE),
                            Query(_rate("shadow_skipped_total"), "{{slot}}: slot empty", GREY),
                        ],
                    ),
                ],
            ),
            "Redis",
            (
                9,
                [
                    lines(
                        "Latency of Redis",
                        "One flush of a partition's sums, 99 of 100.",
                        "s",
                        [Query(_quantile("shadow_stage_seconds", ", slot", f'{SLOT}, stage="flush"'), "{{slot}}")],
                    ),
                    lines(
                        "Memory of Redis",
                        "Used, and the limit of each node; no limit is 0.",
                        "bytes",
                        [
                            Query(f"max by (node) (shadow_redis_used_bytes{{{IN}}})", "{{node}}: used", BLUE),
                            Query(
                                f"max by (node) (shadow_redis_limit_bytes{{{IN}}} > 0)", "{{node}}: limit", VERMILION
                            ),
                        ],
                    ),
                    lines(
                        "Failed calls",
                        "Calls to Redis by shadows, looks of the gate, and looks at lag and memory, a second. All are "
                        "repeated.",
                        "cps",
                        [
                            Query(_rate("shadow_redis_errors_total"), "{{slot}}"),
                            Query(f"sum(rate(shadow_gate_errors_total{{{IN}}}[$__rate_interval]))", "gate", ORANGE),
                            Query(f"sum(rate(shadow_watch_errors_total{{{IN}}}[$__rate_interval]))", "watch", PURPLE),
                        ],
                    ),
                ],
            ),
            "Work",
            (
                9,
                [
                    lines(
                        "Read",
                        "Decisions a second that each slot reads, those of before its fence too.",
                        "cps",
                        [Query(_rate("shadow_decisions_read_total"), "{{slot}}")],
                    ),
                    lines(
                        "Records of a batch",
                        "99 of 100.",
                        "short",
                        [Query(_quantile("shadow_batch_records", ", slot"), "{{slot}}")],
                    ),
                    lines(
                        "Saturation",
                        "Share of its time that a shadow computes, with one thread. Near 1 it needs company.",
                        "percentunit",
                        [
                            Query(
                                _rate("shadow_stage_seconds_sum", "slot, instance", f'{SLOT}, stage="compute"'),
                                "{{slot}}, {{instance}}",
                            )
                        ],
                        limit=0.8,
                    ),
                    lines(
                        "One look of the gate",
                        "Time that it takes to judge a slot, 99 of 100.",
                        "s",
                        [Query(_quantile("shadow_gate_seconds", "", IN), "gate")],
                    ),
                ],
            ),
        ],
    )
