"""Writes rules and dashboards to where Prometheus, Grafana and Kubernetes take them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from monitoring import rules
from monitoring.boards.live import live
from monitoring.boards.release import release
from monitoring.boards.shadow import shadow
from monitoring.settings import PRODUCTION, Limits, Places

DEPLOY = Path(__file__).resolve().parents[1]


def boards(places: Places, limits: Limits) -> dict[str, Any]:
    """The dashboards by name."""
    return {
        "release": release(places.samples),
        "live": live(places.samples, limits),
        "shadow": shadow(places.samples),
    }


def files(places: Places = Places(), limits: Limits = Limits()) -> dict[Path, str]:  # noqa: B008 - frozen
    """Every file that is rendered, by its path below deploy/."""
    records, alerts = rules.records(PRODUCTION, limits), rules.alerts(PRODUCTION, limits, places)
    out = {
        Path("prometheus/rules/records.yaml"): rules.dump(records),
        Path("prometheus/rules/alerts.yaml"): rules.dump(alerts),
        Path("kubernetes/components/monitoring/prometheusrule.yaml"): rules.dump(rules.manifest(records, alerts)),
    }
    out[Path("kubernetes/components/keda/lag.yaml")] = rules.dump(
        [{"op": "replace", "path": "/spec/triggers/0/metadata/lagThreshold", "value": str(limits.lag_records)}]
    )
    for name, board in boards(places, limits).items():
        out[Path(f"grafana/{name}.json")] = json.dumps(board, cls=JSONEncoder, indent=2, sort_keys=True) + "\n"
    return out


def main() -> None:
    """Write the files."""
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--runbooks", default=Places.runbooks, help="address of deploy/runbooks/alerts.md")
    given.add_argument("--grafana", default=Places.grafana, help="address of Grafana")
    given.add_argument("--samples", default=Places.samples, help="address of `shadow serve`, for people's browsers")
    asked = given.parse_args()
    for path, text in files(Places(asked.runbooks, asked.grafana, asked.samples)).items():
        (DEPLOY / path).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
