"""The findings of a verdict as a table of segments and criteria: what stands against a release comes first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from shadow.gate.criteria import Criterion
from shadow.gate.findings import Finding, Verdict

#: Sign of each state and words for one and several, worst first. The sign says it without colour.
STATES = {
    "fail": ("✗", "fails", "fail"),
    "lacking": ("…", "lacks evidence", "lack evidence"),
    "excused": ("○", "lacks evidence, excused", "lack evidence, excused"),
    "pass": ("✓", "passes", "pass"),
}
_ORDER = list(STATES)


def state_of(finding: Finding) -> str:
    """The state of a finding."""
    if finding.verdict is Verdict.FAIL:
        return "fail"
    if finding.verdict is Verdict.PASS:
        return "pass"
    return "excused" if finding.excused else "lacking"


def heat(findings: Sequence[Finding], names: Sequence[str]) -> dict[str, Any]:
    """The table. Rows and columns with what fails come first, so that it is in sight on any screen; each reason is told
    once, below. names: segments in the order of the criteria."""
    by_place = {(one.segment, one.criterion): one for one in findings}
    place = {name: n for n, name in enumerate(names)}
    segments = sorted(
        {one.segment for one in findings},
        key=lambda name: (_worst([one for one in findings if one.segment == name]), place.get(name, len(place))),
    )
    columns = sorted(
        {one.criterion for one in findings},
        key=lambda of: (_worst([one for one in findings if one.criterion is of]), list(Criterion).index(of)),
    )
    against = [one for one in findings if state_of(one) in ("fail", "lacking")]
    against.sort(key=lambda one: (_ORDER.index(state_of(one)), segments.index(one.segment)))
    ids = {(one.segment, one.criterion): f"why-{n}" for n, one in enumerate(against)}
    return {
        "head": [told_criterion(one) for one in columns],
        "rows": [
            {"segment": name, "cells": [_cell(by_place.get((name, of)), ids.get((name, of))) for of in columns]}
            for name in segments
        ],
        "fails": [_reason(one, ids) for one in against if state_of(one) == "fail"],
        "lacking": [_reason(one, ids) for one in against if state_of(one) == "lacking"],
        "counts": [
            (sign, one_word if n == 1 else many, n)
            for name, (sign, one_word, many) in STATES.items()
            if (n := sum(state_of(one) == name for one in findings))
        ],
    }


def _reason(finding: Finding, ids: Mapping[tuple[str, Criterion], str]) -> dict[str, str]:
    """Why a check does not pass. ids: of the reasons on the page."""
    state = state_of(finding)
    return {
        "id": ids[finding.segment, finding.criterion],
        "state": state,
        "sign": STATES[state][0],
        "told": STATES[state][1],
        "criterion": told_criterion(finding.criterion),
        "segment": finding.segment,
        "reason": finding.reason,
    }


def told_criterion(criterion: Criterion) -> str:
    """The name of a criterion for people."""
    return criterion.value.replace("_", " ").capitalize()


def _worst(findings: Sequence[Finding]) -> tuple[int, int]:
    """How soon something is to be seen: by its worst state, and how often that is there."""
    states = [_ORDER.index(state_of(one)) for one in findings]
    return min(states), -states.count(min(states))


def _cell(finding: Finding | None, why: str | None) -> dict[str, Any] | None:
    if finding is None:
        return None
    state = state_of(finding)
    return {"state": state, "sign": STATES[state][0], "told": STATES[state][1], "why": why, "number": _number(finding)}


def _number(finding: Finding) -> str:
    """What was observed, short."""
    value = finding.observed
    if value is None or not math.isfinite(value):
        return ""
    if finding.criterion.unit.is_count:
        return f"{value:,.0f}"
    share = round(100 * value, 1) + 0.0  # without a sign if it is 0
    return f"{share:,.0f} %" if abs(share) >= 10 else f"{share:,.1f} %"
