"""What a dashboard shows: its panels, with their queries run on a real Prometheus as Grafana would run them."""

from __future__ import annotations

import math
import re
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from harness.places import ROOT

FOLDER = ROOT / "deploy" / "grafana"
BOARDS = ("release", "live", "shadow")
#: What Grafana puts in for its variables, where nothing is chosen.
CHOSEN = {"namespace": ".*", "slot": ".*", "segment": "all", "__rate_interval": "10s"}


class Prometheus(Protocol):
    """What answers queries."""

    def ask(self, page: str, **asked: str | float) -> Any:
        """The `data` of an answer."""


@dataclass(frozen=True)
class Series:
    """One series of a panel. points: (seconds since 1970, value), NaN left out."""

    legend: str
    labels: dict[str, str]
    points: list[tuple[float, float]]
    query: str  # A, B, ...


def load(board: str) -> dict[str, Any]:
    """A dashboard."""
    found: dict[str, Any] = orjson.loads((FOLDER / f"{board}.json").read_bytes())
    return found


def panels(board: str) -> Iterator[dict[str, Any]]:
    """Panels with queries."""
    for panel in load(board)["panels"]:
        if panel["type"] != "row":
            yield panel


def fill(expr: str, **chosen: str) -> str:
    """An expression with Grafana's variables filled in. Fails for one that is not known."""
    return re.sub(r"\$(\w+)", lambda found: {**CHOSEN, **chosen}[found[1]], expr)


def run(prometheus: Prometheus, panel: dict[str, Any], start: float, end: float, **chosen: str) -> list[Series]:
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
        for found in prometheus.ask("query_range", **asked)["result"]:
            labels = found["metric"]
            points = [(at, float(value)) for at, value in found["values"] if not math.isnan(float(value))]
            legend = re.sub(r"\{\{(\w+)\}\}", lambda m, labels=labels: labels.get(m[1], ""), target["legendFormat"])
            if points:
                out.append(Series(legend, labels, points, target["refId"]))
    return out


def linked(panel: dict[str, Any], series: Series, serve: str, start: float, end: float) -> list[tuple[str, str]]:
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


def until(seconds: float) -> float:
    """A time in the past, for ranges."""
    return time.time() - seconds
