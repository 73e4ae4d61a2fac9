"""The feature view: which features a snapshot holds, in which order, and how each is defined."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection
from functools import cached_property
from typing import Any, Literal, Self

import orjson
from pydantic import Field, model_validator

from scorer.frozen import Frozen
from scorer.pipeline.function import Function
from scorer.pipeline.risk_view import Risk
from scorer.pipeline.window import AMOUNT, BUCKETS, DISTINCT, MERCHANT, Track, Window

#: Features of the transaction itself, in every view.
EVENT_FEATURES = ("amount", "hour_of_day", "day_of_week")
#: Windows of card velocity: name, length of a bucket in seconds, number of buckets.
WINDOWS = (("1h", 600, 6), ("1d", 10_800, 8), ("7d", 86_400, 7), ("30d", 259_200, 10))
#: Features of the card's past, in every view. For each window: number of transactions, their mean amount, and the
#: ratio of this transaction's amount to that mean.
VELOCITY_FEATURES = tuple(f"card_{what}_{window}" for window, _, _ in WINDOWS for what in ("count", "mean", "ratio"))
#: Features of the card's past that a view may ask for, by what asks for them.
DELTAS = {
    "since_last": ("card_seconds_since_last",),
    "from_mean": tuple(f"card_delta_{window}" for window, _, _ in WINDOWS),
}
RESERVED = {"transaction_id", "occurred_at", "card_id", "merchant_id", "currency", *EVENT_FEATURES, *VELOCITY_FEATURES}


class Attribute(Frozen):
    """A field of the transaction that is a feature. A category's value not in `values` gets the code after the last."""

    name: str = Field(min_length=1, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    kind: Literal["number", "boolean", "category"]
    values: tuple[str, ...] = Field((), max_length=1000)

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if (self.kind == "category") != bool(self.values):
            raise ValueError(f"{self.name}: a category needs values, and only a category has them")
        if len(set(self.values)) != len(self.values):
            raise ValueError(f"{self.name}: a value is listed twice")
        if self.name in RESERVED:
            raise ValueError(f"{self.name}: this name is reserved; choose another")
        return self

    @property
    def definition(self) -> dict[str, Any]:
        """How it is computed."""
        return self.model_dump(mode="json", exclude={"name"}, exclude_defaults=True)

    @cached_property
    def accepts(self) -> set[type]:
        """Python types that its values may have once decoded from JSON."""
        kinds: dict[str, set[type]] = {"number": {int, float}, "boolean": {bool}, "category": {str}}
        return kinds[self.kind] | {type(None)}

    @cached_property
    def codes(self) -> dict[str | None, float]:
        """Code of each listed value of a category, from 0; NaN for a missing value."""
        return {**{value: float(code) for code, value in enumerate(self.values)}, None: math.nan}


class FeatureView(Frozen):
    """The features of a snapshot. Add new ones at the end, and let decisions log them before any model uses them.

    risk: merchant risk, whose features are the last ones of all; None for none.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.]*$", max_length=40)
    attributes: tuple[Attribute, ...] = ()
    deltas: tuple[Literal["since_last", "from_mean"], ...] = ()
    windows: tuple[Window, ...] = Field((), max_length=100)
    functions: tuple[Function, ...] = Field((), max_length=100)
    risk: Risk | None = None

    @model_validator(mode="after")
    def _risk_fits(self) -> Self:
        if self.risk is not None:
            key, kinds = self.risk.key, {attribute.name: attribute.kind for attribute in self.attributes}
            if key != "merchant_id" and kinds.get(key) != "category":
                raise ValueError(f"risk.key is {key}; expected merchant_id or an attribute that is a category")
            both = next((name for name in self.risk.names if name in kinds), None)
            if both is not None:
                raise ValueError(f"attribute {both}: merchant risk has a feature of this name; choose another")
        return self

    @model_validator(mode="after")
    def _no_repeats(self) -> Self:
        names = [attribute.name for attribute in self.attributes]
        if len(set(names)) != len(names):
            raise ValueError(f"attribute {next(n for n in names if names.count(n) > 1)} is declared twice")
        if len(set(self.names)) != len(self.names):
            raise ValueError(f"feature {next(n for n in self.names if self.names.count(n) > 1)} is declared twice")
        return self

    @model_validator(mode="after")
    def _functions_have_their_features(self) -> Self:
        for function in self.functions:
            for name in function.uses:
                if name not in self.names or name in (*self.function_names, *self.risk_names):
                    raise ValueError(
                        f"function {function.name}: uses {name[:60]}, which is no feature before functions; those of "
                        "merchant risk come after them"
                    )
        return self

    @model_validator(mode="after")
    def _windows_have_their_fields(self) -> Self:
        keys = {MERCHANT, *(a.name for a in self.attributes if a.kind != "number")}
        numbers = {AMOUNT, *(a.name for a in self.attributes if a.kind == "number")}
        for window in self.windows:
            for name in window.key:
                if name not in keys:
                    raise ValueError(
                        f"window {window.name}: key {name[:60]} is neither {MERCHANT} nor an attribute of the view "
                        "that is a category or a boolean"
                    )
            if window.aggregate == DISTINCT:
                if window.of not in (MERCHANT, AMOUNT, *(a.name for a in self.attributes)):
                    raise ValueError(
                        f"window {window.name}: of {str(window.of)[:60]} is neither {MERCHANT}, {AMOUNT} nor an "
                        "attribute of the view"
                    )
            elif window.of is not None and window.of not in numbers:
                raise ValueError(
                    f"window {window.name}: of {window.of[:60]} is neither {AMOUNT} nor an attribute of the view "
                    "that is a number"
                )
        return self

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of all features, in the order of the snapshot."""
        attributes = (attribute.name for attribute in self.attributes)
        return (
            *EVENT_FEATURES,
            *VELOCITY_FEATURES,
            *attributes,
            *self.delta_names,
            *self.window_names,
            *self.function_names,
            *self.risk_names,
        )

    @property
    def risk_names(self) -> tuple[str, ...]:
        """Names of the features of merchant risk, the last ones of all. No function sees them."""
        return () if self.risk is None else self.risk.names

    @property
    def window_names(self) -> tuple[str, ...]:
        """Names of the windows that the view declares."""
        return tuple(window.name for window in self.windows)

    @property
    def function_names(self) -> tuple[str, ...]:
        """Names of the features in Python that the view declares, after all others but merchant risk."""
        return tuple(function.name for function in self.functions)

    @cached_property
    def tracks(self) -> tuple[Track, ...]:
        """What the windows' rows keep, each once."""
        return tuple(dict.fromkeys(map(self.track, self.windows)))

    def track(self, window: Window) -> Track:
        """What a window's rows keep."""
        is_distinct = window.aggregate == DISTINCT
        told = self._definition(window) | {"aggregate": DISTINCT if is_distinct else None}
        text = orjson.dumps(told, option=orjson.OPT_SORT_KEYS)
        bucket_ms = window.seconds * 1000 // BUCKETS
        return Track(window.key, bucket_ms, window.of, hashlib.sha256(text).hexdigest()[:8], is_distinct)

    def _definition(self, window: Window) -> dict[str, Any]:
        of = next((a.definition for a in self.attributes if a.name == window.of), None)
        return window.definition(self._keys(window), of)

    def _keys(self, window: Window) -> dict[str, dict[str, Any]]:
        known = {MERCHANT: {"kind": "event"}, **{a.name: a.definition for a in self.attributes}}
        return {name: known[name] for name in window.key}

    @property
    def delta_names(self) -> tuple[str, ...]:
        """Names of the features that `deltas` asks for."""
        return tuple(name for what in self.deltas for name in DELTAS[what])

    @property
    def first_attribute(self) -> int:
        """Where the attributes begin in a snapshot."""
        return len(EVENT_FEATURES) + len(VELOCITY_FEATURES)

    @cached_property
    def id(self) -> str:
        """The view's name and the first 8 hex digits of the SHA-256 of its definitions."""
        text = orjson.dumps(self.definitions(self.names), option=orjson.OPT_SORT_KEYS)
        return f"{self.name}-{hashlib.sha256(text).hexdigest()[:8]}"

    @property
    def categories(self) -> tuple[str, ...]:
        """Names of the features whose values are codes."""
        return tuple(attribute.name for attribute in self.attributes if attribute.kind == "category")

    def sources(self, names: Collection[str]) -> set[str]:
        """Names of the attributes that named features are made of."""
        functions = [function for function in self.functions if function.name in names]
        names = {*names, *(name for function in functions for name in function.uses)}
        windows = [window for window in self.windows if window.name in names]
        used = {*names, *(name for window in windows for name in (*window.key, window.of))}
        if self.risk is not None and not used.isdisjoint(self.risk.names):
            used.add(self.risk.key)
        return {attribute.name for attribute in self.attributes if attribute.name in used}

    def definitions(self, names: tuple[str, ...]) -> dict[str, dict[str, Any]]:
        """How each named feature is computed. Raises KeyError for a name that the view lacks."""
        known: dict[str, dict[str, Any]] = {name: {"kind": "event"} for name in EVENT_FEATURES}
        for window, seconds, buckets in WINDOWS:
            for what in ("count", "mean", "ratio"):
                known[f"card_{what}_{window}"] = {"kind": "velocity", "bucket_seconds": seconds, "buckets": buckets}
        for attribute in self.attributes:
            known[attribute.name] = attribute.definition
        if "since_last" in self.deltas:
            known["card_seconds_since_last"] = {"kind": "since_last"}
        if "from_mean" in self.deltas:
            for window, seconds, buckets in WINDOWS:
                known[f"card_delta_{window}"] = {"kind": "from_mean", "bucket_seconds": seconds, "buckets": buckets}
        known |= {declared.name: self._definition(declared) for declared in self.windows}
        known |= {function.name: function.definition(known) for function in self.functions}
        if self.risk is not None:
            known |= self.risk.definitions(known.get(self.risk.key))
        return {name: known[name] for name in names}
