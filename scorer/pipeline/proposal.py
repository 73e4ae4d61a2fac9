"""Proposes a mapping for records that nobody has described: recognised envelope, likeness of names and of cells."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scorer.pipeline import cells, lenient
from scorer.pipeline.cells import Form
from scorer.pipeline.encoding import MAGIC
from scorer.pipeline.likeness import rank, words
from scorer.pipeline.mapping import EVENTS, NOWHERE, WHOLE, Operation, UnmappableError, unwrapped
from scorer.pipeline.origin import ABSENT, HEADER, KEY, TIMESTAMP, Origin
from scorer.pipeline.transaction import REQUIRED
from scorer.pipeline.view import Attribute
from scorer.pipeline.wrapping import envelope_of_most, is_change, leaves, object_of, operation_of, rows_in

#: Share of records that must have a field.
LEAST_SHARE = 0.5
#: What a place outside of the envelope, or beside the value, must be liker to be chosen.
OUTSIDE, IN_HEADER = 15, 25
#: Other places, and values, that are named.
MOST_OTHERS = 3
#: Values for fields that no record has.
NO_MERCHANT = "-"
_MAGIC = bytes([MAGIC])


@dataclass(frozen=True)
class Given:
    """A record to look at. origin: what comes beside its value. partition: where it lies, None in a file."""

    value: bytes | None
    origin: Origin = NOWHERE
    partition: int | None = None


@dataclass(frozen=True)
class Proposal:
    """section: a mapping, as the settings have it. checks: what a person should look at, one sentence each."""

    section: dict[str, Any]
    checks: list[str]


@dataclass(frozen=True)
class _Place:
    """Where a field may come from. theirs: as the mapping names it. found: what the records have there."""

    theirs: str
    path: tuple[str, ...]
    malus: int = 0
    found: list[Any] = field(default_factory=list)


def propose(
    records: Sequence[Given], attributes: Sequence[Attribute] = (), currency: str = "EUR", is_topic: bool = True
) -> Proposal:
    """A mapping for these records. currency: for records that have none. is_topic: they have keys and timestamps."""
    checks: list[str] = []
    objects = [(one, record) for one in records if (record := object_of(one.value)) is not None]
    schemas = [
        one.value for one in records if one.value is not None and one.value[0:1] == _MAGIC and len(one.value) > 5
    ]
    if schemas:
        schema = int.from_bytes(schemas[0][1:5], "big")
        checks.append(
            f"encoding: {len(schemas)} values begin with a schema id ({schema}); {_encoding(schemas)}, and try again"
        )
    envelope = envelope_of_most([record for _, record in objects], [one.origin for one, _ in objects])
    operation = None if envelope == "debezium" else operation_of([record for _, record in objects])
    if operation is not None and envelope is None:
        envelope = rows_in([record for _, record in objects])
        if envelope is not None:
            operation["field"] = f"{WHOLE}{operation['field']}"
    section: dict[str, Any] = {} if envelope is None else {"envelope": envelope}
    if operation is not None:
        section |= {"operation": operation, "changes": "skip"}
        checks.append(
            f"operation: {operation['field']} tells of changes, too: only {', '.join(operation['new'])} are taken for "
            "new transactions, others are passed over; `changes: refuse` keeps them"
        )
    done = None if operation is None else Operation.model_validate(operation)
    inners: list[tuple[Given, dict[str, Any], dict[str, Any]]] = []
    for one, record in objects:
        is_bare = envelope is None or (envelope == EVENTS and one.origin.is_binary_event)
        try:
            inner = record if is_bare else unwrapped(record, envelope or "")
            if done is not None:
                done.check(inner if done.is_within else record, one.origin)
        except UnmappableError:
            continue  # a change, or an empty envelope
        inners.append((one, {} if is_bare else record, inner))
    places = _places(inners)
    chosen, also = _chosen(places, len(inners), attributes)
    checks += also
    fields = {ours: place.theirs for ours, (place, _) in chosen.items() if place.theirs != ours}
    formats: dict[str, Any] = {}
    for ours, (_, form) in chosen.items():
        if form.format is not None:
            formats[ours] = form.format
        if form.check is not None:
            checks.append(f"formats.{ours}: {form.check}")
    checks += _unlisted(chosen, attributes)
    checks += _other_currency(chosen, currency)
    defaults: dict[str, Any] = {}
    for ours in (ours for ours in REQUIRED if ours not in chosen and inners):
        said = _otherwise(ours, [one.origin for one, _, _ in inners], currency, is_topic, fields, defaults)
        checks.append(said)
    section |= {name: part for name, part in (("fields", fields), ("formats", formats), ("defaults", defaults)) if part}
    if any(one.value is None for one in records) or any(is_change(record, envelope) for _, record in objects):
        section["changes"] = "skip"
        checks.append("changes: updates, deletions and records without a value are passed over; `refuse` keeps them")
    if "amount" in chosen and (negative := sum(map(_is_negative, chosen["amount"][0].found))):
        checks.append(f"{negative} amounts are negative, and refused: set `negative` to `refund` or `credit`")
    return Proposal(section, checks)


def _encoding(values: Sequence[bytes]) -> str:
    """What to set for values that begin with a schema id."""
    if all(value[5:6] in (b"{", b"[") for value in values):
        return "they are JSON behind it: set mapping.encoding to {kind: json}"
    return "set mapping.encoding to {kind: avro, registry: URL}, or kind: protobuf"


def _places(inners: Sequence[tuple[Given, dict[str, Any], dict[str, Any]]]) -> list[_Place]:
    """Every place that any record has something at, the liker kinds first."""
    places: dict[str, _Place] = {}

    def note(theirs: str, path: tuple[str, ...], malus: int, cell: Any) -> None:
        if cell is not None and cell is not ABSENT and cell != "":
            places.setdefault(theirs, _Place(theirs, path, malus)).found.append(cell)

    for one, outer, inner in inners:
        for theirs, path, cell in leaves(inner):
            note(theirs, path, 0, cell)
        for theirs, path, cell in leaves({name: cell for name, cell in outer.items() if cell is not inner}):
            if not {"schema", "before", "after", "data"} & set(path):
                note(f"$.{theirs}", path, OUTSIDE, cell)
        for name, value in one.origin.headers:
            text = _text(value)
            if text is not None:
                event = one.origin.is_binary_event and name.startswith("ce_")
                theirs = f"$.{name.removeprefix('ce_')}" if event else f"{HEADER}{name}"
                note(theirs, (name.removeprefix("ce_"),), OUTSIDE if event else IN_HEADER, text)
    return list(places.values())


def _chosen(
    places: Sequence[_Place], n: int, attributes: Sequence[Attribute]
) -> tuple[dict[str, tuple[_Place, Form]], list[str]]:
    """The place of each of our fields that has one, and how its cells are read; every place for one field only. And
    what to check, because another place is like the field, too."""
    kinds = {attribute.name: attribute.kind for attribute in attributes}
    options: list[tuple[float, str, str, _Place, Form]] = []
    for place in places:
        share = len(place.found) / max(1, n)
        for ours in (*REQUIRED, *kinds):
            like = rank(ours, place.path)
            if like is None or (share < LEAST_SHARE and like > 0) or _is_reserved(place.theirs):
                continue
            form = _form(ours, place, kinds)
            if form is not None:
                options.append((like + place.malus + 20 * (1 - min(1.0, share)), ours, place.theirs, place, form))
    chosen: dict[str, tuple[_Place, Form]] = {}
    taken: set[str] = set()
    options.sort(key=lambda option: option[:3])
    for _, ours, theirs, place, form in options:
        if ours not in chosen and theirs not in taken:
            chosen[ours] = place, form
            taken.add(theirs)
    checks = []
    for ours, look in _LOOKS.items():
        alike = [(place, form) for place in places if place.theirs not in taken and (form := look(place.found))]
        if ours not in chosen and len(alike) == 1 and len(alike[0][0].found) >= LEAST_SHARE * n:
            chosen[ours] = alike[0]
            taken.add(alike[0][0].theirs)
            checks.append(f"fields.{ours}: {alike[0][0].theirs} is taken by its looks alone")
    others = {
        ours: [theirs for _, name, theirs, _, _ in options if name == ours and theirs not in taken] for ours in chosen
    }
    return chosen, checks + [
        f"fields.{ours}: taken from {chosen[ours][0].theirs}; {', '.join(more[:MOST_OTHERS])} is like it, too"
        for ours, more in others.items()
        if more
    ]


def _times(found: Sequence[Any]) -> Form | None:
    """How cells are times, which may not be counts: many an id looks like one."""
    return cells.times(found) if all(isinstance(cell, str) and not cell.isdigit() for cell in found) else None


#: What a field is known by whose name says nothing, if no other field looks like it.
_LOOKS: dict[str, Callable[[Sequence[Any]], Form | None]] = {
    "occurred_at": _times,
    "currency": lambda found: cells.currencies(found, is_named=False),
}


def _other_currency(chosen: Mapping[str, tuple[_Place, Form]], currency: str) -> list[str]:
    """What to check if all records are in one currency, and that is not the one that the settings count in."""
    if "currency" not in chosen:
        return []
    place, form = chosen["currency"]
    numbers = {} if form.format is None else form.format.get("words", {})
    codes = {str(numbers.get(str(cell), cell)).strip().upper() for cell in place.found}
    if len(codes) != 1 or codes == {currency}:
        return []
    (code,) = codes
    return [
        f"currency: all records are in {code[:3]}, and the settings count in {currency}: set `money: {{currency: "
        f"{code[:3]}}}`, or give rates"
    ]


def _unlisted(chosen: Mapping[str, tuple[_Place, Form]], attributes: Sequence[Attribute]) -> list[str]:
    """What to check of categories of which no record has a value that the feature view lists."""
    told = []
    for attribute in attributes:
        if attribute.kind == "category" and attribute.name in chosen:
            found = {str(lenient.mended_category(cell)) for cell in chosen[attribute.name][0].found}
            if not found & set(attribute.values):
                some = ", ".join(sorted(found)[:MOST_OTHERS])
                told.append(
                    f"{attribute.name}: the feature view lists no {some[:60]}; translate it with formats, or list it"
                )
    return told


def _is_reserved(theirs: str) -> bool:
    """Whether a name of a field would be taken for something else: one that begins with a dollar."""
    return theirs.startswith("$") and not theirs.startswith(("$.", HEADER))


def _form(ours: str, place: _Place, kinds: Mapping[str, str]) -> Form | None:
    found, told = place.found, [word for name in place.path for word in words(name)]
    if ours == "occurred_at":
        return cells.times(found)
    if ours == "amount":
        return cells.amounts(found, told)
    if ours == "currency":
        return cells.currencies(found, is_named=True)
    if ours not in kinds:
        return cells.ids(found)
    if kinds[ours] == "number":
        fits = all(isinstance(cell, int | float | str) and not isinstance(cell, bool) for cell in found)
    elif kinds[ours] == "boolean":
        fits = all(str(cell).strip().lower() in lenient.BOOLEANS for cell in found)
    else:
        fits = not any(isinstance(cell, float) and not cell.is_integer() for cell in found)
    return cells.PLAIN if fits else None


def _otherwise(
    ours: str,
    origins: Sequence[Origin],
    currency: str,
    is_topic: bool,
    fields: dict[str, str],
    defaults: dict[str, Any],
) -> str:
    """Proposes what stands in for a field that was not found, in place; returns what to check."""
    keys = [_text(origin.key) for origin in origins]
    has_keys = is_topic and all(keys)
    if ours == "currency":
        defaults[ours] = currency
        return f"defaults.currency: no field says the currency, and {currency} is assumed"
    if ours == "merchant_id":
        defaults[ours] = NO_MERCHANT
        return f"defaults.merchant_id: no field looks like the merchant; {NO_MERCHANT!r} stands for none"
    if ours == "occurred_at" and is_topic and all(origin.timestamp_ms >= 0 for origin in origins):
        fields[ours] = TIMESTAMP
        return "fields.occurred_at: no field looks like the time; that of the record is taken"
    if ours == "card_id" and has_keys:
        fields[ours] = KEY
        return "fields.card_id: no field looks like the card; the record's key is taken"
    if ours == "transaction_id" and has_keys and KEY not in fields.values() and len(set(keys)) == len(keys):
        fields[ours] = KEY
        return (
            "fields.transaction_id: no field looks like the id; the record's key is taken, which differs in all records"
        )
    return f"fields.{ours}: no field looks like it; name one"


def _text(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None


def _is_negative(cell: Any) -> bool:
    return cell < 0 if isinstance(cell, int | float) else isinstance(cell, str) and cell.strip().startswith("-")
