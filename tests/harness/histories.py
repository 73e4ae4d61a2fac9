"""Simulated histories, and the rows of files."""

from __future__ import annotations

from datetime import date
from typing import Any

import orjson

from scorer.pipeline.mapping import FieldNames
from scorer.sources.simulate import simulate


def columns(seed: int = 1, n: int = 6000) -> dict[str, Any]:
    return simulate(n, 400, 60, date(2026, 1, 1), 30, seed)


def rows(chunks: Any) -> list[dict[str, Any]]:
    return [orjson.loads(value) for chunk in chunks for value in chunk.values]


NO_MAPPING = FieldNames.model_validate({})
