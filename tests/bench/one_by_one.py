"""What the pipeline does to a batch, done to one event in plain Python: for a framework that hands out single events.

Numbers, order of operations and bytes are the same, so the decisions are; a thousand vectorised calls on one row each
would be slower by far.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson

from bench.workload import VIEW
from scorer.pipeline.batch import LiveModel
from scorer.pipeline.card_row import REMEMBERED
from scorer.pipeline.encode import SCHEMA
from scorer.pipeline.instants import DAY_MS, HOUR_MS, instant_ms
from scorer.pipeline.view import WINDOWS

CODES = {a.name: {value: float(at) for at, value in enumerate(a.values)} for a in VIEW.attributes if a.values}
#: A card's state: for each window the newest bucket, counts and sums; and its last transaction ids.
Card = list[Any]


def new_card() -> Card:
    """A card without a past."""
    return [[[-(2**30), [0] * n, [0] * n] for _, _, n in WINDOWS], []]


def decide(value: bytes, card: Card, model: LiveModel, partition: int, offset: int) -> bytes:
    """The decision on one transaction, which its card then has behind it."""
    transaction = orjson.loads(value)
    at_ms, amount = instant_ms(transaction["occurred_at"]), float(transaction["amount"])
    minor = round(amount * 100)
    repeat = transaction["transaction_id"] in card[1]
    features = [amount, at_ms % DAY_MS // HOUR_MS, (at_ms // DAY_MS + 3) % 7]
    features += _velocity(card, at_ms, minor, repeat)
    for attribute in VIEW.attributes:
        cell = transaction.get(attribute.name)
        if attribute.kind == "category" and cell is not None:
            cell = CODES[attribute.name].get(cell, float(len(attribute.values)))
        features.append(np.nan if cell is None else float(cell))
    if not repeat:
        card[1] = [transaction["transaction_id"], *card[1]][:REMEMBERED]
    row = np.array([features])
    assert model.score is not None
    score = float(model.score(row)[0])
    body = {
        "schema": SCHEMA,
        "transaction": orjson.Fragment(value),
        "decision": "block" if score >= (model.threshold or 0.0) else "allow",
        "score": score,
        "threshold": model.threshold,
        "bundle": model.digest,
        "epoch": model.epoch,
        "view": VIEW.id,
        "release_probability": 1.0,
        "features": row[0],
        "amount_minor": minor,
        "scored_at": transaction["occurred_at"],
        "source": {"partition": partition, "offset": offset},
    }
    if repeat:
        body["repeat"] = True
    return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)


def _velocity(card: Card, at_ms: int, minor: int, repeat: bool) -> list[float]:
    """Count, mean and ratio of each window before the event, which is then added unless it is a repeat."""
    seen: list[float] = []
    for (_, seconds, n), window in zip(WINDOWS, card[0], strict=True):
        head, counts, sums = window
        bucket, count, total = at_ms // (seconds * 1000), 0, 0
        for place in range(n):
            held = head - (head - place) % n
            if bucket - n < held <= bucket:
                count += counts[place]
                total += sums[place]
        mean = total / 100 / count if count else np.nan
        seen += [count, mean, minor / 100 / mean if mean > 0 else np.nan]
        if repeat:
            continue
        if bucket > head:
            for place in range(n):
                if bucket - (bucket - place) % n > head - (head - place) % n:
                    counts[place] = sums[place] = 0
            window[0] = head = bucket
        if bucket > head - n:
            counts[bucket % n] += 1
            sums[bucket % n] += minor
    return seen
