"""The dashboards, their panels, and their queries with Grafana's variables filled in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import orjson

from harness.places import ROOT

FOLDER = ROOT / "deploy" / "grafana"
BOARDS = ("release", "live", "shadow")
#: What Grafana puts in for its variables, where nothing is chosen.
CHOSEN = {"namespace": ".*", "slot": ".*", "segment": "all", "__rate_interval": "10s"}


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
