"""Transactions as they are sent, good and bad."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from scorer.pipeline.money import Money
from scorer.pipeline.transaction import Reading
from scorer.pipeline.view import Attribute

ATTRIBUTES = (
    Attribute(name="country", kind="category", values=("DE", "FR")),
    Attribute(name="age", kind="number"),
    Attribute(name="recurring", kind="boolean"),
)


EUROS = Money.model_validate({"currency": "EUR", "rates": {"USD": {"2026-01-01": 0.5, "2026-02-01": 0.8}}})


READING = Reading(money=EUROS, attributes=ATTRIBUTES)
#: Accepts card numbers in some fields.
LENIENT = Reading(money=EUROS, attributes=ATTRIBUTES, card_number_fields=("transaction_id", "country", "note"))


def a_transaction(**changes: Any) -> dict[str, Any]:
    fields = {
        "transaction_id": "t1",
        "occurred_at": "2026-01-15T12:00:00Z",
        "card_id": "card-1",
        "merchant_id": "m1",
        "amount": 12.5,
        "currency": "EUR",
    } | changes
    return {name: value for name, value in fields.items() if value is not ...}


anything = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False),
    st.text(max_size=3),
    st.sampled_from(["4111111111111111", "2026-01-15T12:00:00+01:00", "2026-13-01T00:00:00Z", "USD", "GBP", "x" * 129]),
    st.lists(st.integers(-5, 5), max_size=1),
    st.sampled_from(
        [
            "5500 0000 0000 0004", "x_378282246310005/", "4111\u00a01111\u00a01111\u00a01111", "t 4111-1111-1111-1111",
            ["a", {"b": "4111.1111.1111.1111"}], {"4111111111111111": 1}, {"a": ["4111111111111112", "1767225600000"]},
            " x", "x ", "\u00a0x", "x\u3000", "\u200bx", "x\ufeff", "\tx", "a\x00b", "a\nb", "a\x7fb", "a\x85b",
            "a\u2028b",            "a b", "a|b", "\u00e9t\u00e9", "2026-01-15t12:00:00z", "2026-01-15 12:00:00z",
            "2026-01-15t12:00:00.123+01:00", "4111-11-11 11:11:11Z",
        ]
    ),
)  # fmt: skip


def as_sent(change: dict[str, Any]) -> dict[str, Any]:
    """A change as JSON can carry it: integers beyond 64 bits become floats, infinities do not exist."""
    fit = {}
    for name, value in change.items():
        if isinstance(value, float) and not np.isfinite(value):
            value = 1e300
        if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**64:
            value = float(value)
        if isinstance(value, str):
            value = value.encode("utf-8", "replace").decode()
        fit[name] = value
    return fit


field_names = st.sampled_from([*a_transaction(), "country", "age", "recurring", "note", "4111111111111111"])
