"""A key's partition is the one that the senders' own clients choose."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorer.kafka.partitioner import partition_of

#: Hashes in Kafka's own tests (`UtilsTest.testMurmur2`), as signed numbers of 32 bits.
MURMUR2 = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


@pytest.mark.parametrize("key", MURMUR2)
@pytest.mark.parametrize("partitions", [1, 7, 8, 1000])
def test_murmur2_is_that_of_kafkas_own_clients(key: bytes, partitions: int) -> None:
    assert partition_of(key, partitions) == (MURMUR2[key] & 0x7FFFFFFF) % partitions


def test_crc32_is_the_standard_one() -> None:
    assert partition_of(b"123456789", 10**10, "crc32") == 0xCBF43926  # the check value of CRC-32/ISO-HDLC


@given(st.binary(min_size=1, max_size=40), st.integers(1, 1000))
def test_every_key_has_a_partition(key: bytes, partitions: int) -> None:
    assert 0 <= partition_of(key, partitions) < partitions
    assert 0 <= partition_of(key, partitions, "crc32") < partitions
