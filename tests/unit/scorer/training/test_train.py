"""Files, simulation and training: the same seed gives the same, and nothing of the future is learnt."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorer.errors import UserError
from scorer.events import Mapping, Reading
from scorer.files import LABEL, LABEL_TIME, FileChunk, read_transactions, time_bound, write_table
from scorer.simulate import simulate
from scorer.train import average_precision, measure, read_history, roc_auc, train
from scorer.view import Attribute, FeatureView

VIEW = FeatureView(
    name="v",
    attributes=(
        Attribute(name="country", kind="category", values=("DE", "ES", "FR", "GB")),
        Attribute(name="device_age_days", kind="number"),
    ),
)
NO_MAPPING = Mapping.model_validate({})


def columns(seed: int = 1, n: int = 6000) -> dict[str, Any]:
    return simulate(n, 400, 60, date(2026, 1, 1), 30, seed)


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files") / "history.parquet"
    write_table(path, columns())
    return path


def rows(chunks: Any) -> list[dict[str, Any]]:
    return [orjson.loads(value) for chunk in chunks for value in chunk.values]


# --- simulation ---


def test_the_same_seed_gives_the_same_history_and_another_another() -> None:
    first, again, other = columns(), columns(), columns(seed=2)
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["amount"][:100], other["amount"][:100])


def test_a_history_is_ordered_and_looks_like_payments() -> None:
    made = columns(n=20_000)
    n = len(made["amount"])
    assert 0.9 < n / 20_000 < 1.1
    assert (np.diff(made["occurred_at"].astype(np.int64)) >= 0).all()
    assert len(set(made["transaction_id"])) == n
    assert (made["amount"] > 0).all()
    assert 0.015 < made[LABEL].mean() < 0.06
    assert set(made["country"]) == {"DE", "ES", "FR", "GB"}
    fraud = made[LABEL] == 1
    assert made["amount"][fraud].mean() > made["amount"][~fraud].mean()
    wait = (made[LABEL_TIME] - made["occurred_at"]).astype("timedelta64[D]").astype(int)
    french = np.array(made["country"]) == "FR"
    assert (made[LABEL_TIME] > made["occurred_at"]).all()
    assert wait[fraud & french].min() >= 45 > np.median(wait[fraud & ~french])


# --- files ---


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_every_kind_of_file_gives_the_same_transactions(history: Path, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"history{suffix}"
    write_table(path, columns())
    assert rows(read_transactions(path, NO_MAPPING)) == rows(read_transactions(history, NO_MAPPING))


def test_labels_are_never_sent(history: Path) -> None:
    (chunk, *_) = read_transactions(history, NO_MAPPING)
    assert chunk.labels is not None
    assert chunk.labels.sum() > 50
    assert (chunk.known_ms > 0).all()
    assert not {LABEL, LABEL_TIME} & orjson.loads(chunk.values[0]).keys()


def test_a_part_of_a_file_is_taken_in_order_of_time(history: Path) -> None:
    whole = rows(read_transactions(history, NO_MAPPING))
    stamps = [row["occurred_at"] for row in whole]
    assert stamps == sorted(stamps)
    part = rows(read_transactions(history, NO_MAPPING, "2026-01-10", "2026-01-12T12:00:00Z"))
    assert part == [row for row in whole if "2026-01-10" <= row["occurred_at"] < "2026-01-12T12:00:00Z"]
    assert (
        rows(read_transactions(history, NO_MAPPING, "2026-01-10", skip=5, limit=7))
        == [row for row in whole if row["occurred_at"] >= "2026-01-10"][5:12]
    )


def test_a_mapping_renames_fills_in_and_drops(tmp_path: Path) -> None:
    path = tmp_path / "theirs.jsonl"
    theirs = {
        "id": 17,
        "when": "2026-01-02T03:04:05Z",
        "who": 5,
        "shop": "s",
        "sum": 1.5,
        "bad": 1,
        "secret": "x",
        "extra": 2,
    }
    path.write_bytes(orjson.dumps(theirs) + b"\n")
    fields = {"transaction_id": "id", "occurred_at": "when", "card_id": "who", "merchant_id": "shop", "amount": "sum"}
    mapping = Mapping.model_validate(
        {"fields": fields, "defaults": {"currency": "EUR"}, "label": "bad", "drop": ["secret"]}
    )
    (chunk,) = read_transactions(path, mapping)
    assert chunk.keys == [b"5"]
    assert chunk.labels is not None
    assert chunk.labels.tolist() == [1]
    assert orjson.loads(chunk.values[0]) == {
        "transaction_id": "17",
        "occurred_at": "2026-01-02T03:04:05.000Z",
        "card_id": "5",
        "merchant_id": "s",
        "amount": 1.5,
        "currency": "EUR",
        "extra": 2,
    }


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("x.txt", b"", "name it .parquet"),
        ("x.parquet", b"nonsense", "cannot be read"),
        ("x.jsonl", b'{"a": 1}\n', "has no field transaction_id"),
        (
            "x.jsonl",
            b'{"transaction_id": "1", "card_id": "c", "merchant_id": "m", "occurred_at": "noon"}\n',
            "field occurred_at",
        ),
    ],
)
def test_a_file_that_cannot_be_read_is_told(name: str, content: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=told):
        list(read_transactions(tmp_path / name, NO_MAPPING))


def test_a_time_that_is_none_names_its_option() -> None:
    assert time_bound("1970-01-02", "--from") == 86_400_000
    with pytest.raises(UserError, match="--from soon"):
        time_bound("soon", "--from")


# --- training ---


def a_history(path: Path, **options: Any) -> Any:
    return read_history(read_transactions(path, NO_MAPPING, **options), VIEW, Reading(), str(path))


def fit(data: Any, **changes: Any) -> Any:
    how: dict[str, Any] = {
        "features": data.view.names,
        "block_rate": 0.05,
        "threshold": None,
        "calibration_share": 0.2,
        "parameters": {"num_iterations": 10},
        "seed": 1,
        "labels_known_by": None,
        "progress": lambda n: None,
    } | changes
    return train(data, **how)


def test_the_same_data_and_seed_give_the_same_model(history: Path) -> None:
    data = a_history(history)
    first, again, twin = fit(data), fit(data), fit(data, seed=2)
    assert first.model == again.model
    assert first.manifest.training == again.manifest.training
    assert twin.model != first.model
    assert twin.manifest.training == first.manifest.training


def test_a_bundle_says_where_it_comes_from(history: Path) -> None:
    rounds: list[int] = []
    data = a_history(history)
    bundle = fit(data, progress=rounds.append)
    assert sum(rounds) == 10
    training = bundle.manifest.training
    assert training.rows == int(len(data.labels) * 0.8)
    assert training.fingerprint == data.fingerprint != a_history(history, until="2026-01-20").fingerprint
    assert bundle.manifest.parameters["num_iterations"] == 10
    kept_out = len(data.labels) - training.rows
    assert bundle.manifest.threshold_chosen == {"method": "block_rate", "rate": 0.05, "calibrated_on": kept_out}
    overall = bundle.manifest.metrics["overall"]
    assert overall["block_rate"] == pytest.approx(0.05, abs=0.005)
    assert overall["average_precision"] > 3 * overall["frauds"] / overall["transactions"]
    parts = [m for name, m in bundle.manifest.metrics["segments"].items() if name.startswith("country=")]
    assert sum(part["transactions"] for part in parts) == overall["transactions"]


def test_labels_that_came_later_are_not_learnt(history: Path) -> None:
    data = a_history(history)
    now = time_bound("2026-01-31", "now")
    bundle = fit(data, labels_known_by=now)
    known = int((data.labels[data.known_ms <= now]).sum())
    assert bundle.manifest.training.frauds <= known < data.labels.sum()
    assert bundle.manifest.training.labels_known_by == "2026-01-31T00:00:00+00:00"


def test_what_is_learnt_from_a_later_time_on_has_seen_what_was_before(history: Path) -> None:
    data, since = a_history(history), time_bound("2026-01-20", "--from")
    part = data.between(since, None)
    rows = np.flatnonzero(data.events.occurred_ms >= since)
    assert np.array_equal(part.matrix, data.matrix[rows], equal_nan=True)
    assert part.events.ids == [data.events.ids[row] for row in rows]
    assert part.labels.tolist() == data.labels[rows].tolist()
    cold = a_history(history, since="2026-01-20")
    velocity = VIEW.names.index("card_count_30d")
    assert part.matrix[:, velocity].sum() > cold.matrix[:, velocity].sum(), "no card is new because of where one begins"
    assert part.fingerprint not in (data.fingerprint, cold.fingerprint)
    assert fit(part).manifest.training.first.startswith("2026-01-20")
    with pytest.raises(UserError, match="no transactions in that time"):
        data.between(time_bound("2030-01-01", "--from"), None)


def test_too_little_to_learn_from_is_told(history: Path) -> None:
    with pytest.raises(UserError, match="give more"):
        fit(a_history(history, limit=300))
    with pytest.raises(UserError, match="has no transactions"):
        a_history(history, since="2030-01-01")


def test_a_file_without_labels_or_with_bad_rows_is_told(tmp_path: Path, history: Path) -> None:
    chunk = FileChunk([b"c"], [b'{"transaction_id": "1"}'], None, np.zeros(1, np.int64))
    with pytest.raises(UserError, match="has no labels"):
        read_history([chunk], VIEW, Reading(), "x")
    chunk = FileChunk([b"c"], [b'{"transaction_id": "1"}'], np.zeros(1, np.int8), np.zeros(1, np.int64))
    with pytest.raises(UserError, match="1 transactions are refused, first row 0"):
        read_history([chunk], VIEW, Reading(), "x")


# --- measures ---

labelled = st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.5, 0.5, 0.9]), st.integers(0, 1)), min_size=1, max_size=15)


@given(labelled)
def test_area_under_roc_is_the_chance_of_a_right_order(data: list[tuple[float, int]]) -> None:
    frauds, others = [s for s, y in data if y], [s for s, y in data if not y]
    found = roc_auc(np.array([s for s, _ in data]), np.array([y for _, y in data]))
    if not frauds or not others:
        assert found is None
        return
    wins = sum((f > o) + 0.5 * (f == o) for f in frauds for o in others)
    assert found == pytest.approx(wins / len(frauds) / len(others))


@given(labelled)
def test_average_precision_sums_precision_over_recall(data: list[tuple[float, int]]) -> None:
    frauds = sum(y for _, y in data)
    found = average_precision(np.array([s for s, _ in data]), np.array([y for _, y in data]))
    if not frauds:
        assert found is None
        return
    total, before = 0.0, 0
    for threshold in sorted({s for s, _ in data}, reverse=True):
        hits = sum(y for s, y in data if s >= threshold)
        total += (hits - before) / frauds * hits / sum(s >= threshold for s, _ in data)
        before = hits
    assert found == pytest.approx(total)


def test_measures_of_a_model() -> None:
    found = measure(np.array([0.9, 0.5, 0.4, 0.1]), np.array([1, 0, 1, 0]), 0.5)
    assert (found["block_rate"], found["recall"], found["frauds"]) == (0.5, 0.5, 2)
