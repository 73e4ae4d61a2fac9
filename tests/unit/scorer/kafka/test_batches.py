"""Whatever a batch of records is, it is read or named, and what can be read of it is."""

from __future__ import annotations

import struct
from typing import Any

import cramjam
import pytest
from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from hypothesis import given
from hypothesis import strategies as st

from harness.raw_batches import CODECS, NAME, Row, batch, spoiled
from scorer.kafka import batches, checksum
from scorer.kafka.batches import LARGEST_BATCH, Batches
from scorer.pipeline.batch import Unreadable
from scorer.pipeline.transaction import LONGEST_VALUE

TP = TopicPartition("t", 0)
MIB = 2**20
CRC_AT = 17


def at(made: bytes, offset: int) -> bytes:
    """The batch as it is at an offset of a log."""
    return struct.pack(">q", offset) + made[8:]


def read(data: bytes, start: int = 0) -> tuple[list[Any], int]:
    """The records of an answer, and from where is fetched next."""
    assert fetcher.MemoryRecords is Batches
    records = fetcher.PartitionRecords(TP, Batches(data), [], start, None, None, True, 1)
    records._consumer_record = lambda tp, record: record
    return list(records), records.next_fetch_offset


def seen(record: Any) -> tuple[Any, ...]:
    return record.offset, record.key, record.value, list(record.headers)


text = st.binary(max_size=30)
rows = st.lists(
    st.tuples(st.none() | text, st.none() | text, st.lists(st.tuples(st.text(max_size=5), text), max_size=2)),
    min_size=1,
    max_size=5,
)


@given(st.lists(st.tuples(rows, st.sampled_from(sorted(CODECS))), min_size=1, max_size=3))
def test_what_was_put_into_batches_is_read_from_them(made: list[tuple[list[Row], str]]) -> None:
    data, wanted = b"", []
    for content, codec in made:
        data += at(batch(content, codec), len(wanted))
        wanted += [(len(wanted) + i, *row) for i, row in enumerate(content)]
    found, after = read(data)
    assert [seen(record) for record in found] == wanted
    assert after == len(wanted)


@pytest.mark.parametrize("tables", [False, True])
@given(data=st.data(), content=rows, codec=st.sampled_from(sorted(CODECS)))
def test_a_bit_that_turned_is_noticed(tables: bool, data: st.DataObject, content: list[Row], codec: str) -> None:
    made = bytearray(batch(content, codec))
    bit = data.draw(st.integers(8 * CRC_AT, 8 * len(made) - 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "CRC32C", None if tables else checksum.CRC32C)
        assert Batches(bytes(made)).next_batch().validate_crc() is True
        made[bit // 8] ^= 1 << bit % 8
        assert Batches(bytes(made)).next_batch().validate_crc() is False
        with pytest.raises(CorruptRecordException):
            read(bytes(made))


def test_the_processors_instruction_is_used_here() -> None:
    assert checksum.CRC32C is not None
    assert checksum.CRC32C(b"123456789") == 0xE3069283  # the check value of CRC-32C in RFC 3720's polynomial


def test_a_batch_of_an_older_format_is_checked_by_aiokafka() -> None:
    builder = LegacyRecordBatchBuilder(1, 0, 10_000)
    builder.append(0, 1_700_000_000_000, b"k", b"v")
    made = bytearray(builder.build())
    assert Batches(bytes(made)).next_batch().validate_crc()
    made[-1] ^= 1
    assert not Batches(bytes(made)).next_batch().validate_crc()


@given(st.lists(st.sampled_from(["good", "bad"]), min_size=1, max_size=6))
def test_a_name_that_is_no_utf_8_is_replaced_and_every_record_is_as_it_was(kinds: list[str]) -> None:
    content: list[Row] = [
        (b"k%d" % i, None if i % 2 else b"v%d" % i, [(NAME, b"x"), ("a", b"")] if kind == "bad" else [])
        for i, kind in enumerate(kinds)
    ]
    found, after = read(at(spoiled(batch(content)), 7), 7)
    name = "\ufffd" * len(NAME)
    assert [seen(record) for record in found] == [
        (7 + i, key, value, [(name, b"x"), ("a", b"")] if headers else [])
        for i, (key, value, headers) in enumerate(content)
    ]
    assert len({record.timestamp for record in found}) == 1
    assert found[0].timestamp > 1.7e12
    assert after == 7 + len(content)


@pytest.mark.parametrize("codec", ["gzip", "zstd", "lz4"])
def test_a_batch_that_grows_too_large_is_one_record_that_says_so(codec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "LARGEST_BATCH", 4 * MIB)
    small = batch([(b"a", b"1", [])])
    bomb = batch([(b"k", b" " * 5 * MIB, []), (b"k", b"x", [])], codec)
    found, after = read(small + at(bomb, 1) + at(small, 3))
    assert [record.offset for record in found] == [0, 2, 3]
    (lost,) = [record for record in found if isinstance(record.value, Unreadable)]
    assert lost.value == at(bomb, 1)
    assert lost.value.reason.startswith("record: offsets 1 to 2 are one batch, which cannot be read (TooLargeError: ")
    assert after == 4
    fits = batch([(b"k", b" " * 3 * MIB, [])], codec)
    assert [len(record.value) for record in read(fits)[0]] == [3 * MIB]


@pytest.mark.parametrize("stream", [False, True])
def test_snappy_is_bounded_too(stream: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = b"a" * 3 * MIB
    packed = bytes(cramjam.snappy.compress_raw(plain))
    if stream:
        packed = b"\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01" + struct.pack(">i", len(packed)) + packed
    assert batches._unsnapped(packed) == plain
    monkeypatch.setattr(batches, "LARGEST_BATCH", 2 * MIB)
    with pytest.raises(batches.TooLargeError):
        batches._unsnapped(packed)
    with pytest.raises((ValueError, cramjam.DecompressionError)):
        batches._unsnapped(packed[:-5])


def test_an_answer_is_read_only_so_far_that_it_fits_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "ENOUGH", 2 * MIB)
    parts = [at(batch([(b"k", b" " * MIB, [])], "zstd"), i) for i in range(5)]
    turns, start = [], 0
    while start < 5:
        found, start = read(b"".join(parts[start:]), start)
        turns.append([record.offset for record in found])
    assert turns == [[0, 1], [2, 3], [4]]


@given(st.data(), st.sampled_from(sorted(CODECS)))
def test_a_damaged_batch_ends_nobody_and_spoils_no_other(data: st.DataObject, codec: str) -> None:
    """Damaged within its records, with a checksum that is right: as a faulty producer makes it."""
    from harness.raw_batches import summed

    good = batch([(b"a", b"1", [])])
    made = bytearray(batch([(b"k", b"v" * 9, [("h", b"x")]), (None, b"w", [])], codec))
    for _ in range(data.draw(st.integers(1, 3))):
        made[data.draw(st.integers(61, len(made) - 1))] = data.draw(st.integers(0, 255))
    found, after = read(good + at(summed(bytes(made)), 1) + at(good, 3))
    assert (found[0].offset, found[0].value) == (0, b"1")
    assert (found[-1].offset, found[-1].value) == (3, b"1")
    assert after == 4
    for record in found[1:-1]:
        assert record.value is None or len(record.value) <= LONGEST_VALUE


def test_two_members_of_gzip_are_one_text() -> None:
    import gzip

    assert batches._gunzipped(gzip.compress(b"ab") + gzip.compress(b"cd")) == b"abcd"
    with pytest.raises(ValueError, match="ends too soon"):
        batches._gunzipped(gzip.compress(b"ab" * 99)[:-9])


def test_the_limit_is_far_above_what_producers_make() -> None:
    assert LARGEST_BATCH >= 64 * MIB
