"""Reads labelled transactions and computes their snapshots as the scorer would have made them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import orjson

from scorer.errors import UserError
from scorer.pipeline.decode import decode
from scorer.pipeline.events import Events, Refusal
from scorer.pipeline.features import history, take
from scorer.pipeline.transaction import Reading
from scorer.pipeline.view import FeatureView
from scorer.sources.files import FileChunk, Places
from scorer.sources.label_cells import UNKNOWN
from scorer.sources.source import shown


@dataclass(frozen=True)
class History:
    """n labelled transactions with their snapshots, in order of time.

    matrix: float64 (n, features of the view). labels: int8 (n,), 1 is fraud. known_ms: int64 (n,), when each label
    became known, milliseconds since 1970, 0 if unknown. fingerprint: SHA-256 of transactions and labels.
    """

    view: FeatureView
    events: Events
    matrix: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int8]
    known_ms: npt.NDArray[np.int64]
    fingerprint: str

    def between(self, since_ms: int | None, until_ms: int | None) -> History:
        """The transactions from `since_ms` to before `until_ms`, milliseconds since 1970; None for no bound.

        Their snapshots still count what came before, as a scorer's do. Raises UserError if there are none.
        """
        occurred = self.events.occurred_ms
        rows = np.flatnonzero(
            (occurred >= (occurred.min() if since_ms is None else since_ms))
            & (occurred < (occurred.max() + 1 if until_ms is None else until_ms))
        )
        if not len(rows):
            raise UserError("train: there are no transactions in that time; choose other times")
        return replace(
            self,
            events=take(self.events, rows),
            matrix=self.matrix[rows],
            labels=self.labels[rows],
            known_ms=self.known_ms[rows],
            fingerprint=hashlib.sha256(f"{self.fingerprint} {since_ms} {until_ms}".encode()).hexdigest(),
        )


def read_history(chunks: Iterable[FileChunk], view: FeatureView, reading: Reading, path: str) -> History:
    """Decode the chunks of a file as the scorer would, and compute every snapshot.

    Transactions whose label is unknown count in the snapshots of later ones, and are left out then. path: for error
    messages. Raises UserError if the file has no transactions or no labels, or one breaks the contract.
    """
    values: list[bytes] = []
    labels: list[npt.NDArray[np.int8]] = []
    known: list[npt.NDArray[np.int64]] = []
    places: list[Places | None] = []
    content = hashlib.sha256()
    for chunk in chunks:
        places.append(chunk.places)
        if chunk.labels is None:
            raise UserError(f"{path}: has no labels; name their field with --label")
        for value in chunk.values:
            content.update(value)
        content.update(chunk.labels.tobytes())
        values += chunk.values
        labels.append(chunk.labels)
        known.append(chunk.known_ms)
    if not values:
        raise UserError(f"{path}: has no transactions in that time; choose other times or another file")
    decoded = decode(values, replace(reading, mapping=reading.mapping.of_files, attributes=view.attributes))
    if decoded.refusals:
        first = decoded.refusals[0]
        raise UserError(
            f"{_place(places, labels, first.position, path)}: {first.reason}{_found(values[first.position], first)}; "
            f"{len(decoded.refusals)} of {len(values)} transactions are refused: correct them, map or fill the field "
            "in the setting mapping, or leave them out"
        )
    events, every_label, every_known = decoded.events, np.concatenate(labels), np.concatenate(known)
    if reading.mapping.negative == "refund":  # no model sees these, and no card remembers them
        rows = np.flatnonzero(events.amount >= 0)
        events, every_label, every_known = take(events, rows), every_label[rows], every_known[rows]
        if not len(rows):
            raise UserError(f"{path}: has nothing but refunds in that time; choose other times or another file")
    matrix = history(view, events, reading.money.digits)
    data = History(view, events, matrix, every_label, every_known, content.hexdigest())
    is_known = data.labels != UNKNOWN
    if is_known.all():
        return data
    if not is_known.any():
        raise UserError(f"{path}: no label is known; name the field with --label")
    rows = np.flatnonzero(is_known)
    return replace(
        data, events=take(events, rows), matrix=matrix[rows], labels=data.labels[rows], known_ms=data.known_ms[rows]
    )


def _place(places: list[Places | None], labels: list[npt.NDArray[np.int8]], at: int, path: str) -> str:
    """File and row of a transaction by its position in all chunks."""
    for place, chunk in zip(places, labels, strict=True):
        if at < len(chunk):
            return f"{path}: row {at + 1}" if place is None else place[at]
        at -= len(chunk)
    return path


def _found(value: bytes, refusal: Refusal) -> str:
    """What is in the field at fault, unless it may be a card."""
    cell = orjson.loads(value).get(refusal.field)
    return "" if refusal.field == "card_id" or cell is None else f", found {shown(cell)}"
