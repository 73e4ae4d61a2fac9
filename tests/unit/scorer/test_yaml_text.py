"""YAML that people write is read, or refused with one error of one line."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorer.yaml_text import DEEPEST, YamlTextError, read_yaml


@pytest.mark.parametrize(
    "text",
    [
        *(
            "schema: 2026-13-45",
            "schema: 0x_",
            "a: !!float '_'",
            "!!timestamp x",
            "9" * 5000,
            "[" * 5000,
            "- " * 20_000,
        ),
        *("a: *b", "\x00", "{", "!!python/object:os.system x", "x" * (1 << 20) + "x"),
    ],
    ids=lambda text: text[:20],
)
def test_what_cannot_be_read_is_told_in_one_line(text: str) -> None:
    with pytest.raises(YamlTextError) as told:
        read_yaml(text)
    assert str(told.value)
    assert "\n" not in str(told.value)


def test_a_few_lines_of_anchors_do_not_fill_the_memory() -> None:
    lines = ["a: &a [x,x,x,x,x,x,x,x,x,x]"]
    for below, name in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"{name}: &{name} [{','.join([f'*{below}'] * 10)}]")
    with pytest.raises(YamlTextError, match="more than 100,000 values"):
        read_yaml("\n".join(lines))


def test_anchors_and_merges_that_people_write_are_read() -> None:
    text = "wide: &wide {most: 1, least: 0}\nhere: {<<: *wide, least: 2}\nthere: *wide\n"
    assert read_yaml(text)["here"] == {"most": 1, "least": 2}
    assert read_yaml("a: " + "[" * (DEEPEST - 1) + "]" * (DEEPEST - 1))
    with pytest.raises(YamlTextError, match="nested deeper"):
        read_yaml("a: " + "[" * DEEPEST + "]" * DEEPEST)


@given(st.text(alphabet="ab:-[]{}&*!#|>'\"%\n \t0x_.,?<=", max_size=40))
def test_no_text_raises_anything_else(text: str) -> None:
    with suppress(YamlTextError):
        read_yaml(text)
