"""Labels in files are read under the names that their owners use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from scorer.errors import UserError
from shadow.intake.files import read_labels

SAID: dict[str, Any] = {
    "transaction_id": "t-1",
    "source": "review",
    "verdict": "fraud",
    "at": "2026-02-01T12:00:00Z",
    "by": "ann",
}


def test_rows_become_labels_and_bad_rows_are_reported_by_number(tmp_path: Path) -> None:
    rows = "id,when,label\n007,2026-02-01T12:00:00Z,1\n008,2026-02-01T12:00:00Z,false\n009,now,1\n"
    (tmp_path / "c.csv").write_text(rows)
    fields, defaults = (
        {"transaction_id": "id", "at": "when", "verdict": "label"},
        {"source": "chargeback", "by": "bank"},
    )
    labels, bad = read_labels(tmp_path / "c.csv", fields, defaults)
    assert [(label.transaction_id, label.verdict) for label in labels] == [("007", "fraud"), ("008", "legit")]
    assert len(bad) == 1
    assert "row 3: at: " in bad[0]
    lines = [{**SAID, "transaction_id": 12}, {**SAID, "verdict": None}, ["no", "row"]]
    (tmp_path / "c.jsonl").write_bytes(b"\n".join(map(orjson.dumps, lines)))
    labels, bad = read_labels(tmp_path / "c.jsonl", {}, {"verdict": "legit"})
    assert [(label.transaction_id, label.verdict) for label in labels] == [("12", "fraud"), ("t-1", "legit")]
    assert "row 3: " in bad[0]
    for name, text in (("c.xls", ""), ("d.jsonl", "{")):
        (tmp_path / name).write_text(text)
        with pytest.raises(UserError, match=name):
            read_labels(tmp_path / name, {}, {})
