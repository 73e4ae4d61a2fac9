"""What Avro schemas say: a writer's schema and those that it names, as types.

Types that take no bytes, which would let four bytes ask for a billion cells, are refused, and so is what is larger than
any schema of payments. Pure.

Specification: https://avro.apache.org/docs/1.12.0/specification/
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import orjson

from scorer.pipeline import logical

#: Most bytes of a schema with all that it refers to, most fields and symbols in it, and its deepest nesting.
LONGEST_SCHEMA, MOST_FIELDS, NESTED = 1_000_000, 5000, 100

_PRIMITIVE = ("null", "boolean", "int", "long", "float", "double", "bytes", "string")
#: By type and logical type: what a cell becomes. An unknown logical type is passed over, as the specification says.
_LOGICAL: dict[tuple[str, str], Callable[[Any], Any]] = {
    ("int", "date"): logical.day,
    ("int", "time-millis"): logical.time_of_day,
    ("long", "time-micros"): partial(logical.time_of_day, per_ms=10**3),
    ("long", "timestamp-millis"): logical.instant,
    ("long", "timestamp-micros"): partial(logical.instant, per_ms=10**3),
    ("long", "timestamp-nanos"): partial(logical.instant, per_ms=10**6),
    ("long", "local-timestamp-millis"): logical.local,
    ("long", "local-timestamp-micros"): partial(logical.local, per_ms=10**3),
    ("long", "local-timestamp-nanos"): partial(logical.local, per_ms=10**6),
}


class SchemaError(ValueError):
    """A schema that cannot be read with. The text says why."""


class Record:
    """A record: its function, and its fields once they are known."""

    def __init__(self, at: int) -> None:
        self.name = f"record_{at}"
        self.fields: list[tuple[str, Any]] = []


class Cell:
    """A type without types in it. size: of a `fixed`. convert: what a cell becomes."""

    def __init__(self, kind: str, convert: Callable[[Any], Any] | None = None, size: int = 0) -> None:
        self.kind, self.convert, self.size = kind, convert, size


class Enum:
    def __init__(self, symbols: tuple[str, ...]) -> None:
        self.symbols = symbols


class Items:
    """An array or a map: its function, and what is in it."""

    def __init__(self, at: int, is_map: bool, inner: Any) -> None:
        self.name, self.is_map, self.inner = f"items_{at}", is_map, inner


class Union:
    def __init__(self, branches: list[Any]) -> None:
        self.branches = branches


class Schema:
    """The types of a schema. root: the record that it is. records, items: all of them, in order."""

    def __init__(self, schema: bytes, references: Sequence[bytes] = ()) -> None:
        """references: schemas that it names, each after those that it names itself. Raises SchemaError."""
        if len(schema) + sum(map(len, references)) > LONGEST_SCHEMA:
            raise SchemaError(f"more than {LONGEST_SCHEMA} bytes")
        self.records: list[Record] = []
        self.items: list[Items] = []
        self._named: dict[str, Any] = {}
        self._fields = 0
        for text in references:
            self._kind(_parsed(text), "", 0)
        root = self._kind(_parsed(schema), "", 0)
        if not isinstance(root, Record):
            raise SchemaError("is no record")
        self.root = root
        self._check_sizes()

    def _kind(self, schema: Any, space: str, depth: int) -> Any:
        """What a schema says. space: the namespace that it is in. Raises SchemaError."""
        if depth > NESTED:
            raise SchemaError(f"nested deeper than {NESTED} levels")
        if isinstance(schema, str):
            return self._known(schema, space)
        if isinstance(schema, list):
            return self._union(schema, space, depth)
        if not isinstance(schema, dict) or "type" not in schema:
            raise SchemaError("a type is neither a name nor an object with one")
        kind = schema["type"]
        if not isinstance(kind, str):  # {"type": {"type": "string"}}
            return self._kind(kind, space, depth + 1)
        if kind in ("record", "error"):
            return self._record(schema, space, depth)
        if kind == "enum":
            symbols = schema.get("symbols")
            if not isinstance(symbols, list) or not symbols or not all(isinstance(one, str) for one in symbols):
                raise SchemaError("an enum has no symbols")
            self._count(len(symbols))
            return self._name(schema, space, Enum(tuple(symbols)))
        if kind == "fixed":
            size = schema.get("size")
            if type(size) is not int or size < 0:
                raise SchemaError("a fixed has no size")
            found = Cell("fixed", _of_bytes(schema), size)
            return self._name(schema, space, found)
        if kind in ("array", "map"):
            inner = self._kind(schema.get("items" if kind == "array" else "values"), space, depth + 1)
            self.items.append(Items(len(self.items), kind == "map", inner))
            return self.items[-1]
        found = self._known(kind, space)
        if kind == "bytes":
            return Cell(kind, _of_bytes(schema))
        convert = _LOGICAL.get((kind, str(schema.get("logicalType"))))
        return Cell(kind, convert) if convert is not None else found

    def _known(self, name: str, space: str) -> Any:
        if name in _PRIMITIVE:
            return Cell(name)
        for full in (name,) if "." in name else (f"{space}.{name}" if space else name, name):
            if full in self._named:
                return self._named[full]
        raise SchemaError(f"nothing says what {name[:60]} is")

    def _name(self, schema: dict[str, Any], space: str, found: Any) -> Any:
        full = _full_name(schema, space)
        if full in self._named:
            raise SchemaError(f"{full[:60]} is there twice")
        self._named[full] = found
        return found

    def _count(self, n: int) -> None:
        self._fields += n
        if self._fields > MOST_FIELDS:
            raise SchemaError(f"more than {MOST_FIELDS} fields and symbols")

    def _record(self, schema: dict[str, Any], space: str, depth: int) -> Record:
        found = Record(len(self.records))
        self.records.append(found)
        self._name(schema, space, found)
        fields = schema.get("fields")
        if not isinstance(fields, list):
            raise SchemaError("a record has no fields")
        self._count(len(fields))
        inner_space = _full_name(schema, space).rpartition(".")[0]
        for one in fields:
            if not isinstance(one, dict) or not isinstance(one.get("name"), str):
                raise SchemaError("a field has no name")
            found.fields.append((one["name"], self._kind(one.get("type"), inner_space, depth + 1)))
        if len({name for name, _ in found.fields}) < len(found.fields):
            raise SchemaError("a record has two fields of one name")
        return found

    def _union(self, schema: list[Any], space: str, depth: int) -> Union:
        self._count(len(schema))
        branches = [self._kind(one, space, depth + 1) for one in schema]
        if not branches or any(isinstance(branch, Union) for branch in branches):
            raise SchemaError("a union is empty, or within another one")
        return Union(branches)

    def _check_sizes(self) -> None:
        """Raise SchemaError for types that take no bytes where a value could have any number of them."""
        for inner in [kind for one in self.records for _, kind in one.fields] + [one.inner for one in self.items]:
            is_idle = isinstance(inner, Cell) and (inner.kind == "null" or (inner.kind == "fixed" and not inner.size))
            if is_idle or (isinstance(inner, Record) and not inner.fields):
                raise SchemaError("a null, an empty record or a fixed of no bytes, outside of a union")


def _parsed(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        try:  # a name alone is a schema
            name = text.decode()
        except UnicodeDecodeError:
            name = ""
        if name in _PRIMITIVE:
            return name
        raise SchemaError("is not JSON") from None


def _full_name(schema: dict[str, Any], space: str) -> str:
    name, own = schema.get("name"), schema.get("namespace", space)
    if not isinstance(name, str) or not isinstance(own, str):
        raise SchemaError("a record, enum or fixed has no name")
    return name if "." in name or not own else f"{own}.{name}"


def _of_bytes(schema: dict[str, Any]) -> Callable[[Any], Any] | None:
    """What bytes, or a fixed, become by their logical type; None for base 64."""
    if schema.get("logicalType") == "decimal":
        scale = schema.get("scale", 0)
        if type(scale) is not int or not 0 <= scale <= 100:
            raise SchemaError("a decimal has a scale that is none")
        return partial(logical.decimal, scale=scale)
    if schema.get("logicalType") == "uuid" and schema.get("size") == 16:
        return logical.uuid_of
    return None
