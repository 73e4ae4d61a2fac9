"""Releases of known truth, through the gate itself at each of 672 hourly looks, and through simpler rules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from shadow.claims import Sums
from shadow.criteria import Release, load
from shadow.labelled import label_claims
from shadow.measure import FAIL, OPEN, Measured, Progress, measure
from study.baselines import Outcome, disagreement_limit, mcnemar_daily, psi_limit
from study.model import CAP_MINOR, DAYS, HOURS, KINDS, NAMES, Truth, deciles, draw, stream
from study.tallies import by_hour, reviewed, sums

RELEASE = load(Path(__file__).with_name("release.yaml"))
assert RELEASE.segments.names == NAMES
assert RELEASE.cap_minor(100.0) == CAP_MINOR
PROGRESS = Progress(*(np.arange(1, HOURS + 1) * factor for factor in (1, 0, 0)))
RULES = ("gate", "mcnemar_daily", "psi_0.2", "disagreement_limit")


def through_the_gate(candidate: Sums, control: Sums, release: Release, labels: Any = None) -> Outcome:
    """The first look that promotes or rejects; a hold where none does."""
    claims = () if labels is None else label_claims(labels, candidate, release)
    seen = measure(candidate, control, candidate, PROGRESS, release, CAP_MINOR, claims)
    decided = np.flatnonzero(seen.decisions != OPEN)
    if not len(decided):
        return Outcome("hold", DAYS, _open_ones(seen, HOURS - 1))
    look = int(decided[0])
    if seen.decisions[look] == FAIL:
        return Outcome("reject", (look + 1) / 24, tuple(NAMES[at] for at in np.flatnonzero(seen.failed()[look])))
    return Outcome("promote", (look + 1) / 24, tuple(NAMES[at] for at in np.flatnonzero(seen.missing()[look, 1])))


def _open_ones(seen: Measured, look: int) -> tuple[str, ...]:
    """Segments that a hold names, in its order: where the evidence points most against the candidate."""
    against: dict[str, float] = {}
    for row in seen.rows:
        if row.log_within is None:
            continue
        for at in np.flatnonzero((row.codes[look] == OPEN) & row.asked[look] & ~row.excused):
            beyond = -np.inf if row.log_beyond is None else row.log_beyond[look, at]
            points = max(row.log_within[look, at], beyond)
            score = points if row.log_within[look, at] >= beyond else -points
            against[NAMES[at]] = min(score, against.get(NAMES[at], np.inf))
    return tuple(sorted(against, key=lambda name: (name == NAMES[0], against[name])))


def release_of(kind: str, number: int, seed: int) -> tuple[Truth, dict[str, Outcome]]:
    """One release, and what each rule makes of it."""
    rng = np.random.default_rng([seed, KINDS.index(kind), number])
    truth = draw(kind, rng)
    drawn = stream(truth, rng)
    candidate, control = sums(drawn, "candidate"), sums(drawn, "control")
    judged = through_the_gate(candidate, control, RELEASE)
    if not (judged.verdict == "reject" and judged.day <= 1):  # before any review is in
        labels = by_hour(reviewed(drawn, candidate, control, RELEASE, rng))
        judged = through_the_gate(candidate, control, RELEASE, labels)
    return truth, {
        "gate": judged,
        "mcnemar_daily": mcnemar_daily(candidate),
        "psi_0.2": psi_limit(*deciles(truth, rng)),
        "disagreement_limit": disagreement_limit(candidate),
    }


def names_right(truth: Truth, outcome: Outcome) -> bool | None:
    """Whether the verdict names a segment at fault; None where none is.

    A rejection must name it as failing, and no region that is not at fault; a hold before all others; a promotion as
    not judged.
    """
    if not truth.harmed:
        return None
    if outcome.verdict == "hold":
        return bool(outcome.named) and outcome.named[0] in truth.harmed
    if outcome.verdict == "reject" and any(n.startswith("region") and n not in truth.harmed for n in outcome.named):
        return False
    return any(name in truth.harmed for name in outcome.named)


def summary(found: list[tuple[Truth, Outcome]]) -> dict[str, Any]:
    """Counts of a kind under a rule; days of those that were decided."""
    verdicts = [outcome.verdict for _, outcome in found]
    days = [outcome.day for _, outcome in found if outcome.verdict != "hold"]
    named = [right for truth, outcome in found if (right := names_right(truth, outcome)) is not None]
    return {
        "n": len(found),
        **{verdict: verdicts.count(verdict) for verdict in ("promote", "hold", "reject")},
        "right_segment": sum(named) if named else None,
        "median_days": round(float(np.median(days)), 1) if days else None,
    }
