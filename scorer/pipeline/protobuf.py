"""Reads Protobuf: turns a descriptor set into a function from bytes to the cells of a message, as JSON would have them.

The bytes are parsed by the library `protobuf`, an optional one, which bounds depth and what it keeps by the bytes that
are there. Fields have the names of the .proto file. A field without presence that is not there has its default, as
Protobuf says; one with presence (`optional`, a message, a `oneof`) is absent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from scorer.pipeline import logical
from scorer.pipeline.avro import ITEMS, DamagedError, Read
from scorer.pipeline.avro_schema import SchemaError
from scorer.pipeline.logical import NoCellError
from scorer.pipeline.size import DEEPEST

#: Most message indexes before a message: how deep types are nested in each other.
_MOST_INDEXES = 16
_TIMESTAMP = "google.protobuf.Timestamp"
#: Messages that stand for their field `value`, so that it may be absent.
_WRAPPERS = frozenset(
    f"google.protobuf.{kind}Value"
    for kind in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
)
_NANOS = 10**9


def reader(files: bytes, message: str | None = None, has_indexes: bool = False) -> Read:
    """What reads messages. files: a `FileDescriptorSet`, each file after those that it imports; the last is the schema.

    message: the full name of the message; None: the only one of that file. has_indexes: the position of the message in
    its file is before each value. The function raises DamagedError for everything that is no such message. Raises
    SchemaError; ImportError without the library.
    """
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    from google.protobuf.message import DecodeError

    found = descriptor_pb2.FileDescriptorSet()
    pool = descriptor_pool.DescriptorPool()
    try:
        found.ParseFromString(files)
        for one in found.file:
            pool.AddSerializedFile(one.SerializeToString())
        file = pool.FindFileByName(found.file[-1].name)
        tops = [file.message_types_by_name[one.name] for one in found.file[-1].message_type]
    except (DecodeError, TypeError, KeyError, IndexError, ValueError) as error:
        raise SchemaError(f"is no descriptor set with all that it imports ({str(error)[:200]})") from None
    cells = _Cells()
    classes: dict[tuple[int, ...], tuple[Any, Callable[[Any, int, list[int]], Any]]] = {}

    def chosen(indexes: tuple[int, ...]) -> tuple[Any, Callable[[Any, int, list[int]], Any]]:
        if indexes not in classes:
            try:
                descriptor = tops[indexes[0]]
                for index in indexes[1:]:
                    descriptor = _nested(descriptor)[index]
            except IndexError:
                raise DamagedError("damaged: names a message that the schema does not have") from None
            classes[indexes] = message_factory.GetMessageClass(descriptor), cells.of_message(descriptor)
        return classes[indexes]

    first = (0,)
    if message is not None:
        try:
            descriptor = pool.FindMessageTypeByName(message)
        except KeyError:
            names = ", ".join(one.full_name for one in tops)
            raise SchemaError(f"has no message {message[:60]}; it has {names[:200] or 'none'}") from None
        classes[first] = message_factory.GetMessageClass(descriptor), cells.of_message(descriptor)
    elif not has_indexes and len(tops) != 1:
        names = ", ".join(one.full_name for one in tops)
        raise SchemaError(f"has {len(tops)} messages; name one as `message` ({names[:200]})")

    def read(value: bytes, at: int) -> dict[str, Any]:
        indexes, start = _indexes(value, at) if has_indexes else (first, at)
        kind, cell = chosen(indexes)
        try:
            record = cell(kind.FromString(value[start:]), 1, [ITEMS])
        except (DamagedError, NoCellError) as error:
            raise DamagedError(f"damaged: {error}") from None
        except (DecodeError, UnicodeDecodeError):
            raise DamagedError("damaged: not this message of Protobuf") from None
        if not isinstance(record, dict):
            raise DamagedError("expected a message with fields of its own")
        return record

    return read


def _nested(descriptor: Any) -> list[Any]:
    """The messages within one, without those that stand for maps: Confluent's Java serialiser does not count them."""
    return [one for one in descriptor.nested_types if not one.GetOptions().map_entry]


def _indexes(value: bytes, at: int) -> tuple[tuple[int, ...], int]:
    """The message indexes at a position, and the position after them. A single zero stands for the first message."""
    count, at = _varint(value, at)
    if count == 0:
        return (0,), at
    if not 0 < count <= _MOST_INDEXES:
        raise DamagedError("damaged: message indexes that are none")
    found = []
    for _ in range(count):
        index, at = _varint(value, at)
        if index < 0:
            raise DamagedError("damaged: message indexes that are none")
        found.append(index)
    return tuple(found), at


def _varint(value: bytes, at: int) -> tuple[int, int]:
    """A zigzag number of at most five bytes."""
    n = 0
    for shift in range(0, 35, 7):
        if at >= len(value):
            raise DamagedError("damaged: ends too early")
        byte = value[at]
        at += 1
        n |= (byte & 127) << shift
        if byte < 128:
            return (n >> 1) ^ -(n & 1), at
    raise DamagedError("damaged: message indexes that are none")


class _Cells:
    """What turns messages into cells, by the type of the message, made once."""

    def __init__(self) -> None:
        self._of: dict[str, list[tuple[str, bool, Callable[[Any, int, list[int]], Any]]]] = {}

    def of_message(self, descriptor: Any) -> Callable[[Any, int, list[int]], Any]:
        """What turns a message, its depth and the items left into a cell."""
        name = descriptor.full_name
        if name == _TIMESTAMP:
            return _timestamp
        if name in _WRAPPERS:
            inner = self._of_one(descriptor.fields_by_name["value"])
            return lambda message, depth, left: inner(message.value, depth, left)
        if name not in self._of:
            fields = self._of[name] = []
            for field in descriptor.fields:
                fields.append((field.name, field.has_presence, self._of_field(field)))
        fields = self._of[name]

        def cell(message: Any, depth: int, left: list[int]) -> dict[str, Any]:
            if depth > DEEPEST:
                raise DamagedError(f"nested deeper than {DEEPEST} levels")
            return {
                own: convert(getattr(message, own), depth + 1, left)
                for own, has_presence, convert in fields
                if not has_presence or message.HasField(own)
            }

        return cell

    def _of_field(self, field: Any) -> Callable[[Any, int, list[int]], Any]:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            key, value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
            return _map(self._of_one(value), key.type == key.TYPE_BOOL)
        one = self._of_one(field)
        return _list(one) if field.is_repeated else one

    def _of_one(self, field: Any) -> Callable[[Any, int, list[int]], Any]:
        if field.message_type is not None:
            return self.of_message(field.message_type)
        if field.enum_type is not None:
            names = {value.number: value.name for value in reversed(field.enum_type.values)}
            return lambda cell, depth, left: names.get(cell, cell)
        if field.type == field.TYPE_BYTES:
            return lambda cell, depth, left: logical.text_of(cell)
        if field.type == field.TYPE_FLOAT:
            return lambda cell, depth, left: logical.single(cell)
        return lambda cell, depth, left: cell


def _counted(cells: Sequence[Any], depth: int, left: list[int]) -> None:
    left[0] -= len(cells)
    if left[0] < 0:
        raise DamagedError(f"more than {ITEMS} items in lists and maps")
    if depth > DEEPEST:
        raise DamagedError(f"nested deeper than {DEEPEST} levels")


def _list(one: Callable[[Any, int, list[int]], Any]) -> Callable[[Any, int, list[int]], Any]:
    def cell(cells: Any, depth: int, left: list[int]) -> list[Any]:
        _counted(cells, depth, left)
        return [one(each, depth + 1, left) for each in cells]

    return cell


def _map(one: Callable[[Any, int, list[int]], Any], is_boolean: bool) -> Callable[[Any, int, list[int]], Any]:
    def cell(cells: Any, depth: int, left: list[int]) -> dict[str, Any]:
        _counted(cells, depth, left)
        return {str(key).lower() if is_boolean else str(key): one(cells[key], depth + 1, left) for key in list(cells)}

    return cell


def _timestamp(message: Any, depth: int, left: list[int]) -> str:
    if not 0 <= message.nanos < _NANOS:
        raise NoCellError("a time with a fraction that is none")
    return logical.instant(message.seconds * _NANOS + message.nanos, per_ms=10**6)
