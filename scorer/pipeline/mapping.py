"""From a source's records to the fields of a transaction: envelopes, names and paths, formats, defaults."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Annotated, Any, Literal, NamedTuple

import orjson
from pydantic import AfterValidator, Field, field_validator

from scorer.frozen import Frozen
from scorer.pipeline.encoding import Encoding
from scorer.pipeline.formats import Format
from scorer.pipeline.origin import (
    ABSENT,
    CONTENT_TYPE,
    EVENT,
    HEADER,
    KEY,
    ROW,
    SPECVERSION,
    TIMESTAMP,
    HeaderPlace,
    KeyPlace,
    Origin,
    Place,
    PlaceError,
    TimestampPlace,
    within,
)
from scorer.pipeline.size import too_large

#: A step of a path: a name, or a position in a list.
_STEP = re.compile(r"([^.\[\]]+)|\[(\d{1,6})\]")
#: What may be shown of what a record says of itself: no card number.
_WORDS = re.compile(r"[A-Za-z_-]{1,24}", re.ASCII)
#: Operations of Debezium that tell of a transaction as it was made.
MADE = ("c", "r")
OPERATIONS = {"u": "update", "d": "deletion", "t": "truncation", "m": "message"}
#: What a record without a value is called.
TOMBSTONE = "tombstone"
#: Begins a path that is not within the envelope.
WHOLE = "$."
#: Envelope whose attributes are headers in binary mode.
EVENTS = "cloudevents"
NOWHERE = Origin()


class UnmappableError(ValueError):
    """A record is not what the mapping expects. The text names the field at fault first."""


class ChangeError(UnmappableError):
    """A record tells of a change of another one. change: what kind it is, of which there are few."""

    def __init__(self, change: str, told: str | None = None) -> None:
        article = "an" if change[0] in "aeiou" else "a"
        super().__init__(told or f"op: {article} {change} of a row, not a new transaction")
        self.change = change


def _path(text: str) -> str:
    bare = text.removeprefix(WHOLE)
    if not bare or _STEP.sub("", bare).strip(".") or ".." in bare or bare[0] in ".[" or bare[-1] == ".":
        raise ValueError(f"{text[:60]!r} is no path; write card.token, or items[0].id")
    return text


Path = Annotated[str, AfterValidator(_path)]


def _source(text: str) -> str:
    """A name or path of a field of the source. Raises ValueError for one with a dollar that means nothing."""
    if not text.startswith("$") or text in (KEY, TIMESTAMP, ROW) or (text.startswith(HEADER) and text != HEADER):
        return text
    for start in (WHOLE, f"{KEY}."):
        if text.startswith(start):
            _path(text.removeprefix(start))
            return text
    shown = text[:60]
    raise ValueError(
        f"{shown!r}: expected $key, $key.path, $header.NAME, $timestamp, $row or $.path; else write $.{shown}"
    )


Source = Annotated[str, AfterValidator(_source)]


class Operation(Frozen):
    """Which records of a source are new transactions, where others tell of changes of rows."""

    field: Source = Field(
        description="where a record says what was done: a name or path in the envelope, `$.` and a path outside of it, "
        "or `$header.NAME`"
    )
    new: tuple[str, ...] = Field(min_length=1, max_length=16, description="what it says of a new transaction")

    @field_validator("field")
    @classmethod
    def _in_the_record(cls, theirs: str) -> str:
        if theirs.startswith("$") and not theirs.startswith((WHOLE, HEADER)):
            raise ValueError(f"{theirs[:60]!r}: expected a name, a path, $.path or $header.NAME")
        return _path(theirs) if not theirs.startswith(HEADER) else theirs

    @cached_property
    def _steps(self) -> tuple[str | int, ...]:
        return _steps(self.field.removeprefix(WHOLE))

    @property
    def is_within(self) -> bool:
        """Whether the field is within the envelope."""
        return not self.field.startswith((WHOLE, HEADER))

    def check(self, cells: dict[str, Any], origin: Origin) -> None:
        """Raise ChangeError unless a record is a new transaction, UnmappableError if it does not say what it is.

        cells: what is within the envelope, if the field is there; else the whole record.
        """
        if self.field.startswith(HEADER):
            found = _beside("operation", HeaderPlace(self.field.removeprefix(HEADER)), origin)
        elif self.is_within and self.field in cells:
            found = cells[self.field]
        else:
            found = within(cells, self._steps)
        if found is ABSENT or found is None:
            raise UnmappableError(f"operation: {self.field} is absent; expected {', '.join(self.new)}")
        if found not in self.new:
            shown = found if isinstance(found, str) and _WORDS.fullmatch(found) else "something else"
            raise ChangeError("change", f"operation: {shown}, not a new transaction ({', '.join(self.new)})")


class Within(NamedTuple):
    """Where one of our fields is within a record's value: its name there, the steps to it if that may be a path, and
    whether that is outside of the envelope."""

    ours: str
    theirs: str
    steps: tuple[str | int, ...] | None
    is_outside: bool


class FieldNames(Frozen):
    """How the records of a source hold the fields of a transaction."""

    encoding: Encoding | None = Field(
        None, description="how the values of a topic are written, if they are not bare JSON; files have no need of it"
    )
    envelope: Path | None = Field(
        None,
        description="where a record has its fields: `connect`, `debezium`, `cloudevents`, or a path: `event.body`",
    )
    operation: Operation | None = Field(
        None,
        description="which records are new transactions, if a source tells of updates and deletions, too: `field` says "
        "where, `new` what it says of a new one. Debezium's envelope needs none",
    )
    fields: dict[str, Source] = Field(
        default_factory=dict,
        description="where each of our fields is: a name, or a path such as `card.token`; `$.` is outside the "
        "envelope; `$header.NAME`, `$key`, `$key.path` and `$timestamp` are beside the record's value; `$row` is an id "
        "of files",
    )
    formats: dict[str, Format] = Field(
        default_factory=dict, description="how the source writes one of our fields, where the cell alone does not say"
    )
    defaults: dict[str, str | float | bool] = Field(default_factory=dict, description="values for absent fields")
    changes: Literal["refuse", "skip"] = Field(
        "refuse",
        description="what becomes of updates, deletions, truncations and messages of Debezium, of what `operation` "
        "does not call new, and of records without a value: `refuse`: dead letters; `skip`: they are counted and "
        "passed over",
    )
    negative: Literal["refuse", "refund", "credit"] = Field(
        "refuse",
        description="what a negative amount is: `refuse`: a dead letter; `refund`: allowed without a score, and "
        "counted neither in velocity nor by shadows; `credit`: decided by the model as it is",
    )
    drop: tuple[str, ...] = Field((), description="fields of the source to leave out")
    label: str | None = Field(None, description="field of the source that is 1 for fraud and 0 else; always left out")
    label_time: str | None = Field(
        None, description="field of the source: when its label became known; always left out"
    )

    @property
    def is_identity(self) -> bool:
        """Whether records stay as they are."""
        return not any((self.envelope, self.operation, self.fields, self.formats, self.defaults, self.drop)) and not (
            self.label or self.label_time
        )

    @property
    def is_deep(self) -> bool:
        """Whether fields come from within other fields, so that a field of the source is not one of ours."""
        return bool(self.envelope or self._paths or self.beside or self._has_operation_beside)

    @property
    def has_nulls(self) -> bool:
        """Whether a null says that a field is absent: Avro has no other way to leave one out."""
        return self.encoding is not None and self.encoding.kind == "avro"

    @property
    def has_origin(self) -> bool:
        """Whether more of a record than its value is read."""
        return bool(self.beside) or self.envelope == EVENTS or self._has_operation_beside

    @property
    def _has_operation_beside(self) -> bool:
        return self.operation is not None and self.operation.field.startswith(HEADER)

    @cached_property
    def beside(self) -> dict[str, Place]:
        """Of each of our fields that is beside the record's value, where."""
        return {ours: place for ours, theirs in self.fields.items() if (place := _place(ours, theirs)) is not None}

    def headers_of(self, theirs: str) -> frozenset[str]:
        """Names of the headers that a place may be in."""
        if theirs.startswith(HEADER):
            return frozenset({theirs.removeprefix(HEADER)})
        if self.envelope == EVENTS and theirs.startswith(WHOLE):
            return frozenset({f"{EVENT}{theirs.removeprefix(WHOLE)}"})
        return frozenset()

    @cached_property
    def headers(self) -> frozenset[str]:
        """Names of all headers that are read."""
        kind = {CONTENT_TYPE, SPECVERSION} if self.envelope == EVENTS else frozenset()
        asked = [*self.fields.values(), *([] if self.operation is None else [self.operation.field])]
        return frozenset(kind).union(*map(self.headers_of, asked))

    @property
    def has_key(self) -> bool:
        """Whether the key of a record is read."""
        return any(isinstance(place, KeyPlace) for place in self.beside.values())

    @property
    def has_timestamp(self) -> bool:
        """Whether the timestamp of a record is read."""
        return any(isinstance(place, TimestampPlace) for place in self.beside.values())

    @property
    def of_files(self) -> FieldNames:
        """How to read what `scorer.sources.files` made of a file: under our names, with the cells as they were."""
        return FieldNames.model_validate({"formats": self.formats, "negative": self.negative})

    @cached_property
    def _ours(self) -> dict[str, str]:
        return {theirs: ours for ours, theirs in self.fields.items() if ours not in self.beside}

    @cached_property
    def left_out(self) -> frozenset[str | None]:
        """Fields of the source that are never passed on."""
        return frozenset((*self.drop, self.label, self.label_time))

    @cached_property
    def _paths(self) -> dict[str, tuple[str | int, ...]]:
        """Steps to each of our fields whose place looks like a path."""
        deep = {
            ours: theirs
            for ours, theirs in self.fields.items()
            if ("." in theirs or "[" in theirs) and ours not in self.beside
        }
        return {ours: _steps(theirs.removeprefix(WHOLE)) for ours, theirs in deep.items()}

    @cached_property
    def places(self) -> tuple[Within, ...]:
        """Of each of our fields that is within the record's value, where."""
        return tuple(
            Within(ours, theirs, self._paths.get(ours), theirs.startswith(WHOLE))
            for ours, theirs in self.fields.items()
            if ours not in self.beside
        )

    @cached_property
    def taken(self) -> tuple[str, ...]:
        """Fields of the source that do not stay under their own names."""
        return tuple(sorted({name for name in (*self._ours, *self.left_out) if name is not None}))

    def apply(self, record: dict[str, Any], origin: Origin = NOWHERE) -> dict[str, Any]:
        """A copy of a record under our names, with defaults and without the fields to leave out.

        A field that is mapped wins over a stray one of our name. A field of our name stays where its source is absent.
        Raises UnmappableError.
        """
        is_bare = self.envelope is None or (self.envelope == EVENTS and origin.is_binary_event)
        operation = self.operation
        if operation is not None and not operation.is_within:  # first, as the envelope of a deletion may be empty
            operation.check(record, origin)
        inner = record if is_bare else unwrapped(record, self.envelope or "")
        if operation is not None and operation.is_within:
            operation.check(inner, origin)
        theirs, gone = self._ours, self.left_out
        if any(map(inner.__contains__, theirs)) or any(map(inner.__contains__, gone)):
            renamed = {theirs.get(name, name): value for name, value in inner.items() if name not in gone}
        else:
            renamed = dict(inner)
        for ours, name, steps, is_outside in self.places:
            if name in inner:
                renamed[ours] = inner[name]
            elif steps is not None:
                if not is_outside:
                    found = within(inner, steps)
                elif is_bare and self.envelope is not None:
                    found = _beside(ours, HeaderPlace(f"{EVENT}{name.removeprefix(WHOLE)}"), origin)
                else:
                    found = within(record, steps)
                if found is not ABSENT:
                    renamed[ours] = found
        for ours, place in self.beside.items():
            found = _beside(ours, place, origin)
            if found is not ABSENT:
                renamed[ours] = found
        for name, form in self.formats.items():
            if name in renamed:
                renamed[name] = form.read(renamed[name], renamed)
        if self.has_nulls and self.defaults:
            renamed = {name: cell for name, cell in renamed.items() if cell is not None or name not in self.defaults}
        return {**self.defaults, **renamed} if self.defaults else renamed


def unwrapped(record: dict[str, Any], envelope: str) -> dict[str, Any]:
    """What is in an envelope; the record itself if it has none, such as one that is sent again from a file.

    The object may be there as a text. Raises ChangeError for a change of Debezium that is no new transaction,
    UnmappableError for an envelope without an object.
    """
    if envelope == "connect":
        steps: tuple[str | int, ...] = ("payload",)
    elif envelope == "cloudevents":
        steps = ("data",)
    elif envelope == "debezium":
        payload = record.get("payload")
        if isinstance(payload, dict) and "op" in payload:
            record = payload
        if "op" not in record:
            return record
        operation = record["op"]
        if operation not in MADE:
            if isinstance(operation, str) and operation in OPERATIONS:
                raise ChangeError(OPERATIONS[operation])
            raise UnmappableError(f"op: unknown; expected one of {', '.join((*MADE, *OPERATIONS))}")
        steps = ("after",)
    else:
        steps = _steps(envelope.removeprefix(WHOLE))
    if steps[0] not in record:
        return record
    found, where = within(record, steps), ".".join(map(str, steps))
    if isinstance(found, str):
        return _of_text(found, where)
    if not isinstance(found, dict):
        raise UnmappableError(f"{where}: expected an object in the envelope")
    return found


def _of_text(text: str, where: str) -> dict[str, Any]:
    """The object in an envelope that holds it as text, as outboxes, Debezium of MongoDB and log shippers do."""
    value = text.encode()
    try:
        found = orjson.loads(value)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise UnmappableError(f"{where}: expected an object in the envelope, or one as JSON in a text")
    why = too_large(found, value)
    if why is not None:
        raise UnmappableError(f"{where}: {why}")
    return found


def _steps(path: str) -> tuple[str | int, ...]:
    return tuple(name if name else int(position) for name, position in _STEP.findall(path))


def _place(ours: str, theirs: str) -> Place | None:
    """Where a field beside the record's value is; None for one within it."""
    if theirs == TIMESTAMP:
        return TimestampPlace(is_time=ours == "occurred_at")
    if theirs == KEY or theirs.startswith(f"{KEY}."):
        return KeyPlace(_steps(theirs.removeprefix(KEY)))
    return HeaderPlace(theirs.removeprefix(HEADER)) if theirs.startswith(HEADER) else None


def _beside(ours: str, place: Place, origin: Origin) -> Any:
    try:
        return place.read(origin)
    except PlaceError as error:
        raise UnmappableError(f"{ours}: {error}") from None
