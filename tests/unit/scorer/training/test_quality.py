"""Measures of a model equal scikit-learn's, and those that need both kinds of transactions say when one is missing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, recall_score, roc_auc_score

from scorer.training.quality import average_precision, measure, roc_auc

#: Few different scores, so that there are ties, and any.
scores = st.one_of(st.sampled_from([0.0, 0.1, 0.2, 0.5, 0.9, 1.0]), st.floats(0, 1))
labelled = st.lists(st.tuples(scores, st.integers(0, 1)), min_size=1, max_size=60).map(
    lambda rows: (np.array([score for score, _ in rows]), np.array([label for _, label in rows]))
)


@given(labelled)
def test_area_under_roc_is_that_of_scikit_learn(data: tuple[np.ndarray, np.ndarray]) -> None:
    values, labels = data
    found = roc_auc(values, labels)
    if len(set(labels.tolist())) < 2:
        assert found is None
    else:
        assert found == pytest.approx(roc_auc_score(labels, values))


@given(labelled)
def test_average_precision_is_that_of_scikit_learn(data: tuple[np.ndarray, np.ndarray]) -> None:
    values, labels = data
    found = average_precision(values, labels)
    if not labels.any():
        assert found is None
    else:
        assert found == pytest.approx(average_precision_score(labels, values))


@given(labelled)
def test_area_under_roc_is_the_chance_of_a_right_order(data: tuple[np.ndarray, np.ndarray]) -> None:
    values, labels = data
    frauds, others = values[labels == 1], values[labels == 0]
    if not frauds.size or not others.size:
        return
    wins = sum((f > o) + 0.5 * (f == o) for f in frauds for o in others)
    assert roc_auc(values, labels) == pytest.approx(wins / frauds.size / others.size)


@given(labelled)
def test_average_precision_sums_precision_over_recall(data: tuple[np.ndarray, np.ndarray]) -> None:
    values, labels = data
    frauds = int(labels.sum())
    if not frauds:
        return
    total, before = 0.0, 0
    for threshold in sorted(set(values.tolist()), reverse=True):
        hits = int(labels[values >= threshold].sum())
        total += (hits - before) / frauds * hits / int((values >= threshold).sum())
        before = hits
    assert average_precision(values, labels) == pytest.approx(total)


@given(labelled, scores)
def test_rates_at_a_threshold_are_those_of_what_it_blocks(
    data: tuple[np.ndarray, np.ndarray], threshold: float
) -> None:
    values, labels = data
    found = measure(values, labels, threshold)
    blocks = values >= threshold
    assert (found["transactions"], found["frauds"]) == (len(labels), labels.sum())
    assert found["block_rate"] == pytest.approx(blocks.sum() / len(labels))
    if labels.any():
        assert found["recall"] == pytest.approx(recall_score(labels, blocks))
    else:
        assert found["recall"] is None


def test_measures_of_a_model() -> None:
    found = measure(np.array([0.9, 0.5, 0.4, 0.1]), np.array([1, 0, 1, 0]), 0.5)
    assert (found["block_rate"], found["recall"], found["frauds"]) == (0.5, 0.5, 2)
