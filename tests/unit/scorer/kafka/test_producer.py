"""Filling batches of records: nothing is left out, whatever fits into one."""

from __future__ import annotations

import inspect

from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given
from hypothesis import strategies as st

from scorer.kafka.aiokafka_internals import as_parsed, fill

texts = st.binary(max_size=40)
records = st.lists(st.tuples(st.none() | texts, texts), min_size=1, max_size=40)


@given(records, st.integers(1, 400), st.booleans())
def test_every_record_is_in_a_batch_once_and_in_order(
    rows: list[tuple[bytes | None, bytes]], room: int, with_headers: bool
) -> None:
    headers = [[("n", b"%d" % n)] for n in range(len(rows))] if with_headers else []
    rest, told = list(rows), list(headers)
    read = []
    while rest:
        batch = BatchBuilder(room, 0)
        n = fill(batch, rest, told)
        assert 1 <= n == batch.record_count()
        assert batch.closed()
        data = MemoryRecords(bytes(batch._build()))
        while data.has_next():
            one = data.next_batch()
            assert one.validate_crc()
            read += list(one)
        rest, told = rest[n:], told[n:]
    assert [(record.key, record.value) for record in read] == rows
    assert [list(record.headers) for record in read] == (headers or [[] for _ in rows])


def test_a_fetch_makes_its_records_where_we_give_it_what_was_parsed() -> None:
    theirs = list(inspect.signature(PartitionRecords._consumer_record).parameters)
    assert theirs[1:] == list(inspect.signature(as_parsed).parameters)
    assert "self._consumer_record(tp, record)" in inspect.getsource(PartitionRecords._unpack_records)
