"""`scorer bundle create` on models as they come: what fits gets a digest, what does not one line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import lightgbm
import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result

from harness.frames import VIEW, a_frame, trained
from scorer.bundles.bundle import Bundle
from scorer.cli.bundle import bundle
from scorer.errors import UserError

FRAME, LABELS = a_frame(600)
BOOSTER = trained(FRAME, LABELS)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    view = {
        "name": VIEW.name,
        "attributes": [a.model_dump(mode="json", exclude_defaults=True) for a in VIEW.attributes],
    }
    (tmp_path / "view.yaml").write_text(yaml.safe_dump(view))
    for name, place in (("VIEW", "view.yaml"), ("STORE", "store"), ("CACHE", "cache")):
        monkeypatch.setenv(f"SCORER_{name}", str(tmp_path / place))
    (tmp_path / "store").mkdir()
    return tmp_path


def create(folder: Path, model: bytes, *more: str) -> Result:
    path = folder / "model.any"
    path.write_bytes(model)
    return CliRunner().invoke(bundle, ["create", "--model", str(path), "--threshold", "0.5", *more])


def refused(folder: Path, model: bytes, *more: str) -> str:
    """What it says; nothing is stored."""
    result = create(folder, model, *more)
    assert isinstance(result.exception, UserError), result.output
    assert "\n" not in str(result.exception)
    assert list((folder / "store").iterdir()) == []
    return str(result.exception)


@pytest.mark.slow
def test_a_model_with_its_rows_and_calibration_is_stored_and_shown(folder: Path) -> None:
    FRAME.assign(score=BOOSTER.predict(FRAME)).to_csv(folder / "rows.csv", index=False)
    curve = {"kind": "platt", "slope": 1.5, "intercept": 0.0}
    (folder / "curve.json").write_text(json.dumps(curve))
    model = gzip.compress(BOOSTER.model_to_string().replace("\n", "\r\n").encode())
    made = create(folder, model, "--check", str(folder / "rows.csv"), "--calibration", str(folder / "curve.json"))
    assert made.exception is None, made.exception
    digest = made.output.strip()
    stored = Bundle.load(folder / "store" / digest, digest)
    assert stored.manifest.checked is not None
    assert stored.manifest.checked.rows == 600
    shown = CliRunner().invoke(bundle, ["show", digest]).output
    assert "scale       platt: slope 1.5" in shown
    assert "checked     600 rows" in shown


@pytest.mark.slow
def test_what_would_be_silently_wrong_is_refused_and_nothing_stored(folder: Path) -> None:
    model = BOOSTER.model_to_string().encode()
    order = "country,amount,mcc,cross_border,hour_of_day"
    assert "country is number 1 here" in refused(folder, model, "--features", order)
    words = lightgbm.LGBMClassifier(n_estimators=9, verbose=-1).fit(FRAME, np.where(LABELS, "fraud", "legit"))
    wrong = words.booster_.model_to_string().encode()
    assert "is hardly fraud" in refused(folder, wrong)
    FRAME.assign(score=BOOSTER.predict(FRAME)).to_csv(folder / "rows.csv", index=False)
    assert "600 of 600 rows differ" in refused(folder, wrong, "--common-class", "--check", str(folder / "rows.csv"))
    assert create(folder, wrong, "--common-class").exception is None


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--link", "tanh"), "--link tanh: expected sigmoid, or LOW:HIGH"),
        (("--link", "5:5"), "link"),
        (("--calibration", "/nowhere.json"), "No such file"),
        (("--link", "0:9", "--check", "/nowhere.csv"), "No such file"),
        (("--features", "amnt=amount"), "the model has no feature amnt"),
    ],
)
def test_an_option_that_makes_no_sense_is_told(folder: Path, more: tuple[str, ...], told: str) -> None:
    assert told in refused(
        folder, trained(FRAME, LABELS * 9.0, objective="regression").model_to_string().encode(), *more
    )
