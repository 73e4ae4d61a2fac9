"""What becomes of a release, and whether that is right: shared by simulated and real ones."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from shadow.gate.criteria import Release
from shadow.gate.harm import LabelClaim
from shadow.gate.measure import FAIL, OPEN, ClaimRow, FloorRow, Measured, RunProgress, measure
from shadow.gate.recency import recent_of
from shadow.gate.sums import Sums


@dataclass(frozen=True)
class Outcome:
    """What became of a release. day: when it was promoted or rejected, the last one if neither. named: segments at
    fault, or not judged, the most important first."""

    verdict: str
    day: float
    named: tuple[str, ...] = ()


def through_the_gate(
    candidate: Sums,
    control: Sums | None,
    release: Release,
    claims: Sequence[LabelClaim] = (),
    per_day: int = 24,
) -> Outcome:
    """The first look that promotes or rejects; a hold where none does. candidate, control: so many looks a day; None if
    the floor is not known."""
    names, looks = release.segments.names, len(candidate.errors)
    progress = RunProgress(*(np.arange(1, looks + 1) * factor * 24 // per_day for factor in (1, 0, 0)))
    recent = recent_of(candidate, control, per_day, release)
    seen = measure(candidate, control, progress, release, claims, recent=recent)
    decided = np.flatnonzero(seen.decisions != OPEN)
    if not len(decided):
        return Outcome("hold", looks / per_day, _open_ones(seen, looks - 1, names))
    look = int(decided[0])
    if seen.decisions[look] == FAIL:
        return Outcome("reject", (look + 1) / per_day, tuple(names[at] for at in np.flatnonzero(seen.failed()[look])))
    return Outcome("promote", (look + 1) / per_day, tuple(names[at] for at in np.flatnonzero(seen.missing()[look, 1])))


def _open_ones(seen: Measured, look: int, names: Sequence[str]) -> tuple[str, ...]:
    """Segments that a hold names, in its order: where the evidence points most against the candidate."""
    against: dict[str, float] = {}
    for row in seen.rows:
        if not isinstance(row, ClaimRow | FloorRow):
            continue
        for at in np.flatnonzero((row.codes[look] == OPEN) & row.asked[look] & ~row.excused[look]).tolist():
            beyond = row.log_beyond[look, at] if isinstance(row, ClaimRow) else -np.inf
            points = max(row.log_within[look, at], beyond)
            score = points if row.log_within[look, at] >= beyond else -points
            against[names[at]] = min(score, against.get(names[at], np.inf))
    return tuple(sorted(against, key=lambda name: (name == names[0], against[name])))


def names_right(harmed: Collection[str], innocent: Collection[str], outcome: Outcome) -> bool | None:
    """Whether the verdict names a segment at fault; None where none is.

    A rejection must name it as failing, and none of the innocent; a hold before all others; a promotion as not judged.
    """
    if not harmed:
        return None
    if outcome.verdict == "hold":
        return bool(outcome.named) and outcome.named[0] in harmed
    if outcome.verdict == "reject" and any(name in innocent for name in outcome.named):
        return False
    return any(name in harmed for name in outcome.named)


def summary(found: Sequence[tuple[Outcome, bool | None]]) -> dict[str, Any]:
    """Counts of a kind under a rule, of outcomes and whether they name the right segment; days of those decided."""
    verdicts = [outcome.verdict for outcome, _ in found]
    days = [outcome.day for outcome, _ in found if outcome.verdict != "hold"]
    named = [right for _, right in found if right is not None]
    return {
        "n": len(found),
        **{verdict: verdicts.count(verdict) for verdict in ("promote", "hold", "reject")},
        "right_segment": sum(named) if named else None,
        "median_days": round(float(np.median(days)), 1) if days else None,
    }
