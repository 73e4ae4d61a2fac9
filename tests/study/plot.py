"""The study as one picture: what each rule does with each kind of release."""

from __future__ import annotations

from pathlib import Path
from typing import Any

#: Kinds as a reader calls them, in the order of the picture.
TOLD = {
    "same": "no different",
    "better": "better",
    "drifted_input": "no different, input drifts",
    "worse_overall": "worse everywhere",
    "worse_in_one_segment": "better, but worse in one segment",
    "miscalibrated": "miscalibrated",
    "dead_in_one_segment": "dead in one segment",
    "unsupported_harm": "harm where traffic is too thin*",
}
RULES = {
    "gate": "this gate",
    "mcnemar_daily": "McNemar, daily",
    "psi_0.2": "PSI > 0.2",
    "disagreement_limit": "disagreement > 0.1 %",
}
#: Blue, grey and orange: told apart by colour-blind readers, and in print.
COLOURS = {"promote": "#2b6cb0", "hold": "#c9ced6", "reject": "#dd6b20"}


def draw(report: dict[str, Any], path: Path) -> None:
    """Draw build/study.json as a picture."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams |= {"svg.hashsalt": "study", "font.family": "sans-serif", "font.size": 9}
    import matplotlib.pyplot as plt

    rules = {"gate": report["kinds"], **report["baselines"]}
    figure, axes = plt.subplots(1, len(RULES), figsize=(11, 3.2), sharey=True)
    for axis, (rule, title) in zip(axes, RULES.items(), strict=True):
        for at, kind in enumerate(TOLD):
            row, left = rules[rule][kind], 0.0
            for verdict, colour in COLOURS.items():
                share = row[verdict] / row["n"]
                axis.barh(at, share, left=left, color=colour, label=verdict if at == 0 else None)
                if share > 0.12:
                    ink = "black" if verdict == "hold" else "white"
                    axis.text(left + share / 2, at, f"{share:.0%}", ha="center", va="center", color=ink, fontsize=7)
                left += share
        axis.set_title(title, fontsize=10)
        axis.set_xlim(0, 1)
        axis.set_xticks([])
        axis.spines[:].set_visible(False)
    axes[0].set_yticks(range(len(TOLD)), list(TOLD.values()))
    axes[0].invert_yaxis()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="lower center", ncol=3, frameon=False)
    figure.tight_layout(rect=(0, 0.07, 1, 1))
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
