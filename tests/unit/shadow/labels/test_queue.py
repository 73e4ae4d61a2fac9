"""Cases are reviewed, and count, in the order of their hash."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harness.cases import STATES, a_case
from shadow.labels.label import ANSWERED, State
from shadow.labels.queue import Need, in_turn, offered, turns


@given(st.lists(STATES, max_size=12))
def test_cases_count_up_to_the_first_without_an_answer(states: list[State]) -> None:
    cases = [a_case(n) for n in range(len(states))]
    done, waiting, threshold = in_turn(cases, states, "all")
    assert done == list(range(len(done)))
    assert all(states[at] in ANSWERED for at in done)
    assert waiting == [at for at, state in enumerate(states) if state not in ANSWERED]
    assert threshold == (cases[waiting[0]].hash if waiting else 1.0)


def test_one_case_of_each_card_and_day_counts() -> None:
    same = [a_case(0), a_case(1, card="card-0", occurred_ms=1), a_case(2, card="card-0")]  # type: ignore[arg-type]
    done, _, _ = in_turn(same, [State.FRAUD] * 3, "all")
    assert done == [0, 2]


def test_answers_of_earlier_days_still_count_when_a_new_case_waits() -> None:
    """The newest case has the smallest hash: all behind it would wait, so only the day before it is considered."""
    cases = [a_case(0, day=9), a_case(1, day=3), a_case(2, day=3), a_case(3, day=9)]
    states = [State.PENDING, State.FRAUD, State.LEGIT, State.FRAUD]
    assert in_turn(cases, states, "all") == ([1, 2], [0], 1.0)


SEGMENTS = ("c=DE", "c=FR", "c=GB")
SETTLED = st.one_of(st.just(1.0), st.floats(0, 1))
NEEDS = st.sets(st.sampled_from(SEGMENTS)).flatmap(
    lambda names: st.tuples(*(st.builds(Need, st.just(name), st.just(0), SETTLED, st.none()) for name in sorted(names)))
)


@given(st.lists(st.tuples(st.sampled_from(SEGMENTS), STATES), max_size=20), NEEDS)
def test_each_waiting_case_is_given_out_once_for_the_least_settled_segment_first(
    rows: list[tuple[str, State]], wanted: tuple[Need, ...]
) -> None:
    cases = [a_case(n, segments=("all", segment)) for n, (segment, _) in enumerate(rows)]
    states = [state for _, state in rows]
    given_out = turns(cases, states, wanted)
    handed = [case.transaction for case, _ in given_out]
    assert len(handed) == len(set(handed))
    is_open = {need.segment for need in wanted if need.settled < 1}
    waiting = [case for case, state in zip(cases, states, strict=True) if state not in ANSWERED]
    assert set(handed) == {case.transaction for case in waiting if case.segments[1] in is_open}
    for segment in is_open:
        mine = [case.hash for case, of in given_out if of == segment]
        assert mine == sorted(mine), "not in the order of the hash"
    if given_out:
        settled = {need.segment: need.settled for need in wanted}
        assert settled[given_out[0][1]] == min(settled[segment] for _, segment in given_out)


def test_a_case_of_two_segments_is_given_out_for_the_first_that_gets_to_it() -> None:
    cases = [a_case(0, segments=("all", "c=DE")), a_case(1, segments=("all", "c=FR"))]
    wanted = [Need("c=FR", 0, 0.2, None), Need("all", 0, 0.1, None)]
    found = turns(cases, [State.PENDING] * 2, wanted)
    assert [(case.transaction, segment) for case, segment in found] == [("t-0", "all"), ("t-1", "c=FR")]


PEOPLE = st.sampled_from([None, "ann", "ben", "Ann"])


@given(st.lists(st.tuples(PEOPLE, PEOPLE), max_size=12))
def test_what_a_colleague_has_open_or_is_to_review_is_offered_to_nobody_else(
    rows: list[tuple[str | None, str | None]],
) -> None:
    cases = [(a_case(n), "all") for n in range(len(rows))]
    holders = {case.transaction: holder for (case, _), (holder, _) in zip(cases, rows, strict=True)}
    assigned = {case.transaction: to for (case, _), (_, to) in zip(cases, rows, strict=True) if to is not None}
    given_out = [case.transaction for case, _ in offered(cases, "ann", holders, assigned)]
    ranks = []
    for name in given_out:
        holder, to = holders[name], assigned.get(name)
        assert holder in (None, "ann", "Ann")
        assert holder is not None or to in (None, "ann", "Ann")
        ranks.append(0 if holder else 1 if to else 2)
    assert ranks == sorted(ranks), "hers first, then those assigned to her"
    left_out = {case.transaction for case, _ in cases} - set(given_out)
    assert all(holders[name] == "ben" or assigned.get(name) == "ben" for name in left_out)
    for rank in range(3):
        same_rank = [name for name, one in zip(given_out, ranks, strict=True) if one == rank]
        assert same_rank == [case.transaction for case, _ in cases if case.transaction in same_rank], "else in order"
