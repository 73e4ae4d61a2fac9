"""The study of trainings counts right: its measures, its protocol, and the figures that it writes."""

from __future__ import annotations

import random
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from harness.places import ROOT
from scorer.pipeline.instants import DAY_MS
from study.published import marks
from study.training import protocol as of_protocol
from study.training import run
from study.training.places import with_label_times
from study.training.protocol import Protocol
from study.training.recount import auc_roc, average_precision, card_precision


@pytest.mark.parametrize("seed", range(5))
def test_the_recount_agrees_with_other_peoples_counts_ties_too(seed: int) -> None:
    rng = random.Random(seed)
    frauds = [rng.random() < 0.2 for _ in range(400)]
    scores = [round(rng.random() + 0.3 * bad, seed % 3 + 1) for bad in frauds]
    assert average_precision(scores, frauds) == pytest.approx(average_precision_score(frauds, scores), abs=1e-12)
    assert auc_roc(scores, frauds) == pytest.approx(roc_auc_score(frauds, scores), abs=1e-12)


def test_a_card_counts_once_a_day_and_no_more_once_it_was_caught() -> None:
    rows = [
        (1, "a", 0.9, False), (1, "a", 0.1, True), (1, "b", 0.8, False), (1, "c", 0.7, True),
        (2, "a", 0.9, True), (2, "b", 0.2, False), (2, "c", 0.1, True), (2, "d", 0.3, False),
    ]  # fmt: skip
    assert card_precision(rows, 2) == (1 / 2 + 0 / 2) / 2, "a is caught on day 1; on day 2 d and b stand above c"
    assert card_precision(rows, 3) == (2 / 3 + 0 / 3) / 2
    assert card_precision(list(reversed(rows)), 2) == card_precision(rows, 2)


def test_a_card_is_not_tested_from_the_day_on_on_which_its_compromise_is_known() -> None:
    start = 20_000
    days = {"trained": start + 3, "early": start + 6, "late": start + 10, "never": start + 40}
    cards, day, fraud = [], [], []
    for card, compromised in days.items():
        for at in sorted({compromised, *range(start + 14, start + 21)}):
            cards.append(card)
            day.append(at)
            fraud.append(at == compromised)
    of = SimpleNamespace(cards=np.array(cards), day=np.array(day), fraud=np.array(fraud))
    rows = Protocol._tested(of, start * DAY_MS)  # type: ignore[arg-type]
    tested = {card: [day[row] - start - 14 for row in rows.tolist() if cards[row] == card] for card in days}
    assert tested == {"trained": [], "early": [], "late": [0, 1, 2, 3], "never": list(range(7))}


def test_the_file_gets_a_time_of_each_label_a_week_after_its_transaction(tmp_path: Path) -> None:
    at = datetime(2018, 4, 1, 10)  # noqa: DTZ001 - as the file has it
    parquet.write_table(pa.table({"TX_DATETIME": [at, at + timedelta(hours=1)], "X": [1, 2]}), tmp_path / "a.parquet")
    made = parquet.read_table(with_label_times(tmp_path / "a.parquet", tmp_path / "b.parquet")).to_pylist()
    assert [row["label_available_at"] - row["TX_DATETIME"] for row in made] == [timedelta(days=7)] * 2
    assert [row["X"] for row in made] == [1, 2]


def test_a_part_tells_its_exit_code_its_output_and_its_own_memory() -> None:
    done = run.run([sys.executable, "-c", "x = bytearray(200_000_000); print(len(x)); raise SystemExit(3)"])
    assert (done.code, done.out.strip()) == (3, "200000000")
    assert done.peak_mb > 190
    with pytest.raises(RuntimeError, match=r"study\.training\.nothing has failed"):
        run.module("study.training.nothing")


def test_the_report_has_the_keys_that_are_promised_and_its_table_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    week: dict[str, Any] = {
        "from": "2018-07-25",
        "auc_roc": 0.8,
        "average_precision": 0.6,
        "card_precision_at_100": 0.2,
    }
    other = {**week, "from": "2018-07-18", "average_precision": 0.4}
    answers = {
        "study.training.protocol": {"weeks": [week, other], "all_earlier": week},
        "study.training.speed": {"rows": 5, "rows_per_s": 212_345.6},
        "bench.backtest": {"command_seconds": 41.26},
    }
    monkeypatch.setattr(run, "module", lambda name, *argv: answers[name])
    monkeypatch.setattr(run, "run", lambda argv, env=None, cwd=None: run.Done(0, "", 1.0, 2.0))
    done = {"train_s": 30.0, "peak_mb": 960, "reproduced": True}
    monkeypatch.setattr(run, "commands", lambda path, folder, threads: done)
    report, all_earlier = run.study(Path("x"), Path("y"), 300_000)
    assert set(report) == {"protocol", "weeks", "rows_per_s", "train_s", "peak_mb", "reproduced", "backtest_s"}
    assert report["protocol"] == {"auc_roc": 0.8, "average_precision": 0.5, "card_precision_at_100": 0.2}
    assert "| **mean** | 0.800 | 0.500 | 0.200 |" in run.table(report, all_earlier)
    for mark in marks(run.MARK):
        assert mark in (ROOT / "docs" / "study.md").read_text()


def test_the_last_week_to_test_on_is_the_last_of_the_file() -> None:
    assert of_protocol.LAST + timedelta(days=20) == datetime(2018, 8, 14, tzinfo=UTC)
