"""Small files of transactions, written by other hands than the product's."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from scorer.pipeline.mapping import FieldNames
from scorer.sources.files import read_transactions
from scorer.sources.source import Source

NAMES = ("transaction_id", "occurred_at", "card_id", "merchant_id", "amount", "currency")
ROW = ("t1", "2026-01-31T12:00:00Z", "card-1", "m1", "12.5", "EUR")
PLAIN = dict(zip(NAMES, (*ROW[:4], 12.5, "EUR"), strict=True)) | {"occurred_at": "2026-01-31T12:00:00.000Z"}


def csv_text(rows: Sequence[Sequence[str]], names: Sequence[str] = NAMES, delimiter: str = ",") -> str:
    """CSV, as Python's writer writes it."""
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator="\r\n").writerows([names, *rows])
    return out.getvalue()


def read(*paths: Path, mapping: dict[str, Any] | None = None, **how: Any) -> list[dict[str, Any]]:
    """The transactions of files."""
    source = Source(FieldNames.model_validate(mapping or {}), **how)
    return [orjson.loads(value) for chunk in read_transactions(paths, source) for value in chunk.values]
