"""Every transaction is in `all` and in one segment of each division."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shadow.comparison.segments import MOST, SegmentField, Segments
from shadow.comparison.totals import ALL

SEGMENTS = Segments.model_validate(
    {
        "country": {"field": "country", "values": ["DE", "FR"]},
        "amount": {"field": "amount", "bands": [20, 100]},
    }
)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["DE", "FR", "US", None, 5]),
            st.one_of(st.none(), st.floats(-1, 300), st.sampled_from([20, 100, "x", True])),
        ),
        max_size=20,
    )
)
def test_each_transaction_is_in_one_segment_of_each_division(rows: list[tuple[object, object]]) -> None:
    columns = {"country": [row[0] for row in rows], "amount": [row[1] for row in rows]}
    found = SEGMENTS.assign(columns, len(rows))
    assert found.shape == (len(rows), 3)
    for (country, amount), row in zip(rows, found, strict=True):
        names = [SEGMENTS.names[at] for at in row]
        if type(amount) not in (int, float):
            band = "other"
        else:
            band = "<20" if amount < 20 else "20-100" if amount < 100 else ">=100"
        assert names == [ALL, f"country={country if country in ('DE', 'FR') else 'other'}", f"amount={band}"]


def test_segments_have_names_in_order() -> None:
    assert SEGMENTS.names == (
        "all",
        "country=DE",
        "country=FR",
        "country=other",
        "amount=<20",
        "amount=20-100",
        "amount=>=100",
        "amount=other",
    )
    assert SEGMENTS.fields == {"country", "amount"}


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"field": "a"}, "expected either values or bands, found neither"),
        ({"field": "a", "values": ["x"], "bands": [1]}, "expected either values or bands, found both"),
        ({"field": "a", "bands": [2, 1]}, "bands must ascend, found 2, 1"),
        ({"field": "a", "bands": [1, 1]}, "ascend"),
        ({"field": "a", "values": ["y", "x", "x"]}, "value 'x' is listed twice"),
        ({"field": "a", "values": []}, "at least 1"),
    ],
)
def test_a_division_with_a_contradiction_is_refused(fields: dict[str, object], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        SegmentField.model_validate(fields)


def test_too_many_segments_are_refused() -> None:
    values = [str(i) for i in range(MOST)]
    Segments.model_validate({"x": {"field": "x", "values": values[2:]}})
    with pytest.raises(ValidationError, match=f"{MOST + 2} segments.*at most {MOST} are allowed, merge some"):
        Segments.model_validate({"x": {"field": "x", "values": values}})


def test_the_name_of_a_division_is_a_plain_word() -> None:
    with pytest.raises(ValidationError, match="letters, digits"):
        Segments.model_validate({"a b": {"field": "x", "values": ["1"]}})
