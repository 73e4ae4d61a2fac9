"""What the dashboards show of a stage: which queries find nothing, and what data links lead to."""

from __future__ import annotations

import time
import urllib.request
from dataclasses import dataclass, field

import orjson

from deploy.alerts.stage import Stage
from deploy.grafana.shown import BOARDS, linked, panels, run


@dataclass
class Seen:
    """empty: queries without any data. wrong: links that lead to no samples, or to those of something else."""

    empty: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    visited: int = 0


def look(stage: Stage) -> Seen:
    """Every query of every panel, since the stage began; data links of some series of the candidate."""
    end = time.time()
    serve = f"http://127.0.0.1:{stage.workers['serve'].port}"
    seen = Seen()
    for board in BOARDS:
        for panel in panels(board):
            found = run(stage.monitor, panel, stage.began, end, segment="all|country=.*")
            queries = {series.query for series in found}
            seen.empty += [
                f"{board}: {panel['title']} {target['refId']}"
                for target in panel["targets"]
                if target["refId"] not in queries
            ]
            linkable = [s for s in found if s.labels.get("slot") == "candidate" and s.points[-1][0] > end - 30]
            for series in linkable[:3]:
                for title, address in linked(panel, series, serve, end - 300, end):
                    trouble = _trouble(address, series.labels)
                    seen.visited += 1
                    if trouble:
                        seen.wrong.append(f"{board}: {panel['title']}: {title} of {series.legend}: {trouble}")
    return seen


def _trouble(address: str, labels: dict[str, str]) -> str | None:
    try:
        with urllib.request.urlopen(address, timeout=20) as answer:
            samples = orjson.loads(answer.read())["samples"]
    except OSError as error:
        return f"{address}: {error}"
    if not samples:
        return f"no samples at {address}"
    if "segment" in labels and not all(labels["segment"] in sample["segments"] for sample in samples):
        return f"samples of other segments at {address}"
    return None
