"""Every comparison that bottom-k sampling would keep is offered."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.compared import comparisons
from shadow.comparison.outcome import Outcome
from shadow.comparison.sampling import Stratum, Thresholds, keep, offer, sample_hashes


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


@dataclass(frozen=True)
class Told:
    value: float
    strata: Sequence[Stratum]


@given(st.data())
def test_a_store_keeps_and_refuses_the_same_however_little_it_is_offered(data: st.DataObject) -> None:
    """Cut into batches, some of which are on their way to the store while others come."""
    n = data.draw(st.integers(1, 300))
    hashes = sample_hashes([f"t{data.draw(st.integers(0, 10**6))}-{i}" for i in range(n)])
    codes = np.array([0, 2])[data.draw(st.integers(0, 1)) | (np.arange(n) % 3 == 0)]
    segments = np.stack([np.zeros(n, dtype=np.int64), 1 + np.arange(n) % 2], axis=1)
    days = 5 + np.arange(n) // 200
    found = comparisons(n, hours=days * 24, segments=segments, outcomes=codes)
    thresholds, stored, n_offered = Thresholds(), defaultdict[Stratum, list[float]](list), 0
    cuts = sorted(data.draw(st.sets(st.integers(1, n), max_size=8)) | {n})
    pending: list[Told] = []
    for start, end in zip([0, *cuts], cuts, strict=False):
        rows = np.arange(start, end)
        offered = offer(found, rows, days[rows], hashes[rows], thresholds.known)
        batch = [Told(float(hashes[start + at]), strata) for at, strata in offered.items()]
        thresholds.note(batch)
        pending += batch
        n_offered += len(batch)
        if data.draw(st.booleans()):
            refused = {}
            for one in pending:
                for stratum in one.strata:
                    stored[stratum].append(one.value)
            for stratum, values in stored.items():
                values.sort()
                del values[keep(stratum[2]) + 1 :]
                if len(values) > keep(stratum[2]):
                    refused[stratum] = values[-1]
            thresholds.told(refused)
            pending = []
    for one in pending:
        for stratum in one.strata:
            stored[stratum].append(one.value)
    for stratum in {("L1-C1", int(day), int(code), s) for day, code in zip(days, codes, strict=True) for s in range(3)}:
        mine = (days == stratum[1]) & (codes == stratum[2]) & (segments == stratum[3]).any(axis=1)
        least = keep(stratum[2]) + 1
        assert sorted(stored[stratum])[:least] == sorted(hashes[mine].tolist())[:least]
    assert n_offered <= n


def test_what_is_sure_to_be_refused_is_not_offered_again() -> None:
    n, thresholds, offered = 3000, Thresholds(), []
    hashes, zeros = sample_hashes([f"t{i}" for i in range(n)]), np.zeros(n, dtype=np.int64)
    found = comparisons(n, hours=zeros, segments=zeros[:, None], outcomes=zeros + 2)
    for start in range(0, n, 100):
        rows = np.arange(start, start + 100)
        batch = offer(found, rows, zeros[rows], hashes[rows], thresholds.known)
        thresholds.note([Told(float(hashes[start + at]), strata) for at, strata in batch.items()])
        offered.append(len(batch))
    assert offered[0] == keep(2) + 1
    assert sum(offered[20:]) < 40, "about 50 in 3,000 for each hundred more"


def test_sample_hashes_are_uniform_and_stay_the_same() -> None:
    assert sample_hashes(["t1"]).tolist() == sample_hashes(["t1"]).tolist()
    hashes = sample_hashes([f"t{i}" for i in range(20_000)])
    counts, _ = np.histogram(hashes, bins=10, range=(0, 1))
    assert ((counts > 1800) & (counts < 2200)).all()


def test_a_stratum_keeps_more_disagreements_than_agreements() -> None:
    assert [keep(outcome) for outcome in Outcome] == [5, 5, 50, 50]
