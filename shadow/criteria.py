"""Release criteria: what `release.yaml` may say, and what it says when it is silent."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
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
    minimum_coverage: float = Field(0.99, ge=0, le=1, description="compared, of decided")
    maximum_candidate_error_rate: float = Field(0.001, ge=0, le=1, description="not scored, of decided")
    maximum_more_blocks: float = Field(0.1, ge=0, description="more blocks, as a share of live's blocks")
    maximum_fewer_blocks: float = Field(0.1, ge=0, description="fewer blocks, as a share of live's blocks")
    maximum_more_blocked_amount: float = Field(0.15, ge=0, description="more money blocked, of what live blocks")
    maximum_fewer_blocked_amount: float = Field(0.15, ge=0, description="less money blocked, of what live blocks")
    maximum_excess_disagreement: float = Field(
        0.2, ge=0, description="disagreements beyond the A/A control's, as a share of live's blocks"
    )
    maximum_lost_fraud: float = Field(0.05, ge=0, description="fraud lost, as a share of live's blocks; needs labels")
    maximum_lost_fraud_amount: float = Field(0.1, ge=0, description="the same in money, of the money live blocks")
    maximum_insults: float = Field(
        0.1, ge=0, description="more honest customers blocked, as a share of live's blocks; needs labels"
    )
    maximum_insults_amount: float = Field(0.15, ge=0, description="the same in money, of the money live blocks")


class SegmentLimits(Limits):
    """The same for a segment: less traffic is asked for, and more may shift."""

    minimum_transactions: int = Field(1000, ge=1)
    maximum_more_blocks: float = Field(0.25, ge=0)
    maximum_fewer_blocks: float = Field(0.25, ge=0)
    maximum_more_blocked_amount: float = Field(0.4, ge=0)
    maximum_fewer_blocked_amount: float = Field(0.4, ge=0)
    maximum_excess_disagreement: float = Field(0.35, ge=0)
    maximum_lost_fraud: float = Field(0.1, ge=0)
    maximum_lost_fraud_amount: float = Field(0.2, ge=0)
    maximum_insults: float = Field(0.2, ge=0)
    maximum_insults_amount: float = Field(0.3, ge=0)


class Release(BaseModel):
    """The whole of `release.yaml`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_number: Literal[1] = Field(validation_alias="schema", serialization_alias="schema")
    segments: Segments = Field(default_factory=lambda: Segments({}))
    minimum_covered_hours: int = Field(336, ge=1, description="event hours with comparisons: the clean period")
    tolerated_error_rate: float = Field(
        0.0, ge=0, lt=1, description="of an hour's decisions, what the candidate may fail to score in a clean hour"
    )
    promote_error: float = Field(
        0.005, gt=0, lt=0.5, description="chance that a criterion whose limit is exceeded ever passes"
    )
    reject_error: float = Field(
        0.02, gt=0, lt=0.5, description="chance that a candidate within every limit is ever rejected"
    )
    calibration_days: int = Field(
        7,
        ge=1,
        le=28,
        description="event days at the beginning of a run that the matched threshold and drift are taken from",
    )
    drift_error: float = Field(
        0.01, gt=0, lt=0.5, description="chance that a look says of anything that it drifts when nothing does"
    )
    amount_cap: float = Field(
        500.0, gt=0, description="in the reporting currency: an amount above it counts as this much in the evidence"
    )
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

    def cap_minor(self, minor_per_unit: float) -> int:
        """The cap on amounts in minor units of the reporting currency, at least 1."""
        return max(1, round(self.amount_cap * minor_per_unit))

    def limit(self, field: str) -> npt.NDArray[np.float64]:
        """One of the limits in each segment: float64 (S,), in the order of `segments.names`."""
        return np.array([getattr(self.limits(name), field) for name in self.segments.names], dtype=np.float64)

    def excused(self, criterion: str) -> npt.NDArray[np.bool_]:
        """Where a criterion may stay insufficient: bool (S,)."""
        return np.array([self.excuses(criterion, name) for name in self.segments.names], dtype=bool)


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


def excusing(text: str, patterns: Sequence[str]) -> str:
    """The text of a release.yaml with other `may_stay_insufficient`; everything else, comments too, stays as it is."""
    lines = "".join(f"\n  - {orjson.dumps(pattern).decode()}" for pattern in patterns)
    said = f"may_stay_insufficient:{lines or ' []'}\n"
    tree = yaml.compose(text)
    for key, value in tree.value if tree is not None else ():
        if key.value == "may_stay_insufficient":
            rest = text[value.end_mark.index :]
            return text[: key.start_mark.index] + said + (rest.removeprefix("\n") if value.flow_style else rest)
    return f"{text.rstrip()}\n{said}"


def load(path: Path) -> Release:
    """Criteria from a file. Raises SettingsError."""
    try:
        return parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(
            f"release criteria {path}: {error.strerror}; set SHADOW_RELEASE to an existing file"
        ) from None
