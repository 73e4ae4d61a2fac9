"""Files, simulation and training: the same seed gives the same, and nothing of the future is learnt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.histories import NO_MAPPING
from scorer.bundles.lineage import ByRate, Recipe
from scorer.errors import UserError
from scorer.pipeline.mapping import FieldNames
from scorer.pipeline.transaction import Reading
from scorer.pipeline.view import Attribute, FeatureView
from scorer.sources.files import FileChunk, read_transactions, time_bound
from scorer.training.fitting import prepare
from scorer.training.history import read_history
from scorer.training.making import rfc3339
from scorer.training.train import train

VIEW = FeatureView(
    name="v",
    attributes=(
        Attribute(name="country", kind="category", values=("DE", "ES", "FR", "GB")),
        Attribute(name="device_age_days", kind="number"),
    ),
)


# --- simulation ---


# --- files ---


# --- training ---


def a_history(path: Path, **options: Any) -> Any:
    return read_history(read_transactions(path, NO_MAPPING, **options), VIEW, Reading(), str(path))


def fit(data: Any, progress: Any = lambda n: None, threads: int = 1, **changes: Any) -> Any:
    how: dict[str, Any] = {
        "features": data.view.names,
        "threshold": ByRate(rate=0.05),
        "parameters": {"num_iterations": 10},
    } | changes
    return train(data, Recipe(**how), progress, threads)


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
    assert training.fingerprint != fit(a_history(history, until="2026-01-20")).manifest.training.fingerprint
    assert bundle.manifest.parameters["num_iterations"] == 10
    kept_out = len(data.labels) - training.rows
    half = kept_out // 2
    assert bundle.manifest.threshold_chosen == {"method": "block_rate", "rate": 0.05, "calibrated_on": half}
    overall = bundle.manifest.metrics["overall"]
    assert overall["transactions"] == kept_out - half
    assert overall["block_rate"] == pytest.approx(0.05, abs=0.02)
    assert overall["average_precision"] > 3 * overall["frauds"] / overall["transactions"]
    parts = [m for name, m in bundle.manifest.metrics["segments"].items() if name.startswith("country=")]
    assert sum(part["transactions"] for part in parts) == overall["transactions"]


def test_labels_that_came_later_are_not_learnt(history: Path) -> None:
    data = a_history(history)
    now = time_bound("2026-01-31", "now")
    bundle = fit(data, labels_known_by=rfc3339("2026-01-31", "now"))
    known = int((data.labels[data.known_ms <= now]).sum())
    assert bundle.manifest.training.frauds <= known < data.labels.sum()
    assert bundle.manifest.training.labels_known_by == "2026-01-31T00:00:00.000Z"


def test_what_is_learnt_from_a_later_time_on_has_seen_what_was_before(history: Path) -> None:
    data, since = a_history(history), time_bound("2026-01-20", "--from")
    part = data.between(since, None)
    rows = np.flatnonzero(data.occurred_ms >= since)
    assert np.array_equal(part.matrix, data.matrix[rows], equal_nan=True)
    assert part.ids == [data.ids[row] for row in rows]
    assert part.labels.tolist() == data.labels[rows].tolist()
    cold = a_history(history, since="2026-01-20")
    velocity = VIEW.names.index("card_count_30d")
    assert part.matrix[:, velocity].sum() > cold.matrix[:, velocity].sum(), "no card is new because of where one begins"
    recipes = [fit(data, since="2026-01-20T00:00:00Z"), fit(data), fit(cold)]
    assert len({bundle.manifest.training.fingerprint for bundle in recipes}) == 3
    assert recipes[0].model == fit(part).model
    assert fit(part).manifest.training.first.startswith("2026-01-20")
    with pytest.raises(UserError, match="no transactions in that time"):
        data.between(time_bound("2030-01-01", "--from"), None)


def test_cells_of_a_file_are_read_by_their_format_as_the_scorer_reads_them(tmp_path: Path) -> None:
    """A model that was trained on cents would decide on euros."""
    rows = [
        {
            "transaction_id": f"t{i}", "occurred_at": f"2026-01-{1 + i // 24:02}T{i % 24:02}:00:00Z", "card_id": "c",
            "merchant_id": "m", "currency": "EUR", "amount": 10.25 * i, "is_fraud": int(i % 9 == 0),
        }
        for i in range(100)
    ]  # fmt: skip
    (tmp_path / "euros.jsonl").write_text("\n".join(map(json.dumps, rows)))
    cents = [row | {"amount": round(row["amount"] * 100)} for row in rows]
    (tmp_path / "cents.jsonl").write_text("\n".join(map(json.dumps, cents)))
    mapping = FieldNames.model_validate({"formats": {"amount": {"kind": "minor_units"}}})
    reading = Reading(mapping=mapping)
    euros = a_history(tmp_path / "euros.jsonl")
    read = read_history(read_transactions(tmp_path / "cents.jsonl", mapping), VIEW, reading, "cents")
    np.testing.assert_array_equal(read.matrix, euros.matrix)


@pytest.mark.parametrize("sign", ["refund", "credit"])
def test_a_model_learns_no_refunds_but_credits(tmp_path: Path, sign: str) -> None:
    rows = [
        {
            "transaction_id": f"t{i}", "occurred_at": f"2026-01-{1 + i // 24:02}T{i % 24:02}:00:00Z", "card_id": "c",
            "merchant_id": "m", "currency": "EUR", "amount": 10.25 * i, "is_fraud": int(i % 9 == 0),
        }
        for i in range(60)
    ]  # fmt: skip
    sales = tmp_path / "sales.jsonl"
    sales.write_text("\n".join(map(json.dumps, rows)))
    mixed = [
        row for one in rows for row in (one, one | {"transaction_id": one["transaction_id"] + "r", "amount": -5.0})
    ]
    (tmp_path / "mixed.jsonl").write_text("\n".join(map(json.dumps, mixed)))
    mapping = FieldNames.model_validate({"negative": sign})
    found = read_history(read_transactions(tmp_path / "mixed.jsonl", mapping), VIEW, Reading(mapping=mapping), "mixed")
    if sign == "credit":
        assert len(found.labels) == 120
        assert found.matrix[:, 0].min() == -5.0
        return
    alone = a_history(sales)
    np.testing.assert_array_equal(found.matrix, alone.matrix)
    assert found.ids == alone.ids
    assert found.labels.tolist() == alone.labels.tolist()
    (tmp_path / "only.jsonl").write_text("\n".join(map(json.dumps, mixed[1::2])))
    with pytest.raises(UserError, match="nothing but refunds"):
        read_history(read_transactions(tmp_path / "only.jsonl", mapping), VIEW, Reading(mapping=mapping), "only")


def test_what_is_learnt_from_is_copied_only_where_it_must_be(history: Path) -> None:
    data = a_history(history)
    times = data.occurred_ms
    since = rfc3339(str(np.datetime64(int(times[len(times) // 5]), "ms")) + "Z", "--from")
    for features, is_copy in ((data.view.names, False), (data.view.names[::-1], True), (data.view.names[1:], True)):
        for recipe in (Recipe(features=features), Recipe(features=features, since=since)):
            prepared = prepare(data, recipe, lambda text: None)
            rows = prepared.pieces.fit
            found = prepared.matrix(rows)
            assert np.shares_memory(found, data.matrix) != is_copy
            wanted = data.matrix[len(times) - len(prepared.labels) :][np.ix_(rows, prepared.columns)]
            np.testing.assert_array_equal(found, wanted)
            scattered = prepared.matrix(rows[::2])
            np.testing.assert_array_equal(scattered, wanted[::2])


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
    with pytest.raises(UserError, match="x: row 1: occurred_at: Field required; 1 of 1 transactions are refused"):
        read_history([chunk], VIEW, Reading(), "x")
