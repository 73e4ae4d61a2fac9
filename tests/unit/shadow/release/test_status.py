"""How things stand in about ten lines: each says what somebody on call asks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from harness.changes import a_change, fold
from scorer.deployments.changes import deployment, switch
from scorer.deployments.records import STANDS, Answer, Suggestion, Target
from scorer.deployments.slots import Deployments
from shadow.gate.findings import Decision
from shadow.release.complaints import Day, compare
from shadow.release.status import DataAge, SlotVerdict, Status, data_age, lines, status

NOW = datetime(2026, 1, 3, 12, tzinfo=UTC)
AGE = DataAge("training data ended", NOW - timedelta(days=33, hours=5))
HOLD = SlotVerdict(Decision.HOLD, "hold: evidence still missing", 12)


def seen(state: Deployments, data: DataAge = AGE, trouble: str | None = None, **verdicts: SlotVerdict) -> Status:
    return status(state, data, {"candidate": "L1-C1"}, verdicts, NOW, trouble)


def line(found: Status, name: str) -> str:
    (told,) = [told for told in lines(found) if told.startswith(f"{name} ")]
    return told.removeprefix(name).strip()


@pytest.fixture
def state() -> Deployments:
    return fold(a_change({"live": "a"}, {"live": 0}), a_change({"candidate": "b"}, {"candidate": 0}))


def suggest(state: Deployments, hours: float) -> str:
    at = (NOW - timedelta(hours=hours)).isoformat(timespec="milliseconds")
    target, expects = Target(digest="b" * 64, threshold=0.5), {"live": 1, "candidate": 1}
    made = Suggestion(slot="candidate", target=target, expects=expects, criteria="c", evidence={}, at=at)
    fold(made, start=state)
    return state.ledger[-1].seq


def test_a_status_has_about_ten_lines(state: Deployments) -> None:
    suggest(state, 2)
    told = list(lines(seen(state, candidate=HOLD)))
    assert len(told) == 8
    assert told == [
        "live         bundle aaaaaaaaaaaa at 0.5 since 2026-01-01 00:00 UTC (2 d 12 h), "
        "deploy by ann (name not verified): because",
        "data         33.2 days old: training data ended at 2025-12-01 07:00 UTC",
        "kill switch  off",
        "candidate    bundle bbbbbbbbbbbb at 0.5 since 2026-01-01 00:00 UTC (2 d 12 h), run L1-C1; "
        "hold: evidence still missing",
        "control      empty",
        "previous     empty",
        "waiting      slot candidate: to be approved or rejected by a person, as 00000003-a1b2c3d4; "
        "expires at 2026-01-06 10:00 UTC, in 2 d 22 h",
        "reviews      a reviewer: 12 cases of slot candidate; see `shadow review next`",
    ]


def test_the_kill_switch_names_who_turned_it_on_and_live_keeps_its_own_name(state: Deployments) -> None:
    at = (NOW - timedelta(hours=1)).isoformat()
    fold(switch(state, "block_all", "bob", "serves nonsense", at), start=state)
    again = (NOW - timedelta(minutes=5)).isoformat()
    fold(deployment(state, "live", "a" * 64, 0.5, "eve", "again", again), start=state)
    found = seen(state)
    assert line(found, "kill switch").startswith("ON (block_all) since 2026-01-03 11:")
    assert line(found, "kill switch").endswith("kill_switch_on by bob (name not verified): serves nonsense")
    assert line(found, "live").endswith(
        "since 2026-01-01 00:00 UTC (2 d 12 h), deploy by ann (name not verified): because"
    )
    told = found.to_json()
    assert told["kill_switch"]["by"] == "bob"
    assert told["kill_switch"]["since"] == at
    fold(switch(state, None, "ann", "mended", NOW.isoformat()), start=state)
    assert line(seen(state), "kill switch") == "off"
    nothing = dict.fromkeys(["override", "since", "by", "verified", "reason", "kind", "entry"])
    assert seen(state).to_json()["kill_switch"] == nothing


def test_another_threshold_makes_another_live_model(state: Deployments) -> None:
    fold(deployment(state, "live", "a" * 64, 0.25, "eve", "stricter", NOW.isoformat()), start=state)
    assert line(seen(state), "live").endswith("threshold by eve (name not verified): stricter")


@pytest.mark.parametrize(("hours", "waits"), [(0, True), (71.9, True), (72.1, False)])
def test_what_has_expired_waits_for_nobody(state: Deployments, hours: float, waits: bool) -> None:
    seq = suggest(state, hours)
    found = seen(state)
    assert [one.seq for one in found.waiting] == ([seq] if waits else [])
    if waits:
        assert found.waiting[0].expires == NOW - timedelta(hours=hours) + STANDS
        fold(Answer(suggestion=seq, answer="rejected", by="ann", reason="no", at=NOW.isoformat()), start=state)
    assert line(seen(state), "waiting") == "no suggestion waits for a person"


def test_an_age_says_what_it_counts_from(state: Deployments) -> None:
    made = NOW - timedelta(days=3)
    assert data_age("2025-12-31T00:00:00+00:00", made).counted == "training data ended"
    for missing in (None, "soon"):
        age = data_age(missing, made)
        assert age.since == made
        assert line(seen(state, age), "data").startswith(
            "3.0 days old, counted from when the bundle was made (2025-12-31"
        )
        assert seen(state, age).to_json()["data"]["counted_from"] == "bundle made"
    unknown = seen(state, DataAge(None, None, "bundle aaaaaaaaaaaa: model.txt is missing"))
    assert line(unknown, "data") == "age is not known: bundle aaaaaaaaaaaa: model.txt is missing"


def test_an_empty_ledger_and_an_absent_store_are_told(state: Deployments) -> None:
    empty = seen(Deployments(), DataAge(None, None, "no bundle is live"))
    assert line(empty, "live") == "empty"
    assert line(empty, "reviews") == "No reviews needed"
    away = seen(state, trouble="redis: away")
    assert line(away, "reviews") == "verdicts and reviews cannot be seen: redis: away"
    for found in (empty, away):
        assert orjson.loads(orjson.dumps(found.to_json()))["trouble"] == found.trouble


@pytest.mark.parametrize("bad", ["ann\x1b[2J", "a\nb"])
def test_what_somebody_else_wrote_keeps_its_line(bad: str) -> None:
    change: Any = a_change({"live": "a"}, {"live": 0}, by=bad, reason=bad, at=bad)
    assert all(told.isprintable() for told in lines(seen(fold(change))))


def test_complaints_have_a_line_and_a_verdict_for_machines_once_somebody_reports_them(state: Deployments) -> None:
    said = compare([Day(at, 20, 1000) for at in range(10)], [Day(20, 80, 1000)], 0.2)
    found = status(state, AGE, {}, {}, NOW, complaints=said)
    assert line(found, "complaints") == (
        "complaints rose by more than 20 %: 80.00 for each 1,000 blocks on 1 day since the release, "
        "20.00 for each 1,000 blocks on 10 days before it"
    )
    told = orjson.loads(orjson.dumps(found.to_json()))["complaints"]
    assert (told["verdict"], told["after"]["rate"]) == ("risen", 0.08)
    assert seen(state).to_json()["complaints"] is None
    assert not any(told.startswith("complaints") for told in lines(seen(state)))
