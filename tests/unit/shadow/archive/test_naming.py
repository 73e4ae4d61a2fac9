"""A row names a card if a person who searches for it would say so, and no row of another card goes with it."""

from __future__ import annotations

from typing import Any

import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadow.archive.naming import LONG, Named

CARD = "tok-4f9a1c77"


def decisions(**columns: list[Any]) -> pa.Table:
    return pa.table({name: pa.array(cells) for name, cells in columns.items()})


@pytest.mark.parametrize(
    ("cell", "is_named"),
    [
        (None, False),
        (CARD, True),
        (f'{{"paid_by": "{CARD}"}}', True),
        (f"no JSON: {CARD}.", True),
        (f"{CARD}8", False),
        (f"a{CARD}", False),
        (f"{CARD}-8", False),
        (b"\xff\x18" + CARD.encode() + b"8", True),
        (b'{"card": "' + CARD.encode() + b'"', True),
        (b"", False),
    ],
)
def test_a_long_card_is_found_where_it_stands_by_itself(cell: str | bytes | None, is_named: bool) -> None:
    assert Named(CARD).is_in(cell) is is_named


@pytest.mark.parametrize(
    ("cell", "is_named"),
    [
        ("42", True),
        ('{"card": "42"}', True),
        ('{"amount": 42}', False),
        ("customer 42", False),
        ('{"42": 1, "a": "b"}', False),
        ('{"42" : 1}', False),
        ("142", False),
        (b"\xff42", False),
        (b"42", True),
    ],
)
def test_a_short_card_is_found_as_a_whole_value_alone(cell: str | bytes, is_named: bool) -> None:
    assert len("42") < LONG
    assert Named("42").is_in(cell) is is_named


def test_a_row_is_found_by_its_card_its_transaction_or_a_text_and_only_where_texts_count_by_these() -> None:
    rows = decisions(
        card_id=[CARD, "tok-else", "tok-else", None, "tok-else"],
        transaction_id=["t1", "t2", "t3", "t4", CARD],
        others=["{}", f'{{"a": "{CARD}"}}', "{}", "{}", "{}"],
        merchant_id=["m", "m", "m", "m", CARD],
    )
    assert Named(CARD).rows(rows).tolist() == [True, True, False, False, False]
    assert Named(CARD, in_texts=False).rows(rows).tolist() == [True, False, False, False, False]
    assert Named(CARD, {"t3", "t4"}).rows(rows).tolist() == [True, True, True, True, False]


def test_every_layout_that_a_reader_hands_out_is_searched() -> None:
    for text, raw in ((pa.string_view(), pa.binary_view()), (pa.large_string(), pa.large_binary())):
        rows = pa.table(
            {"card_id": pa.array([CARD, "x"], text), "raw": pa.array([None, CARD.encode()], raw)},
        )
        assert Named(CARD).rows(rows).tolist() == [True, True], text


def test_headers_are_searched() -> None:
    kind = pa.list_(pa.struct([("name", pa.string()), ("value", pa.binary())]))
    cells = [None, [], [{"name": "note", "value": None}], [{"name": "note", "value": CARD.encode()}]]
    assert Named(CARD).rows(pa.table({"headers": pa.array(cells, kind)})).tolist() == [False, False, False, True]


@given(st.text(min_size=1, max_size=30), st.text(max_size=20))
def test_what_a_json_text_holds_as_a_string_is_found_however_it_is_written(card: str, other: str) -> None:
    import json

    for text in (orjson.dumps({"a": card, "b": other}).decode(), json.dumps({"a": card, "b": other})):
        assert Named(card).is_in(text), text
        found = Named(card).rows(decisions(card_id=[other], others=[text]))
        assert found.tolist() == [True]


@given(st.from_regex(r"[a-z0-9]{1,7}", fullmatch=True), st.from_regex(r"[a-z0-9]{1,7}", fullmatch=True))
def test_a_short_card_never_takes_a_row_of_another_with_it(card: str, other: str) -> None:
    rows = decisions(card_id=[other], others=[orjson.dumps({"note": f"{card}{other}", "n": 1}).decode()])
    assert Named(card).rows(rows).tolist() == [card == other]
