"""Release criteria: what `release.yaml` may say, and its defaults."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from enum import Enum, StrEnum
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import orjson
from pydantic import (
    Field,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from scorer.errors import SettingsError
from scorer.frozen import Frozen
from scorer.yaml_text import YamlTextError, read_yaml
from shadow.comparison.segments import Segments
from shadow.comparison.totals import ALL

#: Most transactions and clean hours that can be asked for: what JSON's readers keep exactly, and ten years.
MOST, MOST_HOURS = 2**53, 24 * 366 * 10


class Unit(Enum):
    """What a criterion's number counts."""

    HOURS = "event hours"
    TRANSACTIONS = "transactions"
    BUNDLES = "bundles"
    OF_DECISIONS = "share of decisions"
    OF_BLOCKS = "share of live's blocks"
    OF_BLOCKED_MONEY = "share of the money that live blocks"

    @property
    def is_count(self) -> bool:
        """Whether the number is a count; otherwise it is a share."""
        return self in (Unit.HOURS, Unit.TRANSACTIONS, Unit.BUNDLES)


class Kind(Enum):
    """How a criterion is judged."""

    RUN = "once for the whole run"
    SUPPORT = "by a plain threshold"
    CHANGE = "by evidence that blocking changes within a limit"
    HARM = "by evidence from labels"
    FLOOR = "by evidence from the A/A control, or from labels"
    RECENT = "by evidence from the last days, against the run before them"


class Criterion(StrEnum):
    """What a candidate has to show. The value is its name in findings, metrics and `may_stay_insufficient`.

    limit_field: the field that holds the limit: of `Release` for the whole run, else of `Limits`; None if it is 0.
    """

    limit_field: str | None
    unit: Unit
    kind: Kind

    def __new__(cls, name: str, limit_field: str | None, unit: Unit, kind: Kind) -> Criterion:
        member = str.__new__(cls, name)
        member._value_ = name
        member.limit_field, member.unit, member.kind = limit_field, unit, kind
        return member

    COVERED_HOURS = "covered_hours", "minimum_covered_hours", Unit.HOURS, Kind.RUN
    DECISION_CONFLICTS = "decision_conflicts", None, Unit.TRANSACTIONS, Kind.RUN
    LINEAGE = "lineage", "require_lineage", Unit.BUNDLES, Kind.RUN
    TRANSACTIONS = "transactions", "minimum_transactions", Unit.TRANSACTIONS, Kind.SUPPORT
    COVERAGE = "coverage", "minimum_coverage", Unit.OF_DECISIONS, Kind.SUPPORT
    CANDIDATE_ERROR_RATE = "candidate_error_rate", "maximum_candidate_error_rate", Unit.OF_DECISIONS, Kind.SUPPORT
    MORE_BLOCKS = "more_blocks", "maximum_more_blocks", Unit.OF_BLOCKS, Kind.CHANGE
    FEWER_BLOCKS = "fewer_blocks", "maximum_fewer_blocks", Unit.OF_BLOCKS, Kind.CHANGE
    MORE_BLOCKED_AMOUNT = (
        "more_blocked_amount",
        "maximum_more_blocked_amount",
        Unit.OF_BLOCKED_MONEY,
        Kind.CHANGE,
    )
    FEWER_BLOCKED_AMOUNT = (
        "fewer_blocked_amount",
        "maximum_fewer_blocked_amount",
        Unit.OF_BLOCKED_MONEY,
        Kind.CHANGE,
    )
    MORE_UNCAPPED_AMOUNT = (
        "more_uncapped_amount",
        "maximum_more_uncapped_amount",
        Unit.OF_BLOCKED_MONEY,
        Kind.CHANGE,
    )
    FEWER_UNCAPPED_AMOUNT = (
        "fewer_uncapped_amount",
        "maximum_fewer_uncapped_amount",
        Unit.OF_BLOCKED_MONEY,
        Kind.CHANGE,
    )
    LOST_FRAUD = "lost_fraud", "maximum_lost_fraud", Unit.OF_BLOCKS, Kind.HARM
    LOST_FRAUD_AMOUNT = "lost_fraud_amount", "maximum_lost_fraud_amount", Unit.OF_BLOCKED_MONEY, Kind.HARM
    INSULTS = "insults", "maximum_insults", Unit.OF_BLOCKS, Kind.HARM
    INSULTS_AMOUNT = "insults_amount", "maximum_insults_amount", Unit.OF_BLOCKED_MONEY, Kind.HARM
    EXCESS_DISAGREEMENT = "excess_disagreement", "maximum_excess_disagreement", Unit.OF_BLOCKS, Kind.FLOOR
    RECENT_LIVE_ONLY = "recent_live_only", "maximum_recent_rise", Unit.OF_BLOCKS, Kind.RECENT
    RECENT_CANDIDATE_ONLY = "recent_candidate_only", "maximum_recent_rise", Unit.OF_BLOCKS, Kind.RECENT
    RECENT_ERRORS = "recent_errors", "maximum_candidate_error_rate", Unit.OF_DECISIONS, Kind.RECENT
    RECENT_SCORES = "recent_scores", "maximum_recent_score_shift", Unit.OF_DECISIONS, Kind.RECENT


class Limits(Frozen):
    """Limits for all traffic, or for one segment."""

    minimum_transactions: int = Field(10_000, ge=1, le=MOST, description="compared transactions that are required")
    minimum_coverage: float = Field(0.99, ge=0, le=1, description="smallest share of decisions that must be compared")
    maximum_candidate_error_rate: float = Field(
        0.001, ge=0, le=1, description="largest share of decisions that the candidate may fail to score"
    )
    maximum_more_blocks: float = Field(0.1, ge=0, description="largest rise in blocks, as a share of live's blocks")
    maximum_fewer_blocks: float = Field(0.1, ge=0, description="largest fall in blocks, as a share of live's blocks")
    maximum_more_blocked_amount: float = Field(
        0.15, ge=0, description="largest rise in blocked money, as a share of the money that live blocks"
    )
    maximum_fewer_blocked_amount: float = Field(
        0.15, ge=0, description="largest fall in blocked money, as a share of the money that live blocks"
    )
    maximum_more_uncapped_amount: float | None = Field(
        0.5, ge=0, description="largest rise in blocked money, no amount being cut; null: not judged"
    )
    maximum_fewer_uncapped_amount: float | None = Field(
        0.25, ge=0, description="largest fall in blocked money, no amount being cut; null: not judged"
    )
    maximum_excess_disagreement: float = Field(
        0.15,
        ge=0,
        description="most disagreements beyond those of the A/A control, as a share of live's blocks; at most the sum "
        "of maximum_lost_fraud and maximum_insults",
    )
    maximum_recent_rise: float = Field(
        0.15,
        gt=0,
        description="most that live or the candidate alone may block in the last days beyond the run before, as "
        "a share of live's blocks",
    )
    maximum_recent_score_shift: float = Field(
        0.2,
        gt=0,
        le=1,
        description="greatest distance between the distributions of the candidate scores in the last days and before, "
        "beyond that of live's; for all traffic only",
    )
    maximum_lost_fraud: float = Field(
        0.05,
        ge=0,
        description="most fraud lost (blocked only by live, minus blocked only by the candidate), as a share of "
        "live's blocks; needs labels",
    )
    maximum_lost_fraud_amount: float = Field(
        0.1, ge=0, description="most fraud lost in money, as a share of the money that live blocks; needs labels"
    )
    maximum_insults: float = Field(
        0.1,
        ge=0,
        description="most honest customers blocked in addition (only by the candidate, minus only by live), as a share "
        "of live's blocks; needs labels",
    )
    maximum_insults_amount: float = Field(
        0.15,
        ge=0,
        description="most honest money blocked in addition, as a share of the money that live blocks; needs labels",
    )

    @model_validator(mode="after")
    def _nothing_hides(self) -> Self:
        """A disagreement is lost fraud or insults at worst: one that is called small must keep to both limits. A limit
        that nobody wrote gives way."""
        name, lost, insults = "maximum_excess_disagreement", self.maximum_lost_fraud, self.maximum_insults
        excess = self.maximum_excess_disagreement
        if excess <= lost + insults + 1e-9:
            return self
        if name not in self.model_fields_set:
            self.__dict__[name] = lost + insults
        else:
            raise ValueError(
                f"{name} {excess:g} is more than maximum_lost_fraud {lost:g} + maximum_insults {insults:g} = "
                f"{lost + insults:g}, so a disagreement that passes for small could do more harm than both allow; set "
                f"it to at most {lost + insults:g}"
            )
        return self


class SegmentLimits(Limits):
    """Limits for one segment: by default they require less traffic and allow larger shifts."""

    minimum_transactions: int = Field(1000, ge=1, le=MOST)
    maximum_more_blocks: float = Field(0.25, ge=0)
    maximum_fewer_blocks: float = Field(0.25, ge=0)
    maximum_more_blocked_amount: float = Field(0.4, ge=0)
    maximum_fewer_blocked_amount: float = Field(0.4, ge=0)
    maximum_more_uncapped_amount: float | None = Field(None, ge=0)
    maximum_fewer_uncapped_amount: float | None = Field(None, ge=0)
    maximum_excess_disagreement: float = Field(0.3, ge=0)
    maximum_recent_rise: float = Field(0.3, gt=0)
    maximum_lost_fraud: float = Field(0.1, ge=0)
    maximum_lost_fraud_amount: float = Field(0.2, ge=0)
    maximum_insults: float = Field(0.2, ge=0)
    maximum_insults_amount: float = Field(0.3, ge=0)


class Release(Frozen):
    """The content of `release.yaml`."""

    schema_number: Literal[1] = Field(validation_alias="schema", serialization_alias="schema")
    segments: Segments = Field(default_factory=lambda: Segments({}))
    minimum_covered_hours: int = Field(
        336, ge=1, le=MOST_HOURS, description="clean event hours that are required: the clean period"
    )
    tolerated_error_rate: float = Field(
        0.0, ge=0, lt=1, description="share of an hour's decisions that the candidate may fail to score in a clean hour"
    )
    promote_error: float = Field(
        0.005, gt=0, lt=0.5, description="probability that a criterion ever passes although its limit is exceeded"
    )
    reject_error: float = Field(
        0.02, gt=0, lt=0.5, description="probability that a candidate is ever rejected although it keeps every limit"
    )
    calibration_days: int = Field(
        7,
        ge=1,
        le=28,
        description="first event days of a run, which give the matched threshold and the reference for drift",
    )
    drift_error: float = Field(
        0.01, gt=0, lt=0.5, description="probability that one evaluation reports any drift when there is none"
    )
    recent_days: int = Field(
        3, ge=1, le=28, description="last event days of a run, which are judged apart from the run before them"
    )
    better_factor: float = Field(
        5.0,
        ge=1,
        description="where reviews show fraud gained and no more insults, the limits on more blocks and more blocked "
        "money are multiplied by this",
    )
    maximum_other_share: float = Field(
        0.01,
        ge=0,
        lt=1,
        description="share of the traffic, and of live's blocks, up to which a segment `other` may lack evidence",
    )
    amount_cap: float = Field(
        500.0, gt=0, description="cap on each amount in the evidence, in units of the reporting currency"
    )
    require_lineage: bool = Field(
        False,
        description="whether a promotion waits for a candidate whose manifest says how it was made, from a commit "
        "without further changes",
    )
    overall: Limits = Field(default_factory=lambda: Limits.model_validate({}))
    per_segment: SegmentLimits = Field(default_factory=lambda: SegmentLimits.model_validate({}))
    exceptions: Mapping[str, SegmentLimits] = Field(
        default_factory=dict,
        description="limits of single segments, which replace per_segment; fields left out have their defaults",
    )
    may_stay_insufficient: tuple[str, ...] = Field(
        (),
        description="patterns `criterion: segment`, with wildcards, of what may lack evidence in a promotion; an "
        "`other` has to be named in full",
    )

    _implied: str | None = PrivateAttr(None)

    @model_serializer(mode="wrap")
    def _as_before(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Criteria that do not ask for lineage are what they were before they could: their digest stays."""
        fields: dict[str, Any] = dump(self)
        if not self.require_lineage:
            fields.pop("require_lineage", None)
        return fields

    @classmethod
    def again(cls, dumped: Any, implied: str | None) -> Self:
        """Criteria that were dumped with all that follows from their file, and what was `implied` then."""
        found = cls.model_validate(dumped)
        found._implied = implied
        return found

    @property
    def implied(self) -> str | None:
        """The segment above the cap, if the file does not name the cap as an edge; it may stay unknown."""
        return self._implied

    @model_validator(mode="after")
    def _excuses_no_lineage(self) -> Self:
        """Whether lineage counts has one field. A pattern that names it would be passed over."""
        named = f"{Criterion.LINEAGE}:"
        for at, pattern in enumerate(self.may_stay_insufficient):
            if pattern.startswith(named):
                raise ValueError(
                    f"may_stay_insufficient.{at}: {pattern!r} excuses nothing, as lineage is asked for by "
                    "require_lineage alone; remove the pattern, or set require_lineage: false"
                )
        return self

    @model_validator(mode="after")
    def _has_a_band_above_the_cap(self) -> Self:
        """Make what is above the cap a segment of its own, as sums over all traffic show little of it.

        If the file does not name the cap as an edge, that segment may stay unknown: many have hardly any traffic there.
        """
        with_band, name = self.segments.with_edge("amount", self.amount_cap)
        object.__setattr__(self, "segments", with_band)
        self._implied = name
        return self

    def limits(self, segment: str) -> Limits:
        """The limits of a segment."""
        return self.overall if segment == ALL else self.exceptions.get(segment, self.per_segment)

    def excuses(self, criterion: Criterion, segment: str) -> bool:
        """Whether a criterion may stay insufficient in a segment of any size without holding a promotion.

        A pattern must name a segment `other` in full: nobody knows beforehand how much will be in it.
        """
        return segment == self._implied or self._is_named(criterion, segment)

    def _is_named(self, criterion: Criterion, segment: str) -> bool:
        return any(
            fnmatchcase(f"{criterion}: {segment}", pattern)
            and (not is_other(segment) or pattern.rpartition(": ")[2] == segment)
            for pattern in self.may_stay_insufficient
        )

    def let_off(self, criterion: Criterion) -> npt.NDArray[np.bool_]:
        """The segment above the cap, where nothing but its being implied excuses a criterion: bool (S,)."""
        return np.array(
            [name == self._implied and not self._is_named(criterion, name) for name in self.segments.names], dtype=bool
        )

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the criteria, however the file is written."""
        text = orjson.dumps(self.model_dump(mode="json", by_alias=True), option=orjson.OPT_SORT_KEYS)
        return hashlib.sha256(text).hexdigest()

    def cap_minor(self, minor_per_unit: float) -> int:
        """The cap on amounts in minor units of the reporting currency, at least 1."""
        return max(1, round(self.amount_cap * minor_per_unit))

    @cached_property
    def others(self) -> npt.NDArray[np.bool_]:
        """Which segments are the `other` of a division: bool (S,)."""
        return np.array([is_other(name) for name in self.segments.names], dtype=bool)

    def limit(self, criterion: Criterion) -> npt.NDArray[np.float64]:
        """The limit of a criterion in each segment: float64 (S,), in the order of `segments.names`; infinite where the
        criterion is not judged.

        Raises AttributeError for a criterion of the whole run.
        """
        field = str(criterion.limit_field)
        limits = [getattr(self.limits(name), field) for name in self.segments.names]
        return np.array([np.inf if limit is None else limit for limit in limits], dtype=np.float64)

    def excused(self, criterion: Criterion) -> npt.NDArray[np.bool_]:
        """The segments in which a criterion may stay insufficient: bool (S,)."""
        return np.array([self.excuses(criterion, name) for name in self.segments.names], dtype=bool)


def is_other(segment: str) -> bool:
    """Whether a segment holds what fits no other segment of its division."""
    return segment.endswith("=other")


def parse(text: str) -> Release:
    """Read criteria from YAML. Raises SettingsError that names the field and the remedy."""
    try:
        release = Release.model_validate(read_yaml(text))
    except YamlTextError as error:
        raise SettingsError(f"release criteria: not valid YAML ({error}); correct the file") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        remedy = "remove it" if first["type"] == "extra_forbidden" else "see docs/release.md"
        told = first["msg"].removeprefix("Value error, ")
        raise SettingsError(f"release criteria: {where}: {told}; {remedy}") from None
    unknown = sorted(set(release.exceptions) - set(release.segments.names))
    if unknown:
        raise SettingsError(
            f"release criteria: exceptions: {unknown[0]} is not a declared segment; declare or remove it"
        )
    return release
