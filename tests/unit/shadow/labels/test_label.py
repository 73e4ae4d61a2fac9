"""What stands when several people say something of a transaction, in whatever order it arrives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorer.errors import UserError
from scorer.events import instant_ms
from shadow.cases import CANDIDATE_ONLY, LIVE_ONLY, Case, by_card, by_transaction, card_hash
from shadow.labelfile import read_labels
from shadow.labels import Known, State, Votes, known, merge, parse, state, vote

SAID: dict[str, Any] = {
    "transaction_id": "t-1",
    "source": "review",
    "verdict": "fraud",
    "at": "2026-02-01T12:00:00Z",
    "by": "ann",
}


def a_case(outcome: int = CANDIDATE_ONLY) -> Case:
    return Case("t-1", outcome, 1250, 1_770_000_000_000, card_hash("c-1"), ("all",), 0.5, 1, 7)


def test_a_label_names_a_transaction_or_a_card_and_its_second() -> None:
    case = a_case()
    assert parse(SAID).subject == by_transaction("t-1") in case.subjects
    of_card = {**SAID, "transaction_id": None, "card_id": "c-1", "occurred_at": "2026-02-02T02:40:00.999Z"}
    assert parse(of_card).subject == by_card(card_hash("c-1"), instant_ms("2026-02-02T02:40:00Z")) in case.subjects
    assert "c-1" not in parse(of_card).subject, "a store keeps no card"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"verdict": "maybe"}, "verdict: "),
        ({"source": "rumour"}, "source: "),
        ({"at": "yesterday"}, "at: expected RFC 3339"),
        ({"by": ""}, "by: "),
        ({"transaction_id": None}, "label: transaction_id is missing"),
        ({"transaction_id": None, "card_id": "c-1"}, "label: transaction_id is missing"),
        ({"source": "chargeback", "verdict": "unsure"}, "label: verdict is unsure"),
        ({"at": None}, "at: "),
    ],
)
def test_what_is_no_label_is_told_by_its_field(change: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        parse({**SAID, **change})


def test_what_is_written_is_read_again() -> None:
    label = parse({**SAID, "reason": "seen before", "more": 1})
    assert parse(orjson.loads(label.encode())) == label


def test_a_label_dated_after_its_arrival_counts_as_of_its_arrival() -> None:
    label = parse({**SAID, "at": "2099-01-01T00:00:00Z"})
    assert vote(label, 5_000).at_ms == 5_000
    assert vote(parse(SAID), 2**50).at_ms == instant_ms("2026-02-01T12:00:00Z")
    assert vote(parse(SAID), -1).at_ms == instant_ms("2026-02-01T12:00:00Z"), "a broker without times"


#: One person's verdict of one source.
SINGLE = st.tuples(
    st.sampled_from(["review", "chargeback"]),
    st.sampled_from(["ann", "bob", "cat"]),
    st.integers(0, 5),
    st.sampled_from(["fraud", "legit", "unsure"]),
)


def as_votes(single: tuple[str, str, int, str]) -> Votes:
    source, by, at, verdict = single
    return {source: {by: (at, verdict)}}


@given(st.lists(SINGLE, max_size=8), st.randoms())
def test_order_and_repetition_of_labels_do_not_matter(said: list[tuple[str, str, int, str]], random: Any) -> None:
    once = merge(*map(as_votes, said))
    again = [*said, *said]
    random.shuffle(again)
    assert merge(*map(as_votes, again)) == once
    cut = len(said) // 2
    assert merge(merge(*map(as_votes, said[:cut])), merge(*map(as_votes, said[cut:]))) == once


@given(st.lists(SINGLE, min_size=1, max_size=8))
def test_of_one_person_the_newest_verdict_stands(said: list[tuple[str, str, int, str]]) -> None:
    stands = merge(*map(as_votes, said))
    for source, by in {(source, by) for source, by, _, _ in said}:
        mine = [(at, verdict) for s, b, at, verdict in said if (s, b) == (source, by)]
        newest = {verdict for at, verdict in mine if at == max(mine)[0]}
        at, verdict = stands[source][by]
        assert at == max(at for at, _ in mine)
        assert verdict == next(v for v in ("fraud", "legit", "unsure") if v in newest)


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ([], State.PENDING),
        (["unsure"], State.UNSURE),
        (["fraud"], State.FRAUD),
        (["legit", "unsure"], State.LEGIT),
        (["legit", "fraud"], State.CONTRADICTORY),
        (["legit", "fraud", "unsure"], State.CONTRADICTORY),
        (["legit", "fraud", "legit"], State.LEGIT),
    ],
)
def test_the_majority_counts_and_a_tie_stays_open(verdicts: list[str], expected: State) -> None:
    assert state({str(n): (n, verdict) for n, verdict in enumerate(verdicts)}) is expected


def test_sources_are_kept_apart_and_pending_is_never_legit() -> None:
    charged: Votes = {"chargeback": {"acquirer": (1, "fraud")}}
    assert known(a_case(), []) == Known(State.PENDING, State.PENDING)
    assert known(a_case(), [charged]) == Known(State.FRAUD, State.PENDING)
    both = known(a_case(), [charged, {"review": {"ann": (2, "legit")}}])
    assert both == Known(State.FRAUD, State.LEGIT)
    assert both.sources_differ
    assert not known(a_case(), [charged]).sources_differ


def test_a_chargeback_on_what_live_blocked_counts_for_nothing() -> None:
    found: list[Votes] = [{"chargeback": {"acquirer": (1, "fraud")}, "review": {"ann": (2, "fraud")}}]
    assert known(a_case(LIVE_ONLY), found) == Known(State.MISPLACED, State.FRAUD)


def test_a_case_is_read_as_it_was_written() -> None:
    case = a_case(LIVE_ONLY)
    assert Case.decode(case.encode(), case.partition, case.inclusion) == case


def test_files_are_read_as_their_owners_write_them(tmp_path: Path) -> None:
    rows = "id,when,label\n007,2026-02-01T12:00:00Z,1\n008,2026-02-01T12:00:00Z,false\n009,now,1\n"
    (tmp_path / "c.csv").write_text(rows)
    fields, defaults = (
        {"transaction_id": "id", "at": "when", "verdict": "label"},
        {"source": "chargeback", "by": "bank"},
    )
    labels, bad = read_labels(tmp_path / "c.csv", fields, defaults)
    assert [(label.transaction_id, label.verdict) for label in labels] == [("007", "fraud"), ("008", "legit")]
    assert len(bad) == 1
    assert "row 3: at: " in bad[0]
    lines = [{**SAID, "transaction_id": 12}, {**SAID, "verdict": None}, ["no", "row"]]
    (tmp_path / "c.jsonl").write_bytes(b"\n".join(map(orjson.dumps, lines)))
    labels, bad = read_labels(tmp_path / "c.jsonl", {}, {"verdict": "legit"})
    assert [(label.transaction_id, label.verdict) for label in labels] == [("12", "fraud"), ("t-1", "legit")]
    assert "row 3: " in bad[0]
    for name, text in (("c.xls", ""), ("d.jsonl", "{")):
        (tmp_path / name).write_text(text)
        with pytest.raises(UserError, match=name):
            read_labels(tmp_path / name, {}, {})
