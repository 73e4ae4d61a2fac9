"""Money in one reporting currency: dated exchange rates, and amounts as exact integers of minor units."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date
from functools import cached_property
from typing import Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

DAY_MS = 86_400_000
#: ISO 4217 minor units that are not 2.
MINOR_DIGITS = dict.fromkeys(
    ("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "VND"), 0
) | (dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3))
#: Largest amount accepted, in units; keeps sums of minor units far inside 64 bits.
MOST = 1e11
_CURRENCY = re.compile(r"[A-Z]{3}")


class Money(BaseModel):
    """The reporting currency and what one unit of every other is worth in it, by first day of validity.

    >>> Money(currency="EUR", rates={"USD": {"2026-01-01": 0.9}}).digits
    2
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    currency: str = Field("EUR", description="reporting currency, ISO 4217")
    rates: Mapping[str, Mapping[date, float]] = Field(
        default_factory=dict,
        description="units of the reporting currency for one unit of another, by first day of validity",
    )

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        for code in (self.currency, *self.rates):
            if not _CURRENCY.fullmatch(code):
                raise ValueError(f"{code!r} is not an ISO 4217 code of three capitals")
        for code, table in self.rates.items():
            if not table or min(table.values()) <= 0:
                raise ValueError(f"rates for {code}: give at least one day, each with a rate above 0")
        return self

    @property
    def digits(self) -> int:
        """Decimal digits of the reporting currency's minor unit."""
        return MINOR_DIGITS.get(self.currency, 2)

    @cached_property
    def _tables(self) -> dict[str, tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]]:
        epoch = date(1970, 1, 1)
        tables = {self.currency: (np.array([-(2**40)]), np.array([1.0]))}
        for code, table in self.rates.items():
            days = sorted(table)
            tables[code] = (np.array([(d - epoch).days for d in days]), np.array([float(table[d]) for d in days]))
        return tables

    def rates_for(self, currencies: Sequence[str], occurred_ms: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Rate of each amount on its day, NaN where there is none: float64 (n,)."""
        out = np.full(len(currencies), np.nan)
        distinct = set(currencies)
        days = occurred_ms // DAY_MS
        for code in distinct:
            table = self._tables.get(code)
            if table is None:
                continue
            mine = slice(None) if len(distinct) == 1 else np.array([c == code for c in currencies])
            at = np.searchsorted(table[0], days[mine], side="right") - 1
            out[mine] = np.where(at >= 0, table[1][np.maximum(at, 0)], np.nan)
        return out

    def minor(self, units: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """Whole minor units of amounts in the reporting currency, halves to even: int64 (n,)."""
        return np.rint(units * 10.0**self.digits).astype(np.int64)
