"""A plan is the rule itself on traffic to be expected: more traffic settles sooner, too little never."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from shadow.cases import DAY_MS, Case
from shadow.clean import ERROR, GAP, Reset, clean_period
from shadow.criteria import excusing, parse
from shadow.planning import Delay, Reviews, Traffic, advice, label_delays, plan

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


def test_beyond_the_floor_it_takes_reviews_and_late_ones_take_longer() -> None:
    def settled(**people: float) -> float:
        found = plan(a_traffic(), RELEASE, 28, 60, np.random.default_rng(5), Reviews(excess=1.0, **people))[1]
        assert found.segment == "country=DE"
        return found.share

    assert settled() == 0.0
    assert settled(per_day=200) > settled(per_day=100) > settled(per_day=25)
    assert settled(per_day=200) > settled(per_day=200, delay=10) > 0


def test_where_amounts_are_small_evidence_on_money_takes_longer() -> None:
    small = replace(a_traffic(), amount=np.array([0.2, 0.02, 0.2, 0.2]), square=np.array([0.1, 0.001, 0.1, 0.1]))
    usual, slow = (plan(t, RELEASE, 28, 40, np.random.default_rng(1))[1] for t in (a_traffic(), small))
    assert slow.slowest.endswith("_amount")
    assert usual.days[1] is not None
    assert slow.days[1] is None or slow.days[1] > usual.days[1]


def test_a_week_that_had_just_enough_promises_less_than_a_year_of_it() -> None:
    """A quarter of `minimum_transactions` a week, and 6 %; everything else is soon settled."""
    release = parse("schema: 1\nsegments:\n  country: {field: country, values: [DE]}\n")
    volume = np.array([60_000.0, 1060 / 28, 0.0])
    traffic = Traffic(volume, volume * 0.9, np.full(3, 0.01))

    def share(days: float) -> float:
        given = replace(traffic, seen_days=days)
        found = plan(given, release, 28, 400, np.random.default_rng(2))[1]
        assert found.slowest == "transactions"
        return found.share

    assert share(7) < 0.88 < 0.93 < share(365) <= 1
    assert abs(share(10_000) - share(float("inf"))) < 0.03


def test_all_traffic_is_never_excused() -> None:
    thin = Traffic(*(value / 1000 for value in (a_traffic().transactions, a_traffic().blocks)), np.full(4, 0.17))
    lines = advice(plan(thin, RELEASE, 10, 20, np.random.default_rng(1)), RELEASE)
    assert lines == ["*: country=DE", "*: country=FR", "*: country=other"]


def test_delays_are_those_of_the_first_label_of_each_case_and_source() -> None:
    cases = [Case(f"t{at}", 2, 1, at * DAY_MS, f"c{at}", ("all",), 0.5, at, at) for at in range(3)]
    found = {
        "t:t0": [{"review": {"ann": (DAY_MS, "fraud"), "bob": (3 * DAY_MS, "legit")}}],
        "c:c1:86400": [{"review": {"ann": (5 * DAY_MS, "legit")}, "chargeback": {"a": (41 * DAY_MS, "fraud")}}],
        "t:elsewhere": [{"review": {"ann": (9 * DAY_MS, "fraud")}}],
    }
    delays = label_delays([*cases, *cases], found)
    assert delays == {"chargeback": Delay(1, 1.0, 40.0), "review": Delay(2, 0.5, 2.5)}
    assert label_delays(cases, {}) == {}


names = st.lists(st.sampled_from(["*: a=b", 'x: "quoted"', "lost_fraud*: c=*", "*: #"]), unique=True)


@given(
    names,
    st.sampled_from(
        [
            "schema: 1\n",
            "schema: 1\nmay_stay_insufficient: ['*: old=1']  # why\npromote_error: 0.01  # kept\n",
            "schema: 1\nmay_stay_insufficient:\n  # a word\n  - '*: old'\n  - '*: b'\npromote_error: 0.01  # kept",
            "may_stay_insufficient: []\nschema: 1",
            "schema: 1\npromote_error: 0.01  # kept\nmay_stay_insufficient: [\n  '*: a=b',\n  ]\n",
        ]
    ),
)
def test_only_what_may_stay_insufficient_is_written_anew(patterns: list[str], text: str) -> None:
    before, after = parse(text), excusing(text, patterns)
    assert parse(after).may_stay_insufficient == tuple(patterns)
    assert parse(after).model_copy(update={"may_stay_insufficient": ()}) == before.model_copy(
        update={"may_stay_insufficient": ()}
    )
    assert ("# kept" in after) == ("# kept" in text)


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
