"""The rule on sums: a path of looks in one call agrees with single looks, and each segment is judged."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from harness.totals import RELEASE, a_run, of_cards, part
from shadow.comparison.totals import Run, RunTotals, SegmentTotals
from shadow.gate.criteria import Criterion
from shadow.gate.findings import Decision, Verdict
from shadow.gate.judge import judge as judged
from shadow.gate.measure import FAIL, OPEN, PASS, NoFloorRow, RunProgress
from shadow.gate.measure import measure as measured
from shadow.gate.recency import TOO_SHORT
from shadow.gate.sums import Sums

judge, measure = partial(judged, recent=TOO_SHORT), partial(measured, recent=TOO_SHORT)


def totals_at(path: Sums, look: int, hours: int) -> RunTotals:
    fields = Sums.__dataclass_fields__
    parts = {}
    for at, name in enumerate(RELEASE.segments.names):
        values = {field: getattr(path, field)[look, at].astype(np.int64) for field in fields}
        parts[name] = SegmentTotals(**values | {"errors": int(values["errors"])})
    return RunTotals(Run(1, 1), parts, hours, conflicts=int(look >= 45))


@pytest.mark.slow
@pytest.mark.parametrize("harm", [0.0, 0.6])
def test_a_path_of_looks_in_one_call_agrees_with_single_looks(harm: float) -> None:
    rng, looks, n = np.random.default_rng(9), 48, len(RELEASE.segments.names)

    def a_path(lost: float) -> Sums:
        chances = np.array(
            [[0.97, 0.03 * (0.85 - share), 0.03 * (0.15 + share), 0.0045] for share in (0, 0, lost, 0, 0, 0, 0)]
        )
        hourly = np.stack([rng.multinomial(1500, row / row.sum(), looks) for row in chances], axis=1)
        hourly[:, 0] = hourly[:, 1:4].sum(axis=1)
        counts = hourly.cumsum(axis=0).astype(np.float64)
        errors = rng.poisson(0.1, (looks, n)).cumsum(axis=0).astype(np.float64)
        cards = [of_cards(look[1:] // 1.2, 180) for look in counts.reshape(-1, 4)]
        stacked = {
            name: np.array([one[name] for one in cards], dtype=np.float64).reshape(looks, n, *np.shape(cards[0][name]))
            for name in cards[0]
        }
        return Sums(counts=counts, capped=counts[..., 1:] * 9000, errors=errors, **stacked)

    candidate, control = a_path(harm), a_path(0.0)
    hours, look = np.arange(1, looks + 1), np.arange(looks)
    progress = RunProgress(hours, (look >= 45).astype(np.int64), np.zeros(looks, np.int64))
    path = measure(candidate, control, progress, RELEASE)
    seen = set()
    for t in range(looks):
        single = judge(totals_at(candidate, t, t + 1), totals_at(control, t, t + 1), RELEASE)
        assert {Decision.PROMOTE: 1, Decision.HOLD: 0, Decision.REJECT: -1}[single.decision] == path.decisions[t]
        codes = {Verdict.PASS: 1, Verdict.INSUFFICIENT: 0, Verdict.FAIL: -1}
        found = {(f.criterion, f.segment): codes[f.verdict] for f in single.findings}
        for row in path.rows:
            for at, name in enumerate(RELEASE.segments.names):
                if row.asked[t, at]:
                    assert found[row.criterion, name] == row.codes[t, at], (t, row.criterion, name)
                else:
                    assert (row.criterion, name) not in found
        seen.add(single.decision)
    assert len(seen) >= 2, "the path says the same all the time"


def test_failures_and_missing_evidence_are_found_by_segment() -> None:
    names = RELEASE.segments.names
    progress = RunProgress(*(np.array(n, dtype=np.int64) for n in (48, 0, 0)))
    harmful = Sums.of(a_run(FR=part(30_000, 200, 800, 0)), names)
    seen = measure(harmful, Sums.of(a_run(), names), progress, RELEASE)
    assert seen.failed().tolist() == [True, False, True, False, False, False, False], "all traffic and France"
    holds, excused = seen.missing()
    assert not holds[1], "nothing is missing in Germany"
    assert excused.tolist() == [False] * 5 + [True, False], "what is above the cap; an empty `other` is not asked for"
    assert int(seen.decisions) == FAIL


def test_without_a_control_the_excess_is_missing_and_the_floor_excuses_no_label() -> None:
    names = RELEASE.segments.names
    progress = RunProgress(*(np.array(n, dtype=np.int64) for n in (48, 0, 0)))
    seen = measure(Sums.of(a_run(), names), None, progress, RELEASE)
    assert isinstance(seen.rows[-1], NoFloorRow)
    assert seen.missing()[0].tolist() == [True, True, True, False, True, False, False]
    by_criterion = {row.criterion: (row.codes[:3] == PASS).all() for row in seen.rows}
    assert not by_criterion.pop(Criterion.EXCESS_DISAGREEMENT)
    assert not by_criterion.pop(Criterion.LOST_FRAUD), "5 % of the blocks are live's alone, which is the limit"
    assert by_criterion.pop(Criterion.MORE_BLOCKS)
    assert int(seen.decisions) == OPEN
