"""The pictures of the docs are those that `make pictures` takes, small, and said in words for who cannot see them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

from harness.places import ROOT
from page.pictures import FOLDER, SHOTS, make

#: Bytes of one picture, and of all.
MOST, MOST_IN_ALL = 120_000, 900_000
DOC = ROOT / "docs" / "explorer.md"
_SHOWN = re.compile(r"!\[([^\]]*)\]\(pictures/([^)]+)\)")


def test_the_walk_through_shows_each_picture_that_is_taken_in_order() -> None:
    assert [name for _, name in _SHOWN.findall(DOC.read_text())] == [f"{shot.name}.png" for shot in SHOTS]
    assert {path.name for path in FOLDER.iterdir()} == {f"{shot.name}.png" for shot in SHOTS}, "and no other is there"


def test_each_picture_is_said_in_words() -> None:
    said = [text for text, _ in _SHOWN.findall(DOC.read_text())]
    assert len(set(said)) == len(said)
    for text in said:
        assert len(text.split()) >= 12, text


def test_pictures_are_small() -> None:
    sizes = {path.name: path.stat().st_size for path in FOLDER.iterdir()}
    assert max(sizes.values()) <= MOST, sizes
    assert sum(sizes.values()) <= MOST_IN_ALL, sizes
    for path in FOLDER.iterdir():
        with Image.open(path) as picture:
            assert picture.mode == "P", f"{path.name}: has more colours than it needs"


@pytest.mark.needs("browser")
def test_the_tool_takes_a_picture_as_large_as_the_one_in_the_docs(tmp_path: Path) -> None:
    (path,) = make(tmp_path, ["phone"])
    with Image.open(path) as taken, Image.open(FOLDER / "phone.png") as shown:
        assert taken.width == shown.width == 390
        assert taken.height == pytest.approx(shown.height, rel=0.1), "the page has changed: run `make pictures`"
        assert len(taken.getcolors() or ()) > 10, "nothing is on it"
    assert path.stat().st_size <= MOST
