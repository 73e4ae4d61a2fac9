"""A model's text is read for what it says, and whatever is no such text is named for what it is."""

from __future__ import annotations

import gzip
import io
import json
import pickle

import lightgbm
import numpy as np
import pytest

from harness.frames import FEATURES, VIEW, a_frame, snapshot, trained
from scorer.bundles import model_text
from scorer.bundles.answers import COMMON, mean_score
from scorer.bundles.bundle import create
from scorer.errors import BundleError

FRAME, LABELS = a_frame()
BOOSTER = trained(FRAME, LABELS)
TEXT = BOOSTER.model_to_string().encode()


@pytest.mark.parametrize(
    "content",
    [
        TEXT.replace(b"\n", b"\r\n"),
        b"\xef\xbb\xbf" + TEXT,
        TEXT.decode().encode("utf-16"),
        gzip.compress(TEXT),
        gzip.compress(TEXT[:500]) + gzip.compress(TEXT[500:]),
        gzip.compress(b"\xef\xbb\xbf" + TEXT.replace(b"\n", b"\r\n")),
    ],
    ids=["CRLF", "BOM", "UTF-16", "gzip", "gzip in two members", "all three"],
)
def test_however_the_text_is_written_it_is_the_same_model(content: bytes) -> None:
    assert model_text.plain(content) == TEXT


def _pickled() -> bytes:
    return pickle.dumps({"model": BOOSTER.model_to_string()})


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (_pickled(), "a pickle"),
        (b"\x78\x9c" + b"x" * 50, "joblib"),
        (b"CBM1" + b"\0" * 50, "CatBoost"),
        (b"{L\x00\x00\x00\x00", "XGBoost"),
        (b'{"learner":{"attributes":{}}}', "XGBoost"),
        (json.dumps(BOOSTER.dump_model()).encode(), "JSON dump"),
        (b"PK\x03\x04....", "zip archive"),
        (b"<?xml version='1.0'?><PMML>", "PMML"),
        (b"", "empty"),
        (b"hello", "not a LightGBM text model"),
        (b"xgb", "not a LightGBM text model"),
        (TEXT.replace(b"pandas_categorical:", b"pandas_categorical:" + b"[" * 100_000), "pandas_categorical: not JSON"),
        (gzip.compress(TEXT)[:-100], "cut off"),
        (b"\x1f\x8b" + b"nonsense" * 9, "damaged gzip"),
        (b"\xff\xfet", "UTF-16"),
        (TEXT.replace(b"FR", b"\xff\xff"), "UTF-8"),
    ],
)
def test_what_is_no_model_text_is_told_by_its_real_reason(content: bytes, told: str) -> None:
    with pytest.raises(BundleError, match=told) as error:
        model_text.read(model_text.plain(content))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("share", [0.02, 0.2, 0.5, 0.9, 0.97])
def test_a_text_that_was_cut_off_is_refused_before_lightgbm_sees_it(share: float) -> None:
    end = TEXT.index(b"end of trees")
    with pytest.raises(BundleError, match=r"cut off|missing|expected"):
        model_text.read(TEXT[: int(end * share)])


def test_an_edited_tree_is_refused() -> None:
    assert TEXT.count(b"\nshrinkage=0.1\n") > 5
    with pytest.raises(BundleError, match="tree 2 is not where tree_sizes says"):
        model_text.read(TEXT.replace(b"\nshrinkage=0.1\n", b"\nshrinkage=0.15\n", 1))
    with pytest.raises(BundleError, match="20 trees, expected 21"):
        model_text.read(TEXT.replace(b"\ntree_sizes=", b"\ntree_sizes=12 "))


def test_every_text_of_lightgbm_is_read_and_scores_bit_for_bit() -> None:
    matrix = snapshot(FRAME)
    for more in (
        {"boosting": "dart"},
        {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5},
        {"linear_tree": True},
        {"objective": "cross_entropy"},
        {"is_unbalance": True},
        {"min_data_in_leaf": 5000},
        {"data_sample_strategy": "goss"},
    ):
        booster = trained(FRAME, LABELS, **more)
        made = create(booster.model_to_string().encode(), FEATURES, VIEW, 0.5)
        assert made.score(matrix).tolist() == booster.predict(FRAME).tolist(), more
        assert made.text.is_linear == ("linear_tree" in more)
        assert made.text.is_averaged == (more.get("boosting") == "rf")
    best = BOOSTER.model_to_string(num_iteration=7)
    made = create(best.encode(), FEATURES, VIEW, 0.5)
    assert made.score(matrix).tolist() == BOOSTER.predict(FRAME, num_iteration=7).tolist()
    with pytest.raises(BundleError, match="linear trees have no contributions"):
        create(trained(FRAME, LABELS, linear_tree=True).model_to_string().encode(), FEATURES, VIEW, 0.5).contributions(
            matrix
        )


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"objective": "multiclass", "num_class": 3}, "answers with 3 numbers a row"),
        ({"objective": "multiclassova", "num_class": 2}, "answers with 2 numbers a row"),
        ({"objective": "regression"}, "objective regression: its answers are not probabilities"),
        ({"objective": "poisson"}, "objective poisson: its answers"),
        ({"objective": "cross_entropy_lambda"}, "cross_entropy_lambda: its answers"),
    ],
)
def test_other_objectives_are_named_with_the_mend(more: dict[str, object], told: str) -> None:
    text = trained(FRAME, LABELS, **more).model_to_string().encode()
    with pytest.raises(BundleError, match=told) as error:
        create(text, FEATURES, VIEW, 0.5)
    assert "train with objective binary" in str(error.value)


def test_a_model_that_ranks_is_refused_whatever_is_declared() -> None:
    data = lightgbm.Dataset(FRAME, LABELS, group=[100] * 20)
    text = lightgbm.train({"objective": "lambdarank", "verbosity": -1}, data, 3).model_to_string().encode()
    with pytest.raises(BundleError, match="lambdarank: ranks"):
        create(text, FEATURES, VIEW, 0.5, link={"kind": "sigmoid"})


def test_the_class_that_a_classifier_on_words_finds_is_seen_in_its_mean_score() -> None:
    """`legit` comes after `fraud`, so it is what the classifier's probability is of."""
    words = np.where(LABELS == 1, "fraud", "legit")
    model = lightgbm.LGBMClassifier(n_estimators=20, verbose=-1).fit(FRAME, words)
    wrong = create(model.booster_.model_to_string().encode(), FEATURES, VIEW, 0.5)
    right = create(TEXT, FEATURES, VIEW, 0.5)
    for made, share in ((wrong, 1 - LABELS.mean()), (right, LABELS.mean())):
        mean = mean_score(made.text, made.manifest.link)
        assert mean is not None
        assert (mean > COMMON) == (made is wrong)
        assert mean == pytest.approx(float(made.score(snapshot(FRAME)).mean()), abs=0.15)
        assert mean == pytest.approx(share, abs=0.15)


def test_a_compressed_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_text, "MOST_BYTES", 1 << 20)
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb") as file:
        file.write(b"tree\n" + b"\0" * (8 << 20))
    with pytest.raises(BundleError, match="more than 1 MiB unpacked"):
        model_text.plain(packed.getvalue())
