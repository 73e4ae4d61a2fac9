"""The product with a real Prometheus and Alertmanager: each fault fires its alert, pages nothing else, and resolves.

Before the faults, every panel of every dashboard has data, and data links lead to samples. What was seen is written to
build/alerts.json.
"""

from __future__ import annotations

import re
import time
import urllib.request
from pathlib import Path
from typing import Any

import orjson
import pytest

from deploy.alerts.faults import CANDIDATE_FAULTS, LIVE_FAULTS, Fault
from deploy.alerts.stage import Stage
from deploy.grafana.shown import BOARDS, linked, panels, run
from harness import models
from harness.places import ROOT
from harness.stack import wait_for
from monitoring.alerts import ALERTS

REPORT = ROOT / "build" / "alerts.json"
#: Longest wait for an alert, and for its end.
FIRE_SECONDS, RESOLVE_SECONDS = 60.0, 90.0
WARM_SECONDS = 25.0
#: Queries that are empty here: the stream is of some hours, and what follows the first days of a run wants days.
OF_DAYS = {
    "release: Thresholds C",
    "release: At live's block rate: blocks more than live A",
    "release: Drift: index over its limit A",
    "release: Distance of the scores from the first days A",
}


def test_there_is_a_fault_for_each_alert() -> None:
    assert {*LIVE_FAULTS, *CANDIDATE_FAULTS, "Watchdog"} == {alert.name for alert in ALERTS}


@pytest.mark.deploy
@pytest.mark.needs("prometheus", "alertmanager", "kafka")
@pytest.mark.timeout(1800)
def test_each_fault_fires_its_alert_and_pages_nothing_else_and_resolves(tmp_path: Path) -> None:
    made = models.make(tmp_path)
    seen: list[dict[str, Any]] = []
    with Stage(tmp_path, made) as stage:
        began = time.time()
        stage.scorer()
        stage.shadow("control")
        stage.shadow("previous")  # whatever live is replaced by, it goes on there
        stage.serve()
        time.sleep(WARM_SECONDS)
        assert stage.quiet() == set()
        for alert, fault in LIVE_FAULTS.items():
            seen.append(struck(stage, alert, fault))
        stage.stack.deploy(made.candidate, "candidate")
        stage.shadow("candidate")
        time.sleep(WARM_SECONDS)
        assert stage.quiet() == set()
        for alert, fault in CANDIDATE_FAULTS.items():
            if alert == "CleanPeriodReset":  # the run has seen a good deal by now
                look(stage, began)
            seen.append(struck(stage, alert, fault))
        seen.append(prometheus_dies(stage))
        for one in stage.monitor.notified(0):
            assert not any(re.search(r"<no value>|\{\{|error", text) for text in one.annotations.values()), one
            severity = next(alert.severity for alert in ALERTS if alert.name == one.alert)
            assert one.receiver == {"critical": "pager", "none": "dead-man"}.get(severity, "team"), one
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_bytes(orjson.dumps(seen, option=orjson.OPT_INDENT_2))
    assert [one for one in seen if one["others"]] == []
    assert all(one["fired_s"] is not None and one["resolved_s"] is not None for one in seen), seen


def struck(stage: Stage, alert: str, fault: Fault) -> dict[str, Any]:
    """What came of a fault: seconds until the webhook knew, and from the mend until it knew that it was over."""
    start = time.monotonic()
    at_work = fault(stage)
    next(at_work)
    fired = told(stage, alert, True, start, FIRE_SECONDS)
    mended = time.monotonic()
    next(at_work, None)
    resolved = told(stage, alert, False, start, RESOLVE_SECONDS)
    left = stage.quiet()
    if not left:
        wait_for("all is told", lambda: not firing(stage))
    others = {t.alert for t in stage.monitor.notified(start) if t.is_firing} | left
    result = {
        "alert": alert,
        "fired_s": fired and round(fired - start, 1),
        "others": sorted(others - {alert, "Watchdog"}),
        "resolved_s": None if alert in left else resolved and round(resolved - mended, 1),
    }
    print(result, flush=True)
    return result


def told(stage: Stage, alert: str, is_firing: bool, since: float, seconds: float) -> float | None:
    """When the webhook was told so; None if it was not in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for one in stage.monitor.notified(since):
            if one.alert == alert and one.is_firing is is_firing:
                return one.at
        time.sleep(0.1)
    return None


def firing(stage: Stage) -> set[str]:
    """Alerts that the webhook knows to be firing."""
    last = {(t.alert, tuple(sorted(t.labels.items()))): t.is_firing for t in stage.monitor.notified(0)}
    return {alert for (alert, _), is_firing in last.items() if is_firing} - {"Watchdog"}


def prometheus_dies(stage: Stage) -> dict[str, Any]:
    """The watchdog is told from the start, and no longer when nobody evaluates rules."""
    fired = min(t.at for t in stage.monitor.notified(0) if t.alert == "Watchdog")
    mended = time.monotonic()
    stage.monitor.stop_prometheus()
    resolved = told(stage, "Watchdog", False, mended, 600.0)
    return {
        "alert": "Watchdog",
        "fired_s": round(fired - stage.monitor.began, 1),
        "others": [],
        "resolved_s": resolved and round(resolved - mended, 1),
    }


def look(stage: Stage, began: float) -> None:
    """Every panel has data, and every data link answers, with samples of that very slot, segment and time."""
    end = time.time()
    serve = f"http://127.0.0.1:{stage.workers['serve'].port}"
    empty, visited = [], 0
    for board in BOARDS:
        for panel in panels(board):
            found = run(stage.monitor, panel, began, end, segment="all|country=.*")
            queries = {series.query for series in found}
            empty += [
                f"{board}: {panel['title']} {target['refId']}"
                for target in panel["targets"]
                if target["refId"] not in queries
            ]
            linkable = [s for s in found if s.labels.get("slot") == "candidate" and s.points[-1][0] > end - 30]
            for series in linkable[:3]:
                for title, address in linked(panel, series, serve, end - 300, end):
                    check_link(address, series.labels, f"{board}: {panel['title']}: {title} of {series.legend}")
                    visited += 1
    assert set(empty) <= OF_DAYS
    assert visited > 20


def check_link(address: str, labels: dict[str, str], where: str) -> None:
    with urllib.request.urlopen(address, timeout=20) as answer:
        assert answer.status == 200, where
        samples = orjson.loads(answer.read())["samples"]
    assert samples, f"{where}: no samples at {address}"
    if "segment" in labels:
        assert all(labels["segment"] in sample["segments"] for sample in samples), where
