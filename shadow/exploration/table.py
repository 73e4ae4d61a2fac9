"""All samples of a run as columns, and which of them a question means."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from scorer.pipeline.instants import DAY_MS, HOUR_MS
from shadow.comparison.index import Entries, card_tag
from shadow.comparison.outcome import DISAGREEMENTS, Outcome
from shadow.comparison.query import query_ms
from shadow.comparison.sampling import sample_hashes
from shadow.exploration.columns import MISSING, Columns, Vocabulary
from shadow.exploration.question import OF_TRANSACTION, Question, by_division

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]
#: Before a field that is a division of the traffic in release.yaml.
OF_SEGMENTS = "segment."
#: Fields of ours.
DIRECTION, HOUR, WEEKDAY, DAY, TOP_FEATURE, LABEL = "direction", "hour", "weekday", "day", "top_feature", "label"
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
#: What reviews say, in the order of the codes of `Table.labels`.
LABELS = ("none", "waiting", "fraud", "legit", "unsure", "contradictory")
_EPOCH = date(1970, 1, 1)
_LAST_DAY = (date.max - _EPOCH).days


class UnknownFieldError(LookupError):
    """Somebody asked for a field that no sample has. name: what they asked for. known: those that there are."""

    def __init__(self, kind: str, name: str, known: Sequence[str]) -> None:
        super().__init__(name)
        self.kind, self.name, self.known = kind, name, known


@dataclass(frozen=True)
class Field:
    """A field of n samples. codes: int64 (n,), positions in `values`, or below 0: missing, or without a name.

    code: of a value, whether it has a name or not.
    """

    name: str
    codes: Rows
    values: Sequence[str]
    code: Callable[[str], int]


@dataclass(frozen=True)
class Table:
    """The samples of a run. partitions, days: int64 (n,), where each is stored. entries: of the index. chances: float64
    (n,), with which each was kept. lists: segments by the digest that entries refer to.

    labels: int64 (n,), positions in LABELS. stored: samples that there are; n may be fewer, then those with the
    smallest hashes, which `chances` allow for.
    """

    partitions: Rows
    days: Rows
    entries: Entries
    chances: Floats
    columns: Columns
    words: Vocabulary
    lists: Mapping[int, Sequence[str]]
    labels: Rows
    stored: int
    _fields: dict[str, Field] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def gaps(self) -> Floats:
        """Candidate minus live score: NaN where live has none."""
        return np.asarray(self.entries["gap"])

    @property
    def is_disagreement(self) -> Bools:
        return np.asarray(self.entries["kind"] >= min(DISAGREEMENTS))

    @property
    def segments(self) -> list[str]:
        """Every segment that a sample may be in, in the order of release.yaml."""
        return list(dict.fromkeys(name for names in self.lists.values() for name in names))

    @property
    def divisions(self) -> list[str]:
        """The divisions of the traffic, without `all`."""
        return [name for name in by_division(self.segments) if name != "all"]

    @property
    def attributes(self) -> list[str]:
        """The attributes of transactions that a question may be about."""
        return list(self.words.attributes)[: self.columns.attributes.shape[1]]  # others may come while this is in use

    @property
    def names(self) -> list[str]:
        """Every field that facets may be asked of."""
        ours = [DIRECTION, HOUR, WEEKDAY, DAY, TOP_FEATURE, LABEL]
        theirs = [OF_TRANSACTION + name if name in ours else name for name in self.attributes]
        return [*(OF_SEGMENTS + name for name in self.divisions), *ours, *theirs]

    def of(self, name: str) -> Field:
        """A field by its name. Raises UnknownFieldError."""
        if name not in self._fields:
            self._fields[name] = self._made(name)
        return self._fields[name]

    def _made(self, name: str) -> Field:
        occurred = self.entries["occurred"]
        if name == DIRECTION:
            return _enumerated(name, self.entries["kind"].astype(np.int64), [outcome.key for outcome in Outcome])
        if name == HOUR:
            hours = [f"{hour:02}" for hour in range(24)]
            return Field(name, occurred // HOUR_MS % 24, hours, lambda value: _position(hours, value.zfill(2)))
        if name == WEEKDAY:
            return _enumerated(name, (occurred // DAY_MS + 3) % 7, WEEKDAYS)
        if name == DAY:
            days, codes = np.unique(np.clip(occurred // DAY_MS, -700_000, _LAST_DAY), return_inverse=True)
            return _enumerated(name, codes, [(_EPOCH + timedelta(days=day)).isoformat() for day in days.tolist()])
        if name == TOP_FEATURE:
            return _enumerated(name, self.columns.reasons[:, 0].astype(np.int64), list(self.words.features))
        if name == LABEL:
            return _enumerated(name, self.labels, LABELS)
        if name.startswith(OF_SEGMENTS) and (division := name.removeprefix(OF_SEGMENTS)) in self.divisions:
            return self._division(name, division)
        plain = name.removeprefix(OF_TRANSACTION)
        if plain not in self.attributes:
            raise UnknownFieldError("field", name, self.names)
        at = self.attributes.index(plain)
        values = list(self.words.attributes[plain])
        codes = self.columns.attributes[:, at].astype(np.int64)
        return Field(name, codes, values, lambda value: self.words.known(plain, value))

    def _division(self, name: str, division: str) -> Field:
        values = by_division(self.segments)[division]
        codes = np.full(len(self), MISSING, dtype=np.int64)
        for at, segment in enumerate(values):
            codes[self.has(segment)] = at
        return _enumerated(name, codes, [value.partition("=")[2] for value in values])

    def has(self, segment: str) -> Bools:
        """Which samples are in a segment."""
        found = np.zeros(len(self), dtype=bool)
        for digest, names in self.lists.items():
            if segment in names:
                bit = np.uint64(list(names).index(segment))
                inside = (self.entries["segments"] >> bit) & np.uint64(1)
                found |= (self.entries["names"] == digest) & inside.astype(bool)
        return found

    def masks(self, asked: Question, minor_per_unit: float) -> dict[str, Bools]:
        """Which samples meet each condition of a question, by what the condition is about. Of a card, some more may, as
        its tag is not only its own. Raises UnknownFieldError."""
        kind, entries = self.entries["kind"], self.entries
        found: dict[str, Bools] = {}
        if asked.direction is not None:
            found[DIRECTION] = kind == Outcome[asked.direction.upper()]
        if not asked.agreements:  # with a direction, too: its own facet leaves that one out
            found[""] = self.is_disagreement
        for division, segments in asked.divisions.items():
            for segment in segments:
                if segment not in self.segments:
                    raise UnknownFieldError("segment", segment, self.segments)
            found[OF_SEGMENTS + division] = _any(self.has(segment) for segment in segments)
        for name, values in asked.conditions.items():
            one = self.of(name)
            found[name] = found.get(name, True) & np.isin(one.codes, [one.code(value) for value in values])
        if asked.top_feature is not None:
            if asked.top_feature not in self.words.features:
                raise UnknownFieldError("top_feature", asked.top_feature, list(self.words.features))
            mine = self.columns.reasons[:, 0] == self.words.features[asked.top_feature]
            found[TOP_FEATURE] = found.get(TOP_FEATURE, True) & mine
        if asked.label is not None:
            mine = self.labels == LABELS.index(asked.label)
            found[LABEL] = found.get(LABEL, True) & mine
        size = np.abs(self.gaps)
        for name, numbers, low, high in (
            ("amount", entries["minor"] / minor_per_unit, asked.min_amount, asked.max_amount),
            ("gap", self.gaps, asked.min_gap, asked.max_gap),
            ("size", size, asked.min_size, None),
        ):
            if low is not None or high is not None:
                found[f"#{name}"] = _within(numbers, low, high)
        for name, times, since, until in (
            ("occurred", entries["occurred"], asked.since, asked.until),
            ("scored", entries["scored"], asked.scored_since, asked.scored_until),
        ):
            if since is not None:
                found[f"#{name} since"] = times >= query_ms(since)
            if until is not None:
                found[f"#{name} until"] = times < query_ms(until)
        if asked.card is not None:
            found["#card"] = entries["card"] == card_tag(asked.card)
        if asked.transaction is not None:
            found["#transaction"] = entries["hash"] == float(sample_hashes([asked.transaction])[0])
        return found

    def met(self, masks: Mapping[str, Bools], but: str | None = None) -> Bools:
        """Which samples meet all conditions. but: what a condition is about that does not count."""
        found = np.ones(len(self), dtype=bool)
        for name, mask in masks.items():
            if name != but:
                found &= mask
        return found

    def sort_keys(self, sort: str, rows: Rows) -> Floats:
        """What some samples are sorted by: float64."""
        if sort == "gap":
            return np.fmax(np.abs(self.gaps[rows]), 0.0)  # NaN is 0
        return np.asarray(self.entries["minor" if sort == "amount" else "occurred"][rows], dtype=np.float64)


def _enumerated(name: str, codes: Any, values: Sequence[str]) -> Field:
    """A field of ours, all of whose values are known."""
    return Field(name, np.asarray(codes, dtype=np.int64), values, lambda value: _position(values, value))


def _position(values: Sequence[str], value: str) -> int:
    """Where a value is among these; behind them all if it is not."""
    return values.index(value) if value in values else len(values)


def _any(masks: Iterable[Bools]) -> Bools:
    found: Bools = np.logical_or.reduce(list(masks))
    return found


def _within(values: Any, low: float | None, high: float | None) -> Bools:
    found = ~np.isnan(np.asarray(values, dtype=np.float64))
    if low is not None:
        found &= values >= low
    if high is not None:
        found &= values <= high
    return found
