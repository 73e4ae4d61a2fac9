"""What scorers decided is known exactly; a foreign record can spoil only what is near to the offset that it claims."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from shadow.comparison.sources import KEPT, REACH, Sources


def added(sources: Sources, offsets: list[int], cuts: list[int] | None = None) -> list[bool]:
    found: list[bool] = []
    for part in np.split(np.array(offsets, dtype=np.int64), sorted(cuts or [])):
        found += sources.add(part).tolist()
    return found


#: How far each decision is beyond the one before: now and then many transactions are refused in a row.
steps = st.lists(st.one_of(st.integers(1, 3), st.integers(1, 5 * REACH)), min_size=1, max_size=60)
cuts = st.lists(st.integers(0, 90), max_size=6)


@given(st.lists(st.integers(0, 8), max_size=20), cuts)
def test_near_offsets_are_decided_once_the_highest_has_passed_them(offsets: list[int], at: list[int]) -> None:
    assert added(Sources(), offsets, at) == [offset <= max(offsets[:i], default=-1) for i, offset in enumerate(offsets)]


@given(steps, st.data(), cuts)
def test_what_an_earlier_owner_appends_late_is_a_duplicate(gaps: list[int], data: st.DataObject, at: list[int]) -> None:
    """Late decisions are those of a recent batch, anywhere after their first."""
    log: list[int] = []
    fresh: list[bool] = []
    for offset in np.cumsum(gaps).tolist():
        log.append(offset)
        fresh.append(True)
        if data.draw(st.booleans()):
            late = log[max(0, len(log) - KEPT) :]
            again = data.draw(st.lists(st.sampled_from(late), max_size=3))
            log += again
            fresh += [False] * len(again)
    assert added(Sources(), log, at) == [not is_fresh for is_fresh in fresh]


@given(
    steps,
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 2**62)), max_size=KEPT - 2),
    st.integers(0, 2**61),
    cuts,
)
def test_no_foreign_record_turns_later_decisions_into_duplicates(
    gaps: list[int], foreign: list[tuple[int, int]], start: int, at: list[int]
) -> None:
    """Beyond REACH of what they claim, true decisions count, whatever the order."""
    true = (start + np.cumsum(gaps)).tolist()
    log = [(offset, True) for offset in true]
    for where, claimed in foreign:
        log.insert(where, (claimed, False))
    found = added(Sources(), [offset for offset, _ in log], at)
    claims = [claimed for _, claimed in foreign]
    for (offset, is_true), is_duplicate in zip(log, found, strict=True):
        if is_true and is_duplicate:
            assert min(abs(offset - claimed) for claimed in claims) <= REACH * (1 + len(claims))


def test_a_flood_of_foreign_records_spoils_nothing_that_follows() -> None:
    rng, sources = np.random.default_rng(1), Sources()
    true = list(range(1000, 1100))
    assert not any(added(sources, true))
    added(sources, rng.integers(10**6, 2**62, 5000).tolist())
    assert not any(added(sources, list(range(1100, 3000))))
    assert len(sources.stretches) <= KEPT


def test_a_foreign_record_before_all_others_spoils_nothing() -> None:
    sources = Sources()
    assert added(sources, [2**61, 5, 6, 7, 6]) == [False, False, False, False, True]


@given(st.lists(st.integers(0, 10 * REACH), max_size=40), st.integers(0, 39))
def test_what_is_decided_survives_a_restart(offsets: list[int], cut: int) -> None:
    whole, first = Sources(), Sources()
    expected = added(whole, offsets)
    before = added(first, offsets[:cut])
    again = Sources.read(first.text(), 7)
    assert before + added(again if first.stretches else Sources(), offsets[cut:]) == expected


def test_without_a_text_everything_up_to_the_highest_is_decided() -> None:
    assert added(Sources.read("", 7), [3, 7, 8]) == [True, True, False]
    assert added(Sources.read("nonsense", 7), [7, 8]) == [True, False]
    assert added(Sources.read("", -1), [0]) == [False]
