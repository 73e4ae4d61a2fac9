"""What colleagues decided: of each person and case the answer that stands, with its note."""

from __future__ import annotations

from datetime import UTC, date, datetime

from hypothesis import given
from hypothesis import strategies as st

from harness.cases import a_case
from shadow.comparison.case import by_transaction
from shadow.labels.decided import decisions, tally
from shadow.labels.label import Note, Votes, state

NOON = int(datetime(2026, 3, 4, 12, tzinfo=UTC).timestamp() * 1000)
SAID = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.sampled_from(["ann", "ben"]),
        st.integers(0, 4 * 86_400_000),
        st.sampled_from(["fraud", "legit", "unsure", "open"]),
    ),
    unique_by=lambda one: (one[0], one[1], one[2]),
    max_size=12,
)


@given(SAID)
def test_the_list_holds_the_newest_answer_of_each_person_and_none_that_was_taken_back(
    said: list[tuple[int, str, int, str]],
) -> None:
    cases = [a_case(n) for n in range(4)]
    votes: dict[str, list[Votes]] = {}
    for n, by, at, verdict in said:
        votes.setdefault(by_transaction(cases[n].transaction), []).append({"review": {by: (at, verdict)}})
    found = decisions(cases, votes, {})
    expected = {}
    for n, by, at, verdict in sorted(said, key=lambda one: one[2]):
        expected[cases[n].transaction, by] = (at, verdict)
    standing = {key: one for key, one in expected.items() if one[1] != "open"}
    assert {(one.case.transaction, one.by): (one.at_ms, one.verdict) for one in found} == standing
    assert [one.at_ms for one in found] == sorted((one.at_ms for one in found), reverse=True)
    for case in cases:
        mine = {one.by: (one.at_ms, one.verdict) for one in found if one.case is case}
        everything = {by: one for (name, by), one in expected.items() if name == case.transaction}
        assert state(everything) is state(mine), "an answer that was taken back counts for nothing"
    for day in {one.day for one in found}:
        assert sum(n for _, n in tally(found, day)) == sum(one.day == day for one in found)


def test_a_decision_bears_the_note_of_its_person_and_chargebacks_are_none() -> None:
    case = a_case(1)
    subject = by_transaction(case.transaction)
    votes: dict[str, list[Votes]] = {
        subject: [
            {"review": {"ann": (NOON, "fraud"), "ben": (NOON - 1, "legit")}, "chargeback": {"bank": (1, "fraud")}}
        ]
    }
    notes = {subject: [Note("review", "ann", NOON, "asked the bank"), Note("chargeback", "ben", NOON, "a feed's")]}
    first, second = decisions([case], votes, notes)
    assert (first.by, first.verdict, first.note, first.day) == ("ann", "fraud", "asked the bank", date(2026, 3, 4))
    assert (second.by, second.note) == ("ben", "")
    assert tally([first, second], date(2026, 3, 4)) == [("ann", 1), ("ben", 1)]
    assert tally([first, second], date(2026, 3, 5)) == []
