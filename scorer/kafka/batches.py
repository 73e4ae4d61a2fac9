"""Reads what brokers hold so that no batch of records can end who reads it, or fill its memory.

Who may write a topic can write batches that a broker takes and aiokafka fails on, again and again: a batch of 10 kB
that decompresses to gigabytes, or a record with a header whose name is not UTF-8. `guard` has every consumer of this
process read each batch in one go. What cannot be read comes as a record whose value is `Unreadable`; its neighbours
come as they are.
"""

from __future__ import annotations

import logging
import struct
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import cramjam
from aiokafka.consumer import fetcher
from aiokafka.record import default_records, legacy_records
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import decode_varint

from scorer.kafka.checksum import CRC32C
from scorer.pipeline.batch import Unreadable
from scorer.pipeline.transaction import LONGEST_VALUE

log = logging.getLogger(__name__)

#: Most bytes that one batch may decompress to. Producers make batches of at most `max.request.size`, 1 MB by default.
LARGEST_BATCH = 64 * 2**20
#: Bytes of one partition's answer, decompressed, after which the rest of it is fetched anew.
ENOUGH = 32 * 2**20
#: A first guess at how much larger a batch is than what it was compressed to.
_USUAL_RATIO = 16
#: Of a batch of records (KIP-98): offset, length, leader's epoch, magic, CRC, attributes, last offset, first and last
#: time, producer, its epoch, sequence, number of records.
_HEADER = struct.Struct(">qiibIhiqqqhii")
_LENGTH_AT, _BEFORE_LENGTH = 8, 12
_MAGIC_AT, _CRC_AT, _COVERED_AT = 16, 17, 21
_MAGIC, _COMPRESSION, _APPEND_TIME = 2, 0x07, 0x08
#: Bytes that a producer of snappy streams begins with, and after which its blocks come.
_XERIAL, _XERIAL_SIZE = b"\x82SNAPPY\x00", 16


class TooLargeError(ValueError):
    """A batch decompresses to more than anybody should hold."""

    def __init__(self) -> None:
        super().__init__(f"it decompresses to more than {LARGEST_BATCH // 2**20} MiB")


@dataclass(frozen=True, slots=True)
class ReadRecord:
    """A record as aiokafka's parser would have made it."""

    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    checksum: None = None


class _Size(threading.local):
    """Bytes of what this thread decompressed last."""

    last = 0


_size = _Size()


def _noted(found: bytes) -> bytes:
    _size.last = len(found)
    return found


def _gunzipped(payload: Any) -> bytes:
    out, rest = bytearray(), bytes(payload)
    while rest:
        stream = zlib.decompressobj(zlib.MAX_WBITS | 16)
        out += stream.decompress(rest, LARGEST_BATCH - len(out) + 1)
        if len(out) > LARGEST_BATCH or stream.unconsumed_tail:
            raise TooLargeError
        if not stream.eof:
            raise ValueError("it was compressed with gzip, and ends too soon")
        rest = stream.unused_data
    return _noted(bytes(out))


def _unsnapped(payload: Any) -> bytes:
    view = memoryview(payload)
    if bytes(view[: len(_XERIAL)]) != _XERIAL:
        if cramjam.snappy.decompress_raw_len(view) > LARGEST_BATCH:
            raise TooLargeError
        return _noted(bytes(cramjam.snappy.decompress_raw(view)))
    out, at = bytearray(), _XERIAL_SIZE
    while at < len(view):
        (size,) = struct.unpack_from(">i", view, at)
        block = view[at + 4 : at + 4 + size]
        if size < 0 or len(block) != size:
            raise ValueError("it was compressed with snappy, and ends too soon")
        if len(out) + cramjam.snappy.decompress_raw_len(block) > LARGEST_BATCH:
            raise TooLargeError
        out += bytes(cramjam.snappy.decompress_raw(block))
        at += 4 + size
    return _noted(bytes(out))


def _growing(into: Callable[[Any, bytearray], int]) -> Callable[[Any], bytes]:
    """A decoder that gives its output more room until it fits. into: decompresses into a buffer; returns the bytes."""

    def decoded(payload: Any) -> bytes:
        room = min(LARGEST_BATCH, max(2**16, _USUAL_RATIO * len(payload)))
        while True:
            out = bytearray(room)
            try:
                n = into(payload, out)
            except cramjam.DecompressionError as error:
                if "whole buffer" not in str(error):
                    raise
                if room == LARGEST_BATCH:
                    raise TooLargeError from None
                room = min(LARGEST_BATCH, _USUAL_RATIO * room)
            else:
                return _noted(bytes(memoryview(out)[:n]))

    return decoded


_unlz4ed, _unzstded = _growing(cramjam.lz4.decompress_into), _growing(cramjam.zstd.decompress_into)
#: Decoders by the number that the attributes of a batch have.
_DECODERS: dict[int, Callable[[Any], bytes]] = {0: bytes, 1: _gunzipped, 2: _unsnapped, 3: _unlz4ed, 4: _unzstded}
#: The same by aiokafka's names.
_NAMES = {"gzip_decode": _gunzipped, "snappy_decode": _unsnapped, "lz4_decode": _unlz4ed, "zstd_decode": _unzstded}


class Batches:
    """The batches of one partition in an answer to a fetch, as `MemoryRecords`, none of which fails."""

    def __init__(self, data: bytes) -> None:
        self._data, self._inner = data, MemoryRecords(data)
        self._at = self._read = 0

    def size_in_bytes(self) -> int:
        return int(self._inner.size_in_bytes())

    def has_next(self) -> bool:
        """Whether there is another batch to read now; there may be more than that, which is fetched anew."""
        return self._read < ENOUGH and bool(self._inner.has_next())

    def next_batch(self) -> Any:
        (length,) = struct.unpack_from(">i", self._data, self._at + _LENGTH_AT)
        raw = memoryview(self._data)[self._at : self._at + _BEFORE_LENGTH + length]
        self._at += len(raw)
        return _Guarded(self._inner.next_batch(), raw, self._took)

    def _took(self, size: int) -> None:
        self._read += size


class _Guarded:
    """A batch that is read in one go. took: called with its bytes, once they are in memory."""

    def __init__(self, batch: Any, raw: memoryview, took: Callable[[int], None]) -> None:
        self._batch, self._raw, self._took = batch, raw, took

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        return next(self._batch)

    def validate_crc(self) -> bool:
        """Whether the batch is as its producer made it."""
        if CRC32C is None or self._raw[_MAGIC_AT] != _MAGIC:
            return bool(self._batch.validate_crc())
        (told,) = struct.unpack_from(">I", self._raw, _CRC_AT)
        return CRC32C(bytes(self._raw[_COVERED_AT:])) == int(told)

    def __iter__(self) -> Iterator[Any]:
        _size.last = len(self._raw)
        try:
            records = list(self._batch)
        except Exception as error:
            records = _salvaged(self._batch, self._raw, error)
        self._took(_size.last)
        return iter(records)


def _salvaged(batch: Any, raw: memoryview, error: Exception) -> list[ReadRecord]:
    """What can be read of a batch that aiokafka fails on. For what cannot, a record at the last offset in question."""
    first, last = int(batch.base_offset), int(batch.next_offset) - 1
    log.error("offsets %d to %d cannot be read as they are: %s: %s", first, last, type(error).__name__, error)
    try:
        if isinstance(error, TooLargeError) or raw[_MAGIC_AT] != _MAGIC:
            raise error
        head = _HEADER.unpack_from(raw)
        body = _DECODERS[head[5] & _COMPRESSION](raw[_HEADER.size :])
    except Exception as why:
        told = f"record: offsets {first} to {last} are one batch, which cannot be read ({type(why).__name__}: {why})"
        return [_lost(last, -1, raw, told)]
    return list(_one_by_one(head, body, last))


def _one_by_one(head: tuple[int, ...], body: bytes, last: int) -> Iterator[ReadRecord]:
    """The records in the decompressed body of a batch. last: offset of the batch's last record."""
    base, stamp, kind = head[0], head[7], int(bool(head[5] & _APPEND_TIME))
    at = 0
    for i in range(head[12]):
        size, begins = decode_varint(body, at)
        ends = begins + size
        if size < 0 or ends > len(body):
            told = f"record: offsets {base + i} to {last} cannot be read (their lengths are wrong)"
            yield _lost(last, stamp, memoryview(body)[at:], told)
            return
        try:
            record = _record(head, body[begins:ends], kind)
        except Exception as error:
            told = f"record: cannot be read ({type(error).__name__}: {error})"
            record = _lost(base + i, stamp, memoryview(body)[begins:ends], told)
        yield record
        at = ends


def _record(head: tuple[int, ...], body: bytes, kind: int) -> ReadRecord:
    """One record (KIP-82). The name of a header may be any bytes, as brokers do not look."""
    _, at = decode_varint(body, 0)
    later, at = decode_varint(body, at)
    delta, at = decode_varint(body, at)
    key, at = _bytes(body, at)
    value, at = _bytes(body, at)
    n, at = decode_varint(body, at)
    if n < 0 or n > len(body):
        raise ValueError(f"{n} headers")
    headers: list[tuple[str, bytes | None]] = []
    for _ in range(n):
        name, at = _bytes(body, at)
        content, at = _bytes(body, at)
        headers.append(((name or b"").decode(errors="replace"), content))
    if at != len(body):
        raise ValueError(f"{len(body) - at} bytes are left")
    return ReadRecord(head[0] + delta, head[8] if kind else head[7] + later, kind, key, value, headers)


def _bytes(body: bytes, at: int) -> tuple[bytes | None, int]:
    """Bytes behind their length, None for a negative one, and where they end."""
    size, at = decode_varint(body, at)
    if size < 0:
        return None, at
    if at + size > len(body):
        raise ValueError("a length is wrong")
    return body[at : at + size], at + size


def _lost(offset: int, stamp: int, raw: memoryview, reason: str) -> ReadRecord:
    cut = f"; of {len(raw)} bytes the first {LONGEST_VALUE} are here" if len(raw) > LONGEST_VALUE else ""
    return ReadRecord(offset, stamp, 0, None, Unreadable(bytes(raw[:LONGEST_VALUE]), f"{reason}{cut}"), [])


def guard() -> None:
    """Have every consumer of this process read by this module."""
    vars(fetcher)["MemoryRecords"] = Batches
    for module in (default_records, legacy_records):
        for name, decoder in _NAMES.items():
            for where in (module, _compiled(module)):
                if hasattr(where, name):
                    setattr(where, name, decoder)


def _compiled(module: ModuleType) -> ModuleType:
    """The module that a module takes its class of batches from: its compiled twin, if there is one."""
    (kind,) = (vars(module)[name] for name in ("DefaultRecordBatch", "LegacyRecordBatch") if name in vars(module))
    return sys.modules[kind.__module__]
