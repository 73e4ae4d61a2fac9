"""Filling batches of records, of which nothing is left out, and queueing them."""

from __future__ import annotations

import asyncio
import inspect
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.cluster import ClusterMetadata
from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.errors import KafkaError
from aiokafka.producer.message_accumulator import BatchBuilder, MessageAccumulator
from aiokafka.protocol.metadata import MetadataResponse_v0
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given
from hypothesis import strategies as st

from scorer.kafka.aiokafka_internals import as_parsed, fill, queue
from scorer.kafka.producer import _acknowledged

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


@pytest.mark.anyio
async def test_a_batch_is_queued_at_once_only_where_there_is_nothing_to_wait_for() -> None:
    cluster, tp = ClusterMetadata(), TopicPartition("decisions", 0)
    accumulator = MessageAccumulator(cluster, 10_000, 0, 30.0)
    producer = SimpleNamespace(_message_accumulator=accumulator, client=SimpleNamespace(cluster=cluster))

    def queued() -> asyncio.Future[Any] | None:
        batch = accumulator.create_builder()
        fill(batch, [(b"key", b"value")], ())
        return queue(producer, batch, tp)

    assert queued() is None  # nobody knows the topic
    for leader, is_queued in ((-1, False), (1, True)):
        cluster.update_metadata(
            MetadataResponse_v0([(1, "127.0.0.1", 9092)], [(0, tp.topic, [(0, tp.partition, leader, [1], [1])])])
        )
        first = queued()
        assert (first is not None) is is_queued
    assert first is not None
    assert queued() is None  # the first one waits to be sent

    waiting = asyncio.create_task(_acknowledged(first))
    await asyncio.sleep(0)
    waiting.cancel()
    with suppress(asyncio.CancelledError):
        await waiting
    assert not first.done()  # it is the producer's, whoever has stopped waiting for it

    accumulator.fail_all(KafkaError("the producer has ended"))
    assert queued() is None
    with pytest.raises(KafkaError, match="has ended"):
        await _acknowledged(first)
