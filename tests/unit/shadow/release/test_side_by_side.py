"""Two candidates beside each other: only what differs, and whether they are about the same transactions."""

from __future__ import annotations

from dataclasses import replace

from harness.totals import RELEASE, a_run, part
from shadow.comparison.totals import ALL, Run, RunTotals
from shadow.gate.judge import judge
from shadow.release.side_by_side import checks_apart, ground, rates_apart

BAD = a_run(DE=part(60_000, 500, 1_500, 9_000))
GOOD = a_run()
NAMES = ("candidate", "challenger")


def covering(run: RunTotals, first: int, hours: int) -> RunTotals:
    return replace(run, covered=tuple(range(first, first + hours)), hours=hours)


def test_the_same_transactions_are_said_to_be_the_same() -> None:
    run = covering(GOOD, 100, 48)
    (told,) = ground(NAMES, run, run)
    assert told == f"Both runs cover the same 48 event hours and {run.compared:,} transactions."


def test_other_hours_or_another_live_are_said_with_what_follows() -> None:
    (told,) = ground(NAMES, covering(GOOD, 100, 48), covering(GOOD, 124, 48))
    assert told.startswith("The two runs do not cover the same transactions: candidate ")
    assert "They share 24 event hours." in told
    assert "may be the traffic and not the candidate" in told
    (few,) = ground(NAMES, covering(GOOD, 100, 48), covering(BAD, 100, 48))
    assert few.startswith("The two runs do not cover the same"), "the hours alone do not show it"
    told, _ = ground(NAMES, covering(GOOD, 100, 48), replace(covering(GOOD, 100, 48), run=Run(2, 1)))
    assert "live was changed in between" in told
    empty = replace(GOOD, segments={})
    assert ground(NAMES, GOOD, empty) == ["Nothing was compared yet for challenger."]
    assert ground(NAMES, empty, empty) == ["Nothing was compared yet for candidate and challenger."]


def test_only_checks_with_another_verdict_are_listed_failures_first_each_number_once() -> None:
    one, other = judge(BAD, a_run(), RELEASE), judge(GOOD, a_run(), RELEASE)
    found, more = checks_apart((one, BAD), (other, GOOD), 100)
    assert more == 0
    assert found[0].ours[0] == "✗ fails"
    assert all(row.ours[0] != row.theirs[0] for row in found)
    assert len({(row.segment, row.name) for row in found}) == len(found)
    assert {(row.segment, row.name) for row in found} >= {("country DE", "blocks"), ("All traffic", "blocks")}
    assert not any(row.segment == "country FR" and row.name == "blocks" for row in found)
    assert checks_apart((one, BAD), (one, BAD), 100) == ([], 0)
    assert checks_apart((one, BAD), (other, GOOD), 2)[1] == len(found) - 2


def test_rates_that_differ_are_listed_and_a_few_blocks_are_no_rate() -> None:
    found, more = rates_apart(GOOD, BAD, 10)
    assert more == 0
    assert [row.segment for row in found] == [ALL, "country=DE", "amount=<500"]
    assert (found[1].ours, found[1].theirs, found[1].apart) == ("3.22 %", "13.38 %", "+10.16 points")
    assert rates_apart(GOOD, GOOD, 10) == ([], 0)
    thin = a_run(FR=part(100, 2, 1, 30))
    rows = {row.segment: row for row in rates_apart(GOOD, thin, 10)[0]}
    assert rows["country=FR"].apart == "too few blocks"
    assert rates_apart(GOOD, BAD, 1) == (found[:1], 2)
