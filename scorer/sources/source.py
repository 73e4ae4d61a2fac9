"""How files of transactions are read: the settings that say it, and what they mean for the columns of a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from scorer.errors import UserError
from scorer.pipeline import card_number
from scorer.pipeline.formats import Format
from scorer.pipeline.layout import Layout
from scorer.pipeline.lenient import IDS
from scorer.pipeline.mapping import FieldNames, UnmappableError
from scorer.pipeline.origin import ROW
from scorer.pipeline.transaction import REQUIRED
from scorer.pipeline.view import Attribute

#: Field names that `scorer simulate` gives to the label and to the time when it became known. Neither is ever sent.
LABEL, LABEL_TIME = "is_fraud", "label_available_at"


@dataclass(frozen=True)
class Source:
    """How files are read. attributes: of the feature view, as far as it is known. token_key: of `layout.tokens`.

    needs_label: whether a file without the field of the label is refused.
    """

    mapping: FieldNames
    layout: Layout = field(default_factory=lambda: Layout.model_validate({}))
    attributes: tuple[Attribute, ...] = ()
    token_key: bytes | None = None
    needs_label: bool = False

    @cached_property
    def fields(self) -> dict[str, str]:
        """Where each of our fields is, but for those that are made of a row or of several columns."""
        made = {*self.from_rows, *self.layout.compose}
        return {ours: theirs for ours, theirs in self.mapping.fields.items() if ours not in made}

    @cached_property
    def from_rows(self) -> tuple[str, ...]:
        """Ids that are made from the file and the row."""
        return tuple(ours for ours, theirs in self.mapping.fields.items() if theirs == ROW)

    @cached_property
    def names(self) -> FieldNames:
        """The mapping without formats, which the scorer applies to what it receives, and without defaults."""
        gone = (*self.mapping.drop, self.label, self.label_time)
        return FieldNames(envelope=self.mapping.envelope, fields=self.fields, drop=gone)

    @cached_property
    def unused(self) -> set[str]:
        """Columns of which no transaction holds anything."""
        parts = {part for parts in self.layout.parts.values() for part in parts}
        times = self.fields.get("occurred_at", "occurred_at")  # which are read before, and sent as RFC 3339
        used = [theirs for ours, theirs in self.fields.items() if ours != "occurred_at"]
        return {*self.names.drop, times} - parts - {*used}

    @property
    def label(self) -> str:
        return self.mapping.label or LABEL

    @property
    def label_time(self) -> str:
        return self.mapping.label_time or LABEL_TIME

    @property
    def time_format(self) -> Format | None:
        return self.mapping.formats.get("occurred_at")

    @property
    def texts(self) -> set[str]:
        """Columns of a CSV file whose cells stay as they are written."""
        ours = {*IDS, "occurred_at", "currency", *self.mapping.formats}
        ours |= {attribute.name for attribute in self.attributes if attribute.kind == "category"}
        parts = {part for parts in self.layout.parts.values() for part in parts}
        return {self.label, self.label_time, *parts, *(self.fields.get(name, name) for name in ours)}

    def check(self) -> None:
        """Raise UserError for what cannot be read by any file."""
        odd = next((name for name in self.from_rows if name not in IDS), None)
        if odd is not None:
            raise UserError(f"mapping.fields.{odd}: only an id can be made from the row; name a field of the file")
        for ours in self.mapping.beside:
            raise UserError(
                f"mapping.fields.{ours}: records on a topic have a {self.mapping.fields[ours]}, and files have none; "
                "name a field of the file, in settings of their own"
            )
        check_tokens(self.layout, self.token_key)


def check_tokens(layout: Layout, key: bytes | None) -> None:
    """Raise UserError for tokens without a key."""
    if layout.tokens and key is None:
        raise UserError("files.tokens: needs a key; set token_key, such as SCORER_TOKEN_KEY, to a secret text")


def check_columns(path: Path, names: Sequence[str], source: Source) -> None:
    """Raise UserError for a field that the file cannot have, by the names of its columns."""
    parts = [part for parts in source.layout.parts.values() for part in parts]
    missing = next((part for part in parts if part not in names), None)
    if missing is not None:
        raise UserError(f"{path}: has no column {missing} for files.compose; its columns are {told(names)}")
    if source.mapping.is_deep:
        return
    known = {*source.from_rows, *source.layout.compose, *source.mapping.defaults}
    for ours in REQUIRED:
        theirs = source.fields.get(ours, ours)
        if ours not in known and theirs not in names and ours not in names:
            row = f", or write `{ours}: {ROW}` there" if ours in IDS else ""
            raise UserError(
                f"{path}: has no field {theirs} for {ours}; its columns are {told(names)}: map another in the setting "
                f"mapping.fields{row}, or give a constant in mapping.defaults"
            )
    for what, name in (("label", source.mapping.label), ("label_time", source.mapping.label_time)):
        if source.needs_label and name is not None and name not in names:
            raise UserError(f"{path}: has no field {name} for the {what}; name another with the setting mapping.{what}")


def told(names: Sequence[str]) -> str:
    """Names of columns, as far as a line has room for them."""
    shortest = [name[:40] for name in names[:12]]
    return ", ".join(shortest) + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def bad(path: Path, row: int, what: str) -> UserError:
    """What is wrong with a row, counted from 0."""
    return UserError(f"{path}: row {row + 1}: {what}")


def shown(cell: Any) -> str:
    """A cell for a message, without what may be a card number."""
    return "a text that looks like a card number" if card_number.contains(str(cell)) else repr(cell)[:60]


def row_id(name: str, row: int) -> str:
    """The id of a row, counted from 0. Zeros keep the order of rows at one time.

    >>> row_id("paysim.csv", 0)
    'paysim.csv#000000001'
    """
    return f"{name}#{row + 1:09}"


def mapped(names: FieldNames, record: dict[str, Any], path: Path, row: int) -> dict[str, Any]:
    try:
        return names.apply(record)
    except UnmappableError as error:
        raise bad(path, row, f"{error}; correct it, or leave it out") from None
