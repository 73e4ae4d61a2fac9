"""Tables on narrow terminals: nothing is wider than the screen, and no text is lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shadow.cli.narrow import stacked

WORD = st.text("abcdefgh=.-", max_size=40)


@given(
    st.lists(st.tuples(st.tuples(WORD, WORD, WORD), st.lists(WORD.filter(bool), max_size=30)), max_size=6),
    st.integers(40, 120),
)
def test_no_line_is_wider_than_the_terminal_and_every_word_of_the_text_is_there(
    rows: list[tuple[tuple[str, str, str], list[str]]], width: int
) -> None:
    lines = list(stacked(("one", "two", "three"), [(cells, " ".join(words)) for cells, words in rows], width))
    assert all(len(line) <= width for line in lines)
    texts = "".join(line.strip() for line in lines if line.startswith("    ")).replace(" ", "")
    for _, words in rows:
        assert "".join(words) in texts


def test_columns_stand_below_their_heads() -> None:
    rows = [(("FAIL", "more_blocks", "12 %"), "blocks too much"), (("thin", "x", "1 %"), "")]
    assert list(stacked(("verdict", "criterion", "limit"), rows, 80)) == [
        "verdict  criterion    limit",
        "FAIL     more_blocks  12 %",
        "    blocks too much",
        "thin     x            1 %",
    ]
    assert (
        list(stacked(("verdict", "criterion"), [(("FAIL", "a_very_long_name"), "")], 20))[1] == "FAIL     a_very_lon…"
    )
