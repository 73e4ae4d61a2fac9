"""A plan runs the rule on expected traffic: more traffic settles sooner, too little never."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from scorer.pipeline.instants import DAY_MS
from shadow.comparison.case import Case
from shadow.comparison.outcome import Outcome
from shadow.gate.criteria import parse
from shadow.gate.planning import Delay, Reviews, Traffic, label_delays, plan, planned
from shadow.gate.remedies import advice, remedies

RELEASE = parse("schema: 1\nsegments:\n  country: {field: country, values: [DE, FR]}\nmay_stay_insufficient: []\n")


def a_traffic(scale: float = 1.0) -> Traffic:
    volume = scale * np.array([60_000.0, 59_000.0, 1000.0, 0.0, 60_000.0, 0.0, 0.0])
    return Traffic(volume, volume * 0.005, np.full(7, 0.17))


@pytest.mark.slow
def test_more_traffic_settles_sooner_and_too_little_never() -> None:
    found = {f.segment: f for f in plan(a_traffic(), RELEASE, 28, 60, np.random.default_rng(1))}
    assert found["all"].settles
    assert not found["country=FR"].settles
    assert "country=other" not in found, "nothing is expected in it"
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


def test_segments_that_never_settle_should_be_excused() -> None:
    forecasts = plan(a_traffic(), RELEASE, 28, 40, np.random.default_rng(1))
    assert advice(forecasts, RELEASE) == ["*: country=FR"]
    excused = RELEASE.model_copy(update={"may_stay_insufficient": ("*: *=other", "*: country=FR")})
    assert advice(forecasts, excused) == []


def test_the_same_seed_gives_the_same_plan() -> None:
    plans = [plan(a_traffic(), RELEASE, 10, 20, np.random.default_rng(3)) for _ in range(2)]
    assert plans[0] == plans[1]
    louder = replace(a_traffic(), discordance=np.full(7, 1.0))
    assert plan(louder, RELEASE, 10, 20, np.random.default_rng(3))[0].days != plans[0][0].days


def test_nothing_is_decided_before_the_clean_period_is_over() -> None:
    found = {f.segment: f for f in plan(a_traffic(20), RELEASE, 28, 40, np.random.default_rng(1))}
    assert found["country=DE"].days == (14.0, 14.0, 14.0)


@pytest.mark.slow
def test_excess_disagreement_needs_reviews_and_late_reviews_take_longer() -> None:
    def settled(**people: float) -> float:
        found = plan(a_traffic(), RELEASE, 28, 60, np.random.default_rng(5), Reviews(excess=1.0, **people))[1]
        assert found.segment == "country=DE"
        return found.share

    assert settled() == 0.0
    assert settled(per_day=200) > settled(per_day=100) > settled(per_day=25)
    assert settled(per_day=200) > settled(per_day=200, delay=10) > 0


@pytest.mark.slow
def test_where_amounts_are_small_evidence_on_money_takes_longer() -> None:
    small = replace(a_traffic(), amount=np.array([0.2, 0.02, *[0.2] * 5]), square=np.array([0.1, 0.001, *[0.1] * 5]))
    soon = RELEASE.model_copy(update={"minimum_covered_hours": 24})
    usual, slow = (plan(t, soon, 28, 40, np.random.default_rng(1))[1] for t in (a_traffic(), small))
    assert slow.slowest.endswith("_amount")
    assert usual.days[1] is not None
    assert slow.days[1] is None or slow.days[1] > usual.days[1]


@pytest.mark.slow
def test_what_would_settle_a_segment_is_told() -> None:
    """One with a sixtieth of the traffic; the others settle as they are."""
    people, rng = Reviews(per_day=20), np.random.default_rng(1)
    given = a_traffic()
    forecasts = plan(given, RELEASE, 28, 40, rng, people)
    never = [f.segment for f in forecasts if not f.settles and f.segment != "amount=>=500"]
    assert never == ["country=FR"]
    (remedy,) = remedies(given, RELEASE, 28, rng, people, forecasts)
    assert remedy.segment == "country=FR"
    assert remedy.traffic is not None
    assert 1 < remedy.traffic <= 8
    assert "times its traffic: merge it" in remedy.told
    assert all(name.startswith("maximum_") for name in remedy.limits)
    assert remedies(given, RELEASE, 28, rng, people, [f for f in forecasts if f.settles]) == []


@pytest.mark.slow
def test_a_candidate_is_promoted_only_where_every_segment_settles_at_once() -> None:
    """A limit on fraud lost that is too tight for reviews holds everything; a wider one is named, and would do."""
    release = parse("schema: 1\noverall: {maximum_lost_fraud: 0.02, maximum_more_uncapped_amount: null}\n")
    volume = np.array([30_000.0, 30_000.0, 0.0, 0.0])
    given, people = Traffic(volume, volume * 0.005, np.full(4, 0.17)), Reviews(per_day=40)
    found = planned(given, release, 28, 40, np.random.default_rng(1), people)
    (of_all,) = (f for f in found.forecasts if f.segment == "all")
    assert not of_all.settles
    assert of_all.lacking[0] == "lost_fraud"
    assert found.share <= of_all.share
    assert not found.settles
    (remedy,) = (r for r in remedies(given, release, 28, np.random.default_rng(1), people, [of_all]))
    wider = remedy.limits["maximum_lost_fraud"]
    assert f"maximum_lost_fraud {wider:g}" in remedy.told
    enough = parse(f"schema: 1\noverall: {{maximum_lost_fraud: {wider}, maximum_more_uncapped_amount: null}}\n")
    then = planned(given, enough, 28, 40, np.random.default_rng(1), people)
    assert then.share > found.share
    assert then.day is not None
    assert then.day >= 14


@pytest.mark.slow
def test_a_week_with_just_enough_traffic_promises_less_than_a_year() -> None:
    """A quarter of `minimum_transactions` a week, and 6 %; everything else is soon settled."""
    release = parse("schema: 1\nsegments:\n  country: {field: country, values: [DE]}\n")
    volume = np.array([60_000.0, 1060 / 28, 0.0, 60_000.0, 0.0, 0.0])
    traffic = Traffic(volume, volume * 0.9, np.full(6, 0.01))

    def share(days: float) -> float:
        given = replace(traffic, seen_days=days)
        found = plan(given, release, 28, 400, np.random.default_rng(2))[1]
        assert found.slowest == "transactions"
        return found.share

    assert share(7) < 0.88 < 0.93 < share(365) <= 1
    assert abs(share(10_000) - share(float("inf"))) < 0.03


def test_all_traffic_is_never_excused() -> None:
    thin = Traffic(*(value / 1000 for value in (a_traffic().transactions, a_traffic().blocks)), np.full(7, 0.17))
    lines = advice(plan(thin, RELEASE, 10, 20, np.random.default_rng(1)), RELEASE)
    assert lines == ["*: country=DE", "*: country=FR", "*: amount=<500"]


def test_delays_are_measured_to_the_first_label_of_each_case_and_source() -> None:
    cases = [Case(f"t{at}", Outcome.LIVE_ONLY, 1, at * DAY_MS, f"c{at}", ("all",), 0.5, at, at) for at in range(3)]
    found = {
        "t:t0": [{"review": {"ann": (DAY_MS, "fraud"), "bob": (3 * DAY_MS, "legit")}}],
        "c:c1:86400": [{"review": {"ann": (5 * DAY_MS, "legit")}, "chargeback": {"a": (41 * DAY_MS, "fraud")}}],
        "t:elsewhere": [{"review": {"ann": (9 * DAY_MS, "fraud")}}],
    }
    delays = label_delays([*cases, *cases], found)
    assert delays == {"chargeback": Delay(1, 1.0, 40.0), "review": Delay(2, 0.5, 2.5)}
    assert label_delays(cases, {}) == {}
