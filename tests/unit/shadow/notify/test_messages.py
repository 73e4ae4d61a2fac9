"""Everybody is told each thing once, in order, and nothing of what was there before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.changes import a_change, fold
from scorer.deployments.records import Answer, Approval, First, Suggestion, Target, Withdrawal
from scorer.errors import SettingsError
from shadow.gate.findings import Decision
from shadow.notify.messages import EXAMPLES, LEDGER, LONGEST, PAUSE, Message, Told, of_ledger, of_look, place, shortened
from shadow.notify.texts import TEST, Texts
from shadow.release.history import Row, history
from shadow.release.look import Look
from shadow.settings import EVENTS

AT = "2026-01-01T00:00:00Z"
NOW = datetime(2026, 1, 5, 10, tzinfo=UTC)


def rows() -> list[Row]:
    """Live, a candidate, a suggestion, its withdrawal, another one, its rejection, the kill switch."""
    made = Suggestion(
        slot="candidate", target=Target(digest="b" * 64), expects={"candidate": 1}, criteria="c", evidence={}, at=AT
    )
    state = fold(a_change({"live": "a"}, {"live": 0}), a_change({"candidate": "b"}, {"candidate": 0}), made)
    fold(Withdrawal(suggestion=state.ledger[-1].seq, cause="verdict", reason="hold", by="serve", at=AT), start=state)
    fold(made, start=state)
    fold(Answer(suggestion=state.ledger[-1].seq, answer="rejected", by="ann", reason="no", at=AT), start=state)
    fold(a_change({"live": "a"}, {"live": 1}, cause="override"), start=state)
    return history(state)


def seqs(found: list[Message]) -> list[str]:
    return [message.mark[1] for message in found]


def test_every_entry_that_matters_is_told_in_order() -> None:
    every = rows()
    found = of_ledger(every, Told({LEDGER: ""}))
    assert [message.event for message in found] == [
        "live", "suggestion", "withdrawal", "suggestion", "rejection", "live",
    ]  # fmt: skip
    assert {message.mark[0] for message in found} == {LEDGER}
    assert seqs(found) == sorted(seqs(found))
    assert "suggested: slot candidate" in found[1].facts["lines"][0]


def test_an_approval_that_waits_for_a_second_person_is_told_while_it_does() -> None:
    first = Approval(
        slots={"live": Target(digest="b" * 64)}, expects={"live": 1}, cause="approve", why=("it is a forced release",),
        by="ann", reason="board", at=AT,
    )  # fmt: skip
    state = fold(a_change({"live": "a"}, {"live": 0}), first, first)
    (message,) = of_ledger(history(state), Told({LEDGER: state.ledger[0].seq}))
    assert message.event == "approval", "one that came second is void, and nobody is told of it"
    title, body = Texts(None).write(message.event, message.facts, None)
    assert title == "An approval waits for a second person"
    assert "approved by ann as the first of two" in body
    assert "it is a forced release" in body
    seq = state.ledger[1].seq
    over = {
        "completed": a_change({"live": "b"}, {"live": 1}, by="bob", first=First(approval=seq, by="ann")),
        "withdrawn": Withdrawal(suggestion=seq, cause="verdict", reason="hold", by="serve", at=AT),
    }
    for name, entry in over.items():
        late = fold(entry, start=fold(a_change({"live": "a"}, {"live": 0}), first))
        told = of_ledger(history(late), Told({LEDGER: late.ledger[0].seq}))
        assert "approval" not in [one.event for one in told], name


@given(st.lists(st.booleans(), max_size=30))
def test_whatever_fails_in_between_each_is_told_once(took: list[bool]) -> None:
    every, told, heard = rows(), {LEDGER: ""}, []
    for is_taken in [*took, *[True] * 10]:
        for message in of_ledger(every, Told(told)):
            if not is_taken:
                break
            heard.append(message.mark[1])
            told[message.mark[0]] = message.mark[1]
    assert heard == seqs(of_ledger(every, Told({LEDGER: ""})))


def test_nobody_is_told_of_what_was_there_before() -> None:
    every = rows()
    assert place(every, Told({})) is None
    assert of_ledger(every, Told({})) == []
    assert place(every, Told({LEDGER: "gone"})) is None, "the topic is another one"
    assert of_ledger(every, Told({LEDGER: every[-1].seq})) == []


def look(decision: Decision, run: str = "L1-C1", wanted: tuple[str, ...] = ()) -> Look:
    judgement = SimpleNamespace(run=run, decision=decision, reason=f"{decision.value}: x")
    return cast(Look, SimpleNamespace(slot="candidate", judgement=judgement, labels=SimpleNamespace(wanted=wanted)))


def test_another_verdict_is_told_at_most_once_an_hour() -> None:
    told: dict[str, str] = {}
    heard = []
    for minute, decision in enumerate([Decision.HOLD, Decision.PROMOTE] * 150):
        now = NOW + timedelta(minutes=minute)
        for message in of_look(look(decision), Told(told), now):
            heard.append((minute, message.facts["reason"], message.facts["is_first"]))
            told[message.mark[0]] = message.mark[1]
    minutes = [minute for minute, *_ in heard]
    assert minutes[0] == 0
    assert heard[0][2]
    assert not any(is_first for *_, is_first in heard[1:])
    assert all(after - before >= PAUSE.total_seconds() / 60 for before, after in pairwise(minutes))
    assert len(heard) >= 4
    assert of_look(look(Decision.HOLD), Told({"verdict/candidate": f"L1-C1:hold {NOW.isoformat()}"}), NOW) == []


def test_reviews_are_asked_for_once_a_day() -> None:
    told = {"verdict/candidate": f"L1-C1:hold {NOW.isoformat()}"}
    heard = []
    for hour in range(48):
        for message in of_look(look(Decision.HOLD, wanted=("b", "a")), Told(told), NOW + timedelta(hours=hour)):
            heard.append((hour, message.event, message.facts["segments"]))
            told[message.mark[0]] = message.mark[1]
    assert heard == [(hour, "review", ["a", "b"]) for hour in (0, 14, 38)]


def test_no_card_number_leaves_whoever_typed_it() -> None:
    told = shortened("reason: card 4111 1111 1111 1111 was stolen")
    assert "4111 11** **** 1111" in told
    assert len(shortened("x" * 5000)) == LONGEST


# --- texts ---


@pytest.mark.parametrize("event", EVENTS)
def test_every_message_has_a_title_and_says_what_it_is_about(event: str) -> None:
    title, body = Texts(None).write(event, EXAMPLES[event], "https://shadow.example.com")  # type: ignore[index]
    assert title
    assert "\n" not in title
    assert body.endswith("\nhttps://shadow.example.com")
    assert "candidate" in title + body


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{{ nobody }}", "undefined"),
        ("{% if %}", "Expected"),
        (b"\xff", "decode"),
        ("{{ ''.__class__.mro() }}", "unsafe"),
    ],
)
def test_a_template_that_cannot_be_used_is_refused_at_the_start(text: str | bytes, why: str, tmp_path: Path) -> None:
    path = tmp_path / "verdict.txt.j2"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SettingsError, match=rf"notify_templates: .*verdict\.txt\.j2: .*{why}"):
        Texts(tmp_path)


def test_a_template_of_ones_own_takes_the_place_of_ours(tmp_path: Path) -> None:
    (tmp_path / "test.txt.j2").write_text("Hallo\nWelt\n")
    facts: dict[str, Any] = {}
    assert Texts(tmp_path).write(TEST, facts, None) == ("Hallo", "Welt")
    with pytest.raises(SettingsError, match="is no folder"):
        Texts(tmp_path / "nowhere")
