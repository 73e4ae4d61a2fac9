"""`shadow levels` on an archive of releases that a program of the test wrote: the command itself, and odd values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
from click.testing import CliRunner

from harness.bundles import BUNDLE, VIEW
from scorer.bundles.store import BundleStore
from scorer.pipeline.money import Currency
from shadow.archive.rows import KINDS
from shadow.archive.tables import Archive, Chunk
from shadow.cli import cli

TABLES = {kind.table: kind for kind in KINDS}
NAMES = ("age", "amount", "card_count_1h")
AS_OF = "2026-06-01"
CRITERIA = "schema: 1\nsegments:\n  country: {field: country, values: [DE]}\n"


def write(folder: Path, name: str, columns: dict[str, list[Any]], n: int) -> None:
    """Append rows by their columns; whatever a table has besides is null."""
    kind = TABLES[name]
    made = {"partition": [0] * n, "offset": list(range(n)), "appended_at": [datetime(2026, 1, 1, tzinfo=UTC)] * n}
    made |= columns
    cells = [pa.array(made.get(field.name, [None] * n), field.type) for field in kind.schema]
    rows = pa.Table.from_arrays(cells, schema=kind.schema)
    Archive(str(folder), {}).table(kind, name).append([Chunk(0, 0, n, rows)])


@dataclass
class Written:
    """An archive, and what is true of it."""

    env: dict[str, str]
    digest: str
    live_blocks: np.ndarray
    is_fraud: np.ndarray
    minor: np.ndarray
    probability: np.ndarray
    is_released: np.ndarray
    candidate_blocks: np.ndarray

    def told(self, *argv: str) -> str:
        asked = ["levels", "--bundle", self.digest, "--threshold", "0.5", "--as-of", AS_OF, *argv]
        result = CliRunner().invoke(cli, asked, env={**self.env, "COLUMNS": "80"}, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    def json(self, *argv: str) -> dict[str, Any]:
        found: dict[str, Any] = orjson.loads(self.told("--json", *argv))
        return found


def written(folder: Path, n: int = 6000, seed: int = 1, odd: dict[int, float] | None = None) -> Written:
    """Thirty days of an exploring live model. odd: probabilities to record instead, by place."""
    rng = np.random.default_rng(seed)
    card, day = rng.integers(0, n // 2, n), np.sort(rng.integers(0, 30, n))
    score, age = rng.random(n).round(4), rng.normal(0, 1, n)
    is_fraud = rng.random(n) < np.clip(score + 0.1 * age, 0, 1) ** 2
    minor = rng.integers(100, 30_000, n)
    live_blocks = score >= 0.5
    is_drawn = live_blocks & (minor <= 20_000)
    probability = np.where(is_drawn, np.where(day < 15, 0.1, 0.4), 1.0)
    is_released = is_drawn & (rng.random(n) < probability)
    for at, value in (odd or {}).items():
        probability[at] = value
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    at = [begin + timedelta(days=int(one), seconds=place) for place, one in enumerate(day)]
    ids = [f"t{place}" for place in range(n)]
    write(folder / "archive", "decisions", {
        "day": [one.date() for one in at], "source_offset": list(range(n)), "transaction_id": ids,
        "card_id": [f"card-{one}" for one in card], "occurred_at": at, "scored_at": at,
        "amount": (minor / 100).tolist(),
        "others": ['{"country": "DE"}' if one % 3 else '{"country": "FR"}' for one in range(n)],
        "decision": ["block" if blocked else "allow" for blocked in live_blocks & ~is_released],
        "score": score.tolist(), "threshold": [0.5] * n, "bundle": ["b" * 64] * n, "epoch": [1] * n,
        "view": [VIEW.id] * n, "release_probability": probability.tolist(),
        "features": [[one, 0.0, 0.0] for one in age.tolist()], "amount_minor": minor.tolist(),
        "repeat": [False] * n, "refund": [False] * n,
    }, n)  # fmt: skip
    back = np.flatnonzero(is_fraud & (~live_blocks | is_released))  # only what went through is charged back
    write(folder / "archive", "labels", {
        "day": [datetime(2026, 3, 1, tzinfo=UTC).date()] * len(back), "transaction_id": [ids[one] for one in back],
        "source": ["chargeback"] * len(back), "verdict": ["fraud"] * len(back), "by": ["acquirer"] * len(back),
        "at": [at[one] + timedelta(days=20) for one in back],
        "appended_at": [at[one] + timedelta(days=20) for one in back],
    }, len(back))  # fmt: skip
    view = {
        "names": NAMES,
        "definitions": VIEW.definitions(NAMES),
        "currency": Currency(code="EUR", digits=2).model_dump(),
    }
    write(folder / "archive", "deployments", {
        "day": [begin.date()], "key": [f"view/{VIEW.id}"], "body": [orjson.dumps(view).decode()],
    }, 1)  # fmt: skip
    (folder / "release.yaml").write_text(CRITERIA)
    digest = BundleStore(str(folder / "bundles"), folder / "cache").put(BUNDLE)
    env = {
        "SHADOW_ARCHIVE": str(folder / "archive"),
        "SHADOW_STORE": str(folder / "bundles"),
        "SHADOW_CACHE": str(folder / "cache"),
        "SHADOW_RELEASE": str(folder / "release.yaml"),
    }
    candidate = BUNDLE.score(np.stack([age, np.zeros(n), np.zeros(n)], axis=1)) >= 0.5
    return Written(env, digest, live_blocks, is_fraud, minor, probability, is_released, candidate)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Written:
    return written(tmp_path_factory.mktemp("plain"))


def test_the_command_estimates_from_an_archive_that_another_program_wrote(plain: Written) -> None:
    archive = plain
    found = archive.json("--false-block-cost", "7", "--recovered", "0.2")
    (whole,) = [one for one in found["segments"] if one["segment"] == "all"]
    live, drawn = archive.live_blocks, archive.probability < 1
    heard = archive.is_released
    assert whole["live"]["blocks"] == live.sum(), "a released one is a block of live"
    explored = whole["live"]["exploration"]
    assert (explored["drawn"], explored["released"]) == (drawn.sum(), heard.sum())
    assert explored["share_of_blocks"] == pytest.approx(drawn.sum() / live.sum())
    assert explored["share_of_amount"] == pytest.approx(archive.minor[drawn].sum() / archive.minor[live].sum())
    weights = 1 / archive.probability[heard]
    precision = whole["live"]["precision"]
    assert precision["value"] is None
    assert precision["estimate"]["value"] == pytest.approx((weights * archive.is_fraud[heard]).sum() / weights.sum())
    alone = live & ~archive.candidate_blocks
    beside = archive.candidate_blocks & ~live
    assert (whole["live_only"]["blocks"], whole["candidate_only"]["blocks"]) == (alone.sum(), beside.sum())
    assert whole["live_only"]["amount"] == pytest.approx(archive.minor[alone].sum() / 100)
    held = {
        ("live", "precision"): archive.is_fraud[live].mean(),
        ("live", "recall"): archive.is_fraud[live].sum() / archive.is_fraud.sum(),
        ("live_only", "fraud"): archive.is_fraud[alone].mean(),
        ("live_only", "honest"): (~archive.is_fraud[alone]).sum(),
        ("live_only", "fraud_amount"): archive.minor[alone & archive.is_fraud].sum() / 100,
    }
    for (part, name), truth in held.items():
        figure = whole[part][name]
        assert figure["worst"] <= figure["low"] <= truth <= figure["high"] <= figure["best"], name
        assert figure["high"] - figure["low"] < 0.8 * (figure["best"] - figure["worst"]), name
    known = whole["candidate_only"]
    assert known["fraud"]["value"] == pytest.approx(archive.is_fraud[beside].mean())
    assert known["honest"]["low"] == known["honest"]["high"] == (~archive.is_fraud[beside]).sum()
    assert {point["basis"] for point in found["curve"]["live"]} >= {"estimate and ends", "known"}
    assert found["estimate"]["odd_probabilities"] == 0


def test_the_text_fits_80_columns_and_says_what_is_estimated(plain: Written, tmp_path: Path) -> None:
    text = plain.told("--false-block-cost", "7")
    assert max(map(len, text.splitlines())) <= 80
    for part in ("of the drawn", "live alone", "were released at random", "estimated ±", "worth"):
        assert part in " ".join(text.split()), part
    assert "too few" not in text
    thin = written(tmp_path / "thin", n=150).told()
    assert max(map(len, thin.splitlines())) <= 80
    assert "too few released to say: " in thin
    assert "of the drawn" not in thin.split("Drawn:")[0]


@pytest.mark.parametrize("odd", [0.0, -0.5, float("nan"), 1.5, float("inf"), 1e-300, 5e-324])
def test_a_probability_that_cannot_be_weighs_nothing_and_is_told(plain: Written, tmp_path: Path, odd: float) -> None:
    among = [int(np.flatnonzero(plain.is_released)[3]), int(np.flatnonzero(plain.live_blocks & ~plain.is_released)[3])]
    archive = written(tmp_path / "odd", odd=dict.fromkeys(among, odd))
    told = archive.json()
    (whole,) = [one for one in told["segments"] if one["segment"] == "all"]
    assert told["estimate"]["odd_probabilities"] == (0 if 0 < odd < 1 else 2)
    assert whole["live"]["blocks"] == archive.live_blocks.sum(), "what was released is still a would-be block"
    used = archive.is_released.copy()
    used[among] = False
    weights = 1 / plain.probability[used]
    expected = (weights * archive.is_fraud[used]).sum() / weights.sum()
    assert whole["live"]["precision"]["estimate"]["value"] == pytest.approx(expected)
    truth = archive.is_fraud[archive.live_blocks].mean()
    assert whole["live"]["precision"]["worst"] <= truth <= whole["live"]["precision"]["best"]
    if not 0 < odd < 1:
        assert "Release probabilities that cannot be: 2" in archive.told()


def test_an_allowance_below_the_threshold_is_no_release_whatever_its_probability(
    plain: Written, tmp_path: Path
) -> None:
    allowed = int(np.flatnonzero(~plain.live_blocks)[0])
    (before, after) = (
        next(iter(one.json()["segments"])) for one in (plain, written(tmp_path / "odd", odd={allowed: 0.5}))
    )
    assert before == after


def test_a_released_one_whose_label_came_before_its_decision_still_counts_once(tmp_path: Path) -> None:
    archive = written(tmp_path)
    before = next(iter(archive.json()["segments"]))["live"]["precision"]["estimate"]
    honest = int(np.flatnonzero(archive.is_released & ~archive.is_fraud)[0])
    rows = {"transaction_id": [f"t{honest}"] * 2, "source": ["chargeback", "review"], "verdict": ["fraud", "fraud"],
            "by": ["acquirer", "ann"], "day": [datetime(2025, 12, 1, tzinfo=UTC).date()] * 2,
            "at": [datetime(2025, 12, 1, tzinfo=UTC)] * 2, "appended_at": [datetime(2025, 12, 1, tzinfo=UTC)] * 2,
            "offset": [10_000, 10_001]}  # fmt: skip
    kind = TABLES["labels"]
    cells = [pa.array(({"partition": [0, 0]} | rows).get(field.name, [None] * 2), field.type) for field in kind.schema]
    place = Archive(str(tmp_path / "archive"), {}).table(kind, "labels")
    place.append([Chunk(0, 10_000, 10_002, pa.Table.from_arrays(cells, schema=kind.schema))])
    after = next(iter(archive.json()["segments"]))["live"]["precision"]["estimate"]
    weights = 1 / archive.probability[archive.is_released]
    one = 1 / archive.probability[honest]
    assert after["value"] - before["value"] == pytest.approx(one / weights.sum())
