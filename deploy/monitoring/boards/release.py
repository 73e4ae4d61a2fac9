"""The dashboard *Release*: whether a candidate is ready, in which segments not, and where it differs from live."""

from __future__ import annotations

from typing import Any

from monitoring.panels import (
    BLUE,
    COMPLAINTS_RISEN,
    DECISIONS,
    EVERY,
    GREY,
    IN,
    LIVE_WORSE,
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
    "${samples}/explore?slot=${__data.fields.Slot:percentencode}"
    f"&segment=${{__data.fields.Segment:percentencode}}&{EVERY}&scored_since=${{__from}}&scored_until=${{__to}}"
)
OF_SLOT = (
    f"${{samples}}/explore?slot=${{__data.fields.Slot:percentencode}}&{EVERY}"
    "&scored_since=${__from}&scored_until=${__to}"
)
NOT_JUDGED = "Nothing is judged yet: fill a slot with a candidate, and start `shadow run` and `shadow serve`"
DAYS = "Needs 8 event days of the current run: 7 to compare with (calibration_days of release.yaml), and one after them"
NOT_WATCHED = "Nothing is watched: live has not been replaced in the last two weeks"
CRITERION = f"max by (slot, segment, criterion) (shadow_gate_criterion{{{SLOT}}})"


def _heat(metric: str, matchers: str) -> Query:
    return Query(f"sum by (le) (increase({metric}_bucket{{{matchers}}}[$__rate_interval]))", "{{le}}")


def release(samples: str) -> dict[str, Any]:
    """The dashboard as JSON. samples: default address of `shadow serve`."""
    at = links("${samples}", "slot", "segment")
    return board(
        "release",
        "Shadow scorer: release",
        "Is the candidate ready? Decision, clean period, criteria by segment, disagreement beside the A/A floor.",
        samples,
        ("slot", "segment"),
        [
            (
                5,
                [
                    number(
                        "Verdict",
                        "The gate's decision on each slot: reject if a criterion fails, hold while evidence is thin.",
                        "none",
                        Query(f"max by (slot) (namespace_slot:shadow_gate_decision:max{{{SLOT}}})", "{{slot}}"),
                        words=DECISIONS,
                        empty=NOT_JUDGED,
                    ),
                    number(
                        "Clean period",
                        "Clean event hours of the current run, as a share of those that release.yaml requires. A new "
                        "bundle or threshold, of the candidate or of live, starts again at 0.",
                        "percentunit",
                        Query(f"max by (slot) (namespace_slot:shadow_clean_period:max{{{SLOT}}})", "{{slot}}"),
                        steps=((None, GREY), (1, BLUE)),
                    ),
                    number(
                        "Suggestions waiting",
                        "Candidates that the gate suggests for promotion; answer with `shadow approve` or `reject`.",
                        "short",
                        Query(f"max(shadow_suggestions_waiting{{{IN}}})", "waiting"),
                        steps=((None, GREY), (1, ORANGE)),
                    ),
                    number(
                        "Forced releases",
                        "Releases that somebody ever forced, by the verdict at that moment; see `shadow history`.",
                        "short",
                        Query(f"max by (verdict) (shadow_forced_releases{{{IN}}})", "{{verdict}}"),
                        empty="Nobody ever forced a release",
                        steps=((None, GREY), (1, ORANGE)),
                    ),
                    number(
                        "Compared transactions",
                        "Transactions of the current run that both models decided.",
                        "short",
                        Query(
                            f'sum by (slot) (max by (slot, outcome) (shadow_run_outcomes{{{SLOT}, segment="all"}}))',
                            "{{slot}}",
                        ),
                    ),
                ],
            ),
            "After the release",
            (
                4,
                [
                    number(
                        "Live beside the model before it",
                        "Whether live is found to be worse than the model that it replaced, which goes on as a shadow. "
                        "Empty while that is not watched.",
                        "none",
                        Query(f"max(shadow_live_worse{{{IN}}})", "live"),
                        words=LIVE_WORSE,
                        empty=NOT_WATCHED,
                    ),
                    number(
                        "Watched transactions",
                        "Transactions that live and the model before it both decided since the release.",
                        "short",
                        Query(f"max(shadow_watched_transactions{{{IN}}})", "since the release"),
                        empty=NOT_WATCHED,
                    ),
                    number(
                        "Watched for",
                        "Time for which live was watched after its release.",
                        "s",
                        Query(f"max(shadow_watched_seconds{{{IN}}})", "since the release"),
                        empty=NOT_WATCHED,
                    ),
                    number(
                        "Complaints",
                        "Whether complaints for each blocked transaction rose with the release, as far as they are "
                        "reported. Empty while that cannot be told.",
                        "none",
                        Query(f"max(shadow_complaints_risen{{{IN}}})", "complaints"),
                        words=COMPLAINTS_RISEN,
                    ),
                    number(
                        "Complaints for each block",
                        "Complaints for each transaction that live blocked, on whole days with a report.",
                        "percentunit",
                        Query(f"max by (period) (shadow_complaints_per_block_ratio{{{IN}}})", "{{period}}"),
                        steps=((None, GREY),),
                    ),
                    number(
                        "Automated changes",
                        "Kinds of changes whose suggestions are carried out by themselves: 1. See `shadow automate`.",
                        "short",
                        Query(f"max by (change) (shadow_automation{{{IN}}})", "{{change}}"),
                        steps=((None, GREY), (1, ORANGE)),
                    ),
                    number(
                        "Accepted in a row",
                        "Suggestions of each kind of change in a row that people accepted as they were.",
                        "short",
                        Query(f"max by (change) (shadow_accepted_in_a_row{{{IN}}})", "{{change}}"),
                        steps=((None, GREY),),
                    ),
                ],
            ),
            "Criteria",
            (
                11,
                [
                    rows(
                        "Criteria by segment",
                        "Every criterion in the chosen segments. Bound: of the true value, compared with the limit. "
                        "A/A floor: the value for the control. Evidence: log10 of an e-value, above 0 for a limit "
                        "that is kept, below 0 for one exceeded. Thin: not enough evidence, which is never a pass. "
                        "Each row links to its samples.",
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
                        empty=NOT_JUDGED,
                    ),
                    rows(
                        "What stands against it",
                        "Criteria that do not pass, over all segments whatever is chosen above: in how many segments "
                        "each fails, and in how many it lacks evidence. The table beside it names the segments.",
                        [
                            Query(f"count by (slot, criterion) ({CRITERION} == -1)", "{{criterion}} fails"),
                            Query(f"count by (slot, criterion) ({CRITERION} == 0)", "{{criterion}} lacks evidence"),
                        ],
                        {
                            "slot": "Slot",
                            "criterion": "Criterion",
                            "Value #A": "Fails in",
                            "Value #B": "Lacks evidence in",
                        },
                        samples=OF_SLOT,
                        empty="Nothing stands against a promotion: every criterion passes, or nothing is judged yet",
                        first="Fails in",
                    ),
                ],
            ),
            "Disagreement",
            (
                10,
                [
                    lines(
                        "Disagreement and the A/A floor",
                        "Transactions that only one of the two models blocks, as a share of live's blocks, in the "
                        "current run. The control is a seed twin of live, so its disagreement is noise between equal "
                        "models: the floor.",
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
                        "Excess over the A/A floor",
                        "Disagreement of the candidate minus that of the control, as a share of live's blocks.",
                        "percentunit",
                        [
                            Query(
                                f"namespace_slot_segment:excess_disagreement:ratio{{{SEGMENT}}}", "{{slot}} {{segment}}"
                            )
                        ],
                        at,
                    ),
                    lines(
                        "Disagreements per second",
                        "Live only: blocked by live and allowed by the candidate. Candidate only: the reverse.",
                        "cps",
                        [
                            Query(
                                "sum by (slot, outcome) (rate(shadow_comparisons_total"
                                f'{{{SLOT}, outcome="candidate_only"}}[$__rate_interval]))',
                                "{{slot}}: candidate only",
                                ORANGE,
                            ),
                            Query(
                                "sum by (slot, outcome) (rate(shadow_comparisons_total"
                                f'{{{SLOT}, outcome="live_only"}}[$__rate_interval]))',
                                "{{slot}}: live only",
                                BLUE,
                            ),
                        ],
                        links("${samples}", "slot", "outcome"),
                    ),
                ],
            ),
            (
                10,
                [
                    lines(
                        "Block rate",
                        "Share of compared transactions that live and the candidate block, in the current run.",
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
                        "Share of live's decisions in the current run that were compared. Missing are candidate errors "
                        "and decisions that expired unread.",
                        "percentunit",
                        [Query(f"max by (slot) (shadow_run_coverage_ratio{{{SLOT}}})", "{{slot}}")],
                        links("${samples}", "slot"),
                    ),
                    lines(
                        "Thresholds",
                        "Score from which each model blocks. Thresholds of two models are not comparable: they may "
                        "differ although both models block the same transactions.",
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
            "Scores and drift",
            (
                10,
                [
                    lines(
                        "Extra blocks at live's block rate",
                        "Blocks of the candidate beyond live's, as a share of live's blocks, at the threshold with "
                        "which both blocked equally often in the run's first event days; counted after these days. "
                        "For information: the gate judges the bundle at its own threshold.",
                        "percentunit",
                        [
                            Query(
                                f"max by (slot, segment) (shadow_matched_more_blocks{{{SEGMENT}}})",
                                "{{slot}} {{segment}}",
                            )
                        ],
                        at,
                        empty=DAYS,
                    ),
                    lines(
                        "Drift index as a multiple of its limit",
                        "Population stability index of scores and features against the same weekdays of the run's "
                        "first event days, divided by its limit, which follows from the counts. Above 1 the traffic "
                        "has changed, which does not make a candidate worse.",
                        "short",
                        [
                            Query(
                                f"max by (slot, what) (shadow_drift_psi{{{SLOT}}}) "
                                f"/ max by (slot, what) (shadow_drift_limit{{{SLOT}}})",
                                "{{slot}} {{what}}",
                            )
                        ],
                        empty=DAYS,
                    ),
                    lines(
                        "Distance of scores from the first days",
                        "Greatest distance between the score distributions in and after the run's first event days, "
                        "with bounds that are valid however often they are looked at.",
                        "percentunit",
                        [
                            Query(
                                f"max by (slot, what, end) (shadow_score_distance{{{SLOT}}})",
                                "{{slot}} {{what}}, {{end}}",
                            )
                        ],
                        empty=DAYS,
                    ),
                ],
            ),
            (
                9,
                [
                    heat(
                        "Scores of live",
                        "Number of transactions by their score from the live model.",
                        "percentunit",
                        _heat("scorer_score", IN),
                    ),
                    heat(
                        "Scores of the candidate",
                        "Number of the same transactions by their score from the candidate.",
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
                        "The gate's decision on each slot, over time.",
                        Query(f"max by (slot) (namespace_slot:shadow_gate_decision:max{{{SLOT}}})", "{{slot}}"),
                        DECISIONS,
                    ),
                    lines(
                        "Criteria by verdict",
                        "Number of criteria that pass, are thin or fail, over all segments.",
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
                        "Resets of the clean period",
                        "Event hours of the current run that reset the clean period, by cause.",
                        "short",
                        [Query(f"max by (slot, cause) (shadow_clean_period_resets{{{SLOT}}})", "{{slot}}: {{cause}}")],
                        empty="Nothing has reset the clean period of the current run",
                    ),
                    lines(
                        "Labels",
                        "Chargebacks and reviews read per second, by verdict. Refused: records that are not valid "
                        "labels. Lost: labels that retention deleted before they were read.",
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
