"""Features in Python: had by an entry point, checked before anything is decided, and never in the way of a decision."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from textwrap import dedent

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from harness.batches import MODEL, NOTHING, NOW, RULES, VIEW, a_value, incoming
from scorer.errors import SettingsError
from scorer.pipeline.batch import Settled
from scorer.pipeline.decode import decode
from scorer.pipeline.features import check_functions, history, states_of
from scorer.pipeline.function import Columns, Feature, Function
from scorer.pipeline.settle import settle
from scorer.pipeline.view import FeatureView

GOOD = """
    import numpy as np
    from scorer.pipeline.function import Feature

    def _cents(columns):
        return np.log1p(columns.features["amount"] * 100) * columns.features["card_count_1d"]

    cents = Feature("1", _cents)
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package that declares features; its module is whatever a test writes."""
    info = tmp_path / "shop_features-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shop-features\nVersion: 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def declare(package: Path, code: str, name: str = "cents", module: str = "") -> Function:
    module = module or f"shop_{abs(hash((str(package), code)))}"
    (package / f"{module}.py").write_text(dedent(code))
    entry = f"[scorer.features]\n{name} = {module}:{name}\n"
    (package / "shop_features-1.dist-info" / "entry_points.txt").write_text(entry)
    return Function(name=name, version="1")


def with_function(function: Function) -> FeatureView:
    return FeatureView(name="test", attributes=VIEW.attributes, functions=(function,))


def given_as(feature: Feature, name: str = "cents") -> Function:
    """A function whose entry point need not be looked for."""
    function = Function(name=name, version=feature.version)
    vars(function)["feature"] = feature
    return function


def settled(view: FeatureView, values: list[bytes | None], cuts: list[int]) -> list[Settled]:
    states, rules = states_of(view), replace(RULES, view=view)
    edges = [0, *sorted({c for c in cuts if 0 < c < len(values)}), len(values)]
    return [settle(incoming(values[a:b], a), states, NOTHING, MODEL, rules, NOW) for a, b in pairwise(edges)]


def features(made: list[Settled]) -> np.ndarray:
    return np.array(
        [orjson.loads(value or b"")["features"] for one in made for _, value in one.decisions], dtype=np.float64
    )


def test_a_function_of_an_installed_package_is_a_feature_and_history_has_the_same(package: Path) -> None:
    view = with_function(declare(package, GOOD))
    check_functions(view)
    values = [a_value(i) for i in range(50)]
    served = features(settled(view, values, [3, 20]))
    at = [served[:, view.names.index(name)] for name in ("amount", "card_count_1d", "cents")]
    assert at[2].tobytes() == (np.log1p(at[0] * 100) * at[1]).tobytes()
    assert history(view, decode(values, RULES.reading).events).tobytes() == served.tobytes()


def test_name_and_version_are_part_of_the_view_and_of_nothing_without() -> None:
    one, two = (with_function(Function(name="cents", version=version)) for version in ("1", "2"))
    assert one.names == (*VIEW.names, "cents")
    assert len({VIEW.id, one.id, two.id}) == 3
    assert one.definitions(("cents",)) == {"cents": {"kind": "function", "version": "1"}}
    assert Function.model_validate({"name": "cents", "version": 1}) == Function(name="cents", version="1")
    with pytest.raises(ValidationError, match="country is declared twice"):
        with_function(Function(name="country", version="1"))


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise SystemError('two\\nlines')", "SystemError: two lines"),
        ("raise SystemExit(0)", "SystemExit: 0"),
        ("other = 1", "cannot be imported .AttributeError"),
        ("cents = print", "is no scorer.pipeline.function.Feature"),
        (GOOD.replace('"1"', '"2"'), "declares version 1, and 2 is installed"),
        (GOOD.replace("np.log1p", "1 / 0 + np.log1p"), "ZeroDivisionError: division by zero"),
        (GOOD.replace('"amount"', '"amounts"'), "KeyError: 'amounts'"),
        (GOOD.replace("return np", "return 1.0 or np"), r"returns a float, expected float64 \(24,\)"),
        (GOOD.replace("return np", "return columns.occurred_ms or np"), "ValueError"),
        (GOOD.replace("return", "return 1 +").replace("* col", "> col"), r"returns bool \(24,\)"),
        (GOOD.replace("return np", 'return columns.features["amount"][1:] + 0 * np'), r"could not be broadcast"),
        (GOOD.replace("return ", "return columns.features['amount'].mean() + "), "depends on the others of its batch"),
        (GOOD.replace("return ", "return np.random.random() + "), "depends on the others of its batch"),
        (GOOD.replace("return ", "columns.features['amount'][0] = 1; return "), "read-only"),
    ],
)
def test_a_function_that_cannot_be_used_is_one_line_before_anything_is_decided(
    package: Path, code: str, says: str
) -> None:
    view = with_function(declare(package, code))
    with pytest.raises(SettingsError, match=says) as error:
        check_functions(view)
    assert str(error.value).startswith("feature cents: ")
    assert "\n" not in str(error.value)


def test_a_function_that_no_package_declares_is_named() -> None:
    with pytest.raises(SettingsError, match="feature nowhere: no package here declares it"):
        check_functions(with_function(Function(name="nowhere", version="1")))


def fails_on(amounts: set[float]) -> Feature:
    """Raises if any transaction has one of these amounts, whoever else is in the batch."""

    def compute(columns: Columns) -> np.ndarray:
        if amounts & set(columns.features["amount"].tolist()):
            raise ValueError("no such amount")
        return np.asarray(columns.features["amount"] * 2)

    return Feature("1", compute)


@settings(max_examples=60, deadline=None)
@given(st.sets(st.integers(0, 29)), st.lists(st.integers(1, 29), max_size=4))
def test_where_it_raises_that_transaction_alone_lacks_it_however_batches_are_cut(
    bad: set[int], cuts: list[int]
) -> None:
    view = with_function(given_as(fails_on({i + 0.25 for i in bad})))
    made = settled(view, [a_value(i) for i in range(30)], cuts)
    column = features(made)[:, -1]
    assert np.flatnonzero(np.isnan(column)).tolist() == sorted(bad)
    assert column[~np.isnan(column)].tolist() == [2 * (i + 0.25) for i in range(30) if i not in bad]
    assert Counter(name for one in made for name in one.failed) == ({"cents": len(bad)} if bad else {})


@pytest.mark.parametrize(
    "returned", [None, [1.0], np.zeros(3, dtype=np.float32), np.zeros((2, 2)), np.array(["a"], dtype=object)]
)
def test_whatever_else_it_returns_is_missing_and_counted_and_the_decision_is_made(returned: object) -> None:
    view = with_function(given_as(Feature("1", lambda columns: returned)))
    made = settled(view, [a_value(i) for i in range(5)], [])
    assert np.isnan(features(made)[:, -1]).all()
    assert made[0].failed == ["cents"] * 5


def test_what_is_not_finite_is_missing() -> None:
    view = with_function(given_as(Feature("1", lambda columns: 1 / (columns.features["amount"] - 0.25))))
    column = features(settled(view, [a_value(i) for i in range(3)], []))[:, -1]
    assert np.isnan(column).tolist() == [True, False, False]


def test_it_can_change_nothing_of_the_batch() -> None:
    def spoil(columns: Columns) -> np.ndarray:
        columns.features["amount"][:] = 0.0
        return np.zeros(len(columns))

    view = with_function(given_as(Feature("1", spoil)))
    found = features(settled(view, [a_value(3)], []))
    assert found[0, 0] == 3.25
    assert np.isnan(found[0, -1])
