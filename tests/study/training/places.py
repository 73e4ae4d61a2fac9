"""The public file as a training here reads it. As a program, writes it with the times of its labels: SOURCE TARGET."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

from scorer.pipeline.risk_view import Risk
from scorer.pipeline.view import FeatureView
from scorer.pipeline.window import Window
from study.handbook import DAY_MS, DELAY_DAYS, MAPPING

#: Labels take a week. What it declares beside risk is the simplest of what was best on six weeks that are tested before
#: the protocol's.
VIEW = FeatureView(
    name="handbook",
    deltas=("from_mean",),
    windows=(Window(name="amount_mean_90d", window="90d", aggregate="mean", of="amount"),),
    risk=Risk(windows=("1d", "7d", "30d"), delay_days=DELAY_DAYS),
)


def with_label_times(source: Path, target: Path) -> Path:
    """Write the public file with when each label became known: a week after its transaction."""
    table = parquet.read_table(source)
    occurred = np.asarray(table.column("TX_DATETIME").to_numpy()).astype("datetime64[ms]").astype(np.int64)
    known = pa.array((occurred + DELAY_DAYS * DAY_MS).astype("datetime64[ms]"))
    parquet.write_table(table.append_column("label_available_at", known), target)
    return target


def settings(folder: Path) -> dict[str, str]:
    """The environment in which commands read that file. folder: of the store."""
    view = VIEW.model_dump_json(exclude_defaults=True)
    (folder / "features.yaml").write_text(view)  # JSON is YAML, too
    return {
        "SCORER_VIEW": str(folder / "features.yaml"),
        "SCORER_MAPPING": MAPPING.model_dump_json(exclude_unset=True),
        "SCORER_STORE": str(folder / "store"),
        "SCORER_CACHE": str(folder / "cache"),
    }


if __name__ == "__main__":
    with_label_times(*map(Path, sys.argv[1:]))
