"""How long a shadow has a reason to wait: for an answer of Redis, or until gathered sums are written."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from scorer.deployments.slots import Slot
from scorer.streaming.fetch import Batch
from shadow.comparison.memory import Memory
from shadow.comparison.sampling import Thresholds
from shadow.store.tallies import Fence
from shadow.worker.candidate import NEVER_MS, filled_ms
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
    partitions = store.partitions = Partitions(nothing, "candidate", store, nothing, lambda: 0)
    assert partitions.patient_until(60.0) == 0
    began = time.monotonic()
    with pytest.raises(ValueError, match="no"):
        await partitions._apply(0, Fence("n", 0, 0, False), 1, nothing)
    assert began + ANSWER_SECONDS <= store.seen[0] <= time.monotonic() + ANSWER_SECONDS
    assert partitions.patient_until(60.0) == 0, "it has come, if only as an error"
    part = partitions.owned[0] = Partition(Fence("n", 0, 0, False), 0, Memory(), Thresholds(), 0)
    assert partitions.patient_until(60.0) == 0
    part.since = began
    assert partitions.patient_until(60.0) == began + 90


def a_batch(offset: int, *stamps_ms: int) -> Batch:
    nothing: Any = None
    records = [SimpleNamespace(offset=offset + 2 * i, timestamp=stamp) for i, stamp in enumerate(stamps_ms)]
    return Batch(TP("decisions", 0), records, offset + 2 * len(records), offset, nothing, 0)


def test_a_candidate_counts_from_the_first_decision_after_its_slot_was_filled_whatever_clocks_say_later() -> None:
    part = Partition(Fence("n", 0, 0, False), 0, Memory(), Thresholds(), 0)
    assert part.begins(a_batch(10, 997, 998), 10, 3, 1000) == 14, "all of it was before"
    assert part.begins(a_batch(14, 998, 999, 1000, 999), 14, 3, 1000) == 18, "the one of that very moment counts"
    assert part.begins(a_batch(22, 900, -1), 22, 3, 1000) == 22, "a run has no holes"
    assert part.begins(a_batch(26, 1500, 2000), 26, 4, 1900) == 28, "the next candidate begins anew"
    assert part.begins(a_batch(30, 5000, 5000), 32, 6, 1000) == 32, "what came again for another slot does not"
    assert part.begins(a_batch(30, 5000), 30, 5, NEVER_MS) == 32


@pytest.mark.parametrize("since", [None, "", "yesterday", "2026-01-31T12:00:00"])
def test_a_slot_that_was_filled_at_no_time_is_before_no_decision(since: str | None) -> None:
    assert filled_ms(Slot(1, "a" * 64, since=since)) == NEVER_MS
    assert filled_ms(Slot(1, "a" * 64, since="1970-01-01T00:00:01.5+00:00")) == 1500
