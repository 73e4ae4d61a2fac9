"""Every comparison that bottom-k sampling would keep is offered."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.compared import comparisons
from shadow.comparison.outcome import Outcome
from shadow.comparison.sampling import Stratum, keep, offer, sample_hashes


@pytest.mark.slow
@given(st.data())
def test_everything_that_bottom_k_would_keep_is_offered(data: st.DataObject) -> None:
    n = data.draw(st.integers(0, 150))
    hashes = sample_hashes([f"t{i}" for i in range(n)])
    codes = np.array([data.draw(st.sampled_from([0, 2])) for _ in range(n)], dtype=np.int64)
    segments = np.array([[0, 1 + i % 2] for i in range(n)], dtype=np.int64).reshape(n, 2)
    days = np.array([5] * n, dtype=np.int64)
    taus: dict[Stratum, float] = {("L1-C1", 5, 2, 0): data.draw(st.floats(0, 1))}
    found = comparisons(n, hours=days * 24, segments=segments, outcomes=codes)
    offered = offer(found, np.arange(n), days, hashes, taus)
    for outcome, k in ((0, 5), (2, 50)):
        for segment in range(3):
            stratum = ("L1-C1", 5, outcome, segment)
            rows = [i for i in range(n) if codes[i] == outcome and segment in segments[i]]
            rows.sort(key=lambda i: hashes[i])
            wanted = [i for i in rows[: k + 1] if hashes[i] < taus.get(stratum, 1.0)]
            assert sorted(wanted) == sorted(i for i, strata in offered.items() if stratum in strata)


def test_sample_hashes_are_uniform_and_stay_the_same() -> None:
    assert sample_hashes(["t1"]).tolist() == sample_hashes(["t1"]).tolist()
    hashes = sample_hashes([f"t{i}" for i in range(20_000)])
    counts, _ = np.histogram(hashes, bins=10, range=(0, 1))
    assert ((counts > 1800) & (counts < 2200)).all()


def test_a_stratum_keeps_more_disagreements_than_agreements() -> None:
    assert [keep(outcome) for outcome in Outcome] == [5, 5, 50, 50]
