"""Batches of records as only a hostile or careless producer makes them, sent to a broker as they are."""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

from scorer.kafka.connection import connection
from scorer.settings import ScorerSettings

CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
#: A name of a header that `spoiled` makes bytes that are no UTF-8.
NAME = "hostile-name"
_CRC_AT, _ATTRIBUTES_AT = 17, 21
Row = tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]


def batch(rows: Sequence[Row], codec: str = "none") -> bytes:
    """One batch of records: key, value and headers of each."""
    builder, now_ms = DefaultRecordBatchBuilder(2, CODECS[codec], 0, -1, -1, -1, 2**31 - 1), int(time.time() * 1000)
    for at, (key, value, headers) in enumerate(rows):
        assert builder.append(at, now_ms, key, value, headers) is not None
    return bytes(builder.build())


def spoiled(made: bytes) -> bytes:
    """The batch with the name NAME in bytes that are no UTF-8, and the checksum that a broker wants."""
    return summed(made.replace(NAME.encode(), b"\xff" * len(NAME)))


def summed(made: bytes) -> bytes:
    """The batch with the checksum of its content."""
    return made[:_CRC_AT] + struct.pack(">I", calc_crc32c(made[_ATTRIBUTES_AT:])) + made[_ATTRIBUTES_AT:]


async def send(settings: ScorerSettings, topic: str, partition: int, batches: Sequence[bytes]) -> None:
    """Append batches to a partition. Fails if the broker takes one of them not."""
    async with AIOKafkaProducer(**connection(settings), max_request_size=2**30) as producer:
        for made in batches:
            builder: Any = producer.create_batch()
            n = struct.unpack_from(">i", made, 57)[0]
            for _ in range(n):
                builder.append(timestamp=None, key=None, value=b"")
            builder._build = lambda made=made: bytearray(made)
            builder.close()
            await (await producer.send_batch(builder, topic, partition=partition))
