"""Names for the numbers of a decision: nothing else of it changes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorer.sources.decisions import is_line, named, view_of

TREE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
NUMBERS = st.lists(st.none() | st.floats(allow_nan=False, allow_infinity=False), max_size=6)


@given(NUMBERS, st.dictionaries(st.text(max_size=8), TREE, max_size=5))
def test_only_features_change_and_keep_their_order(features: list[Any], more: dict[str, Any]) -> None:
    decision = {**more, "view": "v", "features": features, "transaction": more}
    names = tuple(f"f{i}" for i in range(len(features)))
    value = json.dumps(decision).encode()
    line = named(value, {"v": names})
    assert b"\n" not in line
    found = json.loads(line)
    assert list(found["features"].items()) == list(zip(names, features, strict=True))
    assert {**found, "features": features} == decision


@given(st.binary(max_size=60) | TREE.map(lambda tree: json.dumps(tree).encode()))
def test_what_is_no_decision_stays_as_it_is(value: bytes) -> None:
    assert named(value, {"v": ("a",)}) == value or b'"features"' in value
    view_of(value)


def test_a_view_of_another_length_is_not_that_of_the_decision() -> None:
    value = b'{"view":"v","features":[1,2]}'
    assert named(value, {"v": ("a",)}) == value
    assert named(value, {"w": ("a", "b")}) == value
    assert named(b'{"view":"v","features":{"a":1}}', {"v": ("a",)}) == b'{"view":"v","features":{"a":1}}'
    assert named(b'{"view":["v"],"features":[1]}', {"v": ("a",)}) == b'{"view":["v"],"features":[1]}'


@given(st.binary(max_size=40) | TREE.map(lambda tree: json.dumps(tree).encode()))
def test_only_an_object_on_one_line_is_printed(value: bytes) -> None:
    try:
        is_object = isinstance(json.loads(value), dict) and not any(byte < 32 for byte in value)
    except (ValueError, RecursionError):
        is_object = False
    assert is_line(value) == is_object


@pytest.mark.parametrize(
    "value", [b"\x1b]0;x\x07", b'{"a":"\x1b[31m"}', b"{\n}", b"{}\r", b"\xff", b"[1]", b"", b"{}{}"]
)
def test_a_record_that_would_speak_to_the_terminal_is_passed_over(value: bytes) -> None:
    assert not is_line(value)
