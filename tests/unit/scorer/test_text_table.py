"""Tables and sentences for any width: nothing is wider than the screen but a word, and nothing of a text is lost."""

from __future__ import annotations

import doctest
import re
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from scorer import text_table
from scorer.text_table import columns_of, named, table, wrapped

#: Names as people choose them, one word each: Latin, accents that combine, East Asian, commands.
WORD = st.text(st.sampled_from("abcdefgh=.-0123456789Zoë张伟e\u0301"), max_size=40)
TEXT = st.lists(WORD.filter(bool), max_size=30).map(" ".join)
WIDTHS = st.integers(12, 120)
ROWS = st.lists(st.tuples(WORD, WORD, WORD, WORD), max_size=6)
#: The same with cells of several words.
LONG = st.lists(st.tuples(WORD, st.lists(WORD.filter(bool), max_size=5).map(" ".join), WORD, WORD), max_size=6)
HEADS = ("the name of it", "live's blocks a day", "95 %", "x")


def wide(text: str) -> int:
    """Columns of a text, counted in another way than the product does."""
    shown = [one for one in text if not unicodedata.combining(one)]
    return len(shown) + len(re.findall(r"[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uff00-\uff60]", text))


def assert_fits(lines: list[str], width: int) -> None:
    for line in lines:
        assert wide(line) <= width or " " not in line.strip(), f"{wide(line)} of {width}: {line}"


def squeezed(text: str) -> str:
    return "".join(text.split())


def test_its_examples_are_true() -> None:
    found = doctest.testmod(text_table)
    assert found.attempted >= 4
    assert not found.failed


@given(LONG, st.lists(TEXT, max_size=6), WIDTHS)
def test_no_line_of_a_table_is_wider_than_the_terminal_and_no_cell_is_cut(
    rows: list[tuple[str, ...]], texts: list[str], width: int
) -> None:
    lines = list(table(HEADS, rows, width, texts[: len(rows)]))
    assert_fits([line for line in lines if not re.fullmatch(r"\s*[^:]{1,30}: +\S+", line)], width)
    all_of_it = squeezed("".join(lines))
    for row in rows:
        for cell in row:
            assert squeezed(cell) in all_of_it
    for text in texts[: len(rows)]:
        assert squeezed(text) in all_of_it


@given(ROWS)
def test_a_pipe_has_each_row_on_one_line_below_its_heads(rows: list[tuple[str, ...]]) -> None:
    lines = list(table(HEADS, rows, None))
    assert lines[0].split("  ")[0] == HEADS[0]
    assert [line.split() for line in lines[1:]] == [[cell for cell in row if cell] for row in rows if any(row)]


@given(TEXT, WIDTHS)
def test_a_sentence_is_broken_between_words_and_keeps_all_of_them(text: str, width: int) -> None:
    lines = list(wrapped(text, width))
    assert_fits(lines, width)
    assert " ".join(lines).split() == text.split()
    assert list(wrapped(text, None)) == [text]


@given(st.lists(st.tuples(WORD, TEXT), max_size=6), WIDTHS)
def test_names_and_values_fit_and_keep_all(pairs: list[tuple[str, str]], width: int) -> None:
    lines = list(named(pairs, width))
    assert squeezed("".join(lines)) == squeezed("".join(name + value for name, value in pairs))
    longest = max((columns_of(word) for _, value in pairs for word in value.split()), default=0)
    longest_name = max((columns_of(name) for name, _ in pairs), default=0)
    if longest + width // 3 + 2 <= width and longest_name <= width // 3:
        assert all(wide(line) <= width for line in lines)


def test_columns_stand_below_their_heads_and_texts_below_their_row() -> None:
    rows = [("FAIL", "more_blocks", "12 %"), ("thin", "x", "1 %")]
    assert list(table(("verdict", "criterion", "limit"), rows, 80, ["blocks too much"])) == [
        "verdict  criterion    limit",
        "FAIL     more_blocks  12 %",
        "    blocks too much",
        "thin     x            1 %",
    ]


def test_where_figures_do_not_fit_beside_names_the_names_stand_above_them() -> None:
    rows = [("country=" + "x" * 40, "1,234,567", "0.5 %", "12 (10 to 14)")]
    assert list(table(("segment", "transactions", "rate", "days to decide"), rows, 60)) == [
        "segment",
        "  transactions  rate   days to",
        "                       decide",
        "country=" + "x" * 40,
        "  1,234,567     0.5 %  12 (10 to 14)",
    ]
    assert list(table(("segment", "transactions", "rate", "days to decide"), rows, 24)) == [
        "segment:",
        "    country=" + "x" * 40,
        "  transactions:",
        "    1,234,567",
        "  rate: 0.5 %",
        "  days to decide: 12 (10",
        "    to 14)",
    ]


def test_what_speaks_to_a_terminal_is_not_printed() -> None:
    evil = "m\x1b[31m\x07\u202e\r\n17"
    for lines in (
        table(("merchant",), [(evil,)], 80),
        wrapped(evil, 80),
        wrapped(evil, None),
        named([(evil, evil)], 60),
    ):
        assert all(line.isprintable() for line in lines)


def test_a_command_is_not_broken() -> None:
    told = "To try that: `scorer deploy ab12 --slot candidate --threshold 0.4 --reason x`; see `shadow gate` then"
    lines = list(wrapped(told, 40))
    assert "    `scorer deploy ab12 --slot candidate --threshold 0.4 --reason x`;" in lines
