"""Names that an object has more than once are found however it is written, and no decision has one twice."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness.transactions import READING, a_transaction
from scorer.pipeline.decode import decode
from scorer.pipeline.mapping import FieldNames
from scorer.pipeline.repeated import is_repeated, repeated
from scorer.pipeline.transaction import Reading

#: Names and texts in which quotes, colons, backslashes and blanks are where a quick look may stumble.
WORDS = st.text(st.sampled_from('ab":\\ {}[],\tü'), max_size=4)
#: An object is a list of pairs here, as only then a name can be there twice.
Pairs = list[tuple[str, Any]]

cells = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from([0.5, 1e30]) | WORDS,
    lambda inner: st.lists(inner, max_size=2).map(tuple) | st.lists(st.tuples(WORDS, inner), max_size=3),
    max_leaves=6,
)
objects = st.lists(st.tuples(WORDS, cells), max_size=5)


def has_twice(cell: Any) -> bool:
    """Whether any object in a cell has a name twice."""
    if isinstance(cell, tuple):
        return any(map(has_twice, cell))
    if not isinstance(cell, list):
        return False
    names = [name for name, _ in cell]
    return len(names) != len(set(names)) or any(has_twice(inner) for _, inner in cell)


def written(cell: Any, space: str, is_ascii: bool) -> str:
    """JSON with blanks wherever they may be."""
    if isinstance(cell, tuple):
        return f"[{f'{space},'.join(written(one, space, is_ascii) for one in cell)}]"
    if isinstance(cell, list):
        pairs = (
            f"{space}{json.dumps(name, ensure_ascii=is_ascii)}{space}:{space}{written(inner, space, is_ascii)}"
            for name, inner in cell
        )
        return "{" + ",".join(pairs) + space + "}"
    return json.dumps(cell, ensure_ascii=is_ascii)


@given(st.lists(objects, min_size=1, max_size=4), st.sampled_from(["", " ", "\t", "\n", "\r\n"]), st.booleans())
@example([[("a\\", 1), ("b", 2), ("b", 3)]], "", False)  # a backslash before a quote that ends the name
@example([[("x", '":'), ("y", 1)], [("y", 1), ("y", 2)]], "", False)
@example([[("x", [("y", 1)])], [("x", 1), ("x", 2)]], "", False)  # not like the first one
@example([[("x", ([("y", 1), ("y", 2)],))]], "", False)
def test_names_that_are_there_twice_are_found(several: list[Pairs], space: str, is_ascii: bool) -> None:
    values = [written(pairs, space, is_ascii).encode() for pairs in several]
    records = [orjson.loads(value) for value in values]
    want = {at for at, pairs in enumerate(several) if has_twice(pairs)}
    assert repeated(values, records) == want
    assert {at for at in range(len(values)) if is_repeated(values[at], records[at])} == want


@pytest.mark.parametrize("twice", ['"note":1,"note":2', '"note" :1,"\\u006eote":2', '"x":{"y":1,"y":2}'])
def test_a_decision_has_each_name_once(twice: str) -> None:
    plain = orjson.dumps(a_transaction())
    other = f'{{{twice},"card_id":"x",'.encode() + plain[1:]
    for values in ([other], [plain, other, b"not JSON"]):  # read at once, and one by one
        found = decode(values, READING)
        text = found.events.documents[-1]
        assert found.events.cards[-1] == a_transaction()["card_id"]
        assert orjson.loads(text) == orjson.loads(other)
        assert not is_repeated(text, orjson.loads(text))
        assert found.events.documents[:-1] == [plain] * (len(values) // 2), "as it came"


def test_a_mapped_decision_has_each_name_once() -> None:
    plain = a_transaction(kind=1)
    value = b'{"kind":2,"shop":"m","shop":"n",' + orjson.dumps(plain)[1:]
    reading = Reading(mapping=FieldNames.model_validate({"fields": {"merchant_id": "shop"}}))
    (text,) = decode([value], reading).events.documents
    assert orjson.loads(text) == plain | {"merchant_id": "n"}
    assert text.count(b'"kind"') == text.count(b'"merchant_id"') == 1
