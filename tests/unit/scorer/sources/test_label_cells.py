"""Labels say fraud, legitimate or nothing; anything else is refused with its row, and nothing unknown is learnt."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.small_files import NAMES, ROW, csv_text
from scorer.bundles.lineage import Recipe
from scorer.errors import UserError
from scorer.pipeline.layout import Layout
from scorer.pipeline.mapping import FieldNames
from scorer.pipeline.transaction import Reading
from scorer.pipeline.view import FeatureView
from scorer.sources.files import FileChunk, read_transactions
from scorer.sources.source import Source
from scorer.training.history import read_history
from scorer.training.train import train
from shadow.intake.files import read_labels

FEED = {"source": "chargeback", "by": "bank", "at": "2026-02-01T00:00:00Z"}
CASES = [
    ("1", 1),
    ("0", 0),
    ("true", 1),
    ("FALSE", 0),
    ("Yes", 1),
    ("no", 0),
    ("y", 1),
    ("N", 0),
    ("1.0", 1),
    ("0.0", 0),
]
CASES += [("", -1)]


def a_file(folder: Path, cells: list[str], name: str = "is_fraud") -> Path:
    rows = [(f"t{at:03}", *ROW[1:], cell) for at, cell in enumerate(cells)]
    (folder / "x.csv").write_text(csv_text(rows, (*NAMES, name)))
    return folder / "x.csv"


def labels_of(path: Path, **mapping: Any) -> list[int]:
    (chunk,) = read_transactions(path, FieldNames.model_validate(mapping))
    assert chunk.labels is not None
    return chunk.labels.tolist()


def test_words_and_numbers_for_yes_and_no_are_labels_and_nothing_is_unknown(tmp_path: Path) -> None:
    path = a_file(tmp_path, [cell for cell, _ in CASES])
    assert labels_of(path) == [want for _, want in CASES]
    labels, bad = read_labels(path, {"verdict": "is_fraud"}, FEED)
    assert [label.verdict for label in labels] == [{1: "fraud", 0: "legit"}[want] for _, want in CASES if want >= 0]
    assert len(bad) == sum(want < 0 for _, want in CASES)
    assert "row 11: verdict: " in bad[0]


@pytest.mark.parametrize("cell", ["-1", "2", "300", "0.7", "maybe", "NaN", "null", "fraudulent"])
def test_any_other_label_is_refused_with_its_row_and_value(cell: str, tmp_path: Path) -> None:
    path = a_file(tmp_path, ["1", cell], "bad one")
    with pytest.raises(UserError, match=rf"x.csv: row 2: the label bad one is '{cell}', expected 1, 0, .*--label"):
        labels_of(path, label="bad one")
    _, bad = read_labels(path, {"verdict": "bad one"}, FEED)
    assert len(bad) == 1
    assert f"row 2: verdict: is '{cell}'; expected " in bad[0]


@pytest.mark.parametrize(
    ("cells", "want"),
    [
        (pa.array([True, False, None]), [1, 0, -1]),
        (pa.array([1.0, 0.0, float("nan")]), [1, 0, -1]),
        (pa.array([1, 0, None], pa.int8()), [1, 0, -1]),
        (pa.array(["Yes", "No", None]).dictionary_encode(), [1, 0, -1]),
    ],
)
def test_labels_of_parquet_may_be_of_any_type(cells: pa.Array, want: list[int], tmp_path: Path) -> None:
    columns = {name: [cell] * 3 for name, cell in zip(NAMES, ROW, strict=True)} | {"amount": [1.0] * 3}
    ids = {"transaction_id": ["t0", "t1", "t2"]}
    pq.write_table(pa.table(columns | ids | {"is_fraud": cells}), tmp_path / "x.parquet")
    assert labels_of(tmp_path / "x.parquet") == want
    labels, _ = read_labels(tmp_path / "x.parquet", {"verdict": "is_fraud"}, FEED)
    assert [label.verdict for label in labels] == ["fraud", "legit"]


def test_the_time_of_a_label_has_any_name_and_is_never_sent(tmp_path: Path) -> None:
    rows = [(*ROW, "1", "2026-02-03"), ("t2", *ROW[1:], "0", "")]
    (tmp_path / "x.csv").write_text(csv_text(rows, (*NAMES, "bad", "told on")))
    mapping = FieldNames.model_validate({"label": "bad", "label_time": "told on"})
    (chunk,) = read_transactions(tmp_path / "x.csv", mapping)
    assert chunk.known_ms.tolist() == [1_770_076_800_000, 0]
    assert all(b"told" not in value and b"bad" not in value for value in chunk.values)
    for wrong in ({"label": "worse"}, {"label": "bad", "label_time": "said on"}):
        with pytest.raises(
            UserError, match=r"has no field (worse for the label|said on for the label_time); name another"
        ):
            list(read_transactions(tmp_path / "x.csv", Source(FieldNames.model_validate(wrong), needs_label=True)))
    (chunk,) = read_transactions(tmp_path / "x.csv", FieldNames(label="worse"))
    assert chunk.labels is None, "what is only sent needs none"


def test_a_label_without_a_time_has_none(tmp_path: Path) -> None:
    columns = {name: [cell] * 2 for name, cell in zip(NAMES, ROW, strict=True)} | {"amount": [1.0] * 2}
    times = pa.array([None, datetime(1970, 1, 2, tzinfo=UTC)])
    table = columns | {"transaction_id": ["t0", "t1"], "is_fraud": [0, 1], "label_available_at": times}
    pq.write_table(pa.table(table), tmp_path / "x.parquet")
    (chunk,) = read_transactions(tmp_path / "x.parquet", FieldNames())
    assert chunk.known_ms.tolist() == [0, 86_400_000]


def test_times_of_labels_are_read_as_the_settings_say(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(csv_text([("t1", "yes", "03.02.2026")], ("transaction_id", "verdict", "at")))
    feed = {"source": "chargeback", "by": "bank"}
    layout = Layout.model_validate({"label_times": {"kind": "time", "pattern": "%d.%m.%Y", "zone": "Europe/Berlin"}})
    (label,), _ = read_labels(tmp_path / "x.csv", {}, feed, layout=layout)
    assert label.at == "2026-02-02T23:00:00.000Z"
    _, (bad,) = read_labels(tmp_path / "x.csv", {}, feed)
    assert "row 1: at: is '03.02.2026', no time; state its writing in the setting files.label_times" in bad


def test_what_is_unknown_counts_as_past_but_is_not_learnt(tmp_path: Path) -> None:
    view = FeatureView(name="v")
    cells = ["1", "", "0"]
    read = [
        read_history(read_transactions(a_file(tmp_path, labels), FieldNames()), view, Reading(), "x")
        for labels in (cells, ["1", "0", "0"])
    ]
    assert read[0].ids == ["t000", "t002"]
    assert read[0].labels.tolist() == [1, 0]
    np.testing.assert_array_equal(read[0].matrix, read[1].matrix[[0, 2]])
    assert read[0].matrix[1].tolist() != read[0].matrix[0].tolist(), "the second one has a past"
    with pytest.raises(UserError, match="no label is known"):
        read_history(read_transactions(a_file(tmp_path, ["", ""]), FieldNames()), view, Reading(), "x")


def test_times_of_labels_are_needed_where_they_decide_what_is_learnt(tmp_path: Path) -> None:
    view = FeatureView(name="v")
    data = read_history(read_transactions(a_file(tmp_path, ["1", "0"]), FieldNames()), view, Reading(), "x")
    with pytest.raises(UserError, match=r"1 frauds do not say when they became known, .*mapping.label_time"):
        train(data, Recipe(features=view.names, labels_known_by="1970-01-01T00:00:00.001Z"))


def test_a_row_that_the_contract_refuses_is_named_by_file_row_and_value(tmp_path: Path) -> None:
    rows = [
        ("t2", "2026-01-02T00:00:00Z", "c", "m", "1", "EUR", "0"),
        ("t1", "2026-01-01T00:00:00Z", "c", "m", "1", "EURO", "0"),
    ]
    (tmp_path / "x.csv").write_text(csv_text(rows, (*NAMES, "is_fraud")))
    chunks: list[FileChunk] = list(read_transactions(tmp_path / "x.csv", FieldNames()))
    with pytest.raises(UserError, match=r"x.csv: row 2: currency: .*, found 'EURO'; 1 of 2 transactions are refused"):
        read_history(chunks, FeatureView(name="v"), Reading(), "x")
