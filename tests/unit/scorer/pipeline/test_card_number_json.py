"""Card numbers in JSON are found and masked wherever they are, and nothing else is touched."""

from __future__ import annotations

import json
import random
import time
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.card_numbers import AROUND, PRINTED, SEPARATORS, a_card_number, everywhere, grouped
from scorer.pipeline.card_number import contains, find, masked
from scorer.pipeline.card_number_json import find_field, is_in, masked_bytes, masked_json
from scorer.pipeline.card_number_screen import screen, unquoted


def written(cell: Any, way: int) -> bytes:
    """JSON as different senders write it: in UTF-8, with escapes, indented, with escaped slashes and digits."""
    if way == 0:
        return orjson.dumps(cell)
    text = json.dumps(cell, ensure_ascii=way != 2, indent=2 if way == 2 else None)
    if way == 3:
        text = text.replace("/", "\\/")
    if way == 4:
        text = json.dumps(cell, ensure_ascii=False).replace("1", "\\u0031")  # these have no numbers
    return text.encode()


places = st.sampled_from(["id", "note", "nested", "list", "deep", "name"])


def a_document(place: str, text: str) -> dict[str, Any]:
    body: dict[str, Any] = {"id": "t", "amount": None, "when": "2026-02-28T22:00:00.000Z"}
    body |= {
        "id": {"id": text},
        "note": {"note": text},
        "nested": {"device": {"os": "x", "serial": text}},
        "list": {"tags": ["a", text, "b"]},
        "deep": {"a": [{"b": [{"c": text}]}]},
        "name": {"more": {text: "b"}},
    }[place]
    return body


@pytest.mark.slow
@settings(max_examples=500, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(SEPARATORS), st.sampled_from(AROUND), places, st.integers(0, 4))
def test_a_number_is_found_wherever_it_is_in_a_record_and_masked_there(
    seed: int, separator: str, around: tuple[str, str], place: str, way: int
) -> None:
    rng = random.Random(seed)
    number = a_card_number(rng)
    sizes = PRINTED.get(len(number), (len(number),))
    text = f"{around[0]}{grouped(number, sizes, separator)}{around[1]}"
    document = a_document(place, text)
    value = written(document, way)
    assert orjson.loads(value) == document
    others = [written(a_document(place, "harmless"), way), b"", b"{}"]
    assert screen([others[0], value, *others]) == [1], value
    assert contains(document)
    top = next(name for name, cell in document.items() if contains([name, cell]))
    assert find_field(value, everywhere) == (top, place == "name")
    assert find_field(value, lambda name: name != top) is None

    told = masked_json(value, everywhere)
    assert orjson.loads(told) == orjson.loads(orjson.dumps(a_document(place, masked(text))))
    assert not contains(orjson.loads(told))
    assert masked_json(value, lambda name: name != top) == value


def test_a_field_that_a_later_one_replaces_counts() -> None:
    value = b'{"card_id":"4111111111111111", "card_id" : "c"}'
    assert screen([value]) == [0]
    assert find_field(value, everywhere) == ("card_id", False)
    assert masked_json(value, everywhere) == b'{"card_id":"411111******1111", "card_id" : "c"}'


def test_numbers_are_not_texts_but_are_masked() -> None:
    value = b'{"seq":4111111111111111,"rate":52.51998712345678,"list":[4111,1111,1111,1111],"ms":1767225600000}'
    assert find_field(value, everywhere) is None
    told = masked_json(value, everywhere)
    assert told == value.replace(b"4111111111111111", b'"411111******1111"')
    for written in (b"4111111111111111.0", b"4.111111111111111e15", b"4.111111111111111E+15"):
        told = masked_json(b'{"card_id": %s }' % written, everywhere)
        assert told == b'{"card_id": "411111******1111" }'


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (b"4111111111111111", b"411111******1111"),
        (b'"4111111111111111"', b'"411111******1111"'),
        (b'{"card_id":"4111\\u00a01111\\u00a01111\\u00a01111', b'{"card_id":"4111\\u00a011**\\u00a0****\\u00a01111'),
        (b"\xff\xfe4111 1111 1111 1111\xff", b"\xff\xfe4111 11** **** 1111\xff"),
        (b"card=4111111111111111&amount=12", b"card=411111******1111&amount=12"),
        (b"\n4111111111111111,12.5\n5500000000000004,3\n", b"\n411111******1111,12.5\n550000******0004,3\n"),
        ("4111111111111111".encode("utf-16-le"), b"4\x001\x001\x001\x001\x001\x00" + b"*\x00" * 6 + b"1\x00" * 4),
        (b"[4111111111111111]", b"[411111******1111]"),
    ],
)
def test_what_is_no_json_object_is_masked_as_one_text(value: bytes, told: bytes) -> None:
    assert screen([value]) == [0]
    assert masked_json(value, everywhere) == told
    assert masked_bytes(value) == told
    assert is_in(value)
    assert not is_in(told)


@pytest.mark.slow
def test_a_long_text_takes_no_more_than_seconds() -> None:
    started = time.process_time()
    for text in ("1 " * 130_000, "1234567 " * 30_000, "4" * 250_000, "4.1," * 60_000, "+1 " * 80_000, "DE12 " * 50_000):
        assert find(text) == []
        masked_json(orjson.dumps({"a": text}), everywhere)
    assert time.process_time() - started < 30, "1 to 2 s here; more than in proportion to the length would take hours"


@given(st.text(alphabet='\\\\u"4{}:,1dD8cC0\ufffd', max_size=60), st.booleans())
def test_no_escape_however_broken_makes_looking_or_masking_raise(text: str, is_json: bool) -> None:
    value = f'{{"note":"{text}"}}'.encode() if is_json else text.encode()
    screen([value, None])
    screen(unquoted([value]))
    is_in(value)
    masked_bytes(value)
    masked_json(value, lambda name: True)
