"""What the dashboards show of a stage: which queries find nothing, and what data links lead to."""

from __future__ import annotations

import math
import re
import time
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from typing import Any

import orjson

from deploy.alerts.monitor import Monitor
from deploy.alerts.stage import Stage
from deploy.grafana.shown import BOARDS, fill, panels


@dataclass(frozen=True)
class Series:
    """One series of a panel. points: (seconds since 1970, value), NaN left out."""

    legend: str
    labels: dict[str, str]
    points: list[tuple[float, float]]
    query: str  # A, B, ...


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
            found = _run(stage.monitor, panel, stage.began, end, segment="all|country=.*")
            queries = {series.query for series in found}
            seen.empty += [
                f"{board}: {panel['title']} {target['refId']}"
                for target in panel["targets"]
                if target["refId"] not in queries
            ]
            linkable = [s for s in found if s.labels.get("slot") == "candidate" and s.points[-1][0] > end - 30]
            for series in linkable[:3]:
                for title, address in _linked(panel, series, serve, end - 300, end):
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


def _run(monitor: Monitor, panel: dict[str, Any], start: float, end: float, **chosen: str) -> list[Series]:
    """Every series of a panel over a time, one point a second or fewer."""
    step = max(1.0, (end - start) / 300)
    out = []
    for target in panel["targets"]:
        asked: dict[str, str | float] = {
            "query": fill(target["expr"], **chosen),
            "start": start,
            "end": end,
            "step": step,
        }
        for found in monitor.ask("query_range", **asked)["result"]:
            labels = found["metric"]
            points = [(at, float(value)) for at, value in found["values"] if not math.isnan(float(value))]
            legend = re.sub(r"\{\{(\w+)\}\}", lambda m, labels=labels: labels.get(m[1], ""), target["legendFormat"])
            if points:
                out.append(Series(legend, labels, points, target["refId"]))
    return out


def _linked(panel: dict[str, Any], series: Series, serve: str, start: float, end: float) -> list[tuple[str, str]]:
    """Title and address of each data link of a series, as a click on its last point would open it."""
    values = {"samples": serve, "__from": f"{start * 1000:.0f}", "__to": f"{end * 1000:.0f}"}
    values["__value.time"] = f"{series.points[-1][0] * 1000:.0f}"
    values |= {f"__field.labels.{name}": value for name, value in series.labels.items()}
    values |= {f"__data.fields.{name.capitalize()}": value for name, value in series.labels.items()}

    def put(found: re.Match[str]) -> str:
        name, _, form = found[1].partition(":")
        return urllib.parse.quote(values[name], safe="") if form == "percentencode" else values[name]

    links = panel["fieldConfig"]["defaults"].get("links") or []
    return [(link["title"], re.sub(r"\$\{([^}]+)\}", put, link["url"])) for link in links]
