"""Dashboards that somebody can read: told, in units, with names, links to samples, and colours for every eye."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote, urlsplit

import promql_parser
import pytest
from grafana_foundation_sdk.models.dashboard import Dashboard
from starlette.datastructures import QueryParams

from deploy.grafana.shown import BOARDS, fill, load, panels
from harness.places import ROOT
from monitoring import panels as made
from monitoring.settings import Limits
from shadow.comparison.query import query_ms
from shadow.web.view import View

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


#: What Grafana puts in for the variables of a link.
POINT = {
    "samples": "http://localhost:9101",
    "__from": "1795554540255",
    "__to": "1795554840255",
    "__value.time": "1795554840141",
    "__field.labels.slot": "candidate",
    "__field.labels.segment": "country=FR & co/100%",
    "__field.labels.outcome": "live_only",
    "__data.fields.Slot": "candidate",
    "__data.fields.Segment": "amount=>=500",
}


def put_in(link: str, **values: str) -> str:
    """A link as a browser gets it from Grafana. Fails for a variable that is not known."""
    given = {**POINT, **values}

    def value(found: re.Match[str]) -> str:
        return quote(given[found[1]], safe="") if found[2] else given[found[1]]

    return re.sub(r"\$\{([\w.]+)(:percentencode)?\}", value, link)


def links_of(panel: dict[str, Any]) -> list[str]:
    return [link["url"] for link in panel["fieldConfig"]["defaults"].get("links") or []]


@pytest.mark.parametrize(("board", "panel"), PANELS)
def test_series_of_a_slot_and_segment_lead_to_their_samples(board: str, panel: dict[str, Any]) -> None:
    if panel["type"] == "stat" or "segment" not in " ".join(target["legendFormat"] for target in panel["targets"]):
        return
    assert links_of(panel), "no data link"
    for link in links_of(panel):
        assert "segment=${" in link
        assert "at=${__value.time}" in link or "scored_since=${__from}&scored_until=${__to}" in link


@pytest.mark.parametrize(("board", "panel"), PANELS)
def test_every_link_is_an_address_of_the_page_of_differences(board: str, panel: dict[str, Any]) -> None:
    """As its state reads it: the slot, segment, direction and times of the point, and nothing hidden as noise."""
    for link in links_of(panel):
        address = urlsplit(put_in(link))
        assert (address.netloc, address.path) == ("localhost:9101", "/explore")
        view = View.of(QueryParams(address.query))
        assert view.slot == "candidate"
        assert not view.beyond_noise
        if "segment=" in link:
            assert view.segment in ([POINT["__field.labels.segment"]], [POINT["__data.fields.Segment"]])
        assert view.direction == ("live_only" if "direction=" in link else None)
        since, until = query_ms(view.scored_since or ""), query_ms(view.scored_until or "")
        if "at=" in link:
            assert (since + until) // 2 == int(POINT["__value.time"])
            assert until - since == 600_000
        else:
            assert (since, until) == (int(POINT["__from"]), int(POINT["__to"]))
        labels = set(re.findall(r"__field\.labels\.(\w+)", link))
        known = [labels_of(target["expr"]) for target in panel["targets"]]
        assert any(labels <= names for names in known), f"no series has all of {labels}"


def labels_of(expr: str) -> set[str]:
    """The labels of an expression's series, by how it groups them or by the name of what was recorded."""
    grouped = re.search(r"by \(([^)]*)\)", expr)
    return set(grouped[1].split(", ") if grouped else expr.partition(":")[0].split("_"))


def test_a_series_without_a_slot_leads_to_a_page_all_the_same() -> None:
    for board in BOARDS:
        for panel in panels(board):
            for link in links_of(panel):
                bare = put_in(link, **dict.fromkeys(("__field.labels.slot", "__field.labels.segment"), ""))
                assert View.of(QueryParams(urlsplit(bare).query)).segment in ([], ["amount=>=500"])


@pytest.mark.parametrize(("board", "panel"), PANELS)
def test_an_empty_panel_says_why(board: str, panel: dict[str, Any]) -> None:
    told = panel["fieldConfig"]["defaults"]["noValue"]
    assert len(told) > 20
    if re.search("drift|score_distance|matched_more", str(panel["targets"])):
        assert "8 event days" in told


def test_what_stands_against_a_release_takes_a_line_for_each_criterion_however_many_segments_there_are() -> None:
    (panel,) = [panel for panel in panels("release") if panel["title"] == "What stands against it"]
    assert panel["type"] == "table"
    for target in panel["targets"]:
        assert target["expr"].startswith("count by (slot, criterion) (")
        assert target["instant"]
    assert panel["options"]["sortBy"] == [{"displayName": "Fails in", "desc": True}]


def test_the_board_draws_the_objective_by_which_the_rules_judge() -> None:
    folder = ROOT / "deploy" / "prometheus" / "rules"
    (objective,) = set(re.findall(r'_bucket\{le="([0-9.]+)"\}', (folder / "records.yaml").read_text()))
    (latency,) = [panel for panel in panels("live") if panel["title"] == "Latency"]
    steps = latency["fieldConfig"]["defaults"]["thresholds"]["steps"]
    assert [step["value"] for step in steps] == [None, float(objective)]
    assert f"within {float(objective) * 1000:g} ms" in latency["description"]
    (late,) = [panel for panel in panels("live") if panel["title"] == "Late in the last hour"]
    shares = [step["value"] for step in late["fieldConfig"]["defaults"]["thresholds"]["steps"][1:]]
    assert shares[0] == Limits().late_share
    assert f"> {shares[1]:g}" in (folder / "alerts.yaml").read_text()


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
