"""Money is exact in minor units, at the rate of its day."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from scorer.pipeline.money import Money


def test_minor_units_follow_the_currency() -> None:
    amounts = np.array([12.345, 0.005])
    assert Money(currency="JPY", rates={}).minor(amounts).tolist() == [12, 0]
    assert Money(currency="KWD", rates={}).minor(amounts).tolist() == [12345, 5]


def test_rates_refuse_nonsense() -> None:
    with pytest.raises(ValidationError, match="three capitals"):
        Money(currency="euro", rates={})
    with pytest.raises(ValidationError, match="above 0"):
        Money(currency="EUR", rates={"USD": {date(2026, 1, 1): 0.0}})


DAY_MS = 86_400_000


RATES = {"USD": {"2026-01-01": 0.5, "2026-02-01": 0.8}}


@given(st.lists(st.tuples(st.sampled_from(["EUR", "USD", "GBP"]), st.integers(20_000, 21_000)), max_size=20))
def test_a_rate_is_that_of_the_latest_day_not_after_the_transactions(rows: list[tuple[str, int]]) -> None:
    money = Money.model_validate({"currency": "EUR", "rates": RATES})
    epoch = date(1970, 1, 1).toordinal()
    first, second = date(2026, 1, 1).toordinal() - epoch, date(2026, 2, 1).toordinal() - epoch
    found = money.rates_for([row[0] for row in rows], np.array([row[1] * DAY_MS + 5 for row in rows], dtype=np.int64))
    for (currency, day), rate in zip(rows, found.tolist(), strict=True):
        wanted = {"EUR": 1.0, "GBP": None, "USD": 0.8 if day >= second else 0.5 if day >= first else None}[currency]
        assert np.isnan(rate) if wanted is None else rate == wanted


@given(st.lists(st.decimals(0, 10**9, places=2), max_size=20))
def test_minor_units_of_whole_cents_are_exact(amounts: list[Any]) -> None:
    found = Money().minor(np.array([float(amount) for amount in amounts], dtype=np.float64))
    assert found.tolist() == [int(amount * 100) for amount in amounts]


def test_currencies_without_cents_have_none() -> None:
    assert Money(currency="JPY").minor(np.array([7.0])).tolist() == [7]
    assert Money(currency="KWD").minor(np.array([7.0])).tolist() == [7000]


@pytest.mark.parametrize("bad", [{"currency": "euro"}, {"rates": {"USD": {}}}, {"rates": {"USD": {"2026-01-01": 0}}}])
def test_money_that_makes_no_sense_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Money.model_validate(bad)
