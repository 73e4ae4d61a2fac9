"""The quick look at a batch misses nothing that the exact check finds."""

from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harness.card_numbers import everywhere, with_check_digit
from scorer.pipeline.card_number import find
from scorer.pipeline.card_number_json import find_field, masked_json
from scorer.pipeline.card_number_screen import screen


@settings(max_examples=500, deadline=None)
@given(st.lists(st.binary(max_size=80) | st.text(max_size=60).map(lambda text: orjson.dumps({"a": text})), max_size=6))
def test_any_bytes_may_be_screened_and_masked(values: list[bytes]) -> None:
    suspects = screen(values)
    assert suspects == sorted(set(suspects))
    for at, value in enumerate(values):
        told = masked_json(value, everywhere)
        if at not in suspects:
            assert told == value


#: Pieces that make up texts near a card number.
PIECES = st.sampled_from(
    [*"0123456789 -.:/_,+*()abfzÉ\u00a0\t\"\\'", "4111", "1111", "411111", "1111111111", "12:00:00", "4111111111111111"]
)


@pytest.mark.slow
@settings(max_examples=1500, deadline=None)
@given(st.lists(st.lists(PIECES, max_size=14).map("".join), min_size=1, max_size=5), st.booleans())
@example(["0.4111111111111111É"], False)  # no decimal number: a letter touches it
@example(["É0.4111111111111111"], False)
def test_the_quick_look_misses_nothing_that_the_exact_check_finds(texts: list[str], is_ascii: bool) -> None:
    values = [json.dumps({"a": text, "n": 12.5}, ensure_ascii=is_ascii).encode() for text in texts]
    wanted = {at for at, value in enumerate(values) if find_field(value, everywhere)}
    assert wanted == {at for at, text in enumerate(texts) if find(text)}
    assert wanted <= set(screen(values))


@pytest.mark.parametrize("gap", range(70))
def test_a_number_is_seen_at_any_place_of_the_words_that_are_searched(gap: int) -> None:
    for number in ("5018" + "0000000", "400000000000", "411111111111111"):
        value = b'{"a":"%s","b":"%s"}' % (b"x" * gap, with_check_digit(number).encode())
        assert screen([b"{}", value]) == [1]


def test_no_values_hold_none() -> None:
    assert screen([]) == []
    assert screen([b""]) == []
    assert screen([None, None]) == []
