"""Cursors: what this list gave out is taken, anything else is refused as such."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadow.exploration.cursor import BadCursorError, Place, read, written

FINITE = st.floats(allow_nan=False, allow_infinity=False)
HASHES = st.floats(0, 1, exclude_max=True)


@given(FINITE, HASHES, st.text())
def test_a_cursor_reads_as_it_was_written(key: float, value: float, of: str) -> None:
    assert read(written(Place(key, value), of), of) == Place(key, value)


@given(FINITE, HASHES, st.integers(0, 200), st.integers(1, 255))
def test_a_changed_cursor_is_refused(key: float, value: float, at: int, flip: int) -> None:
    whole = bytearray(base64.urlsafe_b64decode(written(Place(key, value), "q") + "=" * 2))
    whole[at % len(whole)] ^= flip
    with pytest.raises(BadCursorError):
        read(base64.urlsafe_b64encode(bytes(whole)).decode().rstrip("="), "q")


@given(st.text(max_size=60))
def test_any_text_is_refused_and_breaks_nothing(text: str) -> None:
    with pytest.raises(BadCursorError):
        read(text, "q")


def test_a_cursor_of_another_question_is_refused() -> None:
    with pytest.raises(BadCursorError):
        read(written(Place(1.0, 0.5), "a"), "b")
