"""A recount adds up to the same, however the topic is cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shadow.archive.counted import Counted
from shadow.comparison.increment import Increment
from shadow.comparison.totals import Run

RUNS = [Run(1, 1), Run(1, 2), Run(11, 2)]
steps = st.lists(
    st.tuples(st.sampled_from(RUNS), st.sampled_from(["repeats", "duplicates"]), st.integers(1, 9)), max_size=30
)


@given(steps, st.integers(1, 30))
def test_counters_of_a_run_add_up(added: list[tuple[Run, str, int]], cut: int) -> None:
    counted = Counted(3)
    for start in range(0, len(added), cut):
        more = Increment()
        for run, name, n in added[start : start + cut]:
            more.counters.setdefault(run, {}).setdefault(name, 0)
            more.counters[run][name] += n
        more.unreadable += 1
        counted.add(more)
    for run in RUNS:
        for name in ("repeats", "duplicates"):
            assert counted.counters[run][name] == sum(n for r, what, n in added if (r, what) == (run, name))
    assert counted.unreadable == len(range(0, len(added), cut))
