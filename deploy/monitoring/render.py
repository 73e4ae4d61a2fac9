"""Writes rules and dashboards to where Prometheus, Grafana and Kubernetes take them; `--check` says if they are so."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from monitoring import rules
from monitoring.boards.live import live
from monitoring.boards.release import release
from monitoring.boards.shadow import shadow
from monitoring.settings import PRODUCTION, Limits, Places

DEPLOY = Path(__file__).resolve().parents[1]
COMPONENT = Path("kubernetes/components/monitoring")


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
        COMPONENT / "prometheusrule.yaml": rules.dump(rules.manifest(records, alerts)),
    }
    for name, board in boards(places, limits).items():
        text = json.dumps(board, cls=JSONEncoder, indent=2, sort_keys=True) + "\n"
        out[Path(f"grafana/{name}.json")] = text
        out[COMPONENT / f"dashboards/{name}.json"] = text
    return out


def main() -> int:
    """Write, or with `--check` compare; returns the exit code."""
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--check", action="store_true", help="say which files are not what the code says")
    given.add_argument("--runbooks", default=Places.runbooks, help="address of deploy/runbooks/alerts.md")
    given.add_argument("--grafana", default=Places.grafana, help="address of Grafana")
    given.add_argument("--samples", default=Places.samples, help="address of `shadow serve`, for people's browsers")
    asked = given.parse_args()
    stale = []
    for path, text in files(Places(asked.runbooks, asked.grafana, asked.samples)).items():
        to = DEPLOY / path
        if not asked.check:
            to.parent.mkdir(parents=True, exist_ok=True)
            to.write_text(text, encoding="utf-8")
        elif not to.exists() or to.read_text(encoding="utf-8") != text:
            stale.append(path)
    for path in stale:
        print(f"deploy/{path} is not what deploy/monitoring says; run `make deploy-render`", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
