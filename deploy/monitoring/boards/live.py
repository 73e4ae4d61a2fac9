"""The dashboard *Live path*: whether transactions are decided, in time, and by the right model."""

from __future__ import annotations

from typing import Any

from monitoring.panels import (
    BLUE,
    GREEN,
    GREY,
    IN,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    YELLOW,
    Query,
    board,
    heat,
    lines,
    number,
    rows,
)
from monitoring.settings import Limits

STAGES = (("compute", BLUE), ("publish", ORANGE), ("state", PURPLE))


def _quantile(q: float, metric: str, matchers: str = "", by: str = "") -> str:
    inside = f"{IN}, {matchers}" if matchers else IN
    return f"histogram_quantile({q}, sum by (le{by}) (rate({metric}_bucket{{{inside}}}[$__rate_interval])))"


def live(samples: str, limits: Limits) -> dict[str, Any]:
    """The dashboard as JSON. samples: default address of `shadow serve`."""
    objective = float(limits.objective)
    told = f"Objective: {100 * (1 - limits.late_share):.1f} % within {objective * 1000:g} ms."
    return board(
        "live",
        "Shadow scorer: live path",
        "Are transactions decided in time, and by the right model? Rate, latency, lag, rejects, models, saturation.",
        samples,
        (),
        [
            (
                4,
                [
                    number(
                        "Decisions per second",
                        "Decisions published and acknowledged.",
                        "cps",
                        Query(f"sum(namespace:scorer_decisions:rate{{{IN}}})", "decisions"),
                    ),
                    number(
                        "Late in the last hour",
                        f"Share of decisions that missed the objective. {told}",
                        "percentunit",
                        Query(f"max(namespace:scorer_late:ratio_fast_long{{{IN}}})", "late"),
                        steps=(
                            (None, BLUE),
                            (limits.late_share, ORANGE),
                            (limits.fast_burn * limits.late_share, VERMILION),
                        ),
                    ),
                    number(
                        "Waiting for a decision",
                        "Transactions on the topic that are not decided yet.",
                        "short",
                        Query(f"sum(scorer_lag_records{{{IN}}})", "transactions"),
                    ),
                    number(
                        "Kill switch",
                        "While it is on, all transactions are allowed, or all are blocked, and no model decides.",
                        "none",
                        Query(f"max by (override) (scorer_override{{{IN}}})", "{{override}}"),
                        words=((0, "off", BLUE), (1, "ON", VERMILION)),
                    ),
                    number(
                        "Age of the live model",
                        "Time since its bundle was made.",
                        "s",
                        Query(f"max(scorer_model_age_seconds{{{IN}}})", "age"),
                        steps=((None, BLUE), (1_296_000, ORANGE)),
                    ),
                    number(
                        "Predictor",
                        "Scorers by what predicts: pylignum if it gives LightGBM's scores, else LightGBM.",
                        "short",
                        Query(f"sum by (predictor) (scorer_predictor{{{IN}}})", "{{predictor}}"),
                    ),
                    number(
                        "Scorers on an older model",
                        "Scorers that cannot load the live bundle and decide with an older one.",
                        "short",
                        Query(f"sum(scorer_model_behind{{{IN}}})", "scorers"),
                        steps=((None, BLUE), (1, VERMILION)),
                    ),
                ],
            ),
            "Rate and latency",
            (
                9,
                [
                    lines(
                        "Decisions",
                        "Decisions per second, by verdict.",
                        "cps",
                        [
                            Query(
                                f"sum by (decision) (rate(scorer_decisions_total{{{IN}}}[$__rate_interval]))",
                                "{{decision}}",
                            )
                        ],
                        stacked=True,
                    ),
                    lines(
                        "Latency",
                        "Time from the broker's timestamp of a transaction to the acknowledgement of its decision. "
                        f"The dashed line is the objective. {told}",
                        "s",
                        [
                            Query(_quantile(0.5, "scorer_end_to_end_seconds"), "median", SKY),
                            Query(_quantile(0.99, "scorer_end_to_end_seconds"), "p99", BLUE),
                            Query(_quantile(0.999, "scorer_end_to_end_seconds"), "p99.9", ORANGE),
                        ],
                        limit=objective,
                    ),
                    heat(
                        "Latency distribution",
                        "Number of decisions by end-to-end latency.",
                        "s",
                        Query(
                            f"sum by (le) (increase(scorer_end_to_end_seconds_bucket{{{IN}}}[$__rate_interval]))",
                            "{{le}}",
                        ),
                    ),
                ],
            ),
            (
                9,
                [
                    lines(
                        "Burn rate of the latency budget",
                        "Share of late decisions as a multiple of what the objective allows. At 1 a month's budget "
                        f"lasts a month. The alert fires at {limits.fast_burn:g} (windows of 5 min and 1 h) or "
                        f"{limits.slow_burn:g} (30 min and 6 h).",
                        "none",
                        [
                            Query(
                                f"namespace:scorer_late:ratio_{kind}{{{IN}}} / {limits.late_share}",
                                f"{kind.replace('_', ', ')} window",
                                colour,
                            )
                            for kind, colour in (
                                ("fast_short", SKY),
                                ("fast_long", BLUE),
                                ("slow_short", PURPLE),
                                ("slow_long", ORANGE),
                            )
                        ],
                        limit=limits.slow_burn,
                    ),
                    lines(
                        "Time by stage",
                        "99th percentile of the time of a batch. Compute: decode, make features, predict. Publish: "
                        "until decisions and dead letters are acknowledged. State: from then until card states are "
                        "acknowledged, which are sent with the next batch.",
                        "s",
                        [
                            Query(_quantile(0.99, "scorer_stage_seconds", f'stage="{stage}"'), stage, colour)
                            for stage, colour in STAGES
                        ],
                    ),
                    lines(
                        "Saturation",
                        "Share of its time that a scorer's one compute thread is busy. Near 100 %, add a scorer, up to "
                        "one for each partition.",
                        "percentunit",
                        [
                            Query(
                                "sum by (instance) (rate(scorer_stage_seconds_sum"
                                f'{{{IN}, stage="compute"}}[$__rate_interval]))',
                                "{{instance}}",
                            )
                        ],
                        limit=0.8,
                    ),
                ],
            ),
            "Input",
            (
                9,
                [
                    lines(
                        "Lag by partition",
                        "Transactions on the topic that are not decided yet, by partition.",
                        "short",
                        [Query(f"max by (partition) (scorer_lag_records{{{IN}}})", "partition {{partition}}")],
                    ),
                    lines(
                        "Rejects",
                        "Dead letters per second, by the field at fault. To see why: `scorer replay --rejected "
                        "--dry-run`. Failed: decisions that lack a feature in Python, because it raised.",
                        "cps",
                        [
                            Query(
                                f"sum by (field) (rate(scorer_rejected_total{{{IN}}}[$__rate_interval]))",
                                "{{field}}",
                            ),
                            Query(
                                f"sum by (feature) (rate(scorer_feature_failed_total{{{IN}}}[$__rate_interval]))",
                                "{{feature}} failed",
                            ),
                        ],
                        stacked=True,
                    ),
                    lines(
                        "Share rejected",
                        "Share of transactions that are rejected, now and over the last day.",
                        "percentunit",
                        [
                            Query(f"namespace:scorer_rejected:ratio_now{{{IN}}}", "now", ORANGE),
                            Query(f"namespace:scorer_rejected:ratio_usual{{{IN}}}", "usual", GREY),
                        ],
                    ),
                    lines(
                        "Unusual records",
                        "Transactions per second that were sent twice (repeated), are refunds (negative amounts that "
                        "no model decides), have a record key that is not their card (wrong key), are dated in the "
                        "future (future date), expired before they were decided (missed), or were left to the scorer "
                        "that took over their partition (fenced). Skipped: records that the mapping passes over. "
                        "Foreign: records of the scorer's own topics that something else wrote.",
                        "cps",
                        [
                            Query(f"sum(rate({metric}{{{IN}}}[$__rate_interval]))", told, colour)
                            for metric, told, colour in (
                                ("scorer_repeats_total", "repeated", BLUE),
                                ("scorer_refunds_total", "refund", YELLOW),
                                ("scorer_miskeyed_total", "wrong key", ORANGE),
                                ("scorer_untrusted_dates_total", "future date", PURPLE),
                                ("scorer_missed_transactions_total", "missed", VERMILION),
                                ("scorer_fenced_transactions_total", "fenced", SKY),
                            )
                        ]
                        # by topic or kind, so there is no series before the first
                        + [
                            Query(
                                f"(sum(rate(scorer_foreign_records_total{{{IN}}}[$__rate_interval])) or vector(0))"
                                f" + (sum(rate(scorer_refused_entries_total{{{IN}}}[$__rate_interval])) or vector(0))",
                                "foreign or refused",
                                GREEN,
                            ),
                            Query(
                                f"sum(rate(scorer_skipped_records_total{{{IN}}}[$__rate_interval])) or vector(0)",
                                "skipped",
                                GREY,
                            ),
                        ],
                    ),
                ],
            ),
            "Exploration",
            (
                8,
                [
                    lines(
                        "Would-be blocks drawn and released",
                        "Per second: would-be blocks that exploration drew, and those of them that it released. No "
                        "lines while exploration is off.",
                        "cps",
                        [
                            Query(f"sum(rate(scorer_drawn_total{{{IN}}}[$__rate_interval]))", "drawn", GREY),
                            Query(f"sum(rate(scorer_released_total{{{IN}}}[$__rate_interval]))", "released", ORANGE),
                        ],
                    ),
                    lines(
                        "Money released in a day",
                        "Money of the would-be blocks that exploration released in the last 24 hours, in units of the "
                        "reporting currency.",
                        "short",
                        [Query(f"sum(increase(scorer_released_money_total{{{IN}}}[1d]))", "released", ORANGE)],
                    ),
                    lines(
                        "Exploration budget spent",
                        "Share of today's budget (UTC) that is spent, and share of the partitions in which nothing "
                        "more is released today.",
                        "percentunit",
                        [
                            Query(f"avg(scorer_exploration_spent_share{{{IN}}})", "spent", BLUE),
                            Query(f"avg(scorer_exploration_exhausted{{{IN}}})", "exhausted", VERMILION),
                        ],
                    ),
                ],
            ),
            "Merchant risk",
            (
                8,
                [
                    lines(
                        "Merchants in the last snapshot",
                        "With a transaction in a window; and those whose fraud rate would have moved further than it "
                        "may. No lines without `scorer risk`.",
                        "short",
                        [Query(f"max by (what) (scorer_risk_merchants{{{IN}}})", "{{what}}")],
                    ),
                    lines(
                        "Snapshots, and decisions without one",
                        "Per hour: snapshots that were published, and decisions that found none.",
                        "short",
                        [
                            Query(f"sum(increase(scorer_risk_snapshots_total{{{IN}}}[1h]))", "snapshots", BLUE),
                            Query(f"sum(increase(scorer_risk_missing_total{{{IN}}}[1h]))", "without", VERMILION),
                        ],
                    ),
                    lines(
                        "Snapshot overdue",
                        "Time since a newer snapshot should have come to a scorer; and 1 while one is held back.",
                        "s",
                        [
                            Query(f"max(scorer_risk_overdue_seconds{{{IN}}})", "overdue", ORANGE),
                            Query(f"max(scorer_risk_held{{{IN}}})", "held back", VERMILION),
                        ],
                    ),
                ],
            ),
            "Model and workers",
            (
                9,
                [
                    rows(
                        "Workers",
                        "For each scorer: epoch of the live slot that it decides with, which must be the same for all; "
                        "cards in memory; transactions per second. Producer fence held: 1 if the broker refuses writes "
                        "of a scorer once another has taken over its partitions. Memory for cards: share of what the "
                        "scorer may use. Cards dropped: idle ones and erased ones.",
                        [
                            Query(f"max by (instance) (scorer_live_epoch{{{IN}}})", "{{instance}}"),
                            Query(f"max by (instance) (scorer_cards{{{IN}}})", "{{instance}}"),
                            Query(
                                f"sum by (instance) (rate(scorer_transactions_total{{{IN}}}[$__rate_interval]))",
                                "{{instance}}",
                            ),
                            Query(f"max by (instance) (scorer_fence{{{IN}}})", "{{instance}}"),
                            Query(
                                f"sum by (instance) (increase(scorer_cards_dropped_total{{{IN}}}[1h]))", "{{instance}}"
                            ),
                            Query(
                                f"max by (instance) (scorer_card_bytes{{{IN}}} / scorer_memory_limit_bytes{{{IN}}})",
                                "{{instance}}",
                            ),
                        ],
                        {
                            "instance": "Scorer",
                            "Value #A": "Live epoch",
                            "Value #B": "Cards",
                            "Value #C": "Transactions per second",
                            "Value #D": "Producer fence held",
                            "Value #E": "Cards dropped in an hour",
                            "Value #F": "Memory for cards",
                        },
                    ),
                    lines(
                        "Decisions by bundle",
                        "Decisions per second, by the first digits of the live bundle's digest. Two bundles decide at "
                        "the same time only during a swap.",
                        "cps",
                        [
                            Query(
                                f"sum by (bundle) (rate(scorer_decisions_total{{{IN}}}[$__rate_interval]))",
                                "{{bundle}}",
                            )
                        ],
                        stacked=True,
                    ),
                    lines(
                        "Records in a batch",
                        "Few on an idle stream, many on a busy one, at most the setting `batch_records`.",
                        "short",
                        [
                            Query(_quantile(0.5, "scorer_batch_records"), "median", SKY),
                            Query(_quantile(0.99, "scorer_batch_records"), "p99", BLUE),
                        ],
                    ),
                ],
            ),
        ],
    )
