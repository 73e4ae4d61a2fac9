"""Computes snapshots from events and card states: one float64 matrix, its columns in the order of the feature view."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from scorer.pipeline import distinct, velocity
from scorer.pipeline.batch import Matrix
from scorer.pipeline.card_states import CardStates
from scorer.pipeline.events import Column, Events
from scorer.pipeline.instants import DAY_MS, HOUR_MS
from scorer.pipeline.risk_view import Risk
from scorer.pipeline.velocity import Seen, id_hashes
from scorer.pipeline.view import DELTAS, EVENT_FEATURES, VELOCITY_FEATURES, Attribute, FeatureView
from scorer.pipeline.window import AMOUNT, MERCHANT
from scorer.pipeline.window_states import row_texts
from scorer.pipeline.windows import Rows, Taken, rows_of_cards, rows_of_keys
from scorer.pipeline.windows import observe as observe_windows

#: Rows of a history that are computed at once. More only costs memory.
HISTORY_CHUNK = 20_480


def snapshot(
    view: FeatureView, events: Events, seen: Seen, risk: Matrix | None = None, failed: Counter[str] | None = None
) -> Matrix:
    """Snapshots of n events: float64 (n, len(view.names)), NaN where a value is missing.

    risk: their merchants', float64 (n, len(view.risk.names)); None where nothing is known of merchants. failed: counts
    for how many events a feature in Python raised, by its name.
    """
    matrix = np.empty((len(events), len(view.names)))
    first, then = len(EVENT_FEATURES), len(EVENT_FEATURES) + len(VELOCITY_FEATURES)
    matrix[:, 0] = events.amount
    matrix[:, 1] = events.occurred_ms % DAY_MS // HOUR_MS  # UTC
    matrix[:, 2] = (events.occurred_ms // DAY_MS + 3) % 7  # 1970-01-01 was a Thursday; Monday is 0
    matrix[:, first:then] = seen.features
    for column, attribute in enumerate(view.attributes, start=then):
        matrix[:, column] = encode(attribute, events.attributes[attribute.name])
    for what in view.deltas:
        column = view.names.index(DELTAS[what][0])
        if what == "since_last":
            matrix[:, column] = seen.since_last
        else:
            means = seen.features[:, 1::3]
            matrix[:, column : column + means.shape[1]] = events.amount[:, None] - means
    for window in view.windows:
        matrix[:, view.names.index(window.name)] = seen.windows[view.track(window).id].of(window.aggregate)
    if view.functions:
        _functions(view, events, matrix, Counter() if failed is None else failed)
    if view.risk is not None:
        matrix[:, len(view.names) - len(view.risk.names) :] = np.nan if risk is None else risk
    return matrix


def risk_keys(risk: Risk, events: Events) -> Sequence[str | None]:
    """Whose past counts in the merchant risk of each event; None where it does not say."""
    return events.merchants if risk.key == "merchant_id" else events.attributes[risk.key]  # type: ignore[return-value]


def _functions(view: FeatureView, events: Events, matrix: Matrix, failed: Counter[str]) -> None:
    """Fill in what the view's functions say."""
    for function in view.functions:
        columns = function.columns(view.names, matrix, events.occurred_ms, events.merchants, events.attributes)
        matrix[:, view.names.index(function.name)], n = function.of(columns)
        if n:
            failed[function.name] += n


def check_functions(view: FeatureView) -> None:
    """Raises SettingsError if a feature in Python that the view declares cannot be had, or does not do on some
    transactions made up for it what such a feature must; see `Function.check`."""
    if not view.functions:
        return
    load_functions(view)
    events = _made_up(view)
    bare = FeatureView(
        **{name: getattr(view, name) for name in FeatureView.model_fields if name not in ("functions", "risk")}
    )
    matrix = Past(bare).add(events)
    for function in view.functions:
        function.check(function.columns(bare.names, matrix, events.occurred_ms, events.merchants, events.attributes))


def load_functions(view: FeatureView) -> None:
    """Import the features in Python that a view declares. Raises SettingsError if one cannot be had."""
    for function in view.functions:
        assert function.feature  # noqa: S101 - raises what is wrong with it before anything is computed


#: How many transactions a feature in Python is checked on.
MADE_UP = 24


def _made_up(view: FeatureView) -> Events:
    """Transactions of every kind: of two cards, with each listed value or another, and with nothing at all."""
    at = range(MADE_UP)
    cells: dict[str, list[Any]] = {
        "number": [None, 0.0, 1.5, -3.0, 1e9],
        "boolean": [None, True, False],
    }
    attributes: dict[str, Column] = {}
    for attribute in view.attributes:
        known = cells.get(attribute.kind, [None, "another value", *attribute.values[:5]])
        column = [known[i % len(known)] for i in at]
        attributes[attribute.name] = np.array(column, dtype=np.float64) if attribute.kind == "number" else column
    amount = np.array([(i * 37) % 11 * 10.25 for i in at])
    return Events(
        ids=[f"t{i}" for i in at],
        cards=[f"c{i % 2}" for i in at],
        merchants=[f"m{i % 3}" for i in at],
        occurred_ms=np.array([1_767_225_600_000 + i * HOUR_MS for i in at], dtype=np.int64),
        amount=amount,
        minor=np.round(amount * 100).astype(np.int64),
        attributes=attributes,
        documents=[b"{}" for _ in at],
    )


def states_of(view: FeatureView, minor_digits: int = 2) -> CardStates:
    """No cards yet, with all that a view's features need. minor_digits: of the reporting currency."""
    return CardStates(minor_digits, has_last="since_last" in view.deltas, tracks=view.tracks)


def encode(attribute: Attribute, column: Column) -> npt.NDArray[np.float64]:
    """An attribute of n events as float64 (n,): numbers as they are, booleans 0 or 1, categories as codes, else NaN.

    A category's value that the view does not list gets the code after the last.
    """
    if attribute.kind == "category":
        code, other = attribute.codes.get, float(len(attribute.values))
        return np.array([code(cell, other) for cell in column], dtype=np.float64)
    return np.asarray(column, dtype=np.float64)  # numpy turns None into NaN


def observe(
    states: Sequence[CardStates],
    cuts: Sequence[slice],
    events: Events,
    offsets: npt.NDArray[np.int64],
    trusted: npt.NDArray[np.bool_],
    view: FeatureView | None = None,
    hashes: npt.NDArray[np.uint64] | None = None,
) -> Seen:
    """Note what each event's card did before, then add the event to its card; see `velocity.observe`.

    states: cards of each partition. cuts: which events are the partition's. view: the states must be of this one, if
    it declares windows. hashes: by which ids are told apart, uint64 (n,), never 0; `id_hashes` otherwise.
    """
    if hashes is None:
        hashes = id_hashes(events.ids)
    seen = velocity.observe(states, cuts, events.cards, hashes, events.occurred_ms, events.minor, offsets, trusted)
    if view is None or not view.windows:
        return seen
    try:
        taken = _taken(view, cuts, events, offsets, seen)
        totals, undo = observe_windows([part.windows for part in states], view.tracks, taken, states[0].units)
    except BaseException:
        seen.undo()
        raise

    def undo_all() -> None:
        undo()
        seen.undo()

    return replace(seen, windows=totals, undo=undo_all)


def _taken(
    view: FeatureView, cuts: Sequence[slice], events: Events, offsets: npt.NDArray[np.int64], seen: Seen
) -> Taken:
    """Events as windows take them."""
    attributes = {attribute.name: attribute for attribute in view.attributes}
    rows: dict[tuple[str, ...], Rows | None] = {}
    for keys in dict.fromkeys(track.keys for track in view.tracks):
        if not keys:
            rows[keys] = rows_of_cards(events.cards, seen.places, seen.bases, seen.order)
            continue
        columns = [encode(attributes[name], events.attributes[name]) for name in keys if name != MERCHANT]
        texts = row_texts(events.cards, columns, events.merchants if MERCHANT in keys else None)
        rows[keys] = rows_of_keys(texts, cuts)
    added = {track.of for track in view.tracks if not track.is_distinct}
    numbers = {of: np.asarray(events.attributes[of]) for of in added if of in attributes}
    values = {of: _values(of, attributes, events) for of in {str(t.of) for t in view.tracks if t.is_distinct}}
    return Taken(rows, numbers, events.occurred_ms, events.minor, offsets, seen.adds, seen.floors, values)


def _values(
    of: str, attributes: Mapping[str, Attribute], events: Events
) -> tuple[distinct.Values, npt.NDArray[np.bool_]]:
    """What a window tells apart of n events: uint64 (n,); and which have one: bool (n,)."""
    if of == MERCHANT:
        return distinct.of_texts(events.merchants), np.ones(len(events), dtype=bool)
    if of == AMOUNT:
        return events.minor.astype(np.uint64), np.ones(len(events), dtype=bool)
    column = encode(attributes[of], events.attributes[of])
    return distinct.of_numbers(column), ~np.isnan(column)


def history(view: FeatureView, events: Events, minor_digits: int = 2) -> Matrix:
    """Snapshots of a history as the scorer would have made them: float64 (n, len(view.names)), in the order given.

    A history has no offsets, so events are taken in order of `occurred_at`, then of their ids.
    """
    return Past(view, minor_digits).add(events)


def _order(events: Events) -> npt.NDArray[np.int64] | None:
    """Positions by time, then id: int64 (n,); None if that is how they come."""
    gaps, ids = np.diff(events.occurred_ms), events.ids
    if (gaps >= 0).all() and all(ids[at] <= ids[at + 1] for at in np.flatnonzero(gaps == 0).tolist()):
        return None
    return np.lexsort((np.array(ids, dtype=object).astype(str), events.occurred_ms))


class Past:
    """What the cards of a history did so far. It is read some events at a time, all of one time together."""

    def __init__(self, view: FeatureView, minor_digits: int = 2) -> None:
        self._view, self._states, self._offset = view, states_of(view, minor_digits), 0

    def add(self, events: Events) -> Matrix:
        """Snapshots of the next n events: float64 (n, len(view.names)), in the order given; taken by time, then id."""
        order = _order(events)
        if order is None:
            return self._in_pieces(events)
        matrix = np.empty((len(events), len(self._view.names)))
        matrix[order] = self._in_pieces(take(events, order))
        return matrix

    def _in_pieces(self, events: Events) -> Matrix:
        if len(events) <= HISTORY_CHUNK:
            return self.snapshots(events)
        starts = range(0, len(events), HISTORY_CHUNK)
        rows = [np.arange(start, min(start + HISTORY_CHUNK, len(events))) for start in starts]
        return np.concatenate([self.snapshots(take(events, some)) for some in rows])

    def snapshots(self, events: Events) -> Matrix:
        """Snapshots of the next n events, in the order in which they are taken."""
        n = len(events)
        offsets, trusted = np.arange(self._offset, self._offset + n, dtype=np.int64), np.ones(n, dtype=bool)
        self._offset += n
        seen = observe([self._states], [slice(0, n)], events, offsets, trusted, self._view, _own_hashes(events.ids))
        return snapshot(self._view, events, seen)


def _own_hashes(ids: Sequence[str]) -> npt.NDArray[np.uint64]:
    """What tells ids apart in this process alone, several times as fast as `id_hashes`: uint64 (n,), never 0."""
    return np.maximum(np.fromiter(map(hash, ids), np.int64, len(ids)).view(np.uint64), 1)


def take(events: Events, rows: npt.NDArray[np.int64]) -> Events:
    """The events at some positions, int64 (k,), in that order."""

    def pick(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return value[rows]
        if isinstance(value, dict):
            return {name: pick(column) for name, column in value.items()}
        return [value[row] for row in rows]

    return Events(**{field.name: pick(getattr(events, field.name)) for field in fields(events)})
