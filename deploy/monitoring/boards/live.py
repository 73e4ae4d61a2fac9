"""*Live path*: are transactions decided, in time, by the right model."""

from __future__ import annotations

from typing import Any

from monitoring.panels import (
    BLUE,
    GREY,
    IN,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
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
    """The dashboard as JSON. samples: where `shadow serve` answers, unless its variable says otherwise."""
    objective = float(limits.objective)
    told = f"The objective: {1 - limits.late_share:.1%} within {objective * 1000:g} ms."
    return board(
        "live",
        "Shadow scorer: live path",
        "Are transactions decided, in time, by the right model? Rate, latency, lag, rejects, model, saturation.",
        samples,
        (),
        [
            (
                4,
                [
                    number(
                        "Decided a second",
                        "Transactions that were decided and acknowledged.",
                        "cps",
                        Query(f"sum(namespace:scorer_decisions:rate{{{IN}}})", "decisions"),
                    ),
                    number(
                        "Late, in the last hour",
                        f"Decisions later than the objective. {told}",
                        "percentunit",
                        Query(f"max(namespace:scorer_late:ratio_fast_long{{{IN}}})", "late"),
                        steps=((None, BLUE), (limits.late_share, ORANGE), (0.0144, VERMILION)),
                    ),
                    number(
                        "Waiting",
                        "Transactions that have come and are not decided.",
                        "short",
                        Query(f"sum(scorer_lag_records{{{IN}}})", "transactions"),
                    ),
                    number(
                        "Kill switch",
                        "On: everything is allowed or blocked, and no model is asked.",
                        "none",
                        Query(f"max by (override) (scorer_override{{{IN}}})", "{{override}}"),
                        words=((0, "off", BLUE), (1, "ON", VERMILION)),
                    ),
                    number(
                        "Age of the live model",
                        "Since its bundle was made.",
                        "s",
                        Query(f"max(scorer_model_age_seconds{{{IN}}})", "age"),
                        steps=((None, BLUE), (1_296_000, ORANGE)),
                    ),
                    number(
                        "Older model",
                        "Scorers that could not load the live bundle and decide with one from before.",
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
                        "Decisions a second by verdict.",
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
                        "From the broker's time of a transaction to the acknowledgement of its decision. The dashed "
                        f"line is the objective. {told}",
                        "s",
                        [
                            Query(_quantile(0.5, "scorer_end_to_end_seconds"), "half", SKY),
                            Query(_quantile(0.99, "scorer_end_to_end_seconds"), "99 of 100", BLUE),
                            Query(_quantile(0.999, "scorer_end_to_end_seconds"), "999 of 1,000", ORANGE),
                        ],
                        limit=objective,
                    ),
                    heat(
                        "Latencies",
                        "How many decisions took how long, end to end.",
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
                        "Burn of the latency budget",
                        "How many times as fast as the objective allows decisions are late. At 1 the budget of a month "
                        "lasts a month. The alert fires at 14.4 (5 min and 1 h) or 6 (30 min and 6 h).",
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
                        "Time in each stage",
                        "Of a batch, 99 of 100. Compute: decode, features, predict. Publish: until decisions and dead "
                        "letters are acknowledged. State: then until card states are, which go with the next batch.",
                        "s",
                        [
                            Query(_quantile(0.99, "scorer_stage_seconds", f'stage="{stage}"'), stage, colour)
                            for stage, colour in STAGES
                        ],
                    ),
                    lines(
                        "Saturation",
                        "Share of its time that a scorer computes, with one thread. Near 1 it needs company: another "
                        "scorer, up to one for each partition.",
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
                        "Transactions that have come and are not decided.",
                        "short",
                        [Query(f"max by (partition) (scorer_lag_records{{{IN}}})", "partition {{partition}}")],
                    ),
                    lines(
                        "Rejects",
                        "Dead letters a second by the field at fault; `scorer replay --rejected --dry-run` says why.",
                        "cps",
                        [
                            Query(
                                f"sum by (field) (rate(scorer_rejected_total{{{IN}}}[$__rate_interval]))",
                                "{{field}}",
                            )
                        ],
                        stacked=True,
                    ),
                    lines(
                        "Rejected share",
                        "Refused of all transactions, now and as is usual here.",
                        "percentunit",
                        [
                            Query(f"namespace:scorer_rejected:ratio_now{{{IN}}}", "now", ORANGE),
                            Query(f"namespace:scorer_rejected:ratio_usual{{{IN}}}", "usual", GREY),
                        ],
                    ),
                    lines(
                        "Oddities",
                        "Transactions a second that were sent twice, have another key than their card, or are dated in "
                        "the future; those that expired before they were decided; and those whose decision the broker "
                        "refused, as another scorer had taken their partition over.",
                        "cps",
                        [
                            Query(f"sum(rate({metric}{{{IN}}}[$__rate_interval]))", told, colour)
                            for metric, told, colour in (
                                ("scorer_repeats_total", "repeated", BLUE),
                                ("scorer_miskeyed_total", "another key", ORANGE),
                                ("scorer_untrusted_dates_total", "future date", PURPLE),
                                ("scorer_missed_transactions_total", "missed", VERMILION),
                                ("scorer_fenced_transactions_total", "fenced", SKY),
                            )
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
                        "Epoch of the live slot that each scorer decides with: all must be equal. Cards that it has in "
                        "memory, and transactions a second. Fence: 1 where the broker refuses whom others took "
                        "for gone.",
                        [
                            Query(f"max by (instance) (scorer_live_epoch{{{IN}}})", "{{instance}}"),
                            Query(f"max by (instance) (scorer_cards{{{IN}}})", "{{instance}}"),
                            Query(
                                f"sum by (instance) (rate(scorer_transactions_total{{{IN}}}[$__rate_interval]))",
                                "{{instance}}",
                            ),
                            Query(f"max by (instance) (scorer_fence{{{IN}}})", "{{instance}}"),
                        ],
                        {
                            "instance": "Scorer",
                            "Value #A": "Live epoch",
                            "Value #B": "Cards",
                            "Value #C": "Transactions a second",
                            "Value #D": "Fence",
                        },
                    ),
                    lines(
                        "Decisions by bundle",
                        "Who decides: the first digits of the bundle's digest. Two at once only during a swap.",
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
                        "Records of a batch",
                        "Small on an idle stream, large on a busy one; at the setting `batch_records` it is full.",
                        "short",
                        [
                            Query(_quantile(0.5, "scorer_batch_records"), "half", SKY),
                            Query(_quantile(0.99, "scorer_batch_records"), "99 of 100", BLUE),
                        ],
                    ),
                ],
            ),
        ],
    )
