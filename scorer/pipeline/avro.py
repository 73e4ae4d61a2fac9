"""Reads Avro: turns a writer's schema into a function from bytes to the cells of a record, as JSON would have them.

The function is Python source, made for the schema, because a record is read in a third of the time that closures take.
Only numbers and the `repr` of texts get into that source. What is read is bounded by the bytes that are there: a length
beyond them, more items than ITEMS, or more levels than DEEPEST are refused before anything is made of them. Libraries
for Avro trust what they read: they follow negative indexes and deep records wherever these lead.

Specification: https://avro.apache.org/docs/1.12.0/specification/
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from scorer.pipeline import logical
from scorer.pipeline.avro_schema import Cell, Enum, Items, Record, Schema, SchemaError, Union
from scorer.pipeline.logical import NoCellError
from scorer.pipeline.size import DEEPEST

#: Most items of all arrays and maps of a record.
ITEMS = 10_000
#: Reads the record that begins at a position of a value, which it must fill.
Read = Callable[[bytes, int], dict[str, Any]]

#: By type: how `struct` calls it. Most such cells that are read at once.
_CODES = {"boolean": "B", "float": "f", "double": "d"}
_MOST_RUN = 100


class DamagedError(ValueError):
    """A value is not what its schema says. The text says why."""


def reader(schema: bytes, references: Sequence[bytes] = ()) -> Read:
    """What reads records of a schema. references: schemas that it names, each after those that it names itself.

    The function raises DamagedError for everything that is no such record. Raises SchemaError.
    """
    read = _Source(Schema(schema, references)).made()

    def whole(value: bytes, at: int) -> dict[str, Any]:
        try:
            record, end = read(value, at, 1, [ITEMS])
        except (DamagedError, NoCellError) as error:
            raise DamagedError(f"damaged: {error}") from None
        except (IndexError, struct.error):
            raise DamagedError("damaged: ends too early") from None
        except UnicodeDecodeError:
            raise DamagedError("damaged: a text is not UTF-8") from None
        if end != len(value):
            raise DamagedError(f"damaged: {len(value) - end} bytes too many")
        return record  # type: ignore[no-any-return]

    return whole


class _Source:
    """The source of the functions of a schema, and what they need."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._names = {"long": _long, "Damaged": DamagedError, "single": logical.single}
        self._names |= {"base64": logical.text_of, "f": struct.Struct("<f").unpack_from}
        self._names |= {"d": struct.Struct("<d").unpack_from, "doubles": _doubles}

    def made(self) -> Callable[[bytes, int, int, list[int]], tuple[Any, int]]:
        """The function of the schema: of value, position, depth and items left to cell and end. Raises SchemaError."""
        lines: list[str] = []
        for record in self._schema.records:
            lines += self._record_source(record)
        for items in self._schema.items:
            lines += self._items_source(items)
        names: dict[str, Any] = dict(self._names)
        try:
            exec(compile("\n".join(lines), "<schema>", "exec"), names)  # noqa: S102 - of numbers and of texts by repr
        except (SyntaxError, RecursionError, MemoryError, OverflowError, ValueError) as error:
            raise SchemaError(f"cannot be compiled ({type(error).__name__}); make it smaller") from None
        return names[self._schema.root.name]  # type: ignore[no-any-return]

    def _record_source(self, record: Record) -> list[str]:
        lines = [f"def {record.name}(b, p, depth, left):", *_depth_source(), "  e = len(b)"]
        cells = [f"c{i}" for i in range(len(record.fields))]
        i = 0
        while i < len(cells):
            run = i
            while run < len(cells) and run - i < _MOST_RUN and _struct_code(record.fields[run][1]):
                run += 1
            if run - i > 1:  # cells of a known size, all at once
                lines += self._run_source([kind for _, kind in record.fields[i:run]], cells[i:run])
                i = run
            else:
                lines += self._cell_source(record.fields[i][1], cells[i], "  ")
                i += 1
        pairs = ", ".join(f"{name!r}: {cell}" for (name, _), cell in zip(record.fields, cells, strict=True))
        return [*lines, f"  return {{{pairs}}}, p"]

    def _run_source(self, kinds: list[Any], cells: list[str]) -> list[str]:
        form = struct.Struct("<" + "".join(_struct_code(kind) for kind in kinds))
        unpack = self._constant(form.unpack_from)
        lines = [f"  {', '.join(cells)} = {unpack}(b, p)", f"  p += {form.size}"]
        booleans = [cell for kind, cell in zip(kinds, cells, strict=True) if kind.kind == "boolean"]
        if booleans:
            lines += [f"  if {' | '.join(booleans)} > 1: raise Damaged('a boolean is neither 0 nor 1')"]
            lines += [f"  {cell} = {cell} == 1" for cell in booleans]
        return lines + [
            f"  {cell} = single({cell})" for kind, cell in zip(kinds, cells, strict=True) if kind.kind == "float"
        ]

    def _items_source(self, items: Items) -> list[str]:
        lines = [
            f"def {items.name}(b, p, depth, left):",
            *_depth_source(),
            "  e = len(b)",
            f"  out = {'{}' if items.is_map else '[]'}",
            "  while True:",
            "    count, p = long(b, p)",
            "    if count == 0: return out, p",
            "    if count < 0:",
            "      count = -count",
            "      _, p = long(b, p)",
            "    left[0] -= count",
            f"    if left[0] < 0: raise Damaged('more than {ITEMS} items in arrays and maps')",
        ]
        mark = None if items.is_map else _mark_of_doubles(items.inner)
        if mark is not None:
            lines += [f"    if b[p:p + 9 * count:9] == {mark!r} * count:", "      out += doubles(count)(b, p)"]
            lines += ["      p += 9 * count; continue"]
        lines += ["    for _ in range(count):"]
        if items.is_map:
            lines += self._cell_source(Cell("string"), "key", "      ")
        lines += self._cell_source(items.inner, "cell", "      ")
        return [*lines, "      out[key] = cell" if items.is_map else "      out.append(cell)"]

    def _cell_source(self, kind: Any, cell: str, pad: str) -> list[str]:
        """Lines that read a cell of a type into a variable and move `p` behind it."""
        if isinstance(kind, Record | Items):
            lines = [f"{cell}, p = {kind.name}(b, p, depth + 1, left)"]
        elif isinstance(kind, Enum):
            symbols = self._constant(kind.symbols)
            lines = ["n, p = long(b, p)"]
            lines += [f"if not 0 <= n < {len(kind.symbols)}: raise Damaged('an enum has no such symbol')"]
            lines += [f"{cell} = {symbols}[n]"]
        elif isinstance(kind, Union):
            lines = self._union_source(kind, cell)
        else:
            lines = self._plain_source(kind, cell)
        return [pad + line for line in lines]

    def _union_source(self, union: Union, cell: str) -> list[str]:
        lines = ["n = b[p]; p += 1"]
        if len(union.branches) > 64:  # more than a byte can say
            lines += ["if n > 127: n, p = long(b, p - 1); n <<= 1"]
        for at, branch in enumerate(union.branches):
            lines += [f"{'el' if at else ''}if n == {2 * at}:", *self._cell_source(branch, cell, "  ")]
        return [*lines, "else: raise Damaged('a union has no such branch')"]

    def _plain_source(self, kind: Cell, cell: str) -> list[str]:
        name = kind.kind
        if name == "null":
            return [f"{cell} = None"]
        if name == "boolean":
            lines = [f"{cell} = b[p]; p += 1"]
            return [*lines, f"if {cell} > 1: raise Damaged('a boolean is neither 0 nor 1')", f"{cell} = {cell} == 1"]
        if name in ("int", "long"):
            lines = ["n = b[p]; p += 1", f"if n > 127: {cell}, p = long(b, p - 1)"]
            lines += [f"else: {cell} = (n >> 1) ^ -(n & 1)"]
        elif name == "double":
            lines = [f"{cell}, = d(b, p); p += 8"]
        elif name == "float":
            lines = [f"{cell}, = f(b, p); p += 4", f"{cell} = single({cell})"]
        else:
            lines = [f"q = p + {kind.size}"] if name == "fixed" else _LENGTH_SOURCE.copy()
            lines += ["if q > e: raise Damaged('a text or bytes beyond the end')"]
            if name == "string":
                lines += [f"{cell} = b[p:q].decode()"]
            else:
                lines += [f"{cell} = b[p:q]" if kind.convert is not None else f"{cell} = base64(b[p:q])"]
            lines += ["p = q"]
        if kind.convert is not None:
            lines += [f"{cell} = {self._constant(kind.convert)}({cell})"]
        return lines

    def _constant(self, value: Any) -> str:
        name = f"constant_{len(self._names)}"
        self._names[name] = value
        return name


#: Sets q to the end of a text or of bytes, whose length comes first.
_LENGTH_SOURCE = [
    "n = b[p]; p += 1",
    "if n > 127 or n & 1:",
    "  n, p = long(b, p - 1)",
    "  if n < 0: raise Damaged('a negative length')",
    "  q = p + n",
    "else: q = p + (n >> 1)",
]


def _depth_source() -> list[str]:
    return [f"  if depth > {DEEPEST}: raise Damaged('nested deeper than {DEEPEST} levels')"]


def _mark_of_doubles(kind: Any) -> bytes | None:
    """The byte before each double of an array of null and double, whose items are read at once where all are there."""
    if isinstance(kind, Union) and len(kind.branches) == 2 and _is_optional_double(kind.branches):
        return bytes([2 * (kind.branches[0].kind == "null")])
    return None


def _is_optional_double(branches: list[Any]) -> bool:
    cells = [branch for branch in branches if isinstance(branch, Cell) and branch.convert is None]
    return sorted(cell.kind for cell in cells) == ["double", "null"]


@lru_cache(maxsize=64)
def _doubles(count: int) -> Callable[[bytes, int], tuple[float, ...]]:
    """What reads so many doubles, each behind a byte."""
    return struct.Struct("<" + "xd" * count).unpack_from


def _struct_code(kind: Any) -> str:
    """How `struct` calls a type of a known size; empty for others."""
    return _CODES.get(kind.kind, "") if isinstance(kind, Cell) and kind.convert is None else ""


def _long(b: bytes, p: int) -> tuple[int, int]:
    """The zigzag number at a position, and the position after it. Raises DamagedError, IndexError at the end."""
    n = shift = 0
    while True:
        byte = b[p]
        p += 1
        n |= (byte & 127) << shift
        if byte < 128:
            break
        shift += 7
        if shift > 63:
            raise DamagedError("a number has more than ten bytes")
    if n >> 64:
        raise DamagedError("a number has more than 64 bits")
    return (n >> 1) ^ -(n & 1), p
