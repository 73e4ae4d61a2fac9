"""Cases of a label sample, of which a test states what matters to it."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from shadow.comparison.case import Case
from shadow.comparison.outcome import Outcome
from shadow.labels.label import State


def a_case(n: int, live_only: bool = True, segments: tuple[str, ...] = ("all",), **more: float) -> Case:
    """The n-th case by hash, of its own card."""
    outcome = Outcome.LIVE_ONLY if live_only else Outcome.CANDIDATE_ONLY
    case = Case(f"t-{n}", outcome, 5_000, 86_400_000 * n, f"card-{n}", segments, (n + 1) / 1000, n, n)
    return replace(case, **more)  # type: ignore[arg-type]


#: States of reviews.
STATES = st.sampled_from([State.FRAUD, State.LEGIT, State.UNSURE, State.PENDING, State.CONTRADICTORY])
