"""One deployment has one reporting currency: a scorer that would mix in another does not start."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from scorer.deployments.records import PublishedView, encode
from scorer.deployments.slots import Deployments
from scorer.deployments.views import published_view
from scorer.errors import CurrencyError
from scorer.pipeline.money import Currency, Money
from scorer.pipeline.view import Attribute, FeatureView

VIEW = FeatureView(name="v1")
OTHER = FeatureView(name="v2", attributes=(Attribute(name="age", kind="number"),))
EUR, JPY = (Money(currency=code).reporting for code in ("EUR", "JPY"))


def a_topic(**views: dict[str, Any]) -> Deployments:
    deployments = Deployments()
    for name, body in views.items():
        deployments.fold(f"view/{name}".encode(), orjson.dumps({"schema": 1, **body}))
    return deployments


def test_a_view_that_is_not_on_the_topic_is_published_with_its_currency_and_read_back() -> None:
    deployments = Deployments()
    record = published_view(VIEW, JPY, deployments)
    assert record is not None
    deployments.fold(f"view/{VIEW.id}".encode(), encode(record))
    assert deployments.currency == Currency(code="JPY", digits=0)
    assert deployments.minor_per_unit == 1.0
    assert published_view(VIEW, JPY, deployments) is None, "once is enough"
    assert published_view(OTHER, JPY, deployments) is not None


def test_a_record_without_a_currency_is_published_anew() -> None:
    before = {"names": list(VIEW.names), "definitions": VIEW.definitions(VIEW.names)}
    deployments = a_topic(**{VIEW.id: before})
    assert deployments.currency is None
    record = published_view(VIEW, EUR, deployments)
    assert record is not None
    assert record.currency == EUR


@pytest.mark.parametrize("view", [VIEW, OTHER])
def test_another_currency_is_refused_whatever_the_view(view: FeatureView) -> None:
    deployments = Deployments()
    deployments.fold(f"view/{VIEW.id}".encode(), encode(published_view(VIEW, EUR, deployments) or VIEW))
    with pytest.raises(CurrencyError, match=r"currency is JPY, but this deployment's decisions are in EUR"):
        published_view(view, JPY, deployments)


def test_views_that_contradict_each_other_are_named() -> None:
    euros = {"names": ["amount"], "definitions": {}, "currency": {"code": "EUR", "digits": 2}}
    deployments = a_topic(v1=euros, v2=euros | {"currency": {"code": "JPY", "digits": 0}})
    with pytest.raises(CurrencyError, match=r"v1 in EUR with 2 decimal digits, v2 in JPY with 0 decimal digits"):
        _ = deployments.currency


@pytest.mark.parametrize("body", [[], {}, {"names": "amount"}, {"names": [], "definitions": {}, "currency": "EUR"}, 7])
def test_a_view_that_is_none_is_passed_over(body: Any) -> None:
    deployments = Deployments()
    deployments.fold(b"view/v1", orjson.dumps(body))
    deployments.fold(b"view/v1", b"not JSON")
    assert deployments.views == {}
    assert PublishedView(names=("a",), definitions={}).currency is None


@pytest.mark.parametrize("definitions", [[], {"a": 1}, {"a": None}, {"a": ["kind"]}, {"a": "category"}])
def test_a_view_of_another_shape_is_passed_over(definitions: Any) -> None:
    true = {"names": list(VIEW.names), "definitions": VIEW.definitions(VIEW.names)}
    deployments = a_topic(**{VIEW.id: true})
    deployments.fold(
        f"view/{VIEW.id}".encode(), orjson.dumps({"schema": 1, "names": ["a"], "definitions": definitions})
    )
    assert deployments.views[VIEW.id].names == VIEW.names
    assert deployments.foreign == 1
