"""The history is the ledger as rows: in order, without gaps and overlaps, and what it says of a time is what a replay
up to that time says."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.changes import a_change, fold
from scorer.deployments.changes import forced, promotion, rollback, switch
from scorer.deployments.records import Answer, Erasure, Judged, Rotation, Suggestion, Target, Withdrawal
from scorer.deployments.slots import Deployments
from shadow.release.history import chosen, history, instant, times_of
from shadow.release.telling import in_force, lines

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
SLOTS = ("live", "candidate", "previous")
minutes = st.integers(0, 5)


def at(minute: int) -> str:
    return (BEGIN + timedelta(minutes=minute)).isoformat(timespec="milliseconds")


@st.composite
def bodies(draw: st.DrawFn, steps: st.SearchStrategy[int] = minutes) -> list[tuple[str, dict[str, Any]]]:
    """Keys and bodies of ledger entries as any writer could have made them, dated by the sum of some steps."""
    out: list[tuple[str, dict[str, Any]]] = []
    epochs = dict.fromkeys(SLOTS, 0)
    now = 0
    for n in range(draw(st.integers(0, 14))):
        now += draw(steps)
        key, signed = f"{n + 1:08d}-aaaaaaaa", {"schema": 1, "by": draw(st.sampled_from(["ann", "bob"])), "at": at(now)}
        keys = st.sampled_from([key for key, _ in out] or ["none"])
        kind = draw(
            st.sampled_from(["change", "change", "change", "forced", "suggestion", "answer", "withdrawal", "prepare"])
        )
        target = st.one_of(
            st.none(),
            st.fixed_dictionaries(
                {
                    "digest": st.sampled_from(["a" * 64, "b" * 64]),
                    "threshold": st.sampled_from([0.5, 0.25]),
                    "override": st.sampled_from([None, None, "block_all"]),
                }
            ),
        )
        if kind in ("change", "forced"):
            slots = draw(st.dictionaries(st.sampled_from(SLOTS), target, min_size=1))
            late = draw(st.sampled_from([0, 0, 0, 1]))
            body = {
                "slots": slots,
                "expects": {name: epochs[name] - late for name in slots if epochs[name] >= late},
                "cause": draw(st.sampled_from(["deploy", "override", "approve", "rollback"])),
                "suggestion": draw(st.one_of(st.none(), keys)),
                "reason": "because",
            }
            if kind == "forced":
                body["verdict"] = {"decision": "hold", "reason": "hold: too early"}
            if not late:  # guesses well, though the entry may turn out void
                epochs |= {name: epochs[name] + 1 for name in slots}
        elif kind == "suggestion":
            body = {"slot": "candidate", "target": {}, "expects": {}, "criteria": "c", "evidence": {}}
        elif kind == "prepare":
            body = {"digest": "a" * 64}
        else:
            body = {"suggestion": draw(keys), "reason": "no", "answer": "rejected", "cause": "verdict"}
        out.append((key, {**signed, "kind": kind, **body}))
    return out


def folded(entries: list[tuple[str, dict[str, Any]]]) -> Deployments:
    state = Deployments()
    for key, body in entries:
        state.fold(f"ledger/{key}".encode(), orjson.dumps(body))
    return state


def replayed(entries: list[tuple[str, dict[str, Any]]]) -> dict[str, tuple[str, dict[str, Any] | None]]:
    """Key of the entry that filled each slot last, and what with, by the rules of docs/contracts.md alone."""
    epochs: dict[str, int] = {}
    settled: set[str] = set()
    held: dict[str, tuple[str, dict[str, Any] | None]] = {}
    for key, body in entries:
        settles = body.get("suggestion")
        if body["kind"] in ("change", "forced"):
            if any(epochs.get(name, 0) != body["expects"].get(name) for name in body["slots"]):
                continue
            if settles is not None and settles in settled:
                continue
            for name, target in body["slots"].items():
                epochs[name] = epochs.get(name, 0) + 1
                held[name] = key, target
        if settles is not None:
            settled.add(settles)
    return held


@pytest.mark.slow
@given(bodies(), st.integers(-2, 75))
def test_who_was_live_at_a_time_is_what_a_replay_up_to_it_says(
    entries: list[tuple[str, dict[str, Any]]], minute: int
) -> None:
    rows, when = history(folded(entries)), BEGIN + timedelta(minutes=minute)
    wanted = replayed([(key, body) for key, body in entries if body["at"] <= when.isoformat(timespec="milliseconds")])
    found = {
        filling.slot: (row.seq, filling.state)
        for row in chosen(rows, at=when)
        for filling in row.fillings
        if row.was_in_force(when, filling.slot)
    }
    assert {slot: seq for slot, (seq, _) in found.items()} == {slot: key for slot, (key, _) in wanted.items()}
    for slot, (_, target) in wanted.items():
        state = found[slot][1]
        assert (state.digest, state.threshold, state.override) == (
            (None, None, None) if target is None else (target["digest"], target["threshold"], target["override"])
        )
    told = list(in_force(chosen(rows, at=when), when))
    assert len(told) == len(wanted)
    for slot, (key, _) in wanted.items():
        assert any(line.startswith(f"{slot}: ") and line.endswith(f"entry {key}") for line in told)


@pytest.mark.slow
@given(bodies(st.integers(-30, 30)))
def test_rows_are_in_order_and_fillings_of_a_slot_follow_each_other(
    entries: list[tuple[str, dict[str, Any]]],
) -> None:
    """Whatever the clocks of the writers say."""
    state = folded(entries)
    rows = history(state)
    assert [row.seq for row in rows] == [key for key, body in entries if body["kind"] != "prepare"]
    times = [row.when for row in rows if row.when is not None]
    assert times == sorted(times)
    for slot in SLOTS:
        held = [(row.seq, one) for row in rows for one in row.fillings if one.slot == slot]
        for (_, one), (seq, after) in itertools.pairwise(held):
            assert one.ended_by == seq
            assert one.until == after.since
            assert one.state.epoch + 1 == after.state.epoch
            assert one.seconds is not None
            assert one.seconds >= 0
        if held:
            assert held[-1][1].ended_by is None
            assert held[-1][1].state == state.slot(slot)
    for row in rows:
        assert bool(row.fillings) <= (not row.is_void)
        assert orjson.dumps(row.to_json())
    assert all(line.isprintable() for line in lines(rows))


@pytest.mark.slow
@given(bodies(), st.sampled_from([None, *SLOTS]), st.integers(-2, 75), st.integers(-2, 75))
def test_a_choice_of_rows_leaves_out_the_others_alone(
    entries: list[tuple[str, dict[str, Any]]], slot: str | None, first: int, last: int
) -> None:
    rows = history(folded(entries))
    since, until = (BEGIN + timedelta(minutes=n) for n in (first, last))
    found = chosen(rows, slot, since, until)
    wanted = [
        row
        for row in rows
        if at(first) <= row.at < at(last) and (slot is None or slot in row.slots)
    ]  # fmt: skip
    assert found == wanted


@given(st.lists(st.integers(0, 400), max_size=12), st.integers(0, 12), st.integers(-(10**4), 10**4))
def test_one_wrong_clock_moves_its_own_entry_alone(steps: list[int], place: int, wrong: int) -> None:
    times = [sum(steps[: n + 1]) + n for n in range(len(steps))]  # each later than the one before
    right = [at(minute) for minute in times]
    assert times_of(right) == [instant(text) for text in right]
    place = min(place, len(right))
    found = times_of([*right[:place], at(wrong), *right[place:]])
    del found[place]
    moved = sum(a != instant(b) for a, b in zip(found, right, strict=True))
    assert moved <= 1  # one neighbour, where the wrong time fits as well as its own


@pytest.mark.parametrize(
    "text", ["", "soon", "2026-01-01", "2026-01-01T00:00:00", "0001-01-01T00:00:00+14:00", "9" * 40]
)
def test_what_is_no_time_counts_as_of_the_entry_before(text: str) -> None:
    assert instant(text) is None
    assert times_of([text]) == [None]
    assert times_of([at(1), text, at(2)]) == [instant(at(1)), instant(at(1)), instant(at(2))]
    rows = history(fold(a_change({"live": "a"}, {"live": 0}, at=text), a_change({"live": "b"}, {"live": 1}, at=text)))
    assert [row.was_in_force(BEGIN) for row in rows] == [False, True]
    assert list(lines(rows))


def test_every_kind_has_its_name_and_what_stood_against_it() -> None:
    state = fold(
        a_change({"live": "a"}, {"live": 0}),
        a_change({"candidate": "b"}, {"candidate": 0}),
    )
    finding = {"criterion": "coverage", "segment": "all", "verdict": "insufficient", "excused": True, "reason": "thin"}
    made = Suggestion(
        slot="candidate",
        target=Target(digest="b" * 64, threshold=0.5),
        expects={"live": 1, "candidate": 1},
        criteria="c" * 64,
        evidence={
            "run": "L1-C1",
            "judgement": {"decision": "promote", "reason": "promote: 1 criteria pass",
                          "findings": [{"verdict": "pass"}, finding]},
        },
        at=at(0),
    )  # fmt: skip
    fold(made, start=state)
    seq = state.ledger[-1].seq
    fold(Withdrawal(suggestion=seq, cause="verdict", reason="no longer", by="serve", at=at(0)), start=state)
    fold(made, start=state)
    again = state.ledger[-1].seq
    fold(Answer(suggestion="none", answer="rejected", by="bob", reason="no", at=at(0)), start=state)
    fold(promotion(state, "candidate", "ann", "clean", at(1), None, again), start=state)
    fold(switch(state, "block_all", "ann", "nonsense", at(2)), start=state)
    fold(switch(state, None, "ann", "mended", at(3)), start=state)
    fold(rollback(state, "ann", "complaints", at(4), "candidate"), start=state)
    held = state.slot("live").epoch
    moved = a_change({"live": "a"}, {"live": held}, at=at(5))
    fold(moved.model_copy(update={"slots": {"live": Target(digest="a" * 64, threshold=0.25)}}), start=state)
    told = Judged(decision="reject", reason="reject: failed", run="L6-C3", against=({"criterion": "x"},))
    fold(forced(promotion(state, "candidate", "bob", "now", at(6), None, None), told, ["it is late"]), start=state)
    fold(a_change({"previous": None}, {"previous": state.slot("previous").epoch}), start=state)
    rows = history(state)
    assert [row.kind for row in rows] == [
        *("deploy", "deploy", "suggestion", "withdrawal", "suggestion", "rejection", "approve"),
        *("kill_switch_on", "kill_switch_off", "rollback", "threshold", "forced", "empty"),
    ]
    approved = rows[6]
    assert approved.stood is not None
    assert (approved.stood.decision, approved.stood.passed) == ("promote", 1)
    assert approved.stood.against == ("coverage in all: thin (excused)",)
    assert approved.fillings[0].seconds == 60
    release = rows[11]
    assert release.is_forced
    assert release.stood is not None
    assert release.stood.against == ("it is late",)
    assert rows[5].slots == ()  # an answer to nothing is about no slot
    shown = list(lines(rows))
    assert "    against: coverage in all: thin (excused)" in shown
    assert "    live: for 1 min, until 2026-01-01 00:02 UTC (entry 00000008-a1b2c3d4)" in shown
    assert [line for line in shown if line.startswith("2026-01-01 00:03 UTC  kill switch off by ann: live bundle ")]


@pytest.mark.parametrize(
    "evidence", [{}, {"judgement": 1}, {"judgement": {"findings": [1, {}], "passed": "x"}, "run": 7}]
)
def test_a_suggestion_that_somebody_else_wrote_is_told(evidence: dict[str, Any]) -> None:
    made = Suggestion(slot="candidate", target=Target(), expects={}, criteria="c", evidence=evidence, at=at(0))
    (row,) = history(fold(made))
    assert orjson.dumps(row.to_json())
    assert next(iter(lines([row]))).endswith("suggested: slot candidate, no bundle, as 00000001-a1b2c3d4")


def test_an_erasure_is_a_row_and_counts_in_the_status_without_a_card() -> None:
    signed = {"by": "ann", "reason": "request 17", "at": at(2)}
    state = fold(
        Erasure(request="ab" * 8, partitions=4, samples=1200, cases=2, labels=1, verified="token", **signed),
        Erasure(request="cd" * 8, partitions=4, samples=0, cases=0, labels=0, **signed),
    )
    one, two = rows = history(state)
    assert [(row.kind, row.slots, row.by, row.is_void) for row in rows] == [("erasure", (), "ann", False)] * 2
    assert (one.is_unverified, two.is_unverified) == (False, True)
    told = list(lines(rows))
    assert told[0].endswith(
        "erasure of a card by ann: 1,200 samples, 2 cases and 1 labels in Redis, request abababababababab to the "
        "scorers of 4 partitions and to the archive; reason: request 17"
    )
    assert orjson.dumps(one.to_json())
    assert chosen(rows, slot="live") == []


def a_rotation(**more: Any) -> Rotation:
    digests = {"parent": "a" * 64, "candidate": "b" * 64, "twin": "c" * 64}
    signed = {"by": "ann", "reason": "new merchants", "at": at(3)}
    return Rotation(**{"rotation": "0" * 16, "outcome": "deployed", "as_of": at(0), **digests, **signed, **more})


def test_a_rotation_is_a_row_with_what_the_backtest_said() -> None:
    against = ({"criterion": "recall", "segment": "country=FR", "reason": "0.2 below live", "verdict": "fail"},)
    poor = Judged(decision="reject", reason="reject: recall in country=FR", run="L1-C1", against=against)
    state = fold(
        a_rotation(change="00000001-a1b2c3d4", backtest=Judged(decision="hold", reason="hold: thin")),
        a_rotation(
            rotation="1" * 16, outcome="rejected", backtest=poor, doubt="it was trained outside of a repository"
        ),
        a_rotation(rotation="2" * 16, at="whenever", as_of="soon"),
        a_rotation(rotation="2" * 16),
    )
    rows = history(state)
    assert [(row.kind, row.slots, row.is_void) for row in rows] == [
        *[("rotation", ("candidate",), False)] * 3,
        ("rotation", ("candidate",), True),
    ]
    told = list(lines(rows))
    made = "rotation by ann: bundle bbbbbbbbbbbb, made as aaaaaaaaaaaa on data as of"
    assert f"{made} 2026-01-01 00:00 UTC, was put into slot candidate by entry 00000001-a1b2c3d4;" in told[0]
    assert told[1] == "    backtest: hold: thin"
    assert "was rejected by the backtest, and no slot changed; its lineage is in doubt" in told[2]
    assert told[4] == "    against: recall in country=FR: 0.2 below live"
    assert "without a backtest" in told[5]
    assert "void" in told[6]
    assert rows[1].to_json()["verdict"]["against"] == ("recall in country=FR: 0.2 below live",)
    assert chosen(rows, slot="candidate") == rows
