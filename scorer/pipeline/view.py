"""The feature view: which features a snapshot holds, in which order and how each is defined."""

from __future__ import annotations

import hashlib
import math
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import orjson
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from scorer.errors import SettingsError

#: Features that every view has, from the event itself.
EVENT_FEATURES = ("amount", "hour_of_day", "day_of_week")
#: Windows of card velocity: name, bucket length in seconds, number of buckets.
WINDOWS = (("1h", 600, 6), ("1d", 10_800, 8), ("7d", 86_400, 7), ("30d", 259_200, 10))
#: Features that every view has, from the card's past: per window a count, a mean amount, and the amount's ratio to it.
VELOCITY_FEATURES = tuple(f"card_{what}_{window}" for window, _, _ in WINDOWS for what in ("count", "mean", "ratio"))
RESERVED = {"transaction_id", "occurred_at", "card_id", "merchant_id", "currency", *EVENT_FEATURES, *VELOCITY_FEATURES}


class Attribute(BaseModel):
    """A field of the transaction that is a feature. A value outside `values` is the code after the last."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    kind: Literal["number", "boolean", "category"]
    values: tuple[str, ...] = Field((), max_length=1000)

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if (self.kind == "category") != bool(self.values):
            raise ValueError(f"{self.name}: give values for a category, and only for a category")
        if len(set(self.values)) != len(self.values):
            raise ValueError(f"{self.name}: a value is there twice")
        if self.name in RESERVED:
            raise ValueError(f"{self.name}: the name is taken; every view has it already, or it is no feature")
        return self

    @cached_property
    def accepts(self) -> set[type]:
        """Types that JSON gives for it."""
        kinds: dict[str, set[type]] = {"number": {int, float}, "boolean": {bool}, "category": {str}}
        return kinds[self.kind] | {type(None)}

    @cached_property
    def codes(self) -> dict[str | None, float]:
        """The number of each listed value of a category, NaN for none at all."""
        return {**{value: float(code) for code, value in enumerate(self.values)}, None: math.nan}


class FeatureView(BaseModel):
    """The features of a snapshot. A new one is added at the end and logged before any model uses it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.]*$", max_length=40)
    attributes: tuple[Attribute, ...] = ()

    @model_validator(mode="after")
    def _no_repeats(self) -> Self:
        names = [attribute.name for attribute in self.attributes]
        if len(set(names)) != len(names):
            raise ValueError("an attribute is declared twice")
        return self

    @cached_property
    def names(self) -> tuple[str, ...]:
        """All features in the order of the snapshot."""
        return (*EVENT_FEATURES, *VELOCITY_FEATURES, *(attribute.name for attribute in self.attributes))

    @cached_property
    def id(self) -> str:
        """Name and the first 8 hex digits of the SHA-256 of the definitions."""
        text = orjson.dumps(self.definitions(self.names), option=orjson.OPT_SORT_KEYS)
        return f"{self.name}-{hashlib.sha256(text).hexdigest()[:8]}"

    @property
    def categories(self) -> tuple[str, ...]:
        """Features whose numbers are codes."""
        return tuple(attribute.name for attribute in self.attributes if attribute.kind == "category")

    def definitions(self, names: tuple[str, ...]) -> dict[str, dict[str, Any]]:
        """How each named feature is computed. Raises KeyError for a name that the view lacks."""
        known: dict[str, dict[str, Any]] = {name: {"kind": "event"} for name in EVENT_FEATURES}
        for window, seconds, buckets in WINDOWS:
            for what in ("count", "mean", "ratio"):
                known[f"card_{what}_{window}"] = {"kind": "velocity", "bucket_seconds": seconds, "buckets": buckets}
        for attribute in self.attributes:
            known[attribute.name] = attribute.model_dump(mode="json", exclude={"name"}, exclude_defaults=True)
        return {name: known[name] for name in names}

    @classmethod
    def load(cls, path: str | Path) -> FeatureView:
        """The view in a YAML or JSON file. Raises SettingsError naming the file and the field."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except OSError as error:
            raise SettingsError(f"feature view {path}: {error.strerror}; name an existing file") from None
        try:
            return cls.model_validate(yaml.safe_load(text))
        except yaml.YAMLError as error:
            raise SettingsError(f"feature view {path}: not YAML ({str(error).splitlines()[0]})") from None
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"])) or "the view"
            raise SettingsError(f"feature view {path}: {where}: {first['msg']}") from None
