"""The review queue: which case is reviewed next, and which reviews count. Pure.

Every segment orders its cases by the hash of their transaction id. This order is fixed, the same for everybody, and
independent of their content. The segment furthest from a result comes first, never a case because of what it shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from scorer.people import same
from shadow.comparison.case import Case
from shadow.labels.label import ANSWERED, State


@dataclass(frozen=True, slots=True)
class Need:
    """How far the reviews of a segment are. reviewed: cases that count. settled: progress of its least certain
    criterion, 0 to 1. more: further reviews that settle all criteria if they continue as before; None if there are no
    reviews yet, or no number is enough."""

    segment: str
    reviewed: int
    settled: float
    more: int | None


def turns(cases: Sequence[Case], states: Sequence[State], wanted: Sequence[Need]) -> list[tuple[Case, str]]:
    """The cases to review in order, each with the segment for which it is reviewed.

    cases: by hash. states: of their reviews. wanted: of the segments in which labels are asked for. Segments take
    turns, the least settled first; each gives its waiting case with the smallest hash. Cases that somebody is reviewing
    right now are included.
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


def offered(
    cases: Iterable[tuple[Case, str]], by: str, holders: Mapping[str, str | None], assigned: Mapping[str, str]
) -> list[tuple[Case, str]]:
    """Cases that somebody may be given: those that they have open, then those assigned to them, then the rest in order.

    What a colleague has open, or is to review, is left out. holders: who has which transaction open. assigned: who is
    to review which.
    """
    mine: tuple[list[tuple[Case, str]], ...] = ([], [], [])
    for case, segment in cases:
        holder, to = holders.get(case.transaction), assigned.get(case.transaction)
        if holder is not None:
            if same(holder) == same(by):
                mine[0].append((case, segment))
        elif to is None:
            mine[2].append((case, segment))
        elif same(to) == same(by):
            mine[1].append((case, segment))
    return [*mine[0], *mine[1], *mine[2]]


def in_turn(cases: Sequence[Case], states: Sequence[State], segment: str) -> tuple[list[int], list[int], float]:
    """The cases of a segment that count as evidence, those that wait, and the hash threshold of the former.

    cases: by hash. Returns positions of both, by hash, with one case for each card and day. A case counts if no case
    with a smaller hash waits; the threshold is the hash of the first that waits, 1 if none does.

    New cases keep arriving, and one with a small hash would invalidate all reviews behind it once reviewers have moved
    on to other segments. So only cases up to some event day are considered: the day with which most cases count. Thus
    evidence that was complete stays so, and the day depends on which cases were reviewed, not on the verdicts.
    """
    seen: set[tuple[str, int]] = set()
    turn: list[int] = []
    for at, case in enumerate(cases):
        if segment in case.segments and case.cluster not in seen:
            seen.add(case.cluster)
            turn.append(at)
    is_open = [states[at] not in ANSWERED for at in turn]
    waiting = [at for at, still in zip(turn, is_open, strict=True) if still]
    best: tuple[list[int], float] = ([], cases[waiting[0]].hash if waiting else 1.0)
    for last in sorted({cases[at].day for at in turn}, reverse=True):
        until = [(at, still) for at, still in zip(turn, is_open, strict=True) if cases[at].day <= last]
        if len(until) <= len(best[0]):
            break
        first = next((n for n, (_, still) in enumerate(until) if still), len(until))
        if first > len(best[0]):
            best = ([at for at, _ in until[:first]], cases[until[first][0]].hash if first < len(until) else 1.0)
    return best[0], waiting, best[1]
