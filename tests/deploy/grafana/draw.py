"""Draws a dashboard with matplotlib, panel by panel where Grafana would put it, to be looked at."""

from __future__ import annotations

import math
import textwrap
from datetime import datetime
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import dates, pyplot, ticker
from matplotlib.axes import Axes

from deploy.grafana.shown import Prometheus, Series, load, panels, run
from monitoring.panels import GREY, PALETTE

INCH_A_COLUMN, INCH_A_ROW = 0.78, 0.38
MOST_ROWS, MOST_NAMES = 14, 8


def draw(prometheus: Prometheus, board: str, start: float, end: float, to: Path, **chosen: str) -> None:
    """Write a dashboard over a time as PNG."""
    shown = list(load(board)["panels"])
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in shown)
    figure = pyplot.figure(figsize=(24 * INCH_A_COLUMN, rows * INCH_A_ROW), facecolor="#f4f5f5")
    for heading in (panel for panel in shown if panel["type"] == "row"):
        figure.text(0.006, 1 - (heading["gridPos"]["y"] + 0.75) / rows, heading["title"], fontsize=15, weight="bold")
    for panel in panels(board):
        place = panel["gridPos"]
        low, high = place["y"] + place["h"], place["y"]
        margin = {"left": 0.9, "right": 0.35, "top": 1.3, "bottom": 1.1}
        names = panel["type"] == "timeseries"
        bottom = margin["bottom"] + (2.0 if names else 0.2)
        axes = figure.add_axes(
            (
                (place["x"] + margin["left"]) / 24,
                1 - (low - bottom) / rows,
                (place["w"] - margin["left"] - margin["right"]) / 24,
                (low - high - bottom - margin["top"]) / rows,
            )
        )
        axes.set_title(panel["title"], loc="left", fontsize=11, weight="bold")
        _PAINTERS[panel["type"]](axes, panel, run(prometheus, panel, start, end, **chosen))
    to.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(to, dpi=80)
    pyplot.close(figure)


def _told(value: float, unit: str) -> str:
    if unit == "percentunit":
        return f"{value:.3g}" if abs(value) > 100 else f"{100 * value:.3g}%"
    if unit == "s":
        for size, name in ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s")):
            if abs(value) >= size:
                return f"{value / size:.3g} {name}"
        return f"{value * 1000:.3g} ms"
    if unit == "bytes":
        return f"{value / 2**20:.3g} MiB"
    return (f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}") + ("/s" if unit == "cps" else "")


def _unit(panel: dict[str, Any]) -> str:
    return str(panel["fieldConfig"]["defaults"]["unit"])


def _words(mappings: list[dict[str, Any]]) -> dict[str, tuple[str, str]]:
    return {value: (told["text"], told["color"]) for m in mappings for value, told in m["options"].items()}


def _times(series: Series) -> list[datetime]:
    return [datetime.fromtimestamp(at) for at, _ in series.points]  # noqa: DTZ006 - as the browser's zone


def _clock(axes: Axes) -> None:
    axes.xaxis.set_major_locator(dates.AutoDateLocator(maxticks=5))
    axes.xaxis.set_major_formatter(dates.DateFormatter("%H:%M:%S"))
    axes.tick_params(labelsize=8)


def _colour(panel: dict[str, Any], at: int, series: Series) -> str:
    for override in panel["fieldConfig"]["overrides"]:
        if override["matcher"]["options"] == series.query:
            return str(override["properties"][0]["value"]["fixedColor"])
    return PALETTE[at % len(PALETTE)]


def _lines(axes: Axes, panel: dict[str, Any], found: list[Series]) -> None:
    custom = panel["fieldConfig"]["defaults"].get("custom", {})
    unit = _unit(panel)
    times: dict[str, int] = {}
    for at, series in enumerate(found):
        colour = _colour(panel, at, series)
        style = ("-", "--", ":", "-.")[times.setdefault(colour, 0) % 4]
        times[colour] += 1
        label = f"{series.legend}  {_told(series.points[-1][1], unit)}" if at < MOST_NAMES else None
        values = [value for _, value in series.points]
        axes.plot(_times(series), values, color=colour, linestyle=style, linewidth=1.8, label=label)
    steps = panel["fieldConfig"]["defaults"].get("thresholds", {}).get("steps", [])
    if custom.get("thresholdsStyle"):
        axes.axhline(steps[-1]["value"], color=steps[-1]["color"], linestyle="--", linewidth=1)
    axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: _told(value, unit)))
    axes.margins(y=0.1)
    is_flat = not custom.get("thresholdsStyle") and all(value == 0 for one in found for _, value in one.points)
    axes.set_ylim(*((0.0, 1.0) if is_flat else (min(0.0, axes.get_ylim()[0]), None)))
    axes.grid(alpha=0.3)
    _clock(axes)
    if found:
        axes.legend(
            loc="upper left", bbox_to_anchor=(-0.02, -0.1), ncols=2, fontsize=7.5, frameon=False, columnspacing=1
        )


def _numbers(axes: Axes, panel: dict[str, Any], found: list[Series]) -> None:
    axes.axis("off")
    defaults = panel["fieldConfig"]["defaults"]
    words = _words(defaults.get("mappings", []))
    for at, series in enumerate(found):
        value = series.points[-1][1]
        text, colour = words.get(f"{value:g}", (_told(value, _unit(panel)), ""))
        for step in defaults["thresholds"]["steps"]:
            if not words and (step["value"] is None or value >= step["value"]):
                colour = step["color"]
        x = (at + 0.5) / len(found)
        axes.text(x, 0.62, text, ha="center", va="center", fontsize=19, weight="bold", color=colour or GREY)
        axes.text(x, 0.05, series.legend, ha="center", va="center", fontsize=9)


def _states(axes: Axes, panel: dict[str, Any], found: list[Series]) -> None:
    words = _words(panel["fieldConfig"]["defaults"]["mappings"])
    found = sorted(found, key=lambda series: (series.points[-1][1], series.legend))
    more = len(found) - MOST_ROWS
    for at, series in enumerate(found[:MOST_ROWS]):
        times = dates.date2num(_times(series))
        width = (times[1] - times[0]) * 1.02 if len(times) > 1 else 1e-5
        colours = [words[f"{value:g}"][1] for _, value in series.points]
        axes.broken_barh([(t, width) for t in times], (-at - 0.4, 0.8), facecolors=colours)
        axes.text(times[0], -at, f" {series.legend}", va="center", fontsize=7.5, color="white", weight="bold")
    axes.set_yticks([])
    axes.set_ylim(-max(1, min(len(found), MOST_ROWS)) + 0.4, 0.6)
    handles = [mpl.patches.Patch(color=colour, label=text) for text, colour in words.values()]
    axes.legend(handles=handles, loc="lower right", bbox_to_anchor=(1, 1), ncols=3, fontsize=8, frameon=False)
    _clock(axes)
    if more > 0:
        axes.set_xlabel(f"and {more} more", fontsize=8)


def _heat(axes: Axes, panel: dict[str, Any], found: list[Series]) -> None:
    found = sorted((s for s in found), key=lambda series: float(series.labels["le"]))
    grid = sorted({at for series in found for at, _ in series.points})
    counts = np.zeros((len(found), len(grid)))
    for row, series in enumerate(found):
        values = dict(series.points)
        counts[row] = [values.get(at, 0.0) for at in grid]
    counts = np.diff(counts, axis=0, prepend=0).clip(min=0)
    shown = np.where(counts > 0, counts, np.nan) ** 0.4
    x = [datetime.fromtimestamp(at) for at in grid]  # noqa: DTZ006
    axes.pcolormesh(x, np.arange(len(found)), shown, cmap="cividis", shading="nearest")
    every = max(1, math.ceil(len(found) / 9))
    names = ["more" if s.labels["le"] == "+Inf" else _told(float(s.labels["le"]), _unit(panel)) for s in found]
    axes.set_yticks(range(0, len(found), every), names[::every])
    _clock(axes)


def _second(pair: tuple[str, int]) -> int:
    return pair[1]


def _table(axes: Axes, panel: dict[str, Any], found: list[Series]) -> None:
    axes.axis("off")
    options = next(t["options"] for t in panel["transformations"] if t["id"] == "organize")
    columns = {name: options["renameByName"][name] for name, _ in sorted(options["indexByName"].items(), key=_second)}
    rows: dict[tuple[tuple[str, str], ...], dict[str, float]] = {}
    for series in found:
        rows.setdefault(tuple(sorted(series.labels.items())), {})[f"Value #{series.query}"] = series.points[-1][1]
    words = {}
    for override in panel["fieldConfig"]["overrides"]:
        words[override["matcher"]["options"]] = _words(override["properties"][0]["value"])
    cells, colours = [], []
    for labels, values in sorted(rows.items(), key=lambda row: (row[1].get("Value #A", 0), row[0]))[:MOST_ROWS]:
        told, coloured = [], []
        for name, heading in columns.items():
            text, colour = dict(labels).get(name, ""), "black"
            if name in values:
                text = f"{values[name]:.4g}"
                text, colour = words.get(heading, {}).get(f"{values[name]:g}", (text, colour))
            told.append(textwrap.shorten(text, 26, placeholder="…"))
            coloured.append(colour)
        cells.append(told)
        colours.append(coloured)
    table = axes.table(cells, colLabels=list(columns.values()), loc="upper left", cellLoc="left", edges="horizontal")
    table.auto_set_font_size(False)
    table.set_fontsize(8)
    widest = [max(len(line[at]) for line in (list(columns.values()), *cells)) + 2 for at in range(len(columns))]
    for (_, column), cell in table.get_celld().items():
        cell.set_width(widest[column] / sum(widest))
    table.scale(1, 1.15)
    for (row, column), cell in table.get_celld().items():
        cell.set_text_props(
            color="black" if row == 0 else colours[row - 1][column], weight="bold" if row == 0 else None
        )
    if len(rows) > MOST_ROWS:
        axes.text(0, -0.04, f"and {len(rows) - MOST_ROWS} more", fontsize=8)


_PAINTERS = {
    "timeseries": _lines,
    "stat": _numbers,
    "state-timeline": _states,
    "heatmap": _heat,
    "table": _table,
}
