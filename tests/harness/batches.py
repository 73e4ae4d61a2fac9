"""Batches of transactions that are settled by a small model."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import orjson
from hypothesis import strategies as st

from scorer.pipeline.batch import Incoming, LiveModel, Published, Rules, Settled
from scorer.pipeline.card_states import CardStates
from scorer.pipeline.settle import settle
from scorer.pipeline.transaction import Reading
from scorer.pipeline.view import Attribute, FeatureView

VIEW = FeatureView(name="test", attributes=(Attribute(name="country", kind="category", values=("DE", "FR")),))


RULES = Rules(VIEW, Reading(attributes=VIEW.attributes), ahead_ms=300_000)


NOW = 1_767_225_600_000


def score(matrix: np.ndarray) -> np.ndarray:
    known = np.nan_to_num(matrix, nan=-1.0)
    return np.asarray((known.sum(axis=1) * 997 % 1009) / 1009)


MODEL = LiveModel("d" * 64, 3, 0.5, None, score)


def a_value(i: int, **changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "transaction_id": f"t{i}",
        "occurred_at": f"2026-01-01T00:{i // 60 % 60:02d}:{i % 60:02d}Z",
        "card_id": f"c{i % 3}",
        "merchant_id": "m",
        "amount": i + 0.25,
        "currency": "EUR",
        "country": "DE" if i % 2 else "XX",
    }
    return orjson.dumps(fields | changes)


def incoming(values: list[bytes | None], first: int = 0) -> Incoming:
    n = len(values)
    keys = [b"c%d" % (i % 3) for i in range(first, first + n)]
    return Incoming(5, keys, values, np.arange(first, first + n), np.full(n, NOW + 3_600_000))


NOTHING = Published()


def cut(values: list[bytes | None], cuts: list[int], published: Published = NOTHING) -> list[Settled]:
    states = CardStates()
    edges = [0, *sorted({c for c in cuts if 0 < c < len(values)}), len(values)]
    return [settle(incoming(values[a:b], a), states, published, MODEL, RULES, NOW) for a, b in pairwise(edges)]


def decisions(parts: list[Settled]) -> list[tuple[bytes | None, bytes | None]]:
    return [record for part in parts for record in part.decisions]


def dead_letters(parts: list[Settled]) -> list[tuple[Any, Any]]:
    return [(r, h) for part in parts for r, h in zip(part.rejected, part.headers, strict=True)]


mixed = st.lists(st.sampled_from(["good", "good", "good", "broken", "repeat", "tombstone"]), min_size=1, max_size=25)


def make(kinds: list[str]) -> list[bytes | None]:
    out: list[bytes | None] = []
    for i, kind in enumerate(kinds):
        if kind == "tombstone":
            out.append(None)
        elif kind == "broken":
            out.append(a_value(i, amount="much"))
        else:
            out.append(a_value(i, **({"transaction_id": f"t{max(0, i - 3)}"} if kind == "repeat" else {})))
    return out
