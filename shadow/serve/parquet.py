"""Rows of samples as a Parquet file, some thousand at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import IO, Any

from scorer.errors import UserError
from shadow.exploration.rows import COLUMNS


def is_there() -> bool:
    """Whether Parquet can be written here."""
    return find_spec("pyarrow") is not None


class ParquetRows:
    """A Parquet file that is being written. Raises UserError without pyarrow."""

    def __init__(self, out: IO[bytes]) -> None:
        try:
            import pyarrow as arrow
            import pyarrow.parquet as parquet
        except ImportError:
            raise UserError(
                "Parquet needs pyarrow: pip install 'shadow-scorer[files]'; or export jsonl or csv"
            ) from None
        kinds = {"text": arrow.string(), "number": arrow.float64()}
        self._arrow = arrow
        self._schema = arrow.schema([(name, kinds[kind]) for name, kind in COLUMNS.items()])
        self._writer = parquet.ParquetWriter(out, self._schema, compression="zstd")

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write some rows."""
        if rows:
            self._writer.write_table(self._arrow.Table.from_pylist([dict(row) for row in rows], self._schema))

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()
