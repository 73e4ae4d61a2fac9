"""Exploration is off unless it is declared whole, and a declaration that does not fit is one line with its mend."""

from __future__ import annotations

from typing import Any

import pytest

from scorer.errors import SettingsError
from scorer.settings import ScorerSettings, load
from scorer.worker.exploration import exploration_of, say

WHOLE: dict[str, Any] = {
    "explore_probability": 0.05,
    "explore_budget": 1000,
    "explore_maximum": 100,
    "explore_partitions": 8,
    "explore_key": "0123456789abcdef",
}


def test_exploration_is_off_by_default() -> None:
    assert exploration_of(load(ScorerSettings)) is None


def test_the_budget_is_divided_over_the_partitions_and_rounded_down() -> None:
    found = exploration_of(load(ScorerSettings, **WHOLE | {"explore_budget": 1000, "explore_partitions": 7}))
    assert found is not None
    assert (found.probability, found.share, found.maximum, found.partitions) == (0.05, 14_285, 10_000, 7)
    assert 7 * found.share <= 100_000


def test_a_currency_without_minor_units_is_counted_in_whole_ones() -> None:
    found = exploration_of(load(ScorerSettings, **WHOLE, money={"currency": "JPY"}))
    assert found is not None
    assert (found.share, found.maximum) == (125, 100)


@pytest.mark.parametrize("name", sorted(WHOLE))
def test_half_a_declaration_names_what_is_missing(name: str) -> None:
    with pytest.raises(SettingsError, match=f"setting {name}: missing.*SCORER_{name.upper()}") as error:
        exploration_of(load(ScorerSettings, **{other: value for other, value in WHOLE.items() if other != name}))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"explore_probability": 0.0}, "explore_probability"),
        ({"explore_probability": 0.51}, "explore_probability"),
        ({"explore_probability": float("nan")}, "explore_probability"),
        ({"explore_budget": 0}, "explore_budget"),
        ({"explore_budget": float("inf")}, "explore_budget"),
        ({"explore_maximum": -1}, "explore_maximum"),
        ({"explore_maximum": 125.01}, "explore_maximum: 125.01 EUR, but explore_budget 1000 over 8 partitions is 125 "),
        ({"explore_maximum": 0.001}, "less than its smallest unit"),
        ({"explore_partitions": 0}, "explore_partitions"),
        ({"explore_key": "0123456789abcde"}, "explore_key"),
        ({"fence": "off"}, "setting fence"),
    ],
)
def test_a_declaration_that_does_not_fit_is_one_line(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingsError, match=told) as error:
        exploration_of(load(ScorerSettings, **WHOLE | changes))
    assert "\n" not in str(error.value)
    assert "0123456789abcde" not in str(error.value)


def test_a_maximum_of_a_whole_share_is_taken() -> None:
    found = exploration_of(load(ScorerSettings, **WHOLE | {"explore_maximum": 125}))
    assert found is not None
    assert found.maximum == found.share


def test_the_key_is_told_by_no_log_or_error() -> None:
    found = exploration_of(load(ScorerSettings, **WHOLE))
    assert found is not None
    assert "key" not in repr(found)


def said(caplog: pytest.LogCaptureFixture, partitions: int = 8, is_fencing: bool = True) -> list[str]:
    settings = load(ScorerSettings, **WHOLE)
    found = exploration_of(settings)
    assert found is not None
    caplog.clear()
    say(settings, found, partitions, is_fencing)
    return list(caplog.messages)


def test_the_start_says_the_budget_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    assert said(caplog) == [
        "exploration is on: of would-be blocks up to 100 EUR, 5 in 100 are released at random, within 1,000 EUR a day "
        "(UTC), 125 in each of 8 partitions"
    ]


def test_the_start_says_what_the_budget_does_not_hold_for(caplog: pytest.LogCaptureFixture) -> None:
    assert "only the first 8 are explored" in said(caplog, partitions=16)[1]
    assert "4 of 8 shares of the budget are never used" in said(caplog, partitions=4)[1]
    assert "this broker has no fence" in said(caplog, is_fencing=False)[1]
