"""Which partition a keyed record goes to, as the clients that write `transactions` choose it.

murmur2: the default of Java's clients, Kafka Connect, Flink and aiokafka. crc32: librdkafka's default for records with
a key (`consistent_random`), and so that of kcat and of the Python, Go and .NET clients built on it.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection
from typing import get_args

from aiokafka.partitioner import murmur2

from scorer.settings import Partitioner


def partition_of(key: bytes, partitions: int, partitioner: Partitioner = "murmur2") -> int:
    """Partition of a key on a topic with so many partitions.

    Sources: Kafka's `BuiltInPartitioner.partitionForKey`, librdkafka's `rd_kafka_msg_partitioner_consistent`.

    >>> partition_of(b"card-1", 8), partition_of(b"card-1", 8, "crc32")
    (7, 4)
    """
    if partitioner == "crc32":
        return zlib.crc32(key) % partitions
    return int(murmur2(key) & 0x7FFFFFFF) % partitions


def fitting(placed: Collection[tuple[bytes, int]], partitions: int) -> dict[Partitioner, int]:
    """How many keys lie where each partitioner puts them. placed: different keys, each with its partition.

    >>> fitting([(b"card-1", 4), (b"card-2", 6)], 8)
    {'murmur2': 0, 'crc32': 2}
    """
    names: tuple[Partitioner, ...] = get_args(Partitioner)
    return {name: sum(partition_of(key, partitions, name) == at for key, at in placed) for name in names}
