"""What a take-over reads off the topics."""

from __future__ import annotations

import orjson
from hypothesis import given, settings

from harness.batches import cut, decisions, make, mixed
from scorer.worker.recovery import END, source_of


@settings(max_examples=50, deadline=None)
@given(mixed)
def test_a_recovery_finds_a_decisions_source_at_its_end(kinds: list[str]) -> None:
    for _, value in decisions(cut(make(kinds), [])):
        assert value is not None
        told = int(orjson.loads(value)["source"]["offset"])
        at_the_end = END.search(value)
        assert at_the_end is not None
        assert int(at_the_end[1]) == source_of(value) == told
