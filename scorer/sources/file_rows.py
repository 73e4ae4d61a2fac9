"""The transactions of one file under our names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from scorer.errors import UserError
from scorer.pipeline import card_number, lenient
from scorer.pipeline.formats import Decimal
from scorer.pipeline.lenient import IDS
from scorer.sources.first_look import FirstLook
from scorer.sources.source import Source, bad, check_columns, mapped, row_id, shown
from scorer.sources.tables import CSV, Rows, kind_of, read_rows
from scorer.sources.tokens import token


@dataclass(frozen=True)
class FileRows:
    """The n transactions of a file. is_kept: bool (n,), the others are left out."""

    path: Path
    name: str
    source: Source
    rows: Rows
    ids: list[str]
    occurred_ms: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int8] | None
    known_ms: npt.NDArray[np.int64]
    is_kept: npt.NDArray[np.bool_]

    @classmethod
    def read(cls, path: Path, name: str, source: Source) -> FileRows:
        if source.from_rows and card_number.contains(name):
            raise UserError(f"{path}: its name looks like a card number, and would be in the id of each row; rename it")
        rows = read_rows(path, source.layout, source.texts)
        check_columns(path, rows.names, source)
        look = FirstLook(path, rows, source)
        labels = look.labels()
        known = look.known_ms() if labels is not None else np.zeros(len(rows), np.int64)
        return cls(path, name, source, rows, look.ids(name), look.occurred_ms(), labels, known, look.is_kept())

    def records(self, rows: npt.NDArray[np.int64]) -> list[dict[str, Any]]:
        """Some rows as transactions under our names, but for their times. Raises UserError that names the row."""
        records = self.rows.records(rows, self.source.unused)
        return [self._ours(record, row) for record, row in zip(records, rows.tolist(), strict=True)]

    def _ours(self, record: dict[str, Any], row: int) -> dict[str, Any]:
        source = self.source
        ours = mapped(source.names, record, self.path, row)
        ours |= {name: source.layout.composed(name, record) for name in source.layout.compose}
        plain = {**source.mapping.defaults, **{name: cell for name, cell in ours.items() if cell is not None}}
        for name in source.from_rows:
            plain[name] = row_id(self.name, row)
        for name in IDS:
            if name in plain:
                plain[name] = _id(plain[name], name, self.path, row)
        if source.token_key is not None:
            for name in source.layout.tokens:
                if name in plain:
                    plain[name] = token(plain[name], source.token_key)
        amount = plain.get("amount")
        if isinstance(amount, str) and "amount" not in source.mapping.formats and kind_of(self.path) in CSV:
            plain["amount"] = _amount(amount, source, self.path, row)
        return plain


def _id(cell: Any, name: str, path: Path, row: int) -> str:
    text = cell if isinstance(cell, str) else lenient.whole_text(cell)
    if isinstance(text, str):
        return text
    raise bad(
        path,
        row,
        f"{name} is a {type(cell).__name__} that may have lost digits of the id; write ids as texts in the file",
    )


def _amount(text: str, source: Source, path: Path, row: int) -> float:
    amount = lenient.number(text)
    if isinstance(amount, float):
        return amount
    forms = [f"{{kind: decimal, comma: {str(comma).lower()}}}" for comma in (True, False) if _reads(text, comma)]
    theirs = source.fields.get("amount", "amount")
    raise bad(
        path,
        row,
        f"amount (column {theirs}) is {shown(text)}, no plain number; state its writing in mapping.formats.amount: "
        + (" or ".join(forms) or "{kind: decimal, symbol: $} for one with a symbol, or correct it"),
    )


def _reads(text: str, comma: bool) -> bool:
    return isinstance(Decimal(kind="decimal", comma=comma).read(text, {}), float)
