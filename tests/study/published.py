"""The study's figures, as the tables in docs/study.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from study.shapes.catalogue import SHAPES

TOLD = {
    "same": "no different: another seed",
    "retrained": "trained on all weeks before",
    "features_dropped": "without merchant features, or card velocity",
    "threshold_moved": "threshold for 0.5 or 1.6 times the blocks",
    "labels_flipped": "labels flipped for one group of terminals",
    "older_model": "trained one or two windows earlier",
}
RULES = ("mcnemar_daily", "psi_0.2", "disagreement_limit")


def table(real: dict[str, Any]) -> str:
    """Verdicts by kind of candidate, beside those of the simpler rules."""
    told_of = ", ".join(str(window["window"]) for window in real["windows"])
    lines = [
        f"| candidates, in the shadow of window {told_of} | n | promote | hold | reject | median days "
        "| McNemar, PSI, limit reject |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for kind, told in TOLD.items():
        row = real["kinds"].get(kind)
        if row is not None:
            days = "" if row["median_days"] is None else f"{row['median_days']:g}"
            others = ", ".join(str(real["baselines"][rule][kind]["reject"]) for rule in RULES)
            verdicts = " | ".join(str(row[verdict]) for verdict in ("promote", "hold", "reject"))
            lines.append(f"| {told} | {row['n']} | {verdicts} | {days} | {others} |")
    return "\n".join(lines)


def table_of_shapes(rows: dict[str, dict[str, Any]]) -> str:
    """Verdicts by kind of shape: harmful ones first."""
    lines = [
        "| shape | n | promote | hold | reject | median days | right segment |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for harmful in (True, False):
        of: dict[str, list[dict[str, Any]]] = {}
        for name, row in rows.items():
            if row["harmful"] is harmful:
                of.setdefault(SHAPES[name].told, []).append(row)
        lines.append(f"| **{'harmful' if harmful else 'harmless'}** | | | | | | |")
        for told, same in of.items():
            counts = {what: sum(row[what] for row in same) for what in ("n", "promote", "hold", "reject")}
            days = "/".join(f"{row['median_days']:g}" for row in same if row["median_days"] is not None)
            aimed = [row for row in same if row["right_segment"] is not None]
            right = f"{sum(row['right_segment'] for row in aimed)}" if aimed else ""
            lines.append(f"| {told} | {' | '.join(str(n) for n in counts.values())} | {days} | {right} |")
    return "\n".join(lines)


def publish(text: str, path: Path, what: str = "`make study`") -> None:
    """Write a text between its marks on a page."""
    begin, end = marks(what)
    before, found, rest = path.read_text(encoding="utf-8").partition(begin)
    _, last, after = rest.partition(end)
    assert found, f"{path.name} lacks {begin}"
    assert last, f"{path.name} lacks {end}"
    path.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


def marks(what: str) -> tuple[str, str]:
    """The comments between which a page has what the study found."""
    return f"<!-- begin of {what} -->", f"<!-- end of {what} -->"
