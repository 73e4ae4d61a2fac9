"""*Release*: is a candidate ready, where not, and on which transactions does it differ."""

from __future__ import annotations

from typing import Any

from monitoring.panels import (
    BLUE,
    DECISIONS,
    GREY,
    IN,
    ORANGE,
    PURPLE,
    SEGMENT,
    SLOT,
    VERDICTS,
    VERMILION,
    Query,
    board,
    heat,
    lines,
    links,
    number,
    rows,
    states,
)

JUDGED = f'{SEGMENT}, slot!="control"'
ROW = (
    "${samples}/api/disagreements?slot=${__data.fields.Slot:percentencode}"
    "&segment=${__data.fields.Segment:percentencode}&scored_since=${__from}&scored_until=${__to}&sort=gap&limit=50"
)


def _heat(metric: str, matchers: str) -> Query:
    return Query(f"sum by (le) (increase({metric}_bucket{{{matchers}}}[$__rate_interval]))", "{{le}}")


def release(samples: str) -> dict[str, Any]:
    """The dashboard as JSON. samples: where `shadow serve` answers, unless its variable says otherwise."""
    at = links("${samples}", "slot", "segment")
    return board(
        "release",
        "Shadow scorer: release",
        "Is the candidate ready? Verdict, clean period, criteria by segment, disagreement against the A/A floor.",
        samples,
        ("slot", "segment"),
        [
            (
                5,
                [
                    number(
                        "Verdict",
                        "What the gate says of each slot: reject if any criterion fails, hold while evidence is thin.",
                        "none",
                        Query(f"max by (slot) (namespace_slot:shadow_gate_decision:max{{{SLOT}}})", "{{slot}}"),
                        words=DECISIONS,
                    ),
                    number(
                        "Clean period",
                        "Covered event hours of the present run, of those that the criteria ask for. A new bundle or "
                        "threshold, of the candidate or of live, begins anew.",
                        "percentunit",
                        Query(f"max by (slot) (namespace_slot:shadow_clean_period:max{{{SLOT}}})", "{{slot}}"),
                        steps=((None, GREY), (1, BLUE)),
                    ),
                    number(
                        "Suggestions waiting",
                        "Promotions that the system proposes and nobody has answered: `shadow approve` or `reject`.",
                        "short",
                        Query(f"max(shadow_suggestions_waiting{{{IN}}})", "waiting"),
                        steps=((None, GREY), (1, ORANGE)),
                    ),
                    number(
                        "Compared transactions",
                        "Transactions of the present run that both models decided.",
                        "short",
                        Query(
                            f'sum by (slot) (max by (slot, outcome) (shadow_run_outcomes{{{SLOT}, segment="all"}}))',
                            "{{slot}}",
                        ),
                    ),
                ],
            ),
            "Criteria",
            (
                11,
                [
                    rows(
                        "Criteria by segment",
                        "Every criterion of the release file in the chosen segments: observed, limit, the end of its "
                        "interval, the A/A control's value, evidence (log10 of an e-value: above 0 for it, below 0 "
                        "against it) and verdict. "
                        "Thin: not enough evidence, which is never a pass. A row links to its samples.",
                        [
                            Query(
                                f"max by (slot, segment, criterion) (shadow_gate_criterion{{{SEGMENT}}})",
                                "{{criterion}} {{segment}}",
                            ),
                            Query(
                                f"max by (slot, segment, criterion) (shadow_gate_observed{{{SEGMENT}}})",
                                "{{criterion}} {{segment}}",
                            ),
                            Query(
                                f"max by (slot, segment, criterion) (shadow_gate_limit{{{SEGMENT}}})",
                                "{{criterion}} {{segment}}",
                            ),
                            Query(
                                f"max by (slot, segment, criterion) (shadow_gate_bound{{{SEGMENT}}})",
                                "{{criterion}} {{segment}}",
                            ),
                            Query(
                                f"max by (slot, segment, criterion) (shadow_gate_floor{{{SEGMENT}}})",
                                "{{criterion}} {{segment}}",
                            ),
                            Query(
                                f"max by (slot, segment, criterion) (shadow_gate_evidence{{{SEGMENT}}})",
                                "{{criterion}} {{segment}}",
                            ),
                        ],
                        {
                            "slot": "Slot",
                            "segment": "Segment",
                            "criterion": "Criterion",
                            "Value #A": "Verdict",
                            "Value #B": "Observed",
                            "Value #C": "Limit",
                            "Value #D": "Bound",
                            "Value #E": "A/A floor",
                            "Value #F": "Evidence",
                        },
                        words=("Verdict", VERDICTS),
                        samples=ROW,
                    ),
                    states(
                        "What stands against it",
                        "Criteria that fail or are thin, in every segment whatever is chosen above. Empty: nothing.",
                        Query(
                            f"max by (slot, segment, criterion) (shadow_gate_criterion{{{SLOT}}}) < 1",
                            "{{slot}}: {{criterion}} in {{segment}}",
                        ),
                        VERDICTS,
                        at,
                    ),
                ],
            ),
            "Disagreement",
            (
                10,
                [
                    lines(
                        "Disagreement and the A/A floor",
                        "Transactions on which only one of the two blocks, as a share of live's blocks, in the present "
                        "run. The control is a seed twin of live: what it shows is noise between equal models.",
                        "percentunit",
                        [
                            Query(f"namespace_slot_segment:disagreement:ratio{{{JUDGED}}}", "{{slot}} {{segment}}"),
                            Query(
                                f'namespace_slot_segment:disagreement:ratio{{{IN}, slot="control", '
                                'segment=~"$segment"}',
                                "floor: {{slot}} {{segment}}",
                                GREY,
                            ),
                        ],
                        at,
                    ),
                    lines(
                        "Excess over the floor",
                        "Disagreement of the candidate less that of the control, as a share of live's blocks.",
                        "percentunit",
                        [
                            Query(
                                f"namespace_slot_segment:excess_disagreement:ratio{{{SEGMENT}}}", "{{slot}} {{segment}}"
                            )
                        ],
                        at,
                    ),
                    lines(
                        "Disagreements a second",
                        "Live only: the candidate would have let it through. Candidate only: live let it through.",
                        "cps",
                        [
                            Query(
                                "sum by (slot) (rate(shadow_comparisons_total"
                                f'{{{SLOT}, outcome="candidate_only"}}[$__rate_interval]))',
                                "{{slot}}: candidate only",
                                ORANGE,
                            ),
                            Query(
                                "sum by (slot) (rate(shadow_comparisons_total"
                                f'{{{SLOT}, outcome="live_only"}}[$__rate_interval]))',
                                "{{slot}}: live only",
                                BLUE,
                            ),
                        ],
                        links("${samples}", "slot"),
                    ),
                ],
            ),
            (
                10,
                [
                    lines(
                        "Block rate",
                        "Blocked of compared in the present run, by live and by the candidate.",
                        "percentunit",
                        [
                            Query(
                                f"namespace_slot_segment:live_block:ratio{{{JUDGED}}}",
                                "live beside {{slot}} {{segment}}",
                                BLUE,
                            ),
                            Query(
                                f"namespace_slot_segment:candidate_block:ratio{{{JUDGED}}}",
                                "{{slot}} {{segment}}",
                                ORANGE,
                            ),
                        ],
                        at,
                    ),
                    lines(
                        "Coverage",
                        "Decisions that were compared, of those that there were, in the present run. Candidate errors "
                        "and decisions that expired unread are missing.",
                        "percentunit",
                        [Query(f"max by (slot) (shadow_run_coverage_ratio{{{SLOT}}})", "{{slot}}")],
                        links("${samples}", "slot"),
                    ),
                    lines(
                        "Thresholds",
                        "The score from which each model blocks. A model's threshold belongs to its own scores: two "
                        "may differ while the same transactions are blocked.",
                        "percentunit",
                        [
                            Query(f"max(scorer_live_threshold{{{IN}}})", "live", BLUE),
                            Query(f"max by (slot) (shadow_threshold{{{SLOT}}})", "{{slot}}", PURPLE),
                            Query(
                                f"max by (slot) (shadow_matched_threshold{{{SLOT}}})",
                                "{{slot}} at live's block rate",
                                ORANGE,
                            ),
                        ],
                    ),
                ],
            ),
            "Scores, and what drifts",
            (
                10,
                [
                    lines(
                        "At live's block rate: blocks more than live",
                        "The candidate at the threshold that gave live's block rate in the run's first event days, in "
                        "what followed: its blocks beyond live's, as a share of live's. It informs: the gate judges "
                        "the bundle as shipped.",
                        "percentunit",
                        [
                            Query(
                                f"max by (slot, segment) (shadow_matched_more_blocks{{{SEGMENT}}})",
                                "{{slot}} {{segment}}",
                            )
                        ],
                        at,
                    ),
                    lines(
                        "Drift: index over its limit",
                        "Population stability index of scores and features against the same weekdays of the run's "
                        "first event days, over the limit that follows from the counts. Above 1 the traffic has "
                        "changed, which does not make a candidate worse.",
                        "short",
                        [
                            Query(
                                f"max by (slot, what) (shadow_drift_psi{{{SLOT}}}) "
                                f"/ max by (slot, what) (shadow_drift_limit{{{SLOT}}})",
                                "{{slot}} {{what}}",
                            )
                        ],
                    ),
                    lines(
                        "Distance of the scores from the first days",
                        "Greatest distance between the distribution of scores since the calibration window and in it, "
                        "with bounds that hold at all times.",
                        "percentunit",
                        [
                            Query(
                                f"max by (slot, what, end) (shadow_score_distance{{{SLOT}}})",
                                "{{slot}} {{what}}, {{end}}",
                            )
                        ],
                    ),
                ],
            ),
            (
                9,
                [
                    heat(
                        "Scores of live",
                        "How many transactions had which score from the live model.",
                        "percentunit",
                        _heat("scorer_score", IN),
                    ),
                    heat(
                        "Scores of the candidate",
                        "How many transactions had which score from the candidate, on the same transactions.",
                        "percentunit",
                        _heat("shadow_candidate_score", SLOT),
                    ),
                ],
            ),
            (
                8,
                [
                    states(
                        "Verdict over time",
                        "When the gate changed its mind.",
                        Query(f"max by (slot) (namespace_slot:shadow_gate_decision:max{{{SLOT}}})", "{{slot}}"),
                        DECISIONS,
                    ),
                    lines(
                        "Criteria by verdict",
                        "How many criteria pass, are thin or fail, over all segments.",
                        "short",
                        [
                            Query(f"count by (slot) (shadow_gate_criterion{{{SLOT}}} == 1)", "{{slot}}: pass", BLUE),
                            Query(f"count by (slot) (shadow_gate_criterion{{{SLOT}}} == 0)", "{{slot}}: thin", GREY),
                            Query(
                                f"count by (slot) (shadow_gate_criterion{{{SLOT}}} == -1)",
                                "{{slot}}: fail",
                                VERMILION,
                            ),
                        ],
                    ),
                ],
            ),
            (
                8,
                [
                    lines(
                        "What reset the clean period",
                        "Event hours of the present run in which something reset the clean period, by cause.",
                        "short",
                        [Query(f"max by (slot, cause) (shadow_clean_period_resets{{{SLOT}}})", "{{slot}}: {{cause}}")],
                    ),
                    lines(
                        "Labels",
                        "Chargebacks and reviews read from the topic, by verdict; what is no label, and what retention "
                        "took before it was read.",
                        "short",
                        [
                            Query(
                                f"sum by (source, verdict) (rate(shadow_labels_total{{{IN}}}[$__rate_interval]))",
                                "{{source}}: {{verdict}}",
                            ),
                            Query(
                                f"sum(rate(shadow_labels_refused_total{{{IN}}}[$__rate_interval]))", "refused", ORANGE
                            ),
                            Query(f"sum(rate(shadow_labels_lost_total{{{IN}}}[$__rate_interval]))", "lost", VERMILION),
                        ],
                    ),
                ],
            ),
        ],
    )
