"""Makes Prometheus rule files from the records and alerts."""

from __future__ import annotations

from typing import Any

import yaml

from monitoring.alerts import ALERTS, Alert
from monitoring.records import RECORDS
from monitoring.settings import PRODUCTION, Limits, Places, Windows, duration, fill

Rules = dict[str, Any]


def records(windows: Windows = PRODUCTION, limits: Limits = Limits()) -> Rules:  # noqa: B008 - frozen
    """The rule file with the recording rules."""
    rules = [{"record": r.name, "expr": fill(r.expr, windows, limits)} for r in RECORDS]
    return _file("shadow-scorer.records", rules, windows)


def alerts(windows: Windows = PRODUCTION, limits: Limits = Limits(), places: Places = Places()) -> Rules:  # noqa: B008
    """The rule file with the alerts."""
    return _file("shadow-scorer.alerts", [_alert(a, windows, limits, places) for a in ALERTS], windows)


def _file(name: str, rules: list[dict[str, Any]], windows: Windows) -> Rules:
    return {"groups": [{"name": name, "interval": duration(windows.interval), "rules": rules}]}


def _alert(alert: Alert, windows: Windows, limits: Limits, places: Places) -> dict[str, Any]:
    rule: dict[str, Any] = {"alert": alert.name, "expr": fill(alert.expr, windows, limits)}
    if alert.hold is not None:
        rule["for"] = duration(getattr(windows, alert.hold))
    rule["labels"] = {"severity": alert.severity}
    rule["annotations"] = {
        "summary": alert.summary,
        "runbook_url": f"{places.runbooks}#{alert.name.lower()}",
        "dashboard_url": f"{places.grafana}/d/shadow-scorer-{alert.board}{_variables(alert)}",
    }
    return rule


def _variables(alert: Alert) -> str:
    slot = "&var-slot={{ $labels.slot }}" if "$labels.slot" in alert.summary else ""
    return "" if alert.name == "Watchdog" else f"?var-namespace={{{{ $labels.namespace }}}}{slot}"


def manifest(*files: Rules) -> dict[str, Any]:
    """Rule files as a PrometheusRule, for the Prometheus Operator."""
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "shadow-scorer"},
        "spec": {"groups": [group for file in files for group in file["groups"]]},
    }


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def dump(content: dict[str, Any] | list[Any]) -> str:
    """The content as YAML, keys in their order."""
    told = "# Written by `make deploy-render`; change deploy/monitoring instead.\n"
    return told + yaml.dump(content, Dumper=_Dumper, sort_keys=False, width=1000)
