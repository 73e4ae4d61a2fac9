"""Alertmanager as it is configured: who is told of each alert, and which alerts silence which."""

from __future__ import annotations

import subprocess
import urllib.request
from itertools import product
from pathlib import Path

import orjson
import pytest

from deploy.alerts.monitor import ALERTMANAGER, RECEIVERS, Monitor
from deploy.alerts.stage import WINDOWS
from harness.stack import get, wait_for
from monitoring.alerts import ALERTS, Alert

pytestmark = pytest.mark.needs("prometheus", "alertmanager")
#: What silences what in the same namespace, and whether in the same slot only.
SILENCES = {
    ("NotSeenByPrometheus", "shadow"): ({"CandidateGetsNothing"}, False),
    ("ShadowStoreTrouble", ""): ({"CandidateGetsNothing", "ShadowFallsBehind"}, False),
    ("ShadowNearRetention", ""): ({"CandidateGetsNothing", "ShadowFallsBehind"}, True),
    ("LiveStoppedDeciding", ""): ({"LiveLatencyBudgetBurn"}, False),
    ("TransactionsMissed", ""): ({"LiveLatencyBudgetBurn"}, False),
    ("KillSwitchOn", ""): ({"CleanPeriodReset", "GateVerdictChanged"}, False),
    ("CandidateErrors", ""): ({"CleanPeriodReset", "GateVerdictChanged"}, True),
    ("DecisionConflict", ""): ({"CleanPeriodReset", "GateVerdictChanged"}, False),
}
#: Alerts that may silence others, with their process: one that is down explains what it did itself, no more.
SOURCES = [(alert.name, "") for alert in ALERTS] + [("NotSeenByPrometheus", p) for p in ("scorer", "shadow", "serve")]


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_an_alert_reaches_who_is_to_know(alert: Alert) -> None:
    labels = [f"alertname={alert.name}", f"severity={alert.severity}", "namespace=pay"]
    command = ["amtool", "config", "routes", "test", f"--config.file={ALERTMANAGER}", *labels]
    done = subprocess.run(command, capture_output=True, timeout=30, check=True)
    assert done.stdout.decode().strip() == RECEIVERS[alert.severity]


def test_an_alert_silences_what_follows_from_it_and_nothing_else(tmp_path: Path) -> None:
    """Every pair of alerts, of the same slot and of two, each pair in a namespace of its own."""
    sent, wanted = [], set()
    for source, process in SOURCES:
        silenced, is_by_slot = SILENCES.get((source, process), (set(), False))
        for target, slot in product((alert.name for alert in ALERTS), ("candidate", "challenger")):
            if target == source:
                continue
            pair = f"{source} {process} {target} {slot}"
            sent.append({"alertname": source, "namespace": pair, "process": process, "slot": "candidate"})
            sent.append({"alertname": target, "namespace": pair, "slot": slot, "part": "target"})
            if target in silenced and (slot == "candidate" or not is_by_slot):
                wanted.add(pair)
    with Monitor(tmp_path, WINDOWS) as monitor:
        body = orjson.dumps([{"labels": labels} for labels in sent])
        page, headers = f"{monitor.alertmanager}/api/v2/alerts", {"Content-Type": "application/json"}
        urllib.request.urlopen(urllib.request.Request(page, body, headers), timeout=20).close()

        def found() -> set[str]:
            alerts = [alert for alert in orjson.loads(get(page) or b"[]") if alert["labels"].get("part") == "target"]
            return {alert["labels"]["namespace"] for alert in alerts if alert["status"]["inhibitedBy"]}

        wait_for("as many are silenced", lambda: len(found()) >= len(wanted))
        assert found() == wanted
