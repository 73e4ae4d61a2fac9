"""Builds the record by which a scorer publishes its feature view and the reporting currency."""

from __future__ import annotations

from scorer.deployments.records import PublishedView
from scorer.deployments.slots import Deployments
from scorer.errors import CurrencyError
from scorer.pipeline.money import Currency
from scorer.pipeline.view import FeatureView


def published_view(view: FeatureView, currency: Currency, deployments: Deployments) -> PublishedView | None:
    """The record to publish for a scorer's feature view; None if the topic holds it already.

    currency: the scorer's reporting currency. Raises CurrencyError if decisions of this deployment are in another one,
    because sums would mix the two.
    """
    present = deployments.currency
    if present is not None and present != currency:
        raise CurrencyError(
            f"setting money: the reporting currency is {currency.code}, but this deployment's decisions are in "
            f"{present.code}; set money.currency to {present.code}, or start a new deployment with topics of its own"
        )
    names = view.names
    mine = PublishedView(names=names, definitions=view.definitions(names), currency=currency)
    return None if deployments.views.get(view.id) == mine else mine
