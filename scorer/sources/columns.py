"""Events from the columns of a file, without a JSON text of each row: several times as fast as through one.

What they are is decided elsewhere: a row in which anything is not plain is left to `scorer.pipeline.decode`, so both
ways give the same events, bit for bit. A property test checks that they do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from scorer.pipeline.card_number import FEWEST
from scorer.pipeline.events import Column, Events
from scorer.pipeline.instants import FIRST_MS, LAST_MS, instant_ms, stamps
from scorer.pipeline.lenient import IDS
from scorer.pipeline.money import MOST
from scorer.pipeline.transaction import LONGEST, Reading
from scorer.pipeline.view import Attribute
from scorer.sources.csv_text import arrow
from scorer.sources.file_rows import FileRows
from scorer.sources.source import row_id
from scorer.sources.tables import ArrowRows

Bits = npt.NDArray[np.bool_]
#: Digits enough for a card number, without a letter between them. An id of fewer is none, whatever stands in it.
_MANY_DIGITS = rf"(?:\p{{Nd}}[^A-Za-z\p{{Nd}}]*){{{FEWEST}}}"
#: Ids without anything that `scorer.pipeline.transaction.unclean` might have a word on.
_CLEAN = rf"^[!#-\[\]-~](?:[ !#-\[\]-~]{{0,{LONGEST - 2}}}[!#-\[\]-~])?$"
#: What JSON writes with an escape.
_ESCAPED = r'[\x00-\x1f"\\\x7f]'
#: Most bytes of a row, as it would be in JSON, for which nothing has to be counted.
_MOST_BYTES = 8000
#: Bytes of a number and of what stands around a cell, at most.
_NUMBER_BYTES = 32


@dataclass(frozen=True)
class _Given:
    """A field that is the same in every row; None if no row has it."""

    cell: Any


class PlainColumns:
    """The columns of one file. `odd` says which rows are not plain: bool (n,)."""

    def __init__(self, part: FileRows, reading: Reading) -> None:
        """Raises `NotPlainError` if no row is plain, because of how the file is written or mapped."""
        self._part, self._reading = part, reading
        source = part.source
        if not isinstance(part.rows, ArrowRows) or source.mapping.is_deep or source.mapping.operation is not None:
            raise NotPlainError("rows are read one by one")
        if source.layout.compose or source.layout.tokens:
            raise NotPlainError("fields are made of others")
        _check_formats(reading)
        self._rows = part.rows
        self.odd = np.zeros(len(part.rows), dtype=bool)
        self._bytes = 0
        self._used = {source.fields.get("occurred_at", "occurred_at")}
        self._columns: dict[str, Any] = {}
        try:
            for name in (*IDS, "amount", "currency"):
                self._columns[name] = self._needed(name)
            for attribute in reading.attributes:
                self._columns[attribute.name] = self._attribute(attribute)
            self._check_rest()
        except arrow().ArrowException as error:
            raise NotPlainError(str(error)) from None
        if self._bytes > _MOST_BYTES:
            raise NotPlainError("rows are long")

    def of(self, rows: npt.NDArray[np.int64], occurred_ms: npt.NDArray[np.int64]) -> dict[str, Any]:
        """Fields of some rows, none of which is odd. The rows are told by their positions, int64 (k,)."""
        found: dict[str, Any] = {name: self._texts(name, rows) for name in IDS}
        found["currency"] = self._texts("currency", rows)
        found["occurred_ms"] = occurred_ms
        amount = self._columns["amount"]
        found["amount"] = (
            np.full(len(rows), float(amount.cell)) if isinstance(amount, _Given) else amount[rows].astype(np.float64)
        )
        for attribute in self._reading.attributes:
            found[attribute.name] = self._cells(attribute, rows)
        return found

    def _needed(self, name: str) -> Any:
        """A field that each row must have."""
        if name in self._part.source.from_rows:
            return self._row_ids(name)
        column = self._find(name)
        if isinstance(column, _Given):
            wanted = {"amount": (int, float)}.get(name, (str,))
            if type(column.cell) not in wanted:
                raise NotPlainError(f"{name} is missing")
            if name in IDS:
                if self._odd_text(arrow().array([column.cell], arrow().string()), name, _CLEAN).any():
                    raise NotPlainError(f"{name} has an odd default")
            elif name == "amount" and not self._reading.least <= column.cell <= MOST:
                raise NotPlainError("amount is out of range")
            self._bytes += len(str(column.cell)) + _NUMBER_BYTES
            return column
        self._mark(_nulls(column))
        if name == "amount":
            amounts = _floats(column)
            with np.errstate(invalid="ignore"):
                self._mark(~((amounts >= self._reading.least) & (amounts <= MOST)))
            self._bytes += _NUMBER_BYTES
            return amounts
        if name in IDS and arrow().types.is_integer(column.type):
            return self._whole(column, name)
        if not arrow().types.is_string(column.type):
            raise NotPlainError(f"{name} is of type {column.type}")
        self._mark(self._odd_text(column, name, _CLEAN if name in IDS else None))
        return column.combine_chunks()

    def _whole(self, column: Any, name: str) -> npt.NDArray[np.int64]:
        """Ids that are whole numbers."""
        if arrow().types.is_unsigned_integer(column.type) and column.type.bit_width == 64:
            raise NotPlainError(f"{name} is of type {column.type}")
        numbers = np.asarray(column.cast(arrow().int64()).fill_null(0).to_numpy(), dtype=np.int64)
        if name not in self._reading.card_number_fields:
            self._mark((numbers >= 10 ** (FEWEST - 1)) | (numbers <= -(10 ** (FEWEST - 1))))
        self._bytes += _NUMBER_BYTES
        return numbers

    def _row_ids(self, name: str) -> None:
        texts = arrow().array([row_id(self._part.name, row) for row in (0, len(self.odd))], arrow().string())
        if self._odd_text(texts, name, _CLEAN).any():
            raise NotPlainError("the name of the file is in ids")

    def _attribute(self, attribute: Attribute) -> Any:
        """An attribute of the view, which rows may lack."""
        types, name = arrow().types, attribute.name
        column = self._find(name)
        if isinstance(column, _Given):
            if type(column.cell) not in attribute.accepts:
                raise NotPlainError(f"{name} has a default of another kind")
            self._bytes += len(str(column.cell)) + _NUMBER_BYTES
            return column
        kind = column.type
        if name in self._part.source.mapping.defaults:
            self._mark(np.isnan(_floats(column)) if types.is_floating(kind) else _nulls(column))
        if attribute.kind == "number" and (types.is_integer(kind) or types.is_floating(kind)):
            numbers = _floats(column)
            self._mark(np.isinf(numbers))
            self._bytes += _NUMBER_BYTES
            return numbers
        if attribute.kind == "boolean" and types.is_boolean(kind):
            self._bytes += _NUMBER_BYTES
            return column.combine_chunks()
        if attribute.kind == "category" and types.is_string(kind):
            self._mark(self._odd_text(column, name, None))
            return column.combine_chunks()
        raise NotPlainError(f"{name} is of type {kind}")

    def _find(self, name: str) -> Any:
        """The column of a field: of the name that is mapped, else of our own; or what all rows have."""
        source, names = self._part.source, self._rows.names
        theirs = source.fields.get(name, name)
        taken = {*source.fields.values(), *source.mapping.left_out}
        if theirs not in names or (theirs == name and name not in source.fields and name in taken):
            theirs = name
            if name not in names or name in taken:
                return _Given(source.mapping.defaults.get(name))
        self._used.add(theirs)
        return self._rows.raw(theirs)

    def _check_rest(self) -> None:
        """Look at the columns that are only passed on: what is in them may be a card number all the same."""
        types = arrow().types
        for name in self._rows.names:
            if name in self._used or name in self._part.source.unused:
                continue
            column = self._rows.raw(name)
            kind = column.type
            texts = arrow().array([name], arrow().string())
            if self._odd_text(texts, "", None).any():
                raise NotPlainError("the name of a column may be a card number")
            self._bytes += _NUMBER_BYTES
            if types.is_string(kind):
                self._mark(self._odd_text(column, name, None))
            elif types.is_timestamp(kind):
                count = np.asarray(column.cast(arrow().int64()).fill_null(0).to_numpy(), dtype=np.int64)
                ms = count // {"s": 1, "ms": 1, "us": 1000, "ns": 10**6}[kind.unit]
                scale = 1000 if kind.unit == "s" else 1
                day = 86_400_000
                self._mark((ms < (FIRST_MS + day) // scale) | (ms > (LAST_MS - day) // scale))
            elif not (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)):
                raise NotPlainError(f"{name} is of type {kind}")

    def _odd_text(self, column: Any, name: str, clean: str | None) -> Bits:
        """Texts that are not clean, may hold a card number, or have to be escaped: bool (n,). Counts their bytes.

        clean: what a text has to match; None for any.
        """
        compute = arrow().compute
        odd = _bits(compute.match_substring_regex(column, _ESCAPED))
        if clean is not None:
            odd |= ~_bits(compute.match_substring_regex(column, clean))
        if name not in self._reading.card_number_fields:
            odd |= _bits(compute.match_substring_regex(column, _MANY_DIGITS))
        self._bytes += (compute.max(compute.binary_length(column)).as_py() or 0) + _NUMBER_BYTES
        return odd

    def _mark(self, odd: Bits) -> None:
        self.odd |= odd

    def _texts(self, name: str, rows: npt.NDArray[np.int64]) -> list[str]:
        column = self._columns[name]
        if column is None:
            return [row_id(self._part.name, row) for row in rows.tolist()]
        if isinstance(column, _Given):
            return [column.cell] * len(rows)
        if isinstance(column, np.ndarray):
            return list(map(str, column[rows].tolist()))
        texts: list[str] = column.take(arrow().array(rows)).to_pylist()
        return texts

    def _cells(self, attribute: Attribute, rows: npt.NDArray[np.int64]) -> Column:
        column = self._columns[attribute.name]
        if isinstance(column, _Given):
            if attribute.kind == "number":
                return np.full(len(rows), np.nan if column.cell is None else float(column.cell))
            return [column.cell] * len(rows)
        if isinstance(column, np.ndarray):
            return column[rows]
        cells: list[Any] = column.take(arrow().array(rows)).to_pylist()
        return cells


class NotPlainError(Exception):
    """The rows of a file have to be read one by one."""


def plain_columns(part: FileRows, reading: Reading) -> PlainColumns | None:
    """The columns of a file; None if its rows have to be read one by one."""
    try:
        return PlainColumns(part, reading)
    except NotPlainError:
        return None


def events_of(fields: dict[str, Any], reading: Reading) -> Events | None:
    """Events of the fields of n rows; None if an amount cannot be expressed in the reporting currency."""
    rate = reading.money.rates_for(fields["currency"], fields["occurred_ms"])
    amount = fields["amount"] * rate
    if not (np.abs(amount) <= MOST).all():
        return None
    return Events(
        ids=fields["transaction_id"],
        cards=fields["card_id"],
        merchants=fields["merchant_id"],
        occurred_ms=fields["occurred_ms"],
        amount=amount,
        minor=reading.money.minor(amount),
        attributes={attribute.name: fields[attribute.name] for attribute in reading.attributes},
        documents=[b""] * len(amount),
    )


def scattered(parts: list[tuple[npt.NDArray[np.int64], dict[str, Any]]], n: int) -> dict[str, Any]:
    """The fields of n rows from those of several files. parts: positions among the n, int64 (k,), and their fields."""
    if len(parts) == 1:
        return parts[0][1]
    whole: dict[str, Any] = {}
    for name, first in parts[0][1].items():
        if isinstance(first, np.ndarray):
            cells = np.empty(n, dtype=first.dtype)
            for at, fields in parts:
                cells[at] = fields[name]
            whole[name] = cells
        else:
            texts: list[Any] = [None] * n
            for at, fields in parts:
                for position, cell in zip(at.tolist(), fields[name], strict=True):
                    texts[position] = cell
            whole[name] = texts
    return whole


def _check_formats(reading: Reading) -> None:
    """Times come as RFC 3339, which every format of theirs lets through; all other formats read cells."""
    for name, form in reading.mapping.formats.items():
        if name != "occurred_at":
            raise NotPlainError(f"{name} has a format")
        for ms in (0, 1_234_567_890_123):
            (text,) = stamps(np.array([ms]))
            try:
                found = instant_ms(form.read(text, {}))
            except (TypeError, ValueError):
                found = -1
            if found != ms:
                raise NotPlainError("times have a format")


def _floats(column: Any) -> npt.NDArray[np.float64]:
    """A column of numbers: float64 (n,), NaN where a cell is empty. Raises NotPlainError."""
    types = arrow().types
    if not (types.is_integer(column.type) or types.is_floating(column.type)) or types.is_float16(column.type):
        raise NotPlainError(f"a number is of type {column.type}")
    numbers = column.to_numpy()
    return np.asarray(numbers, dtype=np.float64) if not column.null_count else _with_nulls(column)


def _with_nulls(column: Any) -> npt.NDArray[np.float64]:
    numbers = np.asarray(column.fill_null(0).to_numpy()).astype(np.float64)
    numbers[_nulls(column)] = np.nan
    return numbers


def _nulls(column: Any) -> Bits:
    return np.asarray(column.is_null().to_numpy(), dtype=bool)


def _bits(column: Any) -> Bits:
    """What a question of texts was answered; False for an empty cell."""
    filled = column.fill_null(False)
    return np.asarray(filled.to_numpy(zero_copy_only=False) if hasattr(filled, "buffers") else filled.to_numpy(), bool)
