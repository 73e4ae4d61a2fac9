"""The review queue: which cases to look at next, and how many more settle the question. Pure.

Every segment has its own order, the hash of the transaction's id: fixed, the same for everybody, and independent of
what a case is about. Which segment comes next goes by where the question is most open, never by what a case looks like.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from shadow.cases import Case
from shadow.claims import Claim
from shadow.labelled import in_turn
from shadow.labels import State


@dataclass(frozen=True, slots=True)
class Need:
    """Where a segment stands. settled: how far the least certain criterion is, 0 to 1. more: reviews that settle all of
    them if they go on as up to now; None if none have been done, or they do not."""

    segment: str
    reviewed: int
    settled: float
    more: int | None


def turns(cases: Sequence[Case], states: Sequence[State], wanted: Sequence[Need]) -> list[tuple[Case, str]]:
    """Cases to look at in order, each with the segment whose turn it is.

    cases: by hash. states: of their reviews. wanted: of the segments in which labels are asked for. Segments take
    turns, the most open first; in each the smallest hash that waits is next. What somebody looks at just now is in it.
    """
    passed: set[str] = set()
    queues: Mapping[str, list[int]] = {
        need.segment: in_turn(cases, states, need.segment)[1] for need in wanted if need.settled < 1
    }
    order = sorted((need for need in wanted if need.segment in queues), key=lambda need: need.settled)
    out: list[tuple[Case, str]] = []
    at = dict.fromkeys(queues, 0)
    while True:
        before = len(out)
        for need in order:
            queue = queues[need.segment]
            while at[need.segment] < len(queue):
                case = cases[queue[at[need.segment]]]
                at[need.segment] += 1
                if case.transaction not in passed:
                    passed.add(case.transaction)
                    out.append((case, need.segment))
                    break
        if len(out) == before:
            return out


def needs(claims: Sequence[Claim], asked: Collection[str], segments: Sequence[str], bar: float) -> list[Need]:
    """How settled the segments are in which labels are asked for. claims: of one look, (S,). bar: of log evidence."""
    out = []
    evidence = [np.maximum(claim.log_within(), claim.log_beyond()) for claim in claims]
    times = [claim.times_needed(bar) for claim in claims]
    for at, segment in enumerate(segments):
        if segment not in asked or not claims:
            continue
        reviewed = int((claims[0].seen if claims[0].seen is not None else np.zeros(len(segments)))[at])
        settled = min(min(1.0, max(0.0, float(log_e[at]) / bar)) for log_e in evidence)
        ahead = [float(more[at]) for log_e, more in zip(evidence, times, strict=True) if log_e[at] < bar]
        farthest = max(ahead, default=1.0) - 1
        is_known = reviewed > 0 and not any(map(math.isnan, ahead))
        out.append(Need(segment, reviewed, settled, math.ceil(farthest * reviewed) if is_known else None))
    return out
