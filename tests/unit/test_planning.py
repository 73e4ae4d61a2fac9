"""A plan is the rule itself on traffic to be expected: more traffic settles sooner, too little never."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from shadow.clean import ERROR, GAP, Reset, clean_period
from shadow.criteria import parse
from shadow.planning import Traffic, advice, plan

RELEASE = parse("schema: 1\nsegments:\n  country: {field: country, values: [DE, FR]}\nmay_stay_insufficient: []\n")


def a_traffic(scale: float = 1.0) -> Traffic:
    volume = scale * np.array([60_000.0, 59_000.0, 1000.0, 0.0])
    return Traffic(volume, volume * 0.005, np.full(4, 0.17))


def test_a_segment_with_more_traffic_settles_sooner_and_a_thin_one_never() -> None:
    found = {f.segment: f for f in plan(a_traffic(), RELEASE, 28, 60, np.random.default_rng(1))}
    assert found["all"].settles
    assert not found["country=FR"].settles
    assert not found["country=other"].settles
    low, middle, high = found["country=DE"].days
    assert low is not None
    assert middle is not None
    assert high is not None
    assert low <= middle <= high
    more = {f.segment: f for f in plan(a_traffic(20), RELEASE, 28, 60, np.random.default_rng(1))}
    assert more["country=FR"].settles
    sooner = more["country=DE"].days[1]
    assert sooner is not None
    assert sooner <= middle


def test_what_never_settles_is_what_release_yaml_should_excuse() -> None:
    forecasts = plan(a_traffic(), RELEASE, 28, 40, np.random.default_rng(1))
    assert advice(forecasts, RELEASE) == ["*: country=FR", "*: country=other"]
    excused = RELEASE.model_copy(update={"may_stay_insufficient": ("*: *=other", "*: country=FR")})
    assert advice(forecasts, excused) == []


def test_a_plan_is_the_same_for_the_same_seed() -> None:
    plans = [plan(a_traffic(), RELEASE, 10, 20, np.random.default_rng(3)) for _ in range(2)]
    assert plans[0] == plans[1]
    louder = replace(a_traffic(), discordance=np.full(4, 1.0))
    assert plan(louder, RELEASE, 10, 20, np.random.default_rng(3))[0].days != plans[0][0].days


hours = st.sets(st.integers(0, 300))


@given(hours, st.lists(st.builds(Reset, st.integers(0, 300), st.sampled_from([ERROR, GAP]))), st.integers(1, 400))
def test_clean_hours_are_the_covered_ones_after_the_last_reset(
    covered: set[int], resets: list[Reset], needed: int
) -> None:
    found = clean_period(covered, resets, needed)
    after = max((reset.hour for reset in resets), default=-1)
    assert found.hours == sum(hour > after for hour in covered)
    assert found.missing == max(0, needed - found.hours)
    assert (found.ends is None) == (not covered)
    if covered and found.missing:
        assert found.ends == max(covered) + found.missing
