"""What a feature view says of merchant risk: whose past counts, over which windows, and when labels count."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from scorer.frozen import Frozen
from scorer.pipeline.instants import HOUR_MS

#: Of each window, in this order: transactions, their mean amount, and the share of them that was fraud.
MEASURES = ("count", "mean", "rate")
#: A snapshot counts for transactions from so long after its own time on, so that it is there when they come.
EFFECTIVE_AFTER_MS = 5 * 60_000
_WINDOW = re.compile(r"([1-9]\d{0,3})([hd])")
_HOURS = {"h": 1, "d": 24}
#: Longest window, in hours.
LONGEST = 90 * 24


def hours(window: str) -> int:
    """Length of a window such as 12h or 7d. Raises ValueError."""
    found = _WINDOW.fullmatch(window)
    if found is None or int(found[1]) * _HOURS[found[2]] > LONGEST:
        raise ValueError(f"{window}: expected hours or days, at most 90 days, such as 12h or 7d")
    return int(found[1]) * _HOURS[found[2]]


class Risk(Frozen):
    """Merchant risk in a feature view.

    key: whose past counts, `merchant_id` or a category of the view. windows: such as 7d, each up to `delay_days` before
    a snapshot. delay_days: how long labels take. period: time between two snapshots. prior: a rate is smoothed as if so
    many further transactions had been of the overall rate. most_move: a rate changes by at most so much from one
    snapshot to the next.
    """

    key: str = Field("merchant_id", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    windows: tuple[str, ...] = Field(("1d", "7d", "30d"), min_length=1, max_length=8)
    delay_days: int = Field(7, ge=0, le=90)
    period: Literal["1h", "2h", "3h", "4h", "6h", "8h", "12h", "1d"] = "1h"
    prior: float = Field(10.0, gt=0, le=1e6)
    most_move: float = Field(0.1, gt=0, le=1)

    @model_validator(mode="after")
    def _ascend(self) -> Self:
        lengths = [hours(window) for window in self.windows]
        if lengths != sorted(set(lengths)):
            raise ValueError("windows: expected each longer than the one before")
        return self

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the features: for each window, its measures."""
        return tuple(f"risk_{what}_{window}" for window in self.windows for what in MEASURES)

    @cached_property
    def lengths(self) -> tuple[int, ...]:
        """Length of each window, in hours."""
        return tuple(hours(window) for window in self.windows)

    @property
    def delay_hours(self) -> int:
        return self.delay_days * 24

    @property
    def period_ms(self) -> int:
        return hours(self.period) * HOUR_MS

    @property
    def memory_hours(self) -> int:
        """How far back a snapshot looks."""
        return self.delay_hours + self.lengths[-1]

    def definitions(self, key: dict[str, Any] | None) -> dict[str, dict[str, Any]]:
        """How each feature is computed. key: definition of the attribute that is the key; None for the merchant."""
        common = self.model_dump(mode="json", exclude={"windows"})
        if key is not None:
            common["attribute"] = key
        return {
            f"risk_{what}_{window}": {"kind": "risk", "window": window, **common}
            for window in self.windows
            for what in MEASURES
        }


def of_definitions(features: dict[str, dict[str, Any]]) -> Risk | None:
    """The risk that a manifest's features are of, with only their windows; None without any. Raises ValidationError."""
    found = [told for told in features.values() if told.get("kind") == "risk"]
    if not found:
        return None
    common = {name: value for name, value in found[0].items() if name not in ("kind", "window", "attribute")}
    windows = sorted({told["window"] for told in found}, key=hours)
    return Risk.model_validate({**common, "windows": windows})
