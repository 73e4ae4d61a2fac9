"""Samples as flat rows, for files and data frames."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from shadow.comparison.sample import Sample
from shadow.comparison.totals import ALL

#: Names and kinds of the columns, in order. `transaction.*` and `contributions` are JSON texts, as fields differ.
COLUMNS: Mapping[str, str] = {
    "transaction_id": "text",
    "card_id": "text",
    "occurred_at": "text",
    "scored_at": "text",
    "outcome": "text",
    "amount": "number",
    "live_score": "number",
    "live_threshold": "number",
    "candidate_score": "number",
    "candidate_threshold": "number",
    "gap": "number",
    "segments": "text",
    "top_feature": "text",
    "label": "text",
    "inclusion_probability": "number",
    "weight": "number",
    "run": "text",
    "transaction": "text",
    "contributions": "text",
}
#: A cell that begins like this is a formula to a spreadsheet.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def row(sample: Sample, minor_per_unit: float, label: str, with_card: bool) -> dict[str, Any]:
    """A sample as a row of `COLUMNS`. with_card: whether its reader may see cards."""
    transaction = dict(sample.transaction)
    if not with_card:
        transaction.pop("card_id", None)
    why = sample.why or ()
    return {
        "transaction_id": sample.transaction_id,
        "card_id": sample.card_id if with_card else None,
        "occurred_at": sample.occurred_at,
        "scored_at": sample.scored_at,
        "outcome": sample.outcome.key,
        "amount": sample.amount_minor / minor_per_unit,
        "live_score": sample.live.score,
        "live_threshold": sample.live.threshold,
        "candidate_score": sample.candidate.score,
        "candidate_threshold": sample.candidate.threshold,
        "gap": sample.gap,
        "segments": " ".join(name for name in sample.segments if name != ALL),
        "top_feature": why[0].feature if why else None,
        "label": label,
        "inclusion_probability": sample.inclusion_probability,
        "weight": 1 / sample.inclusion_probability,
        "run": sample.run,
        "transaction": orjson.dumps(transaction).decode(),
        "contributions": orjson.dumps({part.feature: part.difference for part in why}).decode(),
    }


def csv_lines(rows: Iterable[Mapping[str, Any]], with_head: bool = True) -> str:
    """Rows as CSV. A text that a spreadsheet would run as a formula gets an apostrophe before it.

    >>> csv_lines([]).split(",")[0]
    'transaction_id'
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    if with_head:
        writer.writerow(COLUMNS)
    for one in rows:
        writer.writerow([_cell(one[name]) for name in COLUMNS])
    return out.getvalue()


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) else value
    return repr(value) if isinstance(value, float) else value
