"""Decodes batches of JSON transactions quickly: columns of events out, and a refusal for each value that is not one.

`scorer.pipeline.transaction.Transaction` is the contract. `decode` checks a batch column by column and asks the
contract only about rows that look wrong, which is much faster. A property test checks that both always agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from scorer.pipeline import card_number, lenient
from scorer.pipeline.card_number_json import find_field, is_in
from scorer.pipeline.card_number_screen import screen, unquoted
from scorer.pipeline.events import Events, Refusal, columns_of, joined
from scorer.pipeline.json_text import json_text
from scorer.pipeline.mapping import TOMBSTONE, ChangeError, UnmappableError
from scorer.pipeline.mapping_batch import apply_all
from scorer.pipeline.origin import Headers, Origin
from scorer.pipeline.parse import is_strict, parse
from scorer.pipeline.transaction import LONGEST, LONGEST_VALUE, LOOKS_LIKE_A_CARD_NUMBER, Reading

#: What to do about an amount that is less than the least.
IF_NEGATIVE = " (mapping.negative says what negative amounts are)"
#: A text may become four times as long when it is written anew: 1e15 becomes 1000000000000000.0.
MAY_GROW_TOO_LONG = LONGEST_VALUE // 4
#: Values that are decoded together: what is made of more of them does not fit into a core's cache, and takes half as
#: long again.
AT_A_TIME = 1000
#: Records that are mapped at once. If one of them needs a look of its own, so do the others.
AT_ONCE = 250


@dataclass(frozen=True)
class Decoded:
    """n events of a batch, their positions in it (int64 (n,), ascending), and a refusal for every other position.

    skipped: of positions that the mapping passes over, instead, what is there: `tombstone`, or a kind of change.
    """

    events: Events
    positions: npt.NDArray[np.int64]
    refusals: list[Refusal]
    skipped: dict[int, str] = field(default_factory=dict)


def decode(
    values: Sequence[bytes | None],
    reading: Reading,
    keys: Sequence[bytes | None] = (),
    headers: Sequence[Headers] = (),
    appended_ms: npt.NDArray[np.int64] | None = None,
    at_a_time: int = AT_A_TIME,
) -> Decoded:
    """Decode a batch of transactions.

    values: JSON objects, or what the reading's wire reads; None is a tombstone. keys: of these records, if they have
    any. headers, appended_ms: of these records, for a mapping that has an origin; none at all, or one for each. Never
    raises for bad input, and drops nothing: every position is in `positions`, is skipped as the mapping says, or has a
    refusal. at_a_time: how many are decoded together; the result does not depend on it.
    """
    if len(values) <= at_a_time:
        return _decoded(values, reading, keys, headers, appended_ms)
    parts = []
    for first in range(0, len(values), at_a_time):
        some = slice(first, first + at_a_time)
        its_ms = None if appended_ms is None else appended_ms[some]
        parts.append((first, _decoded(values[some], reading, keys[some], headers[some], its_ms)))
    return Decoded(
        joined([part.events for _, part in parts]),
        np.concatenate([part.positions + first for first, part in parts]),
        [replace(refusal, position=refusal.position + first) for first, part in parts for refusal in part.refusals],
        {at + first: why for first, part in parts for at, why in part.skipped.items()},
    )


def _decoded(
    values: Sequence[bytes | None],
    reading: Reading,
    keys: Sequence[bytes | None],
    headers: Sequence[Headers],
    appended_ms: npt.NDArray[np.int64] | None,
) -> Decoded:
    """`decode` of some values together."""
    texts, records, refusals, remade = _texts(values, reading)
    skipped: dict[int, str] = {}
    if reading.mapping.changes == "skip" and refusals:
        skipped = {refusal.position: TOMBSTONE for refusal in refusals if values[refusal.position] is None}
    if remade:
        anew = {at: json_text(records[at]) for at in remade}
        # what is strict JSON stays until card numbers were looked for: one may be in a name's first cell of two
        texts = [anew[at] if at in anew and not is_strict(text) else text for at, text in enumerate(texts)]
        _drop_long(records, anew, refusals)
        remade &= records.keys()
    if reading.mapping.is_deep:  # a field of theirs is none of ours, so card numbers are looked for in what is ours
        origins = _Origins(keys, headers, appended_ms) if reading.mapping.has_origin else None
        records = _mapped(records, reading, refusals, skipped, origins)
        for at, text in zip(records, map(json_text, records.values()), strict=True):
            texts[at] = text
        _drop_long(records, texts, refusals)
    checked = () if reading.is_key_open else keys  # a decision has its card for a key
    exposed = _card_numbers(texts, checked, records, reading.after_mapping if reading.mapping.is_deep else reading)
    if exposed:
        records = {at: record for at, record in records.items() if at not in exposed}
        refusals = [refusal for refusal in refusals if refusal.position not in exposed] + list(exposed.values())
    if not (reading.mapping.is_identity or reading.mapping.is_deep):
        records = _mapped(records, reading, refusals, skipped)
        if max(map(len, filter(None, texts)), default=0) > MAY_GROW_TOO_LONG:
            _drop_long(records, {at: json_text(record) for at, record in records.items()}, refusals)
        remade |= records.keys()
    suspects: dict[int, Refusal] = {}
    columns = columns_of(records, reading, suspects)
    if suspects:
        mended = _mended(records, reading, suspects)
        long = [at for at in mended if len(texts[at] or b"") > MAY_GROW_TOO_LONG]
        _drop_long(records, {at: json_text(records[at]) for at in long}, refusals)
        remade |= mended & records.keys()
        suspects = {}
        columns = columns_of(records, reading, suspects)
    if suspects:
        refusals += [_reason(at, records[at], reading, found) for at, found in sorted(suspects.items())]
        records = {at: record for at, record in records.items() if at not in suspects}
        columns = columns_of(records, reading, {})
    documents = [json_text(record) if at in remade else texts[at] for at, record in records.items()]
    events = Events(**columns, documents=documents)  # type: ignore[arg-type]
    if skipped:
        refusals = [refusal for refusal in refusals if refusal.position not in skipped]
    refusals.sort(key=lambda refusal: refusal.position)
    return Decoded(events, np.fromiter(records, np.int64, len(records)), refusals, skipped)


def _texts(
    values: Sequence[bytes | None], reading: Reading
) -> tuple[list[bytes | None], dict[int, dict[str, Any]], list[Refusal], set[int]]:
    """The values as JSON, and what `parse` returns of them."""
    if reading.wire is None:
        return (list(values), *parse(values))
    texts, records, refusals, remade = reading.wire.parse(values)
    _drop_long(records, texts, refusals)  # what was short may be long as JSON
    return texts, records, refusals, remade


def _drop_long(
    records: dict[int, dict[str, Any]],
    texts: Mapping[int, bytes | None] | Sequence[bytes | None],
    refusals: list[Refusal],
) -> None:
    """Refuse records whose texts have grown too long, in place: numbers are written out, and one field of the source
    may serve several of ours."""
    every = texts if isinstance(texts, Sequence) else texts.values()
    if max(map(len, filter(None, every)), default=0) <= LONGEST_VALUE:
        return
    for at in list(records) if isinstance(texts, Sequence) else list(texts):
        n = len(texts[at] or b"")
        if n > LONGEST_VALUE and at in records:
            del records[at]
            refusals.append(Refusal(at, "value", f"value: {n} bytes once read, at most {LONGEST_VALUE} expected"))


@dataclass(frozen=True)
class _Origins:
    """What comes beside the values of a batch."""

    keys: Sequence[bytes | None]
    headers: Sequence[Headers]
    appended_ms: npt.NDArray[np.int64] | None

    def of(self, at: int) -> Origin:
        """Of the value at a position."""
        return Origin(
            self.keys[at] if self.keys else None,
            self.headers[at] if self.headers else (),
            -1 if self.appended_ms is None else int(self.appended_ms[at]),
        )


def _mapped(
    records: dict[int, dict[str, Any]],
    reading: Reading,
    refusals: list[Refusal],
    skipped: dict[int, str],
    origins: _Origins | None = None,
) -> dict[int, dict[str, Any]]:
    """Records under our names, by position. Adds a refusal for each that the mapping cannot read, and to `skipped` each
    that it passes over."""
    ours: dict[int, dict[str, Any]] = {}
    every = list(records.items())
    for first in range(0, len(every), AT_ONCE):
        some = every[first : first + AT_ONCE]
        rows = apply_all(reading.mapping, [record for _, record in some])
        if rows is not None:
            ours.update(zip([at for at, _ in some], rows, strict=True))
        else:
            _map_each(some, reading, refusals, skipped, origins, ours)
    return ours


def _map_each(
    some: list[tuple[int, dict[str, Any]]],
    reading: Reading,
    refusals: list[Refusal],
    skipped: dict[int, str],
    origins: _Origins | None,
    ours: dict[int, dict[str, Any]],
) -> None:
    """`_mapped` of records one by one, into `ours`."""
    apply = reading.mapping.apply
    for at, record in some:
        try:
            ours[at] = apply(record) if origins is None else apply(record, origins.of(at))
        except ChangeError as error:
            if reading.mapping.changes == "skip":
                skipped[at] = error.change
            else:
                refusals.append(Refusal(at, "op", str(error)))
        except UnmappableError as error:
            refusals.append(Refusal(at, str(error).partition(":")[0], str(error)))


def _mended(records: dict[int, dict[str, Any]], reading: Reading, suspects: dict[int, Refusal]) -> set[int]:
    """Mend the cells of suspects that have only one meaning; returns the positions that `records` has mended now.

    A number that would look like a card number as a text stays one, so its record is refused.
    """
    mended = set()
    for at in suspects:
        old, record = records[at], lenient.mended(records[at], reading.attributes)
        changed = {name: cell for name, cell in record.items() if cell is not old[name]}
        if not any(
            type(old[name]) is not str and name not in reading.card_number_fields and card_number.contains(cell)
            for name, cell in changed.items()
            if type(cell) is str and len(cell) >= card_number.FEWEST and name != "occurred_at"
        ):
            records[at] = record
            mended.add(at)
    return mended


def _card_numbers(
    values: Sequence[bytes | None],
    keys: Sequence[bytes | None],
    records: dict[int, dict[str, Any]],
    reading: Reading,
) -> dict[int, Refusal]:
    """A refusal for each position whose key holds a card number, or whose record does in a field that may not."""
    found: dict[int, Refusal] = {}
    n = len(values)
    for at in screen([*values, *unquoted(keys)]):
        if at >= n:
            if is_in(keys[at - n] or b""):
                found[at - n] = Refusal(at - n, "key", f"key: {LOOKS_LIKE_A_CARD_NUMBER}")
        elif at in records:
            where = find_field(values[at] or b"", reading.is_refused)
            if where is not None:
                found[at] = _exposed(at, reading.our_name(where[0]), where[1], reading)
    return found


def _exposed(position: int, name: str, is_name: bool, reading: Reading) -> Refusal:
    """The refusal of a card number in a field. One that nothing declares counts as `value`: metrics have few labels."""
    if is_name:
        return Refusal(position, "value", f"value: the name of a field {LOOKS_LIKE_A_CARD_NUMBER}")
    if name in reading.names:
        return Refusal(position, name, f"{name}: {LOOKS_LIKE_A_CARD_NUMBER}")
    return Refusal(position, "value", f"value: {name[:LONGEST]} {LOOKS_LIKE_A_CARD_NUMBER}")


def _reason(position: int, record: dict[str, Any], reading: Reading, found: Refusal) -> Refusal:
    """The contract's reason for a refusal; if the contract accepts the record, `found` (rates are not part of it)."""
    try:
        reading.contract.model_validate(record)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name = ".".join(map(str, first["loc"])) or "value"
        mend = IF_NEGATIVE if (name, first["type"]) == ("amount", "greater_than_equal") else ""
        return Refusal(position, name, f"{name}: {first['msg']}{mend}")
    return found
