"""`shadow plan` from slots that run: traffic, the control's discordance and the delays of labels, out of a store."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from harness.models import Models
from harness.stack import Stack
from harness.tallied import FIRST_HOUR, MINOR_EACH, an_hour, fill
from scorer.pipeline.instants import HOUR_MS
from shadow.comparison.case import Case
from shadow.comparison.increment import Offered
from shadow.comparison.outcome import Outcome
from shadow.comparison.sampling import WHOLE_RUN
from shadow.comparison.totals import Run
from shadow.gate.criteria import parse
from shadow.labels.label import Vote
from shadow.store.connection import connect
from shadow.store.labels import LabelStore
from shadow.store.tallies import TallyStore

RELEASE = """schema: 1  # the first criteria
segments:
  country: {field: country, values: [DE, FR]}
may_stay_insufficient: ["*: *=other"]
overall:
  minimum_transactions: 5000  # a note
"""
RUN = Run(1, 1)
DAY_MS = 24 * HOUR_MS
#: Each hour of Germany, and of France, which has hardly any traffic.
TWIN = [(1900, 15, 1, 1), (20, 0, 0, 0)]


@pytest.fixture
def running(stack: Stack, models: Models) -> Stack:
    (stack.folder / "release.yaml").write_text(RELEASE)
    stack.env["SHADOW_RELEASE"] = str(stack.folder / "release.yaml")
    stack.run("scorer", "topics")
    stack.deploy(models.control, "control")
    return stack


def plan(stack: Stack, *more: str) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(stack.run("shadow", "plan", "--json", "--runs", "60", *more))
    return found


def by_segment(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {segment["segment"]: segment for segment in found["segments"]}


def label(stack: Stack, n: int, days: float) -> None:
    """n cases of the candidate's run, each reviewed so many days after it happened, an hour between them."""

    async def go() -> None:
        redis = connect(stack.env["SHADOW_REDIS"])
        segments = parse(RELEASE).segments
        store = TallyStore(redis, "candidate", segments.names)
        what, votes = an_hour(RUN, FIRST_HOUR, [(0, 0, n, 0)], segments), []
        for at in range(n):
            occurred = (FIRST_HOUR + at) * HOUR_MS
            names = ("all", "country=DE")
            case = Case(
                f"t{at}",
                Outcome.LIVE_ONLY,
                MINOR_EACH,
                occurred,
                f"{at:016x}",
                names,
                (at + 1) / 1000,
                occurred // DAY_MS,
                at,
            )
            strata = [(str(RUN), WHOLE_RUN, 2, segments.names.index(name)) for name in names]
            what.samples.append(Offered(at, case.hash, case.encode(), strata))
            votes.append(Vote(f"t:t{at}", "review", "ann", occurred + int(days * DAY_MS), "fraud"))
        votes.append(Vote("t:t0", "chargeback", "acquirer", FIRST_HOUR * HOUR_MS + 45 * DAY_MS, "fraud"))
        await store.apply(0, await store.open_partition(0, 0), 1, what)
        await LabelStore(redis).merge(votes, {})
        await redis.aclose()

    asyncio.run(go())


def test_a_plan_takes_traffic_and_discordance_from_the_control_that_runs(running: Stack, models: Models) -> None:
    fill(running.store.address, "control", RUN, 48, TWIN, parse(RELEASE).segments)
    found = plan(running)
    segments = by_segment(found)
    assert segments["all"]["transactions"] == 24 * (1917 + 20)
    assert segments["country=DE"]["blocks"] == 24 * 16
    assert segments["country=DE"]["settles"]
    low, middle, high = segments["country=DE"]["days"]
    assert 1 <= low <= middle <= high < 28
    assert not segments["country=FR"]["settles"]
    assert found["reviews"]["per_day"] == 0
    assert found["label_delays"] == {}
    # what is measured makes the difference: a twin that differs more takes longer
    fill(running.store.address, "louder", RUN, 48, [(1900, 0, 1, 15), (20, 0, 0, 0)], parse(RELEASE).segments)
    running.env["SHADOW_CONTROL"] = "louder"
    running.deploy(models.control, "louder")
    louder = by_segment(plan(running))["country=DE"]
    assert louder["days"][1] is None or louder["days"][1] > middle


def test_reviews_are_planned_as_they_were_done(running: Stack, models: Models) -> None:
    running.deploy(models.candidate, "candidate")
    fill(running.store.address, "control", RUN, 48, TWIN, parse(RELEASE).segments)
    label(running, 49, days=1.5)
    found = plan(running, "--excess", "1")
    assert found["label_delays"]["review"] == {"n": 49, "per_day": 24.5, "median": 1.5}
    assert found["label_delays"]["chargeback"]["median"] == 45
    assert found["reviews"]["per_day"] == 24.5
    assert found["reviews"]["delay"] == 1.5
    few, many, none = (
        by_segment(plan(running, "--excess", "1", "--reviews", str(n)))["country=DE"] for n in (24.5, 200, 0)
    )
    assert by_segment(found)["country=DE"] == few
    assert few["slowest"].startswith(("lost_fraud", "insults"))
    assert 0 < few["reviews"] < many["reviews"]
    assert many["settles"]
    assert many["days"][1] < (few["days"][1] or 29)
    assert not none["settles"], "who is right is not known without a review"
    told = running.run("shadow", "plan", "--runs", "20", "--excess", "1")
    assert "24.5 reviews a day, 1.5 days after the transaction" in told
    assert "a chargeback came 45.0 days after the transaction (median of 1)" in told
    assert "with 100 % of live's blocks more disagreements" in told


def test_what_never_settles_is_written_to_the_criteria_and_stays_insufficient(running: Stack, models: Models) -> None:
    running.deploy(models.candidate, "candidate")
    segments = parse(RELEASE).segments
    for slot in ("control", "candidate"):
        fill(running.store.address, slot, RUN, 400, TWIN, segments)
    held = running.run("shadow", "gate", "--brief", expect=3)
    assert "country FR" in held.replace("\n", " ")
    assert plan(running, "--write")["written"] is True
    text = (running.folder / "release.yaml").read_text()
    assert parse(text).may_stay_insufficient == ("*: *=other", "*: country=FR")
    assert "# the first criteria" in text
    assert "minimum_transactions: 5000  # a note" in text
    promoted = orjson.loads(running.run("shadow", "gate", "--json"))
    assert promoted["decision"] == "promote"
    assert set(promoted["not_judged"]) == {"country=FR", "amount=>=500"}, "no empty `other`"
    assert plan(running, "--write")["written"] is False, "nothing is left to write"


def test_what_cannot_be_planned_is_told(running: Stack) -> None:
    assert "has seen 0 hours with 0 blocks of live; a plan needs at least 24 hours" in running.fails("shadow", "plan")
    assert "--share: needs --transactions" in running.fails("shadow", "plan", "--share", "country=DE=0.5")
    for shares, told in [
        (("country=DE",), "expected SEGMENT=SHARE"),
        (("country=XX=0.1",), "declares no segment country=XX"),
        (("country=DE=1.5",), "expected a share from 0 to 1"),
        (("country=DE=0.9", "country=FR=0.9"), "the segments of country add up to 1.8"),
    ]:
        given = (part for share in shares for part in ("--share", share))
        assert told in running.fails("shadow", "plan", "--transactions", "1000", *given)
    assert "slot nobody: is empty" in running.fails("shadow", "plan", SHADOW_CONTROL="nobody")
