"""Converts amounts to one reporting currency by dated rates, and to exact integers of its minor unit."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date
from functools import cached_property
from typing import Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from scorer.frozen import Frozen
from scorer.pipeline.instants import DAY_MS

#: Decimal digits of the currencies that do not have 2 (ISO 4217).
MINOR_DIGITS = dict.fromkeys(
    ("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "VND"), 0
) | (dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3))
#: Largest amount accepted, in units of the reporting currency. Keeps sums of minor units far inside 64 bits.
MOST = 1e11
_CURRENCY = re.compile(r"[A-Z]{3}")


class Currency(BaseModel):
    """The reporting currency, as published with the feature view for readers of decisions."""

    model_config = ConfigDict(frozen=True)

    code: str = Field(pattern=r"^[A-Z]{3}$", description="ISO 4217")
    digits: int = Field(ge=0, le=4, description="decimal digits of its minor unit")

    @property
    def minor_per_unit(self) -> float:
        """Minor units in one unit, such as 100 cents.

        >>> Currency(code="JPY", digits=0).minor_per_unit
        1.0
        """
        return 10.0**self.digits


class Money(Frozen):
    """The reporting currency, and what one unit of other currencies is worth in it from each day on.

    >>> Money(currency="EUR", rates={"USD": {"2026-01-01": 0.9}}).digits
    2
    """

    currency: str = Field("EUR", description="reporting currency, ISO 4217")
    rates: Mapping[str, Mapping[date, float]] = Field(
        default_factory=dict,
        description="by currency and first day of validity, what one unit is worth in the reporting currency",
    )

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        for code in (self.currency, *self.rates):
            if not _CURRENCY.fullmatch(code):
                raise ValueError(f"{code!r} is not an ISO 4217 code, expected three capitals")
        for code, table in self.rates.items():
            if not table or min(table.values()) <= 0:
                raise ValueError(f"rates for {code}: expected at least one day, and every rate above 0")
        return self

    @property
    def digits(self) -> int:
        """Decimal digits of the reporting currency, such as 2 for cents."""
        return MINOR_DIGITS.get(self.currency, 2)

    @property
    def reporting(self) -> Currency:
        """The reporting currency with its digits."""
        return Currency(code=self.currency, digits=self.digits)

    @cached_property
    def _tables(self) -> dict[str, tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]]:
        epoch = date(1970, 1, 1)
        tables = {self.currency: (np.array([-(2**40)]), np.array([1.0]))}
        for code, table in self.rates.items():
            days = sorted(table)
            tables[code] = (np.array([(d - epoch).days for d in days]), np.array([float(table[d]) for d in days]))
        return tables

    def rates_for(self, currencies: Sequence[str], occurred_ms: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Rate of each of n amounts on its day, in UTC: float64 (n,), NaN where there is none.

        currencies: code of each amount. occurred_ms: int64 (n,), milliseconds since 1970.
        """
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
        """Amounts in minor units, int64 (n,), halves rounded to even. units: float64 (n,), the reporting currency."""
        return np.rint(units * 10.0**self.digits).astype(np.int64)
