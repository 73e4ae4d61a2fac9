"""Slots are the fold of the ledger: the first change that expects the right epochs wins, whoever reads it."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.changes import AT, a_change, fold
from scorer.deployments.changes import promotion
from scorer.deployments.records import Answer, Suggestion, Target, WorkerReport, encode
from scorer.deployments.slots import Deployments, Slot


def test_of_two_approvals_at_once_the_second_is_void() -> None:
    state = fold(
        a_change({"live": "a"}, {"live": 0}),
        a_change({"live": "b"}, {"live": 1}),
        a_change({"live": "c"}, {"live": 1}),
    )
    assert state.slot("live") == Slot(2, "b" * 64, 0.5, None, AT)
    assert [line.is_void for line in state.ledger] == [False, False, True]


def test_a_change_of_several_slots_applies_as_a_whole_or_not_at_all() -> None:
    state = fold(a_change({"live": "a", "candidate": "b"}, {"live": 0, "candidate": 1}))
    assert state.slots == {}


@given(
    st.lists(st.tuples(st.sampled_from(["live", "candidate"]), st.sampled_from("abc"), st.integers(0, 4)), max_size=12)
)
def test_epoch_counts_the_changes_that_applied(changes: list[tuple[str, str, int]]) -> None:
    state = fold(*(a_change({slot: digest}, {slot: epoch}) for slot, digest, epoch in changes))
    for name in ("live", "candidate"):
        applied = [line.entry for line in state.ledger if not line.is_void and name in line.entry.slots]  # type: ignore[union-attr]
        assert state.slot(name).epoch == len(applied)
        assert [change.expects[name] for change in applied] == list(range(len(applied)))  # type: ignore[union-attr]


def test_the_same_record_twice_counts_once() -> None:
    state = Deployments()
    for _ in range(2):
        state.fold(b"ledger/00000001-aa", encode(a_change({"live": "a"}, {"live": 0})))
    assert state.slot("live").epoch == 1
    assert len(state.ledger) == 1


@pytest.mark.parametrize("value", [b"", b"{", b"[]", b'{"kind":"change"}', b'{"schema":2,"kind":"change"}', None])
def test_records_that_are_not_understood_are_passed_over(value: bytes | None) -> None:
    state = fold(a_change({"live": "a"}, {"live": 0}))
    for key in (b"ledger/x", b"worker/x", b"view/x", b"what", None):
        state.fold(key, value)
    assert state.slot("live").epoch == 1
    assert len(state.ledger) == 1


def test_a_suggestion_stands_until_it_is_answered_or_overtaken() -> None:
    def suggested() -> tuple[Deployments, str]:
        state = fold(a_change({"live": "a"}, {"live": 0}), a_change({"candidate": "b"}, {"candidate": 0}))
        suggestion = Suggestion(
            slot="candidate",
            target=Target(digest="b" * 64, threshold=0.5),
            expects={"live": 1, "candidate": 1},
            criteria="c",
            evidence={},
            at=AT,
        )
        fold(suggestion, start=state)
        (line,) = state.open_suggestions()
        return state, line.seq

    state, seq = suggested()
    fold(Answer(suggestion=seq, answer="rejected", by="ann", reason="no", at=AT), start=state)
    assert state.open_suggestions() == []
    state, seq = suggested()
    fold(promotion(state, "candidate", "ann", "yes", AT, None, seq), start=state)
    assert state.open_suggestions() == []
    state, seq = suggested()
    fold(a_change({"candidate": "e"}, {"candidate": 1}), start=state)
    assert state.open_suggestions() == []


def test_a_worker_that_says_goodbye_is_forgotten() -> None:
    state = Deployments()
    state.fold(b"worker/w1", encode(WorkerReport(digest="a" * 64, status="failed", reason="disk", at=AT)))
    assert state.workers["w1"].reason == "disk"
    state.fold(b"worker/w1", None)
    assert state.workers == {}


HOSTILE = [
    {"digest": "../../etc"},
    {"digest": "a" * 63 + "\0"},
    {"digest": "A" * 64},
    {"digest": ""},
    {"digest": "a" * 64, "threshold": 1.5},
    {"digest": "a" * 64, "threshold": "much"},
    {"digest": "a" * 64, "override": "allow_some"},
    {"digest": ["a"]},
]


@pytest.mark.parametrize("target", HOSTILE)
def test_a_record_that_names_what_is_no_digest_changes_nothing_and_is_counted(target: dict[str, Any]) -> None:
    state = fold(a_change({"live": "a"}, {"live": 0}))
    change = {"slots": {"live": target}, "expects": {"live": 1}, "by": "m", "reason": "m", "cause": "deploy", "at": AT}
    asked = {"digest": target.get("digest"), "by": "m", "at": AT}
    report = {"digest": target.get("digest"), "status": "broken", "at": AT}
    for key, body in (("ledger/1", change | {"kind": "change"}), ("ledger/2", asked | {"kind": "prepare"})):
        is_fine = key == "ledger/2" and target.get("digest") == "a" * 64
        before = state.foreign
        state.fold(key.encode(), orjson.dumps({"schema": 1, **body}))
        assert state.foreign == before + (not is_fine)
    state.fold(b"worker/w", orjson.dumps(report))
    assert state.workers == {}
    assert state.slot("live").digest == "a" * 64
    assert state.slot("live").epoch == 1


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["schema", "kind", "slots", "expects", "live", "digest", "by", "reason", "at", "epoch", "x"]
            ),
            inner,
            max_size=8,
        )
    ),
    max_leaves=25,
)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"ledger/1", b"ledger/2", b"worker/w", b"view/v", b"slot/live", b"\xff\xfe", b"", None]),
            st.one_of(st.none(), st.binary(max_size=30), anything.map(lambda cell: json.dumps(cell).encode())),
        ),
        max_size=6,
    )
)
def test_no_record_of_anybody_raises(records: list[tuple[bytes | None, bytes | None]]) -> None:
    state = fold(a_change({"live": "a"}, {"live": 0}))
    for key, value in records:
        state.fold(key, value)
    assert state.slot("live").digest == "a" * 64
    assert state.minor_per_unit > 0
    state.open_suggestions()
