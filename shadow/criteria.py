"""Release criteria: what `release.yaml` may say, and what it says when it is silent."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Literal

import orjson
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from scorer.errors import SettingsError
from shadow.segments import Segments
from shadow.tally import ALL


class Limits(BaseModel):
    """Limits of the criteria that are asked of everything and of each segment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    minimum_transactions: int = Field(10_000, ge=1, description="compared transactions, else it is insufficient")
    minimum_disagreements: int = Field(30, ge=0, description="disagreements, else it is insufficient")
    minimum_coverage: float = Field(0.99, ge=0, le=1, description="compared, of decided")
    maximum_candidate_error_rate: float = Field(0.001, ge=0, le=1, description="not scored, of decided")
    maximum_more_blocks: float = Field(0.15, ge=0, description="more blocks, as a share of live's blocks")
    maximum_fewer_blocks: float = Field(0.15, ge=0, description="fewer blocks, as a share of live's blocks")
    maximum_excess_disagreement: float = Field(
        0.5, ge=0, description="disagreements beyond the A/A control's, as a share of live's blocks"
    )


class SegmentLimits(Limits):
    """The same for a segment: less traffic is asked for, and more may shift."""

    minimum_transactions: int = Field(1000, ge=1)
    minimum_disagreements: int = Field(5, ge=0)
    maximum_more_blocks: float = Field(0.4, ge=0)
    maximum_fewer_blocks: float = Field(0.4, ge=0)
    maximum_excess_disagreement: float = Field(0.8, ge=0)


class Release(BaseModel):
    """The whole of `release.yaml`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_number: Literal[1] = Field(validation_alias="schema", serialization_alias="schema")
    segments: Segments = Field(default_factory=lambda: Segments({}))
    minimum_covered_hours: int = Field(336, ge=1, description="event hours with comparisons: the clean period")
    error_rate: float = Field(0.05, gt=0, lt=1, description="chance that any bound of a run is ever wrong")
    overall: Limits = Field(default_factory=lambda: Limits.model_validate({}))
    per_segment: SegmentLimits = Field(default_factory=lambda: SegmentLimits.model_validate({}))
    exceptions: Mapping[str, SegmentLimits] = Field(
        default_factory=dict, description="limits of single segments, instead of per_segment"
    )
    may_stay_insufficient: tuple[str, ...] = Field(
        ("*: *=other",), description="`criterion: segment` with wildcards that do not hold a promotion"
    )

    def limits(self, segment: str) -> Limits:
        """Limits of a segment."""
        return self.overall if segment == ALL else self.exceptions.get(segment, self.per_segment)

    def excuses(self, criterion: str, segment: str) -> bool:
        """Whether a criterion may stay insufficient in a segment."""
        return any(fnmatchcase(f"{criterion}: {segment}", pattern) for pattern in self.may_stay_insufficient)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what the criteria say, however they are written."""
        text = orjson.dumps(self.model_dump(mode="json", by_alias=True), option=orjson.OPT_SORT_KEYS)
        return hashlib.sha256(text).hexdigest()

    def alpha(self, segment: str) -> float:
        """Share of the error rate that one interval may spend: half of it for all, half split over the segments, and
        each share over the three intervals of a segment (a union bound)."""
        parts = 1 if segment == ALL else max(1, len(self.segments.names) - 1)
        return self.error_rate / 2 / parts / 3


def parse(text: str) -> Release:
    """Criteria from YAML. Raises SettingsError naming the field and the mend."""
    try:
        release = Release.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise SettingsError(f"release criteria: not YAML ({str(error).splitlines()[0]})") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        mend = "remove it" if first["type"] == "extra_forbidden" else "see docs/release.md"
        raise SettingsError(f"release criteria: {where}: {first['msg']}; {mend}") from None
    unknown = sorted(set(release.exceptions) - set(release.segments.names))
    if unknown:
        raise SettingsError(
            f"release criteria: exceptions: {unknown[0]} is no declared segment; declare it or remove it"
        )
    return release


def load(path: Path) -> Release:
    """Criteria from a file. Raises SettingsError."""
    try:
        return parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(
            f"release criteria {path}: {error.strerror}; set SHADOW_RELEASE to an existing file"
        ) from None
