"""How far a slot is behind, seen from its fences."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadow.serve.backlog import Backlog, backlog

spans = st.dictionaries(
    st.integers(0, 5), st.tuples(st.integers(0, 100), st.integers(0, 100)).map(lambda s: (s[0], s[0] + s[1]))
)
fences = st.dictionaries(st.integers(0, 7), st.integers(0, 300))


@given(spans, fences)
def test_each_decision_at_or_after_the_fence_is_unread(ends: dict[int, tuple[int, int]], at: dict[int, int]) -> None:
    unread = {p: [n for n in range(*span) if n >= at.get(p, 0)] for p, span in ends.items()}
    found = backlog(ends, at)
    assert found.unread == sum(map(len, unread.values()))
    shares = [len(unread[p]) / (end - oldest) for p, (oldest, end) in ends.items() if end > oldest]
    assert found.retention_used == pytest.approx(max(shares, default=0.0))


def test_a_slot_that_was_never_opened_has_everything_before_it() -> None:
    assert backlog({0: (10, 110), 1: (0, 0)}, {}) == Backlog(100, 1.0)


def test_a_fence_that_retention_has_passed_leaves_nothing_read() -> None:
    assert backlog({0: (50, 100)}, {0: 20}) == Backlog(50, 1.0)


def test_the_worst_partition_counts_however_small() -> None:
    assert backlog({0: (0, 1000), 1: (0, 10)}, {0: 1000, 1: 2}) == Backlog(8, 0.8)
