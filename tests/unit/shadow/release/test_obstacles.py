"""A release is forced exactly when something stands against it, and the ledger keeps what that was."""

from __future__ import annotations

from datetime import datetime, timedelta

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.ledgers import AT, a_ledger, fill
from harness.totals import RELEASE, a_run, part
from scorer.deployments.changes import forced, promotion
from scorer.deployments.records import Answer, Forced, Suggestion, Target, Withdrawal, encode
from scorer.deployments.slots import Deployments
from shadow.gate.findings import Decision, Judgement
from shadow.gate.judge import judge
from shadow.release.history import forced_by_verdict, history, last_forced
from shadow.release.obstacles import verdict_of, weigh
from shadow.release.telling import lines as told

BEGIN = datetime.fromisoformat(AT)
MINE = "c" * 64


def add(state: Deployments, entry: object) -> None:
    state.fold(f"ledger/{state.next_seq('a1b2c3d4')}".encode(), encode(entry))  # type: ignore[arg-type]


def suggested() -> tuple[Deployments, str]:
    state = a_ledger()
    digest = state.slot("candidate").digest
    expects = {"live": 1, "candidate": 1}
    target = Target(digest=digest, threshold=0.5)
    add(state, Suggestion(slot="candidate", target=target, expects=expects, criteria=MINE, evidence={}, at=AT))
    return state, state.ledger[-1].seq


def judged(decision: Decision) -> Judgement:
    return Judgement(decision, (), 400, 336, "L1-C1")


@given(
    st.sampled_from([*Decision, "redis 127.0.0.1:1: away"]),
    st.sampled_from([None, "rejected", "withdrawn", "overtaken", "never"]),
    st.sampled_from([MINE, "d" * 64]),
    st.sampled_from([None, 0.5, 0.4999999, 0.0, 1.0]),
    st.floats(0, 150),
)
def test_nothing_stands_against_what_was_judged_suggested_and_is_still_so(
    verdict: Decision | str, fate: str | None, criteria: str, threshold: float | None, hours: float
) -> None:
    state, seq = suggested()
    if fate == "rejected":
        add(state, Answer(suggestion=seq, answer="rejected", by="ann", reason="no", at=AT))
    elif fate == "withdrawn":
        add(state, Withdrawal(suggestion=seq, cause="verdict", reason="hold: …", by="shadow serve", at=AT))
    elif fate == "overtaken":
        fill(state, "candidate", 1)
    elif fate == "never":
        state = a_ledger()
    judgement = judged(verdict) if isinstance(verdict, Decision) else verdict
    found = weigh(state, "candidate", judgement, criteria, threshold, BEGIN + timedelta(hours=hours))
    stands = fate is None and hours <= 72
    is_fine = stands and verdict is Decision.PROMOTE and criteria == MINE and threshold in (None, 0.5)
    assert (found.against == ()) == is_fine, found.against
    assert (found.suggestion is not None) == stands
    known = isinstance(verdict, Decision)
    assert (found.withdrawal is not None) == (stands and known and verdict is not Decision.PROMOTE)
    assert all("\n" not in line and "--force" not in line for line in found.against)


def test_a_forced_release_is_on_record_for_ever_with_its_verdict() -> None:
    state, _ = suggested()
    bad = judge(a_run(FR=part(30_000, 100, 900, 9000)), None, RELEASE)
    assert bad.decision is Decision.REJECT
    change = promotion(state, "candidate", "ann", "board meeting", AT, 0.25, None)
    add(state, forced(change, verdict_of(bad, MINE), ["slot candidate: …"]))
    fill(state, "candidate", 2)
    add(state, promotion(state, "candidate", "bob", "clean", AT, None, None))
    entry = state.ledger[-3].entry
    assert isinstance(entry, Forced)
    assert orjson.loads(encode(entry))["kind"] == "forced"
    assert entry.verdict.decision == "reject"
    assert entry.verdict.run == "L1-C1"
    assert {found["verdict"] for found in entry.verdict.against} == {"fail", "insufficient"}
    assert entry.overrode == ("slot candidate: …",)
    assert [forced.by for _, forced in state.forced] == ["ann"]
    assert forced_by_verdict(state) == {"promote": 0, "hold": 0, "reject": 1, "unknown": 0}
    lines = list(told(history(state)))
    assert [line for line in lines if "FORCED by ann" in line and bad.reason in line and "board meeting" in line]
    (second,) = [line for line in lines if " by bob: live" in line]
    assert second.startswith("2026-01-01 00:00 UTC  approve by bob: live bundle ")
    assert str(last_forced(state)).startswith("one release was forced by ann at 2026-01-01 00:00 UTC (board meeting)")
    assert last_forced(a_ledger()) is None


def test_what_somebody_else_wrote_does_not_write_on_the_terminal() -> None:
    state, _ = suggested()
    add(state, promotion(state, "candidate", "ann\x1b[2J", "line\nFORCED by bob", AT, None, None))
    lines = list(told(history(state)))
    assert len([line for line in lines if not line.startswith("    ")]) == len(state.ledger)
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize("slot", ["live", "candidate"])
def test_a_forced_release_that_came_too_late_was_none(slot: str) -> None:
    state, _ = suggested()
    change = promotion(state, "candidate", "ann", "x", AT, None, None)
    fill(state, slot, 1)
    add(state, forced(change, verdict_of("redis: away", MINE), []))
    assert state.forced == []
    assert "(void: another entry came first)" in list(told(history(state)))[-1]
    assert "the verdict was redis: away" in list(told(history(state)))[-1]
