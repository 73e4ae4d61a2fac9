"""How long a shadow has a reason to wait: for an answer of Redis, or until gathered sums are written."""

from __future__ import annotations

import time
from typing import Any

import pytest

from shadow.comparison.memory import Memory
from shadow.store.tallies import Fence
from shadow.worker.partitions import ANSWER_SECONDS, Partition, Partitions


class Store:
    """A Redis of which somebody looks at the clock while it answers."""

    def __init__(self) -> None:
        self.seen: list[float] = []
        self.partitions: Partitions | None = None

    async def apply(self, *_: Any) -> Any:
        assert self.partitions is not None
        self.seen.append(self.partitions.patient_until(0.5))
        raise ValueError("no")


@pytest.mark.anyio
async def test_it_waits_for_an_answer_while_one_may_come_and_for_sums_while_they_may_wait() -> None:
    nothing: Any = None
    store: Any = Store()
    partitions = store.partitions = Partitions(nothing, "decisions", "candidate", store, nothing)
    assert partitions.patient_until(60.0) == 0
    began = time.monotonic()
    with pytest.raises(ValueError, match="no"):
        await partitions._apply(0, Fence("n", 0, 0, False), 1, nothing)
    assert began + ANSWER_SECONDS <= store.seen[0] <= time.monotonic() + ANSWER_SECONDS
    assert partitions.patient_until(60.0) == 0, "it has come, if only as an error"
    part = partitions.owned[0] = Partition(Fence("n", 0, 0, False), 0, Memory(), {}, 0, 0)
    assert partitions.patient_until(60.0) == 0
    part.since = began
    assert partitions.patient_until(60.0) == began + 90
