"""A sample is stored and read back whole."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.samples import a_sample
from shadow.comparison.outcome import Outcome
from shadow.comparison.sample import Contribution, Sample

WHY = st.lists(
    st.builds(
        Contribution,
        st.text(min_size=1),
        st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)),
        st.floats(-9, 9),
        st.floats(-9, 9),
        st.floats(-9, 9),
    ),
    max_size=3,
)


@given(
    st.integers(0, 10**6),
    st.sampled_from(Outcome),
    st.one_of(st.none(), st.floats(-1, 1)),
    st.one_of(st.none(), WHY),
    st.dictionaries(
        st.sampled_from(["country", "amount", "note"]), st.one_of(st.none(), st.text(), st.integers(0, 99))
    ),
)
def test_a_sample_is_read_as_it_was_written(
    n: int, outcome: Outcome, gap: float | None, why: list[Contribution] | None, transaction: dict[str, object]
) -> None:
    sample = a_sample(n, outcome=outcome, gap=gap, transaction=transaction, segments=("all", "country=DE"))
    sample = sample if why is None else sample.explained(why)
    found = Sample.decode(sample.encode())
    assert found.features == list(sample.features)
    assert found == sample


def test_the_json_for_machines_is_the_stored_body_with_the_inclusion_probability() -> None:
    sample = a_sample(3, inclusion_probability=0.25)
    body = orjson.loads(orjson.dumps(sample.to_json()))
    assert body == orjson.loads(sample.encode()) | {"inclusion_probability": 0.25}
    assert Sample.decode(sample.encode()).inclusion_probability == 1.0, "the strata tell it"


def test_the_gap_is_the_candidates_score_minus_lives() -> None:
    assert a_sample(gap=0.25).gap == pytest.approx(0.25)
    assert a_sample(gap=-0.25).gap == pytest.approx(-0.25)
    assert a_sample(gap=None).gap is None, "live has no score under an override"


def test_strata_are_named_by_outcome_and_segment() -> None:
    sample = a_sample(outcome=Outcome.CANDIDATE_ONLY, segments=("all", "country=DE"))
    assert sample.strata == ["3:all", "3:country=DE"]
