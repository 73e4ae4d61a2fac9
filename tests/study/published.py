"""The study's figures on real data, as the table in the README."""

from __future__ import annotations

from pathlib import Path
from typing import Any

BEGIN, END = "<!-- begin of `make study` -->", "<!-- end of `make study` -->"
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


def publish(real: dict[str, Any], readme: Path) -> None:
    """Write the table between its marks."""
    before, _, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    readme.write_text(f"{before}{BEGIN}\n{table(real)}\n{END}{after}", encoding="utf-8")
