"""How far a slot is behind the topic of decisions, from its fences: known even where no shadow runs. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backlog:
    """unread: decisions that are not in Redis. retention_used: the worst partition's share of what retention has left
    that is unread, 0 to 1; at 1 the next decision to expire is one that was never compared."""

    unread: int
    retention_used: float


def backlog(spans: Mapping[int, tuple[int, int]], fences: Mapping[int, int]) -> Backlog:
    """What a slot has before it.

    spans: by partition, the oldest offset that is left and the one after the newest. fences: by partition, the first
    decision that is not applied; a partition without one was never opened, and is unread as a whole.

    >>> backlog({0: (0, 100), 1: (50, 150)}, {0: 100, 1: 120})
    Backlog(unread=30, retention_used=0.3)
    """
    unread, worst = 0, 0.0
    for partition, (oldest, end) in spans.items():
        waiting = max(0, end - max(oldest, fences.get(partition, oldest)))
        unread += waiting
        if waiting:
            worst = max(worst, waiting / (end - oldest))
    return Backlog(unread, worst)
