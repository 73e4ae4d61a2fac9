"""Evidence as JSON, and back without a difference. It holds neither cards nor ids of transactions. Pure.

Sums stay the integers that they are, other numbers are written such that reading gives the same bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

import numpy as np

from shadow.comparison.bins import BINS, KINDS, Counts
from shadow.comparison.case import Case
from shadow.comparison.outcome import Outcome
from shadow.comparison.resets import Reset
from shadow.comparison.totals import Run, RunTotals, SegmentTotals
from shadow.gate.evidence import Evidence, RecentEvidence
from shadow.gate.origin import Origin
from shadow.gate.sums import Sums
from shadow.labels.label import Known, State

#: Fields of `RunTotals` and `SegmentTotals` that are plain already, and those that are arrays.
_PLAIN = ("hours", "errors", "duplicates", "repeats", "refunds", "conflicts", "gap", "live_digest", "candidate_digest",
          "view")  # fmt: skip
_ARRAYS = ("counts", "minor", "capped", "cells", "money", "tops")


def to_json(evidence: Evidence) -> dict[str, Any]:
    """Evidence as JSON. Cases have a number for each card and day instead of the card, and no id."""
    clusters: dict[tuple[str, int], int] = {}
    cases = [
        [
            int(case.outcome),
            case.minor,
            list(case.segments),
            case.hash,
            case.day,
            case.inclusion,
            clusters.setdefault(case.cluster, len(clusters)),
            known.chargeback.value,
            known.review.value,
        ]
        for case, known in zip(evidence.cases, evidence.known, strict=True)
    ]
    return {
        "candidate": _totals_json(evidence.candidate),
        "floor": None if evidence.floor is None else _totals_json(evidence.floor),
        "no_floor": evidence.no_floor,
        "minor_per_unit": evidence.minor_per_unit,
        "cases": cases,
        "recent": None if evidence.recent is None else _recent_json(evidence.recent),
        **({} if evidence.origin is None else {"origin": asdict(evidence.origin)}),
    }


def from_json(told: Mapping[str, Any]) -> Evidence:
    """Evidence that `to_json` wrote. Raises KeyError, TypeError, ValueError or AttributeError for anything else."""
    cases, known = [], []
    for at, row in enumerate(told["cases"]):
        outcome, minor, segments, value, day, inclusion, cluster, chargeback, review = row
        cases.append(
            Case(
                transaction=str(at),
                outcome=Outcome(outcome),
                minor=int(minor),
                occurred_ms=0,
                card=str(int(cluster)),
                segments=tuple(map(str, segments)),
                hash=float(value),
                day=int(day),
                offset=at,
                inclusion=float(inclusion),
            )
        )
        known.append(Known(State(chargeback), State(review)))
    return Evidence(
        candidate=_totals(told["candidate"]),
        floor=None if told["floor"] is None else _totals(told["floor"]),
        no_floor=str(told["no_floor"]),
        minor_per_unit=float(told["minor_per_unit"]),
        cases=tuple(cases),
        known=tuple(known),
        recent=None if told["recent"] is None else _recent(told["recent"]),
        origin=_origin(told["origin"]) if "origin" in told else None,
    )


def _origin(told: Mapping[str, Any]) -> Origin:
    doubt, trouble = (None if told[name] is None else str(told[name]) for name in ("doubt", "trouble"))
    return Origin(doubt, trouble)


def _totals_json(totals: RunTotals) -> dict[str, Any]:
    return {
        "run": str(totals.run),
        **{name: getattr(totals, name) for name in _PLAIN},
        "covered": list(totals.covered),
        "resets": [[reset.hour, reset.cause] for reset in totals.resets],
        "begun": list(totals.begun),
        "segments": {
            name: {
                **{field: getattr(part, field).tolist() for field in _ARRAYS},
                "errors": part.errors,
                "scores": _sparse(part.scores),
            }
            for name, part in totals.segments.items()
        },
    }


def _totals(told: Mapping[str, Any]) -> RunTotals:
    return RunTotals(
        run=Run.parse(told["run"]),
        segments={
            str(name): SegmentTotals(
                **{field: np.array(part[field], dtype=np.int64) for field in _ARRAYS},
                scores=_dense(part["scores"]),
                errors=int(part["errors"]),
            )
            for name, part in told["segments"].items()
        },
        **{name: told[name] for name in _PLAIN},
        covered=tuple(map(int, told["covered"])),
        resets=tuple(Reset(int(hour), str(cause)) for hour, cause in told["resets"]),
        begun=tuple(map(str, told["begun"])),
    )


def _recent_json(recent: RecentEvidence) -> dict[str, Any]:
    return {
        "path": _sums_json(recent.path),
        "floor": None if recent.floor is None else _sums_json(recent.floor),
        "skipped": recent.skipped,
        "before": None if recent.before is None else _sparse(recent.before),
        "late": None if recent.late is None else _sparse(recent.late),
        "clustering": recent.clustering,
    }


def _recent(told: Mapping[str, Any]) -> RecentEvidence:
    return RecentEvidence(
        path=_sums(told["path"]),
        floor=None if told["floor"] is None else _sums(told["floor"]),
        skipped=int(told["skipped"]),
        before=None if told["before"] is None else _dense(told["before"]),
        late=None if told["late"] is None else _dense(told["late"]),
        clustering=float(told["clustering"]),
    )


def _sums_json(sums: Sums) -> dict[str, Any]:
    """Arrays as nested lists, of integers where all are (as sums are)."""
    out = {}
    for field in fields(Sums):
        array = getattr(sums, field.name)
        whole = array.astype(np.int64)
        out[field.name] = (whole if (whole == array).all() else array).tolist()
    return out


def _sums(told: Mapping[str, Any]) -> Sums:
    return Sums(**{field.name: np.array(told[field.name], dtype=np.float64) for field in fields(Sums)})


def _sparse(histogram: Counts) -> list[list[int]]:
    """A histogram as kind, bin and count of each bin that is not empty. histogram: int64 (KINDS, BINS)."""
    kinds, bins = np.nonzero(histogram)
    return np.stack([kinds, bins, histogram[kinds, bins]], axis=1).tolist()  # type: ignore[no-any-return]


def _dense(rows: list[list[int]]) -> Counts:
    out = np.zeros((len(KINDS), BINS), dtype=np.int64)
    for kind, place, count in rows:
        if not (0 <= kind < len(KINDS) and 0 <= place < BINS):
            raise ValueError(f"bin {kind}, {place}: there is none")
        out[kind, place] = count
    return out
