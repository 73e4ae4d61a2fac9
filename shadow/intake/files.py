"""Reads labels from files: CSV, JSON or Parquet."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from scorer.pipeline.formats import Format
from scorer.pipeline.layout import Layout
from scorer.pipeline.lenient import rfc3339
from scorer.sources.label_cells import UNKNOWN, label_of
from scorer.sources.moments import cell_ms
from scorer.sources.source import check_tokens, shown
from scorer.sources.tables import batches, read_rows
from scorer.sources.tokens import token
from shadow.labels.label import OPEN, RANK, Label, parse

#: The verdict of a cell that says whether it was fraud.
VERDICTS: Mapping[int | None, str | None] = {1: "fraud", 0: "legit", UNKNOWN: None}
TIMES = ("at", "occurred_at")
#: Verdicts that a cell may name.
_WORDS = tuple(word for word in RANK if word != OPEN)


def read_labels(
    path: Path,
    fields: Mapping[str, str],
    defaults: Mapping[str, str],
    card_number_fields: Collection[str] = (),
    layout: Layout | None = None,
    token_key: bytes | None = None,
) -> tuple[list[Label], list[str]]:
    """The labels of a file, and an error for each row that is not a valid label.

    fields: the file's names of fields, by ours. defaults: values of fields that are missing or empty in a row.
    card_number_fields: fields that may look like card numbers. layout: how the file is written.
    token_key: of the ids in `layout.tokens`. Raises UserError if the file cannot be read.
    """
    labels, bad, number = [], [], 0
    layout = layout or Layout.model_validate({})
    check_tokens(layout, token_key)
    for records in batches(read_rows(path, layout, None, only_objects=False)):
        for row in records:
            number += 1
            try:
                if not isinstance(row, dict):
                    raise ValueError("not an object with a field a column")
                ours = {name: row.get(fields.get(name, name)) for name in Label.model_fields}
                said = {
                    name: _said(name, cell, layout.label_times) for name, cell in ours.items() if cell not in (None, "")
                }
                filled = {name: cell for name, cell in said.items() if cell is not None}
                if token_key is not None:
                    filled |= {name: token(filled[name], token_key) for name in layout.tokens if name in filled}
                labels.append(parse({**defaults, **filled}, card_number_fields))
            except ValueError as error:
                bad.append(f"{path}: row {number}: {error}")
    return labels, bad


def _said(name: str, cell: Any, times: Format | None) -> Any:
    """A cell as a label has it. One that is no label stays, for the refusal."""
    if name in TIMES:
        ms = cell_ms(cell, times)
        if ms is None:
            raise ValueError(f"{name}: is {shown(cell)}, no time; state its writing in the setting files.label_times")
        return rfc3339(ms)
    if name == "verdict":
        label, word = label_of(cell), str(cell).strip().lower()
        if label is None and word not in _WORDS:
            raise ValueError(
                f"verdict: is {shown(cell)}; expected {', '.join(_WORDS)}, or 1, 0, true, false, yes or no"
            )
        return word if label is None else VERDICTS[label]
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() and abs(cell) < 2**53 else str(cell)
