"""A bundle is held against the scores of its trainer's own code."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from harness.frames import FEATURES, VIEW, a_frame, trained
from scorer.bundles.agreement import check_scores
from scorer.bundles.bundle import create
from scorer.errors import BundleError, UserError
from scorer.sources.scored_rows import read_scored

FRAME, LABELS = a_frame(300)
BOOSTER = trained(FRAME, LABELS)
BUNDLE = create(BOOSTER.model_to_string().encode(), FEATURES, VIEW, 0.5)
ROWS = FRAME.assign(score=BOOSTER.predict(FRAME))


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_rows_of_every_kind_of_file_agree(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"rows.{kind}"
    if kind == "csv":
        ROWS.to_csv(path, index=False)
    elif kind == "jsonl":
        ROWS.to_json(path, orient="records", lines=True, double_precision=15)
    else:
        ROWS.astype({"country": object, "mcc": "int64"}).to_parquet(path)
    columns, digest = read_scored(path)
    assert check_scores(BUNDLE, columns) == 300
    assert len(digest) == 64


def test_a_text_may_hold_what_ends_a_line_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": "x\u2028y"}\r\n{"a": "\x85"}\n', encoding="utf-8", newline="")
    assert read_scored(path)[0] == {"a": ["x\u2028y", "\x85"]}


def test_rows_that_differ_are_shown() -> None:
    columns: dict[str, Sequence[object]] = {name: ROWS[name].tolist() for name in ROWS}
    scores = list(ROWS.score)
    scores[7] = 1 - scores[7]
    with pytest.raises(BundleError, match=rf"score: 1 of 300 rows differ \(row 8 has {scores[7]:.9g} and the bundle"):
        check_scores(BUNDLE, {**columns, "score": scores})
    with pytest.raises(BundleError, match="300 of 300 rows differ"):
        check_scores(BUNDLE, {**columns, "score": [1 - score for score in ROWS.score]})
    with pytest.raises(BundleError, match="no column score or probability"):
        check_scores(BUNDLE, {name: columns[name] for name in FEATURES})
    with pytest.raises(BundleError, match="no column country"):
        check_scores(BUNDLE, {name: columns[name] for name in columns if name != "country"})
    with pytest.raises(BundleError, match="row 3: amount: 'many' is not a number"):
        check_scores(BUNDLE, {**columns, "amount": [1.0, 2.0, "many", *columns["amount"][3:]]})
    with pytest.raises(BundleError, match="no rows"):
        check_scores(BUNDLE, {name: [] for name in columns})


def test_calibrated_scores_are_a_column_of_their_own() -> None:
    curve = {"kind": "platt", "slope": 2.0, "intercept": 0.1}
    made = create(BOOSTER.model_to_string().encode(), FEATURES, VIEW, 0.5, calibration=curve)
    odds = 2.0 * np.log(ROWS.score / (1 - ROWS.score)) + 0.1
    columns: dict[str, Sequence[object]] = {name: ROWS[name].tolist() for name in ROWS}
    assert check_scores(made, {**columns, "probability": (1 / (1 + np.exp(-odds))).tolist()}) == 300
    with pytest.raises(BundleError, match="probability: 300 of 300"):
        check_scores(made, {**columns, "probability": columns["score"]})


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("r.csv", b"", "empty"),
        ("r.csv", b"a,b\n1\n", "row 1: 1 cells, expected 2"),
        ("r.jsonl", b"{}\n[1]\n", "line 2: not an object"),
        ("r.jsonl", b"{", "line 1"),
        ("r.csv", b"\xff", "not UTF-8"),
        ("r.xlsx", b"a", "unknown kind"),
        ("r.csv", b"a\n" + b"x" * 200_000, "field larger than"),
        ("r.csv", b"a,b,a\n1,2,3\n", "column a is there twice"),
    ],
)
def test_a_file_that_cannot_be_read_is_told(name: str, content: bytes, told: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError, match=told):
        read_scored(path)
    with pytest.raises(UserError, match="No such file"):
        read_scored(tmp_path / "none.csv")
