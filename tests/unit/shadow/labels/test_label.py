"""The verdict that holds when several people label a transaction, in whatever order labels arrive."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorer.pipeline.instants import instant_ms
from shadow.comparison.case import Case, by_card, by_transaction, card_hash
from shadow.comparison.outcome import Outcome
from shadow.labels.label import Known, State, Votes, answers, known, merge, parse, state, vote

SAID: dict[str, Any] = {
    "transaction_id": "t-1",
    "source": "review",
    "verdict": "fraud",
    "at": "2026-02-01T12:00:00Z",
    "by": "ann",
}


def a_case(outcome: Outcome = Outcome.CANDIDATE_ONLY) -> Case:
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
        ({"source": "chargeback", "verdict": "open"}, "label: verdict is open"),
        ({"at": None}, "at: "),
        ({"transaction_id": "4111 1111 1111 1111"}, "transaction_id: looks like a card number"),
        ({"transaction_id": None, "card_id": "x_378282246310005", "occurred_at": SAID["at"]}, "card_id: looks like"),
        ({"reason": "the card was 4111.1111.1111.1111"}, "reason: looks like a card number"),
        ({"by": "4111111111111111"}, "by: looks like a card number"),
        ({"transaction_id": "t-1\u00a0"}, "transaction_id: begins or ends with a blank"),
        ({"transaction_id": "t\x001"}, "transaction_id: has control characters"),
    ],
)
def test_a_malformed_label_is_refused_by_its_field(change: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told) as refused:
        parse({**SAID, **change})
    assert "1111" not in str(refused.value)


def test_ids_may_look_like_card_numbers_where_the_settings_allow_it() -> None:
    said = {**SAID, "transaction_id": "4111111111111111"}
    assert parse(said, ("transaction_id",)).transaction_id == "4111111111111111"
    with pytest.raises(ValueError, match="transaction_id: looks like"):
        parse(said, ("card_id",))


def test_a_label_is_read_as_it_was_written() -> None:
    label = parse({**SAID, "reason": "seen before", "more": 1})
    assert parse(orjson.loads(label.encode())) == label


def test_a_label_dated_after_its_arrival_is_dated_to_its_arrival() -> None:
    label = parse({**SAID, "at": "2099-01-01T00:00:00Z"})
    assert vote(label, 5_000).at_ms == 5_000
    assert vote(parse(SAID), 2**50).at_ms == instant_ms("2026-02-01T12:00:00Z")
    assert vote(parse(SAID), -1).at_ms == instant_ms("2026-02-01T12:00:00Z"), "a broker without times"


#: One person's verdict of one source.
SINGLE = st.tuples(
    st.sampled_from(["review", "chargeback"]),
    st.sampled_from(["ann", "bob", "cat"]),
    st.integers(0, 5),
    st.sampled_from(["fraud", "legit", "unsure", "open"]),
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
def test_the_newest_verdict_of_a_person_counts(said: list[tuple[str, str, int, str]]) -> None:
    stands = merge(*map(as_votes, said))
    for source, by in {(source, by) for source, by, _, _ in said}:
        mine = [(at, verdict) for s, b, at, verdict in said if (s, b) == (source, by)]
        newest = {verdict for at, verdict in mine if at == max(mine)[0]}
        at, verdict = stands[source][by]
        assert at == max(at for at, _ in mine)
        assert verdict == next(v for v in ("fraud", "legit", "unsure", "open") if v in newest)


@given(st.lists(SINGLE, max_size=8))
def test_what_was_taken_back_is_no_answer(said: list[tuple[str, str, int, str]]) -> None:
    stands = merge(*map(as_votes, said))
    found = answers(stands)
    assert [one for people in found.values() for one in people.values() if one[1] == "open"] == []
    assert {source: state(people) for source, people in stands.items() if state(people) is not State.PENDING} == {
        source: state(people) for source, people in found.items()
    }


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
        (["open"], State.PENDING),
        (["open", "fraud"], State.FRAUD),
        (["open", "legit", "fraud"], State.CONTRADICTORY),
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
    assert known(a_case(Outcome.LIVE_ONLY), found) == Known(State.MISPLACED, State.FRAUD)
