"""`release.yaml` is written so that nothing in it changes but what it excuses."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.places import ROOT
from scorer.errors import SettingsError
from shadow.gate.criteria import parse
from shadow.release.criteria_file import EXCUSES, excusing, load_release

SHAPES = {
    "none": "schema: 1\n",
    "none, and comments at the end": "# first\nschema: 1\npromote_error: 0.010  # kept\n\n# the end\n",
    "no newline at the end": "schema: 1\npromote_error: 0.01",
    "a document marker": "---\nschema: 1  # kept\n",
    "empty, and then more": "may_stay_insufficient: []  # why\n# a word\nschema: 1\n",
    "in one line": "schema: 1\nmay_stay_insufficient: [\"*: old=1\", '*: a=b']  # why\npromote_error: 0.01  # kept\n",
    "in one line, at the end": "schema: 1\nmay_stay_insufficient: ['*: old=1']\n",
    "in lines": (
        "schema: 1\nmay_stay_insufficient:\n  # a word\n  - '*: old'  # one\n\n  # of the next\n"
        '  - "*: b"   # two\n\n# kept\npromote_error: 0.01\n'
    ),
    "in lines, at the end": "schema: 1\nmay_stay_insufficient:\n  - '*: old'\n  - '*: b'  # two\n\n# the end\n",
    "in lines that are not indented": "may_stay_insufficient:\n- '*: old'\n# kept\nschema: 1\n",
    "four blanks deep": (
        "schema: 1\nsegments:\n    country:\n        field: country\n        values:\n        - DE\n        - 'FR'\n"
    ),
    "all in one line": "{schema: 1, overall: {minimum_transactions: 5}}\n",
} | {
    f"{path.relative_to(ROOT)}": path.read_text()
    for path in sorted([ROOT / "deploy" / "local" / "release.yaml", *(ROOT / "tests" / "study").glob("*.yaml")])
}
patterns = st.lists(st.sampled_from(["*: a=b", 'x: "quoted"', "lost_fraud*: c=*", "*: #", "*: it's"]), unique=True)


@given(patterns, st.sampled_from(sorted(SHAPES)))
def test_only_what_is_excused_changes(more: list[str], shape: str) -> None:
    text = SHAPES[shape]
    listed = parse(text).may_stay_insufficient if EXCUSES in text else ()
    new = tuple(pattern for pattern in more if pattern not in listed)
    after = excusing(text, more)
    if not new:
        assert after == text
        return
    assert parse(after).may_stay_insufficient == (*listed, *new)
    assert all(comment in after for comment in re.findall("#.*", text))
    if shape == "all in one line":
        assert after.startswith(text.rstrip("}\n"))
        return
    before, now = text.rstrip("\n").splitlines(), after.rstrip("\n").splitlines()
    for line in difflib.ndiff(before, now):
        if line.startswith("- "):
            assert line.startswith(f"- {EXCUSES}: ["), "only a list in one line is replaced"
        if line.startswith("+ "):
            assert line.startswith(f"+ {EXCUSES}:") or line[2:].lstrip().startswith("- "), line


@given(patterns, st.sampled_from(sorted(SHAPES)))
def test_excused_twice_is_excused_once(more: list[str], shape: str) -> None:
    after = excusing(SHAPES[shape], more)
    assert excusing(after, more) == after


def test_new_patterns_follow_the_list_and_comments_stay_where_they_were() -> None:
    assert excusing(SHAPES["in lines"], ["*: new"]) == SHAPES["in lines"].replace("# two\n", "# two\n  - '*: new'\n")
    text = SHAPES["in lines that are not indented"]
    assert excusing(text, ["*: new"]) == text.replace("# kept", "- '*: new'\n# kept")


@pytest.mark.parametrize(
    "text",
    [
        "schema: 1\nsegments: { country: {field: country, values: [DE,FR]} }\n",
        "schema: 1\nmay_stay_insufficient: [\n  '*: a=b',  # lost\n  ]\n",
        "# lost\n---\nschema: 1\n",
    ],
    ids=["blanks", "comments within a list in one line", "comments before the document"],
)
def test_a_layout_that_would_change_is_refused_with_what_to_add(text: str) -> None:
    with pytest.raises(SettingsError, match=r"by hand: '\*: new'"):
        excusing(text, ["*: new"])


def test_a_missing_file_names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="SHADOW_RELEASE"):
        load_release(tmp_path / "none.yaml")
