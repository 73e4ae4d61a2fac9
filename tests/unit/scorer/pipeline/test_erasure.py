"""Records of the topic `erasures`: whoever wrote them, they are read, or refused with a ValueError."""

from __future__ import annotations

import contextlib
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorer.pipeline.erasure import ErasureAnswer, ErasureRequest, read

AT = "2026-01-01T00:00:00Z"
KEY = b"0123456789abcdef"
values = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists)
bodies = st.dictionaries(st.sampled_from(["card_id", "at", "done", "worker", "schema", "x"]), values | st.just(AT))


def test_requests_and_answers_are_read_as_they_were_written() -> None:
    request = ErasureRequest.of("card-1", AT)
    answer = ErasureAnswer(at=AT, done="nothing", worker="scorer-0")
    assert read(KEY, request.encode()) == (KEY.decode(), request)
    assert read(KEY, answer.encode()) == (KEY.decode(), answer)
    assert b"card-1" not in answer.encode()


@pytest.mark.slow
@given(st.none() | st.binary() | st.just(KEY), st.none() | st.binary() | bodies)
def test_any_record_is_read_or_refused(key: bytes | None, value: Any) -> None:
    if isinstance(value, dict):
        try:
            value = orjson.dumps(value)
        except TypeError:  # an integer beyond 64 bits, a surrogate
            return
    with contextlib.suppress(ValueError):
        read(key, value)


@pytest.mark.parametrize("card", ["", " c", "c\n", "4111111111111111", "x" * 1000])
def test_what_is_no_card_is_no_request(card: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        ErasureRequest.of(card, AT)
    assert "4111111111111111" not in str(refused.value)


def test_a_card_may_look_like_a_card_number_where_the_settings_say_so() -> None:
    value = ErasureRequest.of("4111111111111111", AT, ["card_id"]).encode()
    assert isinstance(read(KEY, value, ["card_id"])[1], ErasureRequest)
    with pytest.raises(ValueError, match="looks like a card number"):
        read(KEY, value)
