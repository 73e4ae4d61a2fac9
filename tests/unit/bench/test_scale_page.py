"""The tables of docs/scale.md say what a run found, and every figure of it is somewhere."""

from __future__ import annotations

import doctest
from dataclasses import fields, replace
from pathlib import Path

import pytest

from bench.scale import page
from bench.scale.bill import Pieces
from bench.scale.found import Flushed, Found, Grown, Shared, Slotted
from bench.scale.page import TOLD
from harness.places import ROOT
from study.published import marks, publish


def found() -> Found:
    pieces = Pieces(*(float(at) for at in range(1, len(fields(Pieces)) + 1)))
    grown = [Grown(n, *(n + at / 8 for at in range(1, 13))) for n in (4, 512)]
    stores = [Flushed(n, 19, 20, 100.0, 1.0, 2.0, 3.0, 40.0, (1 / n,) * n, 0.1, 10**7) for n in (1, 3)]
    backlogs = [Shared(1, 500.0, 0.040, 0.02), Shared(1, 400.0, 0.050, 0.03)]
    shared = [Shared(1, 1000.0, 0.030, 0.01), Shared(2, 1900.0, 0.032, 0.01)]
    return Found(
        pieces, grown, backlogs, shared, stores, stores[:1], [Slotted(1, 1, 0.1, 0.2, 0.3, 10**6)], 500, "Beside."
    )


def test_the_examples_are_true() -> None:
    assert doctest.testmod(page).failed == 0


def test_every_table_is_whole() -> None:
    for block in page.page(found()).split("\n\n"):
        if block.startswith("|"):
            assert len({line.count("|") for line in block.splitlines()}) == 1, block
            assert block.splitlines()[1].startswith("|---")


def test_every_piece_is_told() -> None:
    assert set(TOLD) == {field.name for field in fields(Pieces)}
    assert all(f"| {words} |" in page.page(found()) for words in TOLD.values())


@pytest.mark.parametrize(
    "name", [field.name for field in fields(Grown) if field.name not in ("topics_s", "compute_ms")]
)
def test_every_figure_of_an_experiment_changes_the_page(name: str) -> None:
    was = found()
    other = replace(was, partitions=[replace(one, **{name: 777}) for one in was.partitions])
    assert page.page(other) != page.page(was)


def test_the_ratios_are_cost_for_the_same_work() -> None:
    ratios = page.ratios([4, 512], found().backlogs, found().scorers)
    assert set(ratios) == {"partitions_512/4", "scorers_2/1"}
    assert ratios["scorers_2/1"] == pytest.approx(0.030 / 0.032)
    assert ratios["partitions_512/4"] == pytest.approx(0.050 / 0.040)


def test_the_page_can_be_published(tmp_path: Path) -> None:
    copy = tmp_path / "scale.md"
    copy.write_bytes((ROOT / "docs" / "scale.md").read_bytes())
    publish("| anew |", copy, page.WHAT)
    begin, end = marks(page.WHAT)
    assert f"{begin}\n| anew |\n{end}" in copy.read_text()
