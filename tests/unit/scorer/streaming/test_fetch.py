"""What comes while a fetch waits is added to it, unless that would hide a hole or make it too large."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from faust.types import TP

from scorer.streaming.fetch import MOST_BYTES, Fetch, size_of

A, B = TP("transactions", 0), TP("transactions", 1)


@dataclass(frozen=True)
class ARecord:
    offset: int
    key: bytes | None = None
    value: bytes | None = None


def records(first: int, n: int) -> list[Any]:
    return [ARecord(offset) for offset in range(first, first + n)]


def a_fetch() -> Fetch:
    fetch = Fetch(
        topic=A.topic,
        partition=A.partition,
        offset=10,
        timestamp=0.0,
        timestamp_type=0,
        headers=None,
        key=None,
        value=b"",
        checksum=None,
        tp=A,
    )
    fetch.batches, fetch.size = {}, 100
    fetch.add(A, records(10, 5), 8, 0)
    return fetch


def test_a_batch_grows_by_what_follows_and_still_knows_what_was_expected_first() -> None:
    fetch = a_fetch()
    assert fetch.has_room_for({A: (records(15, 5), 15), B: (records(0, 1), 0)}, 6, most=11)
    fetch.add(A, records(15, 5), 15, 0)
    fetch.add(B, records(0, 1), 0, 0)
    assert [r.offset for r in fetch.batches[A].records] == list(range(10, 20))
    assert (fetch.batches[A].offset, fetch.batches[A].expected, fetch.batches[A].next) == (10, 8, 20)
    assert len(fetch) == 11


def test_a_fetch_stays_as_it_is_before_a_hole_and_when_it_is_full() -> None:
    fetch = a_fetch()
    assert not fetch.has_room_for({A: (records(16, 1), 15)}, 1, most=100), (
        "a hole must come first in a batch, to be seen"
    )
    assert not fetch.has_room_for({A: (records(15, 5), 15)}, 5, most=9)
    assert fetch.has_room_for({A: (records(15, 5), 15)}, MOST_BYTES - 100, most=10)
    assert not fetch.has_room_for({A: (records(15, 5), 15)}, MOST_BYTES - 99, most=10), "few large ones are enough"


def test_the_size_of_records_is_that_of_keys_and_values() -> None:
    assert size_of([ARecord(0, b"ab", b"cde"), ARecord(1, None, None)]) == 5
