"""Dashboards that somebody can read: told, in units, with names, links to samples, and colours for every eye."""

from __future__ import annotations

import re
from typing import Any

import promql_parser
import pytest
from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.grafana.shown import BOARDS, fill, load, panels
from monitoring import panels as made

PANELS = [pytest.param(board, panel, id=f"{board}: {panel['title']}") for board in BOARDS for panel in panels(board)]


@pytest.mark.parametrize(("board", "panel"), PANELS)
def test_a_panel_is_told_and_in_a_unit_and_its_series_have_names(board: str, panel: dict[str, Any]) -> None:
    assert len(panel["description"]) > 5
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["datasource"] == {"type": "prometheus", "uid": "${source}"}
    letters = [target["refId"] for target in panel["targets"]]
    assert letters == sorted(set(letters))
    for target in panel["targets"]:
        assert target["legendFormat"]
        promql_parser.parse(fill(target["expr"]))
    if panel["type"] in ("timeseries", "state-timeline"):
        assert panel["options"]["legend"]["showLegend"]


@pytest.mark.parametrize(("board", "panel"), PANELS)
def test_series_of_a_slot_and_segment_lead_to_their_samples(board: str, panel: dict[str, Any]) -> None:
    links = panel["fieldConfig"]["defaults"].get("links") or []
    if panel["type"] == "stat" or "segment" not in " ".join(target["legendFormat"] for target in panel["targets"]):
        return
    assert links, "no data link"
    for link in links:
        assert link["url"].startswith("${samples}/api/disagreements?slot=$")
        assert "&segment=${" in link["url"]
        assert "at=${__value.time}" in link["url"] or "scored_since=${__from}&scored_until=${__to}" in link["url"]


@pytest.mark.parametrize("board", BOARDS)
def test_no_colour_is_outside_of_a_palette_for_every_eye(board: str) -> None:
    allowed = {colour.lower() for colour in made.PALETTE}
    used = {colour.lower() for colour in re.findall(r"#[0-9A-Fa-f]{6}\b", str(load(board)))}
    assert used <= allowed
    for name in ("red", "green", "orange", "yellow"):
        assert f"'{name}'" not in str(load(board))


@pytest.mark.parametrize("board", BOARDS)
def test_grafana_reads_a_board_as_it_was_meant(board: str) -> None:
    content = load(board)
    assert Dashboard.from_json(content).uid == content["uid"] == f"shadow-scorer-{board}"
    ids = [panel["id"] for panel in panels(board)]
    assert len(ids) == len(set(ids))
    names = [variable["name"] for variable in content["templating"]["list"]]
    assert names[:2] == ["source", "namespace"]
    for target in (target for panel in panels(board) for target in panel["targets"]):
        assert set(re.findall(r"\$(\w+)", target["expr"])) <= {*names, "__rate_interval"}


def test_panels_do_not_lie_on_each_other() -> None:
    for board in BOARDS:
        taken: set[tuple[int, int]] = set()
        for panel in load(board)["panels"]:
            place = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert place["x"] + place["w"] <= 24
            assert not cells & taken, f"{board}: {panel['title']}"
            taken |= cells
