"""The public file as a training here reads it. As a program, writes it with the times of its labels: SOURCE TARGET."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as parquet

from scorer.pipeline.mapping import FieldNames
from scorer.pipeline.view import FeatureView
from study.handbook import DAY_MS, DELAY_DAYS

#: Merchant risk, where the product has it: labels take a week.
_RISK: dict[str, Any] = {"risk": {"windows": ["1d", "7d", "30d"], "delay_days": DELAY_DAYS}}
VIEW = FeatureView.model_validate({"name": "handbook", **(_RISK if "risk" in FeatureView.model_fields else {})})
FIELDS: dict[str, Any] = {
    "fields": {
        "transaction_id": "TRANSACTION_ID",
        "occurred_at": "TX_DATETIME",
        "card_id": "CUSTOMER_ID",
        "merchant_id": "TERMINAL_ID",
        "amount": "TX_AMOUNT",
    },
    "defaults": {"currency": "EUR"},
    "label": "TX_FRAUD",
    "drop": ["TX_FRAUD_SCENARIO"],
}
MAPPING = FieldNames.model_validate(FIELDS)


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
        "SCORER_MAPPING": orjson.dumps(FIELDS).decode(),
        "SCORER_STORE": str(folder / "store"),
        "SCORER_CACHE": str(folder / "cache"),
    }


if __name__ == "__main__":
    with_label_times(*map(Path, sys.argv[1:]))
