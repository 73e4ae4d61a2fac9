"""A batch of transactions in, decisions, rejections and card states out: the whole live path but for its wires."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from scorer.events import Events, Reading, decode
from scorer.features import Matrix, observe, snapshot, take
from scorer.velocity import CardStates
from scorer.view import FeatureView

#: Number of the shape of decisions and of rejections.
SCHEMA = 1
#: A longer transaction is rejected: its decision would not fit into a record.
LONGEST_VALUE = 262_144
_OPTIONS = orjson.OPT_SERIALIZE_NUMPY

Scores = npt.NDArray[np.float64]
Record = tuple[bytes | None, bytes | None]


@dataclass(frozen=True)
class LiveModel:
    """What decides now. With an override (`allow_all`, `block_all`) no model is asked.

    score: (n, len(view.names)) -> float64 (n,), probability of fraud.
    """

    digest: str | None
    epoch: int
    threshold: float | None
    override: str | None
    score: Callable[[Matrix], Scores] | None


@dataclass(frozen=True)
class Incoming:
    """Records of one partition, in offset order. appended_ms: int64, when the broker got each; below 0 is unknown."""

    partition: int
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]
    offsets: npt.NDArray[np.int64]
    appended_ms: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Published:
    """Highest source offset that is on each topic already; up to there nothing is published again."""

    decisions: int = -1
    rejected: int = -1


@dataclass(frozen=True)
class Settled:
    """What is to be written for a batch.

    decisions, states: keys and values. rejected: key, original value and headers. The rest counts, for the metrics:
    scores (n,) and blocks (n,) of the published decisions, appended_ms (n,) of their transactions; `fields` of the
    rejections; miskeyed: records whose key is not their card; untrusted: dated too far ahead to count in velocity.
    """

    decisions: list[Record]
    rejected: list[Record]
    headers: list[list[tuple[str, bytes]]]
    states: list[Record]
    scores: Scores
    blocks: npt.NDArray[np.bool_]
    appended_ms: npt.NDArray[np.int64]
    fields: list[str] = field(default_factory=list)
    repeats: int = 0
    miskeyed: int = 0
    untrusted: int = 0


@dataclass(frozen=True)
class Rules:
    """What stays the same from batch to batch. ahead_ms: how far ahead of its arrival a transaction may be dated;
    None trusts every date (event clock)."""

    view: FeatureView
    reading: Reading
    ahead_ms: int | None


def settle(
    incoming: Incoming,
    states: CardStates,
    published: Published,
    model: LiveModel,
    rules: Rules,
    now_ms: int | None,
) -> Settled:
    """Decide a batch. `states` is moved on; nothing else is touched.

    now_ms: the time to stamp, milliseconds since 1970; None stamps each decision with its transaction's own time.
    What is published already is only absorbed. A score that is no probability makes its record a rejection.
    """
    values = [None if v is not None and len(v) > LONGEST_VALUE else v for v in incoming.values]
    decoded = decode(values, rules.reading)
    events, positions = decoded.events, decoded.positions
    trusted = _trusted(events, incoming.appended_ms[positions], rules.ahead_ms)
    seen = observe(states, events, incoming.offsets[positions], trusted)
    changed = [card for card, was in zip(events.cards, seen.absorbed, strict=True) if not was]
    miskeyed = sum(incoming.keys[at] != card.encode() for at, card in zip(positions, events.cards, strict=True))

    matrix, repeat = snapshot(rules.view, events, seen), seen.repeat
    fresh = np.flatnonzero(incoming.offsets[positions] > min(published.decisions, published.rejected))
    if len(fresh) < len(events):
        events, matrix, repeat, positions = take(events, fresh), matrix[fresh], repeat[fresh], positions[fresh]
    scores, blocks, usable = _verdicts(model, matrix)
    refused = [(r.position, r.field, r.reason) for r in decoded.refusals]
    refused += [(int(positions[i]), "score", f"score: {scores[i]} is no probability") for i in np.flatnonzero(~usable)]
    rows = np.flatnonzero(usable & (incoming.offsets[positions] > published.decisions))
    rejected, headers, fields = _rejections(incoming, refused, published, now_ms)
    return Settled(
        decisions=_decisions(incoming, positions, events, matrix, scores, blocks, repeat, rows, model, rules, now_ms),
        rejected=rejected,
        headers=headers,
        states=list(states.packed(changed)) if changed else [],
        scores=scores[rows],
        blocks=blocks[rows],
        appended_ms=incoming.appended_ms[positions][rows],
        fields=fields,
        repeats=int(repeat[rows].sum()),
        miskeyed=miskeyed,
        untrusted=int((~trusted).sum()),
    )


def _trusted(events: Events, appended_ms: npt.NDArray[np.int64], ahead_ms: int | None) -> npt.NDArray[np.bool_]:
    """Which events may count in velocity: not those dated far ahead, which would push every bucket out."""
    if ahead_ms is None:
        return np.ones(len(events), dtype=bool)
    return (appended_ms < 0) | (events.occurred_ms <= appended_ms + ahead_ms)


def _verdicts(model: LiveModel, matrix: Matrix) -> tuple[Scores, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Score, block and usable of each row; under an override no score, and every verdict the same."""
    n = len(matrix)
    if model.override or model.score is None or model.threshold is None:
        return np.full(n, np.nan), np.full(n, model.override == "block_all"), np.ones(n, dtype=bool)
    scores = model.score(matrix) if n else np.empty(0)
    return scores, scores >= model.threshold, (scores >= 0) & (scores <= 1)


def _decisions(
    incoming: Incoming,
    positions: npt.NDArray[np.int64],
    events: Events,
    matrix: Matrix,
    scores: Scores,
    blocks: npt.NDArray[np.bool_],
    repeat: npt.NDArray[np.bool_],
    rows: npt.NDArray[np.int64],
    model: LiveModel,
    rules: Rules,
    now_ms: int | None,
) -> list[Record]:
    common: dict[str, Any] = {
        "threshold": model.threshold,
        "bundle": model.digest,
        "epoch": model.epoch,
        "view": rules.view.id,
        "release_probability": 1.0,
    }
    if model.override:
        common["override"] = model.override
    stamps = _stamps(events.occurred_ms if now_ms is None else np.full(len(events), now_ms))
    values = scores.tolist()
    offsets, minor, verdicts = incoming.offsets[positions].tolist(), events.minor.tolist(), blocks.tolist()
    out: list[Record] = []
    for i in rows.tolist():
        body = {
            "schema": SCHEMA,
            "transaction": orjson.Fragment(events.documents[i]),
            "decision": "block" if verdicts[i] else "allow",
            "score": values[i],
            **common,
            "features": matrix[i],
            "amount_minor": minor[i],
            "scored_at": stamps[i],
            "source": {"partition": incoming.partition, "offset": offsets[i]},
        }
        if repeat[i]:
            body["repeat"] = True
        out.append((events.cards[i].encode(), orjson.dumps(body, option=_OPTIONS)))
    return out


def _rejections(
    incoming: Incoming, refused: list[tuple[int, str, str]], published: Published, now_ms: int | None
) -> tuple[list[Record], list[list[tuple[str, bytes]]], list[str]]:
    """Dead letters in offset order: key and value as they came, the reason in the headers; and the fields at fault."""
    records: list[Record] = []
    headers: list[list[tuple[str, bytes]]] = []
    fields: list[str] = []
    if not refused:
        return records, headers, fields
    stamps = _stamps(incoming.appended_ms if now_ms is None else np.full(len(incoming.offsets), now_ms))
    for position, name, reason in sorted(refused):
        offset, value = int(incoming.offsets[position]), incoming.values[position]
        if offset <= published.rejected:
            continue
        if value is not None and len(value) > LONGEST_VALUE:
            reason = f"value: {len(value)} bytes, at most {LONGEST_VALUE} expected"
        told = {"reason": reason, "field": name, "partition": incoming.partition, "offset": offset}
        told |= {"schema": SCHEMA, "rejected_at": stamps[position]}
        records.append((incoming.keys[position], value))
        headers.append([(header, str(text).encode()) for header, text in told.items()])
        fields.append(name)
    return records, headers, fields


def _stamps(ms: npt.NDArray[np.int64]) -> list[str]:
    """RFC 3339 in UTC to the millisecond."""
    return [f"{text}Z" for text in np.datetime_as_string(ms.astype("datetime64[ms]"), unit="ms")]
