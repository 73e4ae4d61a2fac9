"""A decision has the trace of its transaction."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.batches import MODEL, NOTHING, NOW, RULES, a_value, incoming
from scorer.pipeline.batch import Incoming, Part
from scorer.pipeline.card_states import CardStates
from scorer.pipeline.carried import LONGEST_CARRIED, carried
from scorer.pipeline.origin import Headers
from scorer.pipeline.settle import CHUNK, settle_all

TRACE = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
NAMES = frozenset({"traceparent", "tracestate"})
TRACING = replace(RULES, carried=NAMES)


@pytest.mark.parametrize(
    ("own", "want"),
    [
        (
            [("traceparent", TRACE), ("other", b"x"), ("tracestate", b"a=1")],
            [("traceparent", TRACE), ("tracestate", b"a=1")],
        ),
        ([("traceparent", b"old"), ("traceparent", TRACE)], [("traceparent", TRACE)]),
        ([("Traceparent", TRACE)], []),
        ([("traceparent", None)], []),
        ([("traceparent", b"")], [("traceparent", b"")]),
        ([("traceparent", b"\xff\x00")], [("traceparent", b"\xff\x00")]),
        ([("tracestate", b"x" * LONGEST_CARRIED)], [("tracestate", b"x" * LONGEST_CARRIED)]),
        ([("tracestate", b"x" * (LONGEST_CARRIED + 1))], []),
        ([("tracestate", b"card=4111-1111-1111-1111")], [("tracestate", b"card=4111-11**-****-1111")]),
        ([("tracestate", b'"4111111111111111"')], [("tracestate", b'"411111******1111"')]),
    ],
)
def test_a_header_is_carried_as_it_was_but_for_card_numbers(own: Headers, want: list[tuple[str, bytes]]) -> None:
    found = carried([[("other", b"y")], own, []], NAMES)
    assert found == ([[], want, []] if want else [])


def test_without_names_or_headers_nothing_is_carried() -> None:
    assert carried([[("traceparent", TRACE)]], frozenset()) == []
    assert carried([], NAMES) == []
    assert carried([(), ()], NAMES) == []


def part(partition: int, n: int, has_headers: bool, bad: set[int]) -> Part:
    values = [b"{}" if at in bad else a_value(at) for at in range(n)]
    headers = [[("traceparent", b"%d-%d" % (partition, at))] if at % 3 else [] for at in range(n)]
    keys, times = [b"c%d" % (at % 3) for at in range(n)], np.full(n, NOW + 3_600_000)
    batch = Incoming(partition, keys, values, np.arange(n), times, headers if has_headers else ())
    return Part(batch, CardStates(), NOTHING)


@given(
    parts=st.lists(
        st.tuples(st.integers(0, 40), st.booleans(), st.sets(st.integers(0, 40), max_size=3)), min_size=1, max_size=4
    )
)
def test_each_decision_has_the_headers_of_its_own_transaction(parts: list[tuple[int, bool, set[int]]]) -> None:
    batches = [part(at, *one) for at, one in enumerate(parts)]
    for (_, has_headers, _), at, made in zip(
        parts, range(len(parts)), settle_all(batches, MODEL, TRACING, NOW), strict=True
    ):
        assert len(made.carried) in (0, len(made.decisions))
        for own, (_, value) in zip(made.carried or [[]] * len(made.decisions), made.decisions, strict=True):
            offset = orjson.loads(value or b"")["source"]["offset"]
            assert own == ([("traceparent", b"%d-%d" % (at, offset))] if has_headers and offset % 3 else [])


def test_a_partition_without_headers_keeps_its_own_beside_one_with_some() -> None:
    """The pieces of a batch are decided with those of other partitions, or alone."""
    batches = [part(0, CHUNK // 2, True, set()), part(1, CHUNK + 10, False, {3}), part(2, 5, True, set())]
    for at, made in enumerate(settle_all(batches, MODEL, TRACING, NOW)):
        assert len(made.carried) in (0, len(made.decisions))
        assert any(made.carried) == (at != 1)


def test_decisions_are_the_same_bytes_with_and_without_a_trace() -> None:
    plain = settle_all([part(0, 30, False, {7})], MODEL, TRACING, NOW)[0]
    traced = settle_all([part(0, 30, True, {7})], MODEL, TRACING, NOW)[0]
    assert traced.decisions == plain.decisions
    assert len(traced.carried) == 29
    untold = settle_all([part(0, 30, True, set())], MODEL, RULES, NOW)[0]
    assert untold.carried == []
    assert incoming([a_value(0)]).headers == ()
