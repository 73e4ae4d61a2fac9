"""Reads labelled transactions and computes their snapshots as the scorer would have made them."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from scorer.bundles.lineage import Data
from scorer.errors import UserError
from scorer.pipeline import merchant_risk
from scorer.pipeline.decode import decode
from scorer.pipeline.events import Events, Refusal
from scorer.pipeline.features import Past, risk_keys, take
from scorer.pipeline.instants import DAY_MS, stamps
from scorer.pipeline.transaction import Reading
from scorer.pipeline.view import FeatureView
from scorer.sources.files import FileChunk, Places
from scorer.sources.label_cells import UNKNOWN
from scorer.sources.source import LABEL, LABEL_TIME, shown
from scorer.training.blocks import Blocks, Matrix

Times = npt.NDArray[np.int64]
#: Between the texts of a column, as nothing in an id is.
_BETWEEN = "\n"


@dataclass(frozen=True)
class Unlabelled:
    """k transactions of which nobody can say what they were. Shapes as in `History`."""

    occurred_ms: Times
    matrix: Matrix


@dataclass(frozen=True)
class History:
    """n labelled transactions with their snapshots, in order of time.

    occurred_ms: int64 (n,), milliseconds since 1970. amount: float64 (n,), in the reporting currency. matrix: float64
    (n, features of the view). labels: int8 (n,), 1 is fraud. known_ms: int64 (n,), when each label became known,
    milliseconds since 1970, 0 if unknown. data: what was read, whatever of it is in here. unlabelled: transactions that
    are not learnt, but that a model would block some of.
    """

    view: FeatureView
    ids: list[str]
    occurred_ms: Times
    amount: Matrix
    matrix: Matrix
    labels: npt.NDArray[np.int8]
    known_ms: Times
    data: Data
    unlabelled: Unlabelled | None = None

    def between(self, since_ms: int | None, until_ms: int | None) -> History:
        """The transactions from `since_ms` to before `until_ms`, milliseconds since 1970; None for no bound.

        Their snapshots still count what came before, as a scorer's do. Raises UserError if there are none.
        """
        is_in = np.ones(len(self.labels), dtype=bool)
        if since_ms is not None:
            is_in &= self.occurred_ms >= since_ms
        if until_ms is not None:
            is_in &= self.occurred_ms < until_ms
        if not is_in.any():
            raise UserError("train: there are no transactions in that time; choose other times")
        return self.only(np.flatnonzero(is_in))

    def only(self, rows: Times) -> History:
        """Some of the labelled transactions. rows: their positions, int64 (k,)."""
        if len(rows) == len(self.labels):
            return self
        some = without_gaps(rows)
        return replace(
            self,
            ids=[self.ids[row] for row in rows.tolist()],
            occurred_ms=self.occurred_ms[some],
            amount=self.amount[some],
            matrix=self.matrix[some],
            labels=self.labels[some],
            known_ms=self.known_ms[some],
        )


def without_gaps(rows: Times) -> slice | Times:
    """The same positions, int64 (k,), as a slice if each follows the one before: numpy copies nothing for that."""
    if len(rows) and rows[-1] - rows[0] == len(rows) - 1 and (np.diff(rows) == 1).all():
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows


@dataclass
class _Read:
    """What was read so far. count: of all transactions, with those that are not kept."""

    matrix: Blocks
    count: int = 0
    ids: list[str] = field(default_factory=list)
    occurred_ms: list[Times] = field(default_factory=list)
    amount: list[Matrix] = field(default_factory=list)
    labels: list[npt.NDArray[np.int8]] = field(default_factory=list)
    known_ms: list[Times] = field(default_factory=list)
    merchants: list[Times] = field(default_factory=list)
    minor: list[Times] = field(default_factory=list)
    early: int = 0
    first_early: str = ""
    refused: int = 0
    first_refused: str = ""


class _Content:
    """The content of what is read, whatever files it is in and however they are written: a hash of each field."""

    def __init__(self, view: FeatureView, has_own_ids: bool) -> None:
        self._attributes = {a.name: at for at, a in enumerate(view.attributes, view.first_attribute)}
        self._has_own_ids = has_own_ids
        self._parts: dict[str, Any] = defaultdict(hashlib.sha256)

    def add(self, events: Events, matrix: Matrix, labels: npt.NDArray[np.int8], known_ms: Times) -> None:
        order = _of_one_time(events)
        texts = {"card_id": events.cards, "merchant_id": events.merchants}
        if self._has_own_ids:
            texts["transaction_id"] = events.ids
        for name, column in texts.items():
            cells = column if order is None else [column[row] for row in order.tolist()]
            self._parts[name].update(f"{_BETWEEN.join(cells)}{_BETWEEN}".encode() if cells else b"")
        numbers: dict[str, npt.NDArray[Any]] = {
            "occurred_at": events.occurred_ms, "amount": events.amount, LABEL: labels, LABEL_TIME: known_ms,
            **{name: matrix[:, at] for name, at in self._attributes.items()},
        }  # fmt: skip
        for name, cells_of in numbers.items():
            ordered = cells_of if order is None else cells_of[order]
            if ordered.dtype.kind == "f":
                ordered = np.where(np.isnan(ordered), np.nan, ordered)  # there are several NaN
            self._parts[name].update(np.ascontiguousarray(ordered).tobytes())

    @property
    def digests(self) -> dict[str, str]:
        return {name: part.hexdigest() for name, part in sorted(self._parts.items())}


def _of_one_time(events: Events) -> Times | None:
    """Positions by time, card, merchant and id, for a hash that does not depend on the order of rows in files; None if
    times tell it."""
    if (np.diff(events.occurred_ms) > 0).all():
        return None
    texts = [np.array(column, dtype=object).astype(str) for column in (events.merchants, events.cards, events.ids)]
    return np.lexsort((events.amount, *texts, events.occurred_ms))


def read_history(chunks: Iterable[FileChunk], view: FeatureView, reading: Reading, path: str) -> History:
    """Decode the chunks of a file as the scorer would, and compute every snapshot.

    Transactions whose label is unknown count in the snapshots of later ones, and are left out then; so are those that
    bear the id of an earlier one. path: for error messages. Raises UserError if the file has no transactions or no
    labels, one breaks the contract, or labels cannot be what they say.
    """
    of_files = replace(reading, mapping=reading.mapping.of_files, attributes=view.attributes)
    read, past = _Read(Blocks(len(view.names))), Past(view, reading.money.digits)
    at_merchants = None if view.risk is None else merchant_risk.Past(view.risk)
    content = _Content(view, reading.mapping.fields.get("transaction_id") != "$row")
    for chunk in chunks:
        if chunk.labels is None:
            raise UserError(f"{path}: has no labels; name their field with --label")
        events, positions = _events(chunk, of_files, read, path)
        if read.refused:
            continue  # they are only counted
        labels, known_ms = chunk.labels[positions], chunk.known_ms[positions]
        if reading.mapping.negative == "refund" and (events.amount < 0).any():
            rows = np.flatnonzero(events.amount >= 0)  # no model sees the others, and no card remembers them
            events, labels, known_ms, positions = take(events, rows), labels[rows], known_ms[rows], positions[rows]
        _note_early(events, known_ms, positions, chunk.places, read, path)
        matrix = past.add(events)
        content.add(events, matrix, labels, known_ms)
        read.ids += events.ids
        read.occurred_ms.append(events.occurred_ms)
        read.amount.append(events.amount)
        read.matrix.add(matrix)
        read.labels.append(labels)
        read.known_ms.append(known_ms)
        if at_merchants is not None:
            read.merchants.append(at_merchants.codes(risk_keys(at_merchants.risk, events)))
            read.minor.append(events.minor)
    if not read.count:
        raise UserError(f"{path}: has no transactions in that time; choose other times or another file")
    if read.refused:
        raise UserError(
            f"{read.first_refused}; {read.refused} of {read.count} transactions are refused: correct them, map or fill "
            "the field in the setting mapping, or leave them out"
        )
    if not read.ids:
        raise UserError(f"{path}: has nothing but refunds in that time; choose other times or another file")
    if read.early:
        raise UserError(
            f"{read.first_early}: its label was known before the transaction, as {read.early} of {read.count} were; "
            "correct the field of that time, or name another with the setting mapping.label_time"
        )
    return _history(view, read, content.digests, path, at_merchants, reading.money.reporting.minor_per_unit)


def _history(
    view: FeatureView,
    read: _Read,
    content: dict[str, str],
    path: str,
    at_merchants: merchant_risk.Past | None,
    units: float,
) -> History:
    occurred_ms, labels = np.concatenate(read.occurred_ms), np.concatenate(read.labels)
    known_ms, is_known = np.concatenate(read.known_ms), labels != UNKNOWN
    if not is_known.any():
        raise UserError(f"{path}: no label is known; name the field with --label")
    told = known_ms[is_known & (known_ms != 0)]
    firsts, repeats = _firsts(read.ids, labels, is_known, path)
    data = Data(
        transactions=len(labels),
        first=_iso(occurred_ms[0]),
        last=_iso(occurred_ms[-1]),
        unknown=int((~is_known).sum()),
        repeats=repeats,
        labels_first=_iso(told.min()) if len(told) else None,
        labels_last=_iso(told.max()) if len(told) else None,
        content=content,
    )
    matrix = read.matrix.joined()
    if at_merchants is not None:
        matrix[:, len(view.names) - len(at_merchants.risk.names) :] = merchant_risk.history(
            at_merchants,
            np.concatenate(read.merchants),
            occurred_ms,
            np.concatenate(read.minor),
            labels,
            known_ms,
            _is_repeat(read.ids),
            units,
        )
    amount = np.concatenate(read.amount)
    return History(view, read.ids, occurred_ms, amount, matrix, labels, known_ms, data).only(firsts)


def _is_repeat(ids: list[str]) -> npt.NDArray[np.bool_]:
    """Whether an earlier transaction bears the same id: bool (n,)."""
    if len(set(ids)) == len(ids):
        return np.zeros(len(ids), dtype=bool)
    firsts: dict[str, int] = {}
    is_repeat: npt.NDArray[np.bool_] = np.fromiter(
        (firsts.setdefault(name, at) != at for at, name in enumerate(ids)), np.bool_, len(ids)
    )
    return is_repeat


def _firsts(
    ids: list[str], labels: npt.NDArray[np.int8], is_known: npt.NDArray[np.bool_], path: str
) -> tuple[Times, int]:
    """Positions of the labelled transactions that bear their id first, int64 (k,), and how many do not.

    Raises UserError if some of one id are fraud, and others legitimate.
    """
    known = np.flatnonzero(is_known)
    if len(set(ids)) == len(ids):
        return known, 0
    said: dict[str, int] = {}
    keep, contradicted = np.ones(len(known), dtype=bool), set()
    for at, row in enumerate(known.tolist()):
        label = said.setdefault(ids[row], at)
        if label != at:
            keep[at] = False
            if labels[known[label]] != labels[row]:
                contradicted.add(ids[row])
    if contradicted:
        raise UserError(
            f"{path}: {len(contradicted)} ids are of several transactions, of which some are labelled fraud and others "
            f"legitimate, such as {shown(min(contradicted))}; give each transaction an id of its own, or one label"
        )
    return known[keep], int((~keep).sum())


def _events(chunk: FileChunk, reading: Reading, read: _Read, path: str) -> tuple[Events, Times]:
    """The transactions of a chunk, and their positions in it: int64 (n,). Notes those that are refused."""
    if chunk.events is not None:
        read.count += len(chunk.events)
        return chunk.events, np.arange(len(chunk.events))
    decoded = decode(chunk.values, reading)
    if decoded.refusals and not read.refused:
        first = decoded.refusals[0]
        place = f"{path}: row {read.count + first.position + 1}"
        if chunk.places is not None:
            place = chunk.places[first.position]
        read.first_refused = f"{place}: {first.reason}{_found(chunk.values[first.position], first)}"
    read.refused += len(decoded.refusals)
    read.count += len(chunk.values)
    return decoded.events, decoded.positions


def _note_early(
    events: Events, known_ms: Times, positions: Times, places: Places | None, read: _Read, path: str
) -> None:
    """Note labels that were known before their transactions. A bare date may be that of the same day."""
    is_date = known_ms % DAY_MS == 0
    early = (known_ms != 0) & (known_ms < np.where(is_date, events.occurred_ms // DAY_MS * DAY_MS, events.occurred_ms))
    if not early.any():
        return
    if not read.early:
        at = int(positions[np.flatnonzero(early)[0]])
        read.first_early = f"{path}: row {at + 1}" if places is None else places[at]
    read.early += int(early.sum())


def _found(value: bytes, refusal: Refusal) -> str:
    """What is in the field at fault, unless it may be a card."""
    cell = orjson.loads(value).get(refusal.field)
    return "" if refusal.field == "card_id" or cell is None else f", found {shown(cell)}"


def _iso(ms: np.int64) -> str:
    return stamps(np.array([ms], dtype=np.int64))[0]
