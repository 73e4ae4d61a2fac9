"""The dashboard *Shadow health*: whether every slot is compared with live, completely and in time."""

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
    """The dashboard as JSON. samples: default address of `shadow serve`."""
    at = links("${samples}", "slot")
    return board(
        "shadow",
        "Shadow scorer: shadow health",
        "Is every slot compared with live, completely and in time? Coverage, lag, errors, gaps, Redis.",
        samples,
        ("slot",),
        [
            (
                4,
                [
                    number(
                        "Epoch of each slot",
                        "From the ledger; every change of a slot adds 1.",
                        "short",
                        Query(f"max by (slot) (shadow_slot_epoch{{{IN}}})", "{{slot}}"),
                    ),
                    number(
                        "Backlog",
                        "Decisions that a slot has yet to count in Redis; known even if no shadow runs.",
                        "short",
                        Query(f"max by (slot) (shadow_unread_records{{{SLOT}}})", "{{slot}}"),
                    ),
                    number(
                        "Candidate cannot be loaded",
                        "YES while the bundle of a slot is missing, is damaged, or does not fit the feature view.",
                        "none",
                        Query(f"max by (slot) (shadow_model_broken{{{SLOT}}})", "{{slot}}"),
                        words=((0, "no", BLUE), (1, "YES", VERMILION)),
                    ),
                    number(
                        "Predictor",
                        "What predicts the candidate's scores: pylignum if it gives LightGBM's, else LightGBM.",
                        "short",
                        Query(f"sum by (slot, predictor) (shadow_predictor{{{SLOT}}}) > 0", "{{slot}} {{predictor}}"),
                    ),
                    number(
                        "Age of the candidate",
                        "Time since its bundle was made.",
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
                        "Comparisons per second, beside live's decisions",
                        "A slot that stays below live falls behind.",
                        "cps",
                        [
                            Query(f"sum(namespace:scorer_decisions:rate{{{IN}}})", "live", GREY),
                            Query(f"sum by (slot) (namespace_slot:shadow_judged:rate{{{SLOT}}})", "{{slot}}"),
                        ],
                        at,
                    ),
                    lines(
                        "Coverage",
                        "Share of live's decisions in the current run that were compared.",
                        "percentunit",
                        [Query(f"max by (slot) (shadow_run_coverage_ratio{{{SLOT}}})", "{{slot}}")],
                        at,
                    ),
                    lines(
                        "Time behind live",
                        "The backlog of each slot, as the time that live took to make these decisions. The alert fires "
                        "above 5 minutes.",
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
                        "Delay of comparisons",
                        "99th percentile of the time from the broker's timestamp of a decision until its comparison is "
                        "in Redis.",
                        "s",
                        [Query(_quantile("shadow_delay_seconds", ", slot"), "{{slot}}")],
                        at,
                    ),
                    lines(
                        "Lag by partition",
                        "Decisions that a shadow has yet to compare, as the shadow itself reports.",
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
                        "Backlog as a share of the retained decisions, in the worst partition. At 100 %, the next "
                        "decision to expire was never compared, which resets the clean period.",
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
                        "Decisions per second that the candidate could not score. The gate counts them against it.",
                        "cps",
                        [Query(_rate("shadow_candidate_errors_total"), "{{slot}}")],
                        at,
                    ),
                    lines(
                        "Restarts from the fence",
                        "Times that a shadow read decisions again because Redis did not hold what it had applied. "
                        "Stale: another worker wrote, or Redis lost its last writes. Wiped: Redis lost all data. Lost: "
                        "either, noticed while idle.",
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
                        "Second decisions on a transaction, per second. Duplicates are harmless and not counted. "
                        "A conflict has another score in the same live epoch, which must never happen.",
                        "cps",
                        [
                            Query(_rate("shadow_duplicates_total"), "{{slot}}: duplicates", BLUE),
                            Query(_rate("shadow_decision_conflicts_total"), "{{slot}}: conflicts", VERMILION),
                        ],
                    ),
                    lines(
                        "Not compared",
                        "Records per second that expired unread, were not decisions, or came while the slot was empty.",
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
                        "Time to write to Redis",
                        "99th percentile of the time to write a partition's sums.",
                        "s",
                        [Query(_quantile("shadow_stage_seconds", ", slot", f'{SLOT}, stage="flush"'), "{{slot}}")],
                    ),
                    lines(
                        "Memory of Redis",
                        "Memory used by each node, and its limit if it has one.",
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
                        "Failed calls per second: of shadows to Redis, of the gate, of the watch on backlogs and "
                        "memory, and to those who are told of releases. All are repeated. Messages: those that "
                        "somebody took.",
                        "cps",
                        [
                            Query(_rate("shadow_redis_errors_total"), "{{slot}}"),
                            Query(f"sum(rate(shadow_gate_errors_total{{{IN}}}[$__rate_interval]))", "gate", ORANGE),
                            Query(f"sum(rate(shadow_watch_errors_total{{{IN}}}[$__rate_interval]))", "watch", PURPLE),
                            Query(
                                f"sum(rate(shadow_notifications_failed_total{{{IN}}}[$__rate_interval]))",
                                "messages refused",
                                VERMILION,
                            ),
                            Query(
                                f"sum(rate(shadow_notifications_total{{{IN}}}[$__rate_interval])) or vector(0)",
                                "messages",
                                GREY,
                            ),
                        ],
                    ),
                ],
            ),
            "Work",
            (
                9,
                [
                    lines(
                        "Decisions read per second",
                        "Decisions that each slot reads, including those that it reads again.",
                        "cps",
                        [Query(_rate("shadow_decisions_read_total"), "{{slot}}")],
                    ),
                    lines(
                        "Decisions in a batch",
                        "99th percentile.",
                        "short",
                        [Query(_quantile("shadow_batch_records", ", slot"), "{{slot}}")],
                    ),
                    lines(
                        "Saturation",
                        "Share of its time that a shadow's one compute thread is busy. Near 100 %, add a shadow for "
                        "the slot, up to one for each partition.",
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
                        "Time to judge a slot",
                        "99th percentile of the time that the gate takes to judge a slot.",
                        "s",
                        [Query(_quantile("shadow_gate_seconds", "", IN), "gate")],
                    ),
                ],
            ),
            "Archive",
            (
                9,
                [
                    lines(
                        "Rows archived per second",
                        "By topic; and those that are kept as bytes, because they are not what their topic holds.",
                        "cps",
                        [
                            Query(_rate("shadow_archive_rows_total", "topic", IN), "{{topic}}"),
                            Query(
                                f"sum(rate(shadow_archive_problems_total{{{IN}}}[$__rate_interval]))",
                                "bytes",
                                VERMILION,
                            ),
                        ],
                    ),
                    lines(
                        "Archive behind",
                        "Age of the oldest record that was read and is not in its table yet. The alert fires above 15 "
                        "minutes.",
                        "s",
                        [Query(f"max by (topic) (shadow_archive_behind_seconds{{{IN}}})", "{{topic}}")],
                        limit=900,
                    ),
                    lines(
                        "Records not archived yet",
                        "By topic, of the partitions that somebody archives.",
                        "short",
                        [Query(f"sum by (topic) (shadow_archive_lag_records{{{IN}}})", "{{topic}}")],
                    ),
                    lines(
                        "Commits of the archive",
                        "Commits; those that another process came before; failed reads and writes, each of which is "
                        "repeated; and records that retention deleted first.",
                        "cps",
                        [
                            Query(
                                f"sum(rate(shadow_archive_commits_total{{{IN}}}[$__rate_interval]))", "commits", GREY
                            ),
                            Query(
                                f"sum(rate(shadow_archive_conflicts_total{{{IN}}}[$__rate_interval]))",
                                "conflicts",
                                PURPLE,
                            ),
                            Query(
                                f"sum(rate(shadow_archive_errors_total{{{IN}}}[$__rate_interval]))", "errors", ORANGE
                            ),
                            Query(
                                f"sum(rate(shadow_archive_lost_records_total{{{IN}}}[$__rate_interval]))",
                                "lost",
                                VERMILION,
                            ),
                        ],
                    ),
                ],
            ),
        ],
    )
