"""What a transaction was, by what people and feeds say of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadow.labels.truth import Truth, truth

verdicts = st.sampled_from(["fraud", "legit", "unsure"])
charged = st.tuples(st.integers(0, 9), st.sampled_from(["fraud", "legit"]))
votes = st.fixed_dictionaries(
    {},
    optional={
        "chargeback": st.dictionaries(
            st.sampled_from("ab"), st.tuples(st.integers(0, 9), st.sampled_from(["fraud", "legit"]))
        ),
        "review": st.dictionaries(st.sampled_from("xyz"), st.tuples(st.integers(0, 9), verdicts)),
    },
)


@pytest.mark.parametrize(
    ("chargeback", "review", "allowed", "blocked"),
    [
        ((), (), Truth.PENDING, Truth.UNKNOWN),
        (("fraud",), (), Truth.FRAUD, Truth.UNKNOWN),
        (("legit",), (), Truth.LEGIT, Truth.UNKNOWN),
        ((), ("fraud",), Truth.FRAUD, Truth.FRAUD),
        ((), ("legit",), Truth.LEGIT, Truth.LEGIT),
        ((), ("unsure",), Truth.PENDING, Truth.UNKNOWN),
        (("fraud",), ("legit",), Truth.LEGIT, Truth.LEGIT),
        (("legit",), ("fraud",), Truth.FRAUD, Truth.FRAUD),
        (("fraud",), ("unsure",), Truth.FRAUD, Truth.UNKNOWN),
        ((), ("fraud", "legit"), Truth.PENDING, Truth.UNKNOWN),
        ((), ("fraud", "legit", "fraud"), Truth.FRAUD, Truth.FRAUD),
        (("fraud",), ("fraud", "legit"), Truth.FRAUD, Truth.UNKNOWN),
    ],
)
def test_each_source_counts_where_it_can_know(
    chargeback: tuple[str, ...], review: tuple[str, ...], allowed: Truth, blocked: Truth
) -> None:
    said = {
        source: {str(by): (1, verdict) for by, verdict in enumerate(what)}
        for source, what in (("chargeback", chargeback), ("review", review))
    }
    assert (truth(said, is_blocked=False), truth(said, is_blocked=True)) == (allowed, blocked)


@given(votes)
def test_what_live_blocked_is_never_told_by_a_chargeback_nor_by_silence(
    said: dict[str, dict[str, tuple[int, str]]],
) -> None:
    found = truth(said, is_blocked=True)
    assert found is not Truth.PENDING
    assert found == truth({"review": said.get("review", {})}, is_blocked=True)
    if not said.get("review"):
        assert found is Truth.UNKNOWN
