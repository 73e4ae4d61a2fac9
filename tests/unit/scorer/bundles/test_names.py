"""A model from elsewhere scores as it did where it was trained: names, their order, categories."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from harness.frames import FEATURES, VIEW, a_frame, snapshot, trained
from scorer.bundles import model_text
from scorer.bundles.bundle import Bundle, create
from scorer.bundles.names import feature_names
from scorer.errors import BundleError
from scorer.pipeline.view import Attribute, FeatureView

FRAME, LABELS = a_frame()
BOOSTER = trained(FRAME, LABELS)
TEXT = BOOSTER.model_to_string().encode()


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return create(TEXT, FEATURES, VIEW, 0.5)


def test_categories_of_pandas_score_as_lightgbm_scores_the_data_frame(bundle: Bundle) -> None:
    fresh, _ = a_frame(3000, seed=9)
    assert bundle.score(snapshot(fresh)).tolist() == BOOSTER.predict(fresh).tolist()
    alone = [bundle.score(row[None, :])[0] for row in snapshot(fresh)[:50]]
    assert alone == BOOSTER.predict(fresh)[:50].tolist()
    shares = BOOSTER.predict(fresh, pred_contrib=True)
    assert bundle.contributions(snapshot(fresh)).tolist() == shares.tolist()


def test_without_translation_most_scores_would_differ(bundle: Bundle) -> None:
    """So the test above can fail."""
    codes = snapshot(FRAME)
    assert (BOOSTER.predict(codes) != BOOSTER.predict(FRAME)).mean() > 0.5


def test_a_value_that_the_model_never_saw_is_missing_to_it(bundle: Bundle) -> None:
    wider = FeatureView(
        name="v",
        attributes=(
            Attribute(name="country", kind="category", values=("AT", "DE", "ES", "FR", "GB")),
            *VIEW.attributes[1:],
        ),
    )
    made = create(TEXT, FEATURES, wider, 0.5)
    frame = FRAME.head(5).copy()
    frame["country"] = pd.Categorical(["AT"] * 5)
    matrix = snapshot(FRAME.head(5))
    for code in (0, 5, np.nan):  # AT, a value that the view does not list, none
        matrix[:, 1] = code
        assert made.score(matrix).tolist() == BOOSTER.predict(frame).tolist()


def test_the_snapshot_itself_is_left_as_it_is(bundle: Bundle) -> None:
    matrix = snapshot(FRAME)
    before = matrix.copy()
    bundle.score(matrix)
    np.testing.assert_array_equal(matrix, before)


def test_a_value_that_the_view_lacks_is_named() -> None:
    narrow = FeatureView(
        name="v",
        attributes=(Attribute(name="country", kind="category", values=("DE", "ES")), *VIEW.attributes[1:]),
    )
    with pytest.raises(BundleError, match=r'country: .* add \["GB", "FR"\]'):
        create(TEXT, FEATURES, narrow, 0.5)


def test_categories_that_are_none_in_the_view_are_refused() -> None:
    numbers = FeatureView(
        name="v", attributes=(*VIEW.attributes[:1], Attribute(name="mcc", kind="number"), VIEW.attributes[2])
    )
    with pytest.raises(BundleError, match=r"2 columns of pandas categories, but 1 of its features \(country\)"):
        create(TEXT, FEATURES, numbers, 0.5)


def test_features_in_another_order_than_the_model_has_them_are_refused() -> None:
    with pytest.raises(BundleError, match="country is number 1 here, and number 2 in the model"):
        create(TEXT, ("country", "amount", *FEATURES[2:]), VIEW, 0.5)


def test_all_that_the_view_lacks_is_told_at_once_with_the_lines_to_add() -> None:
    with pytest.raises(BundleError) as told:
        create(TEXT, FEATURES, FeatureView(name="v"), 0.5)
    assert "country, mcc, cross_border are not in feature view" in str(told.value)
    assert '{name: country, kind: category, values: ["GB", "FR", "DE", "ES"]}' in str(told.value)
    assert '{name: mcc, kind: category, values: ["5812", "5411", "4121"]}' in str(told.value)
    assert "{name: cross_border, kind: number}" in str(told.value)
    assert "\n" not in str(told.value)


def test_a_name_that_is_there_twice_is_refused() -> None:
    with pytest.raises(BundleError, match="amount is there twice"):
        create(TEXT, ("amount", "country", "mcc", "cross_border", "amount"), VIEW, 0.5)


def test_pairs_rename_what_the_view_names_differently_in_any_order() -> None:
    renamed = FRAME.rename(columns={"amount": "Amt (EUR)".replace("(", "").replace(")", ""), "mcc": "merchant code"})
    booster = trained(renamed, LABELS)
    text = model_text.read(booster.model_to_string().encode())
    assert text.names[0] == "Amt_EUR", "LightGBM has no blanks in names"
    names = feature_names(text, ["merchant code=mcc", "Amt EUR=amount"])
    assert names == FEATURES
    assert (
        create(text.text.encode(), names, VIEW, 0.5).score(snapshot(FRAME)).tolist() == BOOSTER.predict(FRAME).tolist()
    )


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["amount=amount", "country"], "country is no MODEL=VIEW pair"),
        (["amnt=amount"], "the model has no feature amnt; it has amount, country"),
        (["amount=amount", "amount=hour_of_day"], "amount is there twice"),
    ],
)
def test_pairs_that_make_no_sense_are_refused(given: list[str], told: str) -> None:
    with pytest.raises(BundleError, match=told):
        feature_names(model_text.read(TEXT), given)


def test_columns_without_names_take_those_that_a_person_gives() -> None:
    matrix = snapshot(FRAME)
    booster = trained(matrix, LABELS)  # type: ignore[arg-type]
    text = booster.model_to_string().encode()
    assert not model_text.read(text).is_named
    made = create(text, FEATURES, VIEW, 0.5)
    assert made.score(matrix).tolist() == booster.predict(matrix).tolist()


def test_ordered_categories_of_pandas_are_translated_too() -> None:
    frame = FRAME.assign(country=FRAME.country.cat.as_ordered())
    booster = trained(frame, LABELS)
    assert booster.model_to_string() != BOOSTER.model_to_string(), "it is a number to LightGBM"
    made = create(booster.model_to_string().encode(), FEATURES, VIEW, 0.5)
    assert made.score(snapshot(frame)).tolist() == booster.predict(frame).tolist()
