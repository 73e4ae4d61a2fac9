"""A plan foresees whether harm in the evidence for a promotion would be stopped, from the traffic that it expects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson
import pytest
from click.testing import CliRunner

from shadow.cli.plan import plan
from shadow.gate.criteria import Release, parse
from shadow.gate.planning import Reviews, Traffic, planned
from shadow.gate.sums import CUT, Sums, amount_shift
from shadow.labels.label import State
from shadow.release.foreseen import Foreseen, expected_evidence, foreseen
from shadow.release.traffic import stated

SEGMENTS = "schema: 1\nsegments:\n  country: {field: country, values: [DE, FR]}\nminimum_covered_hours: 24\n"
RELEASE = parse(SEGMENTS)
EXCUSED = parse(SEGMENTS + "may_stay_insufficient: ['*: country=FR']\n")
AMPLE = {"country=FR": 0.3}


def of(release: Release, traffic: Traffic, people: Reviews | None = None, horizon: int = 14) -> Foreseen | None:
    people = people or Reviews()
    found = planned(traffic, release, horizon, 20, np.random.default_rng(1), people)
    return foreseen(traffic, release, horizon, people, found.forecasts, int(found.day or 1))


def test_where_every_segment_is_judged_harm_would_be_stopped() -> None:
    found = of(RELEASE, stated(RELEASE, 2_000_000, 0.02, 0.05, AMPLE))
    assert found is not None
    assert found.challenge.stopped == 1.0


def test_where_a_segment_is_excused_harm_in_it_would_pass() -> None:
    found = of(EXCUSED, stated(EXCUSED, 100_000, 0.02, 0.05, {"country=FR": 0.005}))
    assert found is not None
    assert found.challenge.segments["country=FR"] < 0.5
    assert found.challenge.segments["country=DE"] == 1.0


def test_too_little_traffic_for_a_promotion_foresees_nothing() -> None:
    assert of(RELEASE, stated(RELEASE, 2_000, 0.005, 0.17, AMPLE)) is None


@pytest.mark.slow
def test_a_candidate_that_differs_is_foreseen_only_with_reviews() -> None:
    traffic = stated(RELEASE, 2_000_000, 0.02, 0.05, AMPLE)
    assert of(RELEASE, traffic, Reviews(excess=0.5)) is None
    found = of(RELEASE, traffic, Reviews(per_day=400, fraud=0.5, excess=0.5))
    assert found is not None
    assert found.challenge.stopped > 0.9


def test_expected_evidence_is_the_traffic_times_the_days() -> None:
    traffic = stated(RELEASE, 100_000, 0.02, 0.1, AMPLE)
    evidence = expected_evidence(traffic, RELEASE, 7, Reviews(excess=0.2), [])
    sums = Sums.of(evidence.candidate, RELEASE.segments.names)
    assert sums.compared == pytest.approx(traffic.transactions * 7, abs=2)
    assert sums.live_blocks == pytest.approx(traffic.blocks * 7, abs=3)
    assert sums.live_pairs + sums.candidate_pairs == pytest.approx(0.3 * sums.live_cards, abs=2)
    money = amount_shift(sums, CUT)
    assert money.base[0] / 1000 == pytest.approx(0.25 * sums.live_cards[0], rel=1e-3)
    assert money.base_base[0] / 1000**2 == pytest.approx(0.15 * sums.live_cards[0], rel=1e-3)
    assert evidence.floor is not None
    floor = Sums.of(evidence.floor, RELEASE.segments.names)
    assert floor.live_pairs + floor.candidate_pairs == pytest.approx(0.1 * floor.live_cards, abs=2)


@pytest.mark.slow
def test_reviews_of_the_forecast_are_known_on_both_sides() -> None:
    people = Reviews(per_day=60, fraud=0.4, right=1.0, excess=0.5)
    traffic = stated(RELEASE, 100_000, 0.02, 0.1, AMPLE)
    forecasts = planned(traffic, RELEASE, 10, 20, np.random.default_rng(1), people).forecasts
    evidence = expected_evidence(traffic, RELEASE, 10, people, forecasts)
    reviewed = sum(f.reviews for f in forecasts)
    assert len(evidence.cases) == pytest.approx(reviewed, abs=2 * len(forecasts))
    assert sum(case.is_live_only for case in evidence.cases) * 2 == len(evidence.cases)
    fraud = sum(known.review is State.FRAUD for known in evidence.known)
    assert fraud == pytest.approx(0.4 * len(evidence.cases), abs=len(forecasts) * 2)


@pytest.mark.slow
def test_plan_says_how_much_planted_harm_would_be_stopped(tmp_path: Path) -> None:
    (tmp_path / "release.yaml").write_text(SEGMENTS + "may_stay_insufficient: ['*: country=FR']\n")
    env = {"SHADOW_RELEASE": str(tmp_path / "release.yaml")}
    asked = ["--transactions", "20000", "--block-rate", "0.02", "--discordance", "0.05"]
    asked += ["--runs", "20", "--days", "14", "--share", "country=FR=0.14"]
    text = CliRunner().invoke(plan, asked, env=env)
    assert text.exit_code == 0, text.output
    (line,) = [line for line in text.output.splitlines() if line.startswith("Planted harm")]
    assert "less than the 95 % that automation asks for; least in country=FR (" in line
    found = orjson.loads(CliRunner().invoke(plan, [*asked, "--json"], env=env).stdout)["challenge"]
    assert found["segments"]["country=DE"] == 1.0
    assert f"{found['stopped']:.0%}".replace("%", " %") in line
    assert f"on day {found['day']}" in line


def test_plan_says_when_nothing_would_be_promoted_to_plant_harm_in(tmp_path: Path) -> None:
    (tmp_path / "release.yaml").write_text(SEGMENTS)
    env = {"SHADOW_RELEASE": str(tmp_path / "release.yaml")}
    asked = ["--transactions", "500", "--runs", "10", "--days", "3"]
    text = CliRunner().invoke(plan, asked, env=env)
    assert "Planted harm: cannot be asked, as the expected traffic promotes nothing within 3 days" in text.output
    assert orjson.loads(CliRunner().invoke(plan, [*asked, "--json"], env=env).stdout)["challenge"] is None
