"""Texts take their own length of memory, and are what orjson writes."""

from __future__ import annotations

import json
import subprocess
import sys

import orjson
from hypothesis import given
from hypothesis import strategies as st

from scorer.pipeline.json_text import json_text

anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(anything)
def test_it_is_what_orjson_writes(value: object) -> None:
    assert json_text(value) == orjson.dumps(value)
    assert json_text(value, orjson.OPT_SORT_KEYS) == orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


#: Tells how many bytes of memory came with 20,000 texts, in a process of its own: what is freed here comes again there.
PROGRAM = """
import json, sys
import orjson
from scorer.pipeline.json_text import json_text
write = json_text if sys.argv[1] == "json_text" else orjson.dumps
record = {f"number_{i}": i / 7 for i in range(30)}
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4  # pages of 4 KiB
before = resident()
texts = [write(record) for _ in range(20_000)]
print(json.dumps([resident() - before, sum(map(len, texts)) / 1024]))
"""


def grown_kib(write: str) -> tuple[float, float]:
    """By how much the process grew, and how long the texts are."""
    told = subprocess.run([sys.executable, "-c", PROGRAM, write], capture_output=True, check=True, text=True).stdout
    grown, length = json.loads(told)
    return grown, length


def test_a_batch_of_texts_takes_little_more_than_its_length() -> None:
    grown, length = grown_kib("json_text")
    assert grown < 1.5 * length + 4096
    assert grown_kib("orjson")[0] > 2 * grown, "else orjson does it itself now, and this module can go"
