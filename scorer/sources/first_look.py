"""A first look at the rows of a file: when each transaction occurred, its id and label, and whether it is left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from scorer.pipeline.formats import Format, LocalTime
from scorer.pipeline.mapping import ChangeError, FieldNames, UnmappableError
from scorer.sources.csv_text import arrow
from scorer.sources.label_cells import EXPECTED, label_of
from scorer.sources.moments import NoTimeError, cells_ms, column_ms
from scorer.sources.source import Source, bad, row_id, shown
from scorer.sources.tables import ArrowRows, Rows, batches

#: Names under which the cells of labels are looked up, which no field of a file has.
_LABEL, _LABEL_TIME = "\0label", "\0label_time"
#: Where it is said how times are written.
_SETTINGS = {"occurred_at": "mapping.formats.occurred_at", _LABEL_TIME: "files.label_times"}


def _is_plain(rows: Rows, source: Source) -> bool:
    return isinstance(rows, ArrowRows) and not source.mapping.is_deep


def _of_column(form: Format | None, column: Any) -> Format | None:
    """How the times of a column are written: a column of times is in no pattern, but may be of a zone."""
    types = arrow().types
    if isinstance(form, LocalTime) and (types.is_timestamp(column.type) or types.is_date(column.type)):
        return LocalTime(kind="time", zone=form.zone)
    return form


class FirstLook:
    """A first look at the rows of a file: what says which are read, and in which order."""

    def __init__(self, path: Path, rows: Rows, source: Source) -> None:
        self._path, self._rows, self._source = path, rows, source
        wanted = ("transaction_id", "occurred_at")
        self._names = {ours: source.fields.get(ours, ours) for ours in wanted}
        self._names |= {_LABEL: source.label, _LABEL_TIME: source.label_time}
        self._forms = {"occurred_at": source.time_format}
        self._forms[_LABEL_TIME] = source.layout.label_times or source.time_format
        self._skipped: list[int] = []
        self._quick: dict[str, npt.NDArray[np.int64]] = {}
        self._cells = self._of_columns() if _is_plain(rows, source) else self._of_records()

    def _of_columns(self) -> dict[str, list[Any]]:
        assert isinstance(self._rows, ArrowRows)  # noqa: S101 - for mypy
        rows, source, n = self._rows, self._source, len(self._rows)
        found: dict[str, list[Any]] = {}
        for ours, theirs in self._names.items():
            if ours in source.layout.compose:
                parts = [name for name in source.layout.parts[ours] if name in rows.names]
                columns = zip(*map(rows.column, parts), strict=True)
                found[ours] = [source.layout.composed(ours, dict(zip(parts, cells, strict=True))) for cells in columns]
                continue
            name = theirs if theirs in rows.names else ours
            if name in rows.names and ours in self._forms:
                self._forms[ours] = _of_column(self._forms[ours], rows.raw(name))
                quick = column_ms(rows.raw(name), self._forms[ours], may_lack=ours == _LABEL_TIME)
                if quick is not None:
                    self._quick[ours] = quick
                    continue
            found[ours] = self._texts(name) if name in rows.names else [None] * n
        return {ours: self._filled(ours, cells) for ours, cells in found.items()}

    def _of_records(self) -> dict[str, list[Any]]:
        source = self._source
        names = FieldNames.model_construct(envelope=source.mapping.envelope, fields=self._names)  # of any label
        is_deep = names.is_deep
        found: dict[str, list[Any]] = {ours: [] for ours in self._names}
        row = 0
        for records in batches(self._rows):
            for record in records:
                try:
                    ours = names.apply(record) if is_deep else record
                except UnmappableError as error:
                    if not (isinstance(error, ChangeError) and source.mapping.changes == "skip"):
                        raise bad(self._path, row, f"{error}; correct it, or leave it out") from None
                    self._skipped.append(row)
                    ours = {"occurred_at": "1970-01-01T00:00:00Z"}
                row += 1
                for name, cells in found.items():
                    theirs = self._names[name]
                    if name in source.layout.compose:
                        cells.append(source.layout.composed(name, record))
                    else:
                        cells.append(record[theirs] if not is_deep and theirs in record else ours.get(name))
        return {ours: self._filled(ours, cells) for ours, cells in found.items()}

    def _texts(self, name: str) -> list[Any]:
        """The cells of a column; times without an offset as such, for a format to say their zone."""
        assert isinstance(self._rows, ArrowRows)  # noqa: S101 - for mypy
        lib, column = arrow(), self._rows.raw(name)
        if lib.types.is_timestamp(column.type) and column.type.tz is None:
            texts: list[Any] = column.cast(lib.timestamp("us"), safe=False).cast(lib.string()).to_pylist()
            return texts
        return self._rows.column(name)

    def _filled(self, ours: str, cells: list[Any]) -> list[Any]:
        default = self._source.mapping.defaults.get(ours)
        return cells if default is None else [default if cell is None else cell for cell in cells]

    def occurred_ms(self) -> npt.NDArray[np.int64]:
        """int64 (n,), milliseconds since 1970."""
        cells = self._cells.get("occurred_at", [])
        empty = [row for row, cell in enumerate(cells) if cell is None or cell == ""]
        if empty:
            more = f" and in {len(empty) - 1} more rows" if len(empty) > 1 else ""
            raise bad(
                self._path, empty[0], f"occurred_at{self._column('occurred_at')} is empty{more}; give each a time"
            )
        return self._times("occurred_at")

    def _times(self, name: str) -> npt.NDArray[np.int64]:
        if name in self._quick:
            return self._quick[name]
        cells = self._cells[name]
        try:
            return cells_ms(cells, self._forms[name], _SETTINGS[name])
        except NoTimeError as error:
            told = "the time of the label" if name == _LABEL_TIME else name
            raise bad(
                self._path, error.at, f"{told}{self._column(name)} is {shown(cells[error.at])}, no time; {error}"
            ) from None

    def _column(self, ours: str) -> str:
        theirs = self._names[ours]
        return "" if theirs == ours or ours in self._source.layout.compose else f" (column {theirs})"

    def ids(self, name: str) -> list[str]:
        if "transaction_id" in self._source.from_rows:
            return [row_id(name, row) for row in range(len(self._rows))]
        return ["" if cell is None else str(cell) for cell in self._cells["transaction_id"]]

    def labels(self) -> npt.NDArray[np.int8] | None:
        """int8 (n,), 1 is fraud, -1 unknown; None if the file has no labels."""
        cells = self._cells[_LABEL]
        if self._source.label not in self._rows.names and all(cell is None for cell in cells):
            return None
        said: dict[Any, int | None] = {}
        out = np.zeros(len(cells), np.int8)
        for row, cell in enumerate(cells):
            key = (type(cell), cell if isinstance(cell, str | int | float) else repr(cell))
            label = said[key] if key in said else said.setdefault(key, label_of(cell))
            if label is None:
                raise bad(
                    self._path,
                    row,
                    f"the label {self._source.label} is {shown(cell)}, {EXPECTED}; correct it, or name another field "
                    "with --label or the setting mapping.label",
                )
            out[row] = label
        return out

    def known_ms(self) -> npt.NDArray[np.int64]:
        """int64 (n,), when each label became known; 0 where the file does not say."""
        return self._times(_LABEL_TIME)

    def is_kept(self) -> npt.NDArray[np.bool_]:
        """bool (n,): False for changes that the mapping passes over."""
        out = np.ones(len(self._rows), np.bool_)
        out[self._skipped] = False
        return out
