"""Times are whole milliseconds, read one by one or at once."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scorer.pipeline.instants import instant_ms, instants_ms


@given(st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2200, 1, 1)))  # noqa: DTZ001
def test_instants_are_whole_milliseconds_since_1970(moment: datetime) -> None:
    moment = moment.replace(tzinfo=UTC)
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    expected = (delta.days * 86_400 + delta.seconds) * 1000 + delta.microseconds // 1000
    assert instant_ms(moment.isoformat()) == expected
    assert instant_ms(moment.isoformat().replace("T", "t").replace("+00:00", "z")) == expected


TEXTS = st.one_of(
    st.from_regex(r"[0-2]\d{3}-[01]\d-[0-3]\dT[0-2]\d:[0-5]\d:[0-6]\d(\.\d{3})?Z", fullmatch=True),
    st.sampled_from(["2024-02-29T00:00:00Z", "2023-02-29T00:00:00Z", "2024-01-01T24:00:00Z", "0000-01-01T00:00:00Z"]),
    st.sampled_from(["2024-01-01 00:00:00Z", "2024-01-01T00:00:00+01:00", "\u0661" + "024-01-01T00:00:00Z", ""]),
    st.sampled_from(["2024-01-01t00:00:00z", "2024-01-01T00:00:00z", "2024-01-01t00:00:00.000Z"]),
)


@settings(max_examples=300)
@given(st.lists(TEXTS, max_size=4))
def test_times_read_at_once_are_those_read_one_by_one(texts: list[str]) -> None:
    try:
        expected = [instant_ms(text) for text in texts]
    except ValueError:
        with pytest.raises(ValueError, match=r"RFC 3339|must be in|out of range|isoformat"):
            instants_ms(texts)
    else:
        assert instants_ms(texts).tolist() == expected
