"""What of a run is worth telling."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from page.report import a_telling_sample
from shadow.comparison.outcome import DISAGREEMENTS
from shadow.report.document import TELLING, telling


@given(st.lists(st.integers(0, 30), max_size=30), st.integers(1, 12))
def test_the_most_telling_samples_are_the_widest_gaps_of_both_directions(gaps: list[int], n: int) -> None:
    samples = [a_telling_sample(at, gap / 10 * (-1) ** at) for at, gap in enumerate(gaps)]
    told = telling(samples, n)
    assert len(told) == min(n, len(samples))
    sizes = [abs(s.gap or 0.0) for s in told]
    assert sizes == sorted(sizes, reverse=True)
    for outcome in DISAGREEMENTS:
        mine = sorted((abs(s.gap or 0.0) for s in samples if s.outcome is outcome), reverse=True)
        chosen = [abs(s.gap or 0.0) for s in told if s.outcome is outcome]
        assert chosen == mine[: len(chosen)]
        assert len(chosen) >= min(len(mine), n // 2)
    assert len(telling(samples)) <= TELLING
