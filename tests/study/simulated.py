"""Releases of known truth, through the gate itself at each of 672 hourly looks, and through simpler rules."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from shadow.gate.harm import label_claims
from shadow.release.criteria_file import load_release
from study.baselines import disagreement_limit, mcnemar_daily, psi_limit
from study.model import CAP_MINOR, DAYS, KINDS, NAMES, REGION_AT, REGIONS, Array, Truth, deciles, draw, stream
from study.tallies import by_hour, reviewed, sums
from study.verdicts import Outcome, names_right, through_the_gate

RELEASE = load_release(Path(__file__).with_name("release.yaml"))
assert RELEASE.segments.names == NAMES
assert RELEASE.cap_minor(100.0) == CAP_MINOR
RULES = ("gate", "mcnemar_daily", "psi_0.2", "disagreement_limit")


def release_of(kind: str, number: int, seed: int, traffic: float = 1.0) -> tuple[Truth, dict[str, Outcome]]:
    """One release, and what each rule makes of it. traffic: as a share of what the study has."""
    rng = np.random.default_rng([seed, KINDS.index(kind), number])
    truth = replace(draw(kind, rng), traffic=traffic)
    drawn = stream(truth, rng)
    candidate, control = sums(drawn, "candidate"), sums(drawn, "control")
    judged = through_the_gate(candidate, control, RELEASE)
    if not (judged.verdict == "reject" and judged.day <= 1):  # before any review is in
        labels = by_hour(reviewed(drawn, candidate, control, RELEASE, rng))
        judged = through_the_gate(candidate, control, RELEASE, label_claims(labels, candidate, RELEASE))
    live_scores, scores = map(_by_segment, deciles(truth, rng))
    return truth, {
        "gate": judged,
        "mcnemar_daily": mcnemar_daily(candidate, NAMES[:1]),
        "psi_0.2": psi_limit(live_scores, scores, NAMES),
        "disagreement_limit": disagreement_limit(candidate, NAMES),
    }


def _by_segment(regions: Array) -> Array:
    """Histograms of all and of each region, as if nothing was in the other segments."""
    out = np.zeros((DAYS, len(NAMES), regions.shape[-1]))
    out[:, 0] = regions.sum(axis=1)
    out[:, REGION_AT : REGION_AT + len(REGIONS)] = regions
    return out


def is_right(truth: Truth, outcome: Outcome) -> bool | None:
    """`names_right`; no region that is not harmed may be named as failing."""
    innocent = {f"region={name}" for name in REGIONS} - set(truth.harmed)
    return names_right(truth.harmed, innocent, outcome)
