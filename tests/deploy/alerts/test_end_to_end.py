"""The product with a real Prometheus and Alertmanager: each fault fires its alert, pages nothing else, and resolves.

Some alerts only: `pytest -s -m deploy tests/deploy/alerts -k "SuggestionWaiting or DecisionConflict"`. What was seen is
written to build/alerts.json.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from deploy.alerts import tracks
from deploy.alerts.boards import Seen
from deploy.alerts.stage import RATE
from deploy.alerts.tracks import BOARDS, LAG, Track
from harness import models
from harness.places import ROOT
from harness.stack import PARTITIONS
from monitoring.alerts import ALERTS

REPORT = ROOT / "build" / "alerts.json"
#: Queries that are empty here: the stream is of some hours, and what follows the first days of a run wants days.
OF_DAYS = {
    "release: Thresholds C",
    "release: At live's block rate: blocks more than live A",
    "release: Drift: index over its limit A",
    "release: Distance of the scores from the first days A",
}
#: Longest that a whole track may take.
TRACK_SECONDS = 1800.0
RECEIVERS = {"critical": "pager", "warning": "team", "info": "team", "none": "dead-man"}
pytestmark = [
    pytest.mark.deploy,
    pytest.mark.needs("prometheus", "alertmanager", "kafka"),
    pytest.mark.timeout(TRACK_SECONDS + 60),
]


@pytest.fixture(scope="module")
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Track]]:
    """Tracks with what is asked of them in this run of pytest."""
    chosen = {alert.name for alert in ALERTS if any(f"[{alert.name}]" in item.name for item in request.session.items)}
    chosen |= {step for step in (BOARDS, LAG) if any(step in item.name for item in request.session.items)}
    running = tracks.tracks(chosen)
    made = models.make(tmp_path_factory.mktemp("models"))
    ready = threading.Barrier(max(1, len(running)))
    threads = [track.start(tmp_path_factory.mktemp(track.name), made, ready) for track in running]
    yield running
    for thread in threads:
        thread.join()
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_bytes(orjson.dumps(tracks.reports(running), option=orjson.OPT_INDENT_2))


def came_of(run: list[Track], step: str) -> Any:
    (done,) = (track.done[step] for track in run if step in track.done)
    return done.result(TRACK_SECONDS)


@pytest.mark.parametrize("alert", [alert.name for alert in ALERTS])
def test_a_fault_fires_its_alert_and_pages_nothing_else_and_resolves(run: list[Track], alert: str) -> None:
    seen = came_of(run, alert)
    assert seen["fired_s"] is not None, seen
    assert seen["resolved_s"] is not None, seen
    assert seen["others"] == []


def test_every_panel_of_the_dashboards_has_data_and_links_lead_to_samples(run: list[Track]) -> None:
    seen = came_of(run, BOARDS)
    assert isinstance(seen, Seen)
    assert set(seen.empty) <= OF_DAYS
    assert seen.wrong == []
    assert seen.visited > 20


def test_keda_finds_the_lag_of_the_scorers_where_it_asks(run: list[Track]) -> None:
    """Every partition is committed to, and little waits: a group or a topic of another name would have no offsets."""
    waiting = came_of(run, LAG)
    assert len(waiting) == PARTITIONS
    assert all(0 <= n < RATE * 20 for n in waiting.values()), waiting


def test_what_is_told_is_whole_and_reaches_who_is_to_know(run: list[Track]) -> None:
    """Of all that was told while the faults were at work."""
    severities = {alert.name: alert.severity for alert in ALERTS}
    for track in run:
        for done in track.done.values():
            done.exception(TRACK_SECONDS)
        for one in track.told:
            assert not any(re.search(r"<no value>|\{\{|<error", text) for text in one.annotations.values()), one
            assert one.receiver == RECEIVERS[severities[one.alert]], one
