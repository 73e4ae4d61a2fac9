"""Contributions of features explain the difference of two scores."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock, call

import lightgbm
import numpy as np
import pytest

from harness.samples import a_sample
from scorer.bundles.bundle import Bundle, create
from scorer.bundles.store import BundleStore
from scorer.deployments.records import PublishedView
from scorer.pipeline.view import Attribute, FeatureView
from shadow.settings import ShadowSettings
from shadow.worker.counting import Counting
from shadow.worker.explain import Explainer, differences
from shadow.worker.shadow import BEHIND_RECORDS, Shadow

VIEW = FeatureView(name="v", attributes=(Attribute(name="age", kind="number"),))


def a_bundle(features: tuple[str, ...], seed: int) -> Bundle:
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(500, len(features)))
    labels = (matrix[:, 0] + 0.3 * rng.normal(size=500) > 0).astype(int)
    fit = {"objective": "binary", "verbosity": -1, "num_leaves": 7}
    booster = lightgbm.train(fit, lightgbm.Dataset(matrix, labels), 10)
    return create(booster.model_to_string().encode(), features, VIEW, 0.5)


def a_view() -> PublishedView:
    return PublishedView(names=VIEW.names, definitions=VIEW.definitions(VIEW.names))


def test_contributions_add_up_to_the_difference_in_log_odds() -> None:
    live, candidate = a_bundle(("amount", "age"), 1), a_bundle(("age", "card_count_1h", "amount"), 2)
    row = np.random.default_rng(3).normal(size=len(VIEW.names))
    row[VIEW.names.index("card_count_1h")] = np.nan
    found = differences(live, candidate, a_view(), row)
    sizes = [abs(part.difference) for part in found]
    assert sizes == sorted(sizes, reverse=True)
    assert {part.feature for part in found} == {"amount", "age", "card_count_1h"}
    only = next(part for part in found if part.feature == "card_count_1h")
    assert (only.live, only.value) == (0.0, None)

    def log_odds(bundle: Bundle) -> float:
        score = float(bundle.score(row[[VIEW.names.index(name) for name in bundle.features]][None, :])[0])
        return float(np.log(score / (1 - score)))

    def base(bundle: Bundle) -> float:
        return float(bundle.contributions(np.zeros((1, len(bundle.features))))[0, -1])

    total = sum(part.difference for part in found) + base(candidate) - base(live)
    assert total == pytest.approx(log_odds(candidate) - log_odds(live))


def test_without_its_bundle_or_view_an_explanation_is_empty(tmp_path: Path) -> None:
    store = BundleStore(str(tmp_path / "store"), tmp_path / "cache")
    live = a_bundle(("amount",), 1)
    store.put(live)
    explainer = Explainer(store)
    sample = a_sample(bundles=(live.digest, "0" * 64), features=[0.0] * len(VIEW.names))
    assert explainer.why(sample) == []
    explainer.views = {"v": a_view()}
    assert explainer.why(sample) == []
    sample = a_sample(bundles=(live.digest, live.digest), features=[0.0] * len(VIEW.names))
    assert [part.difference for part in explainer.why(sample)] == [0.0]


@pytest.mark.anyio
@pytest.mark.parametrize(("lag", "most"), [(0, 50), (BEHIND_RECORDS, 50), (BEHIND_RECORDS + 1, 1)])
async def test_a_shadow_that_is_behind_explains_next_to_nothing(lag: int, most: int) -> None:
    shadow, counting = Shadow.__new__(Shadow), Counting("candidate", ("all",))
    counting._lag[0] = lag
    explain = AsyncMock()
    shadow.settings, shadow._explainer = ShadowSettings(), SimpleNamespace(explain_some=explain)  # type: ignore[assignment]
    one: Any = SimpleNamespace(
        slot="candidate", store=None, partitions=SimpleNamespace(owned={0: None}), counting=counting
    )
    await shadow._explain_some(one)
    assert explain.await_args_list == [call(None, [0], most)]
