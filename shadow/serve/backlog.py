"""Computes a slot's backlog of decisions from its fences, which are known even if no shadow runs. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backlog:
    """Decisions that a slot has yet to count in Redis.

    unread: their number. retention_used: their share of a partition's retained decisions, of the worst partition, 0 to
    1; at 1, the next decision to expire was never compared.
    """

    unread: int
    retention_used: float


def backlog(spans: Mapping[int, tuple[int, int]], fences: Mapping[int, int]) -> Backlog:
    """The backlog of a slot.

    spans: by partition, the oldest retained offset and the offset after the newest. fences: by partition, the offset of
    the first decision that is not in Redis; a partition without a fence was never read.

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
