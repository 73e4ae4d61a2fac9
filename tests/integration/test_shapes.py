"""Some releases of every kind of shape, through the gate."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from study.published import table_of_shapes
from study.shapes.catalogue import SHAPES
from study.shapes.shaped import shapes, told, totals

#: One of each kind of harm, and one that does none.
SOME = ("swap_all_40", "swap_segment_80", "dead_segment", "threshold_lower", "twin_30k")


def test_a_few_of_the_shapes_go_through_the_gate() -> None:
    with ThreadPoolExecutor(1) as pool:
        found = shapes(pool, 0.03, seed=7, names=SOME)
    rows = {name: told(SHAPES[name], releases) for name, releases in found.items()}
    assert set(rows) == set(SOME)
    for row in rows.values():
        assert row["n"] == row["promote"] + row["hold"] + row["reject"] > 0
    found_totals = totals(rows)
    assert found_totals["harmful_promoted"] == 0
    assert found_totals["false_rejections"] == 0
    assert rows["dead_segment"]["reject"] == rows["dead_segment"]["n"]
    assert rows["twin_30k"]["promote"] > 0
    assert rows["dead_segment"]["right_segment"] == rows["dead_segment"]["n"]
    page = table_of_shapes(rows)
    assert f"| dead in one segment | {rows['dead_segment']['n']} | 0 | 0 |" in page
    assert page.index("| dead in one segment") < page.index("**harmless**") < page.index("| twin of live")
