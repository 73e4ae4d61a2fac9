"""JSON objects out of a batch of values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import orjson

from scorer.pipeline import lenient
from scorer.pipeline.events import Refusal
from scorer.pipeline.repeated import is_repeated, repeated
from scorer.pipeline.size import may_be_too_large, may_one_be_too_large, too_large


def parse(values: Sequence[bytes | None]) -> tuple[dict[int, dict[str, Any]], list[Refusal], set[int]]:
    """JSON objects by position, a refusal for each value that is not one, and the positions whose text does not do: it
    has several lines, which would break who reads decisions by line, has a name more than once, or is no JSON to every
    reader."""
    loads: Callable[[Any], Any] = orjson.loads
    try:
        parsed = [loads(value) for value in values]
        if set(map(type, parsed)) <= {dict} and not may_one_be_too_large(values):  # type: ignore[arg-type]
            several = _of_several_lines(values)
            return dict(enumerate(parsed)), [], several | repeated(values, parsed)  # type: ignore[arg-type]
    except (orjson.JSONDecodeError, TypeError):
        pass
    records: dict[int, dict[str, Any]] = {}
    refusals: list[Refusal] = []
    remade = _of_several_lines(values)
    for at, value in enumerate(values):
        try:
            record = loads(value) if value is not None else None
        except orjson.JSONDecodeError as error:
            record = None if may_be_too_large(value) else _leniently(value or b"")
            if record is None:
                refusals.append(Refusal(at, "value", f"value: not JSON in UTF-8 ({error.msg} at byte {error.pos})"))
                continue
            remade.add(at)
        if isinstance(record, dict):
            why = too_large(record, value or b"")
            if why is None:
                records[at] = record
                if at not in remade and is_repeated(value or b"", record):
                    remade.add(at)
            else:
                refusals.append(Refusal(at, "value", f"value: {why}"))
        else:
            found = "nothing" if value is None else type(record).__name__
            refusals.append(Refusal(at, "value", f"value: expected a JSON object, found {found}"))
    return records, refusals, remade & records.keys()


def is_strict(value: bytes | None) -> bool:
    """Whether a value is JSON to every reader."""
    try:
        orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        return False
    return True


def _of_several_lines(values: Sequence[bytes | None]) -> set[int]:
    blob = b"".join(filter(None, values))
    if not (b"\n" in blob or b"\r" in blob):
        return set()
    return {at for at, value in enumerate(values) if value and (b"\n" in value or b"\r" in value)}


def _leniently(value: bytes) -> dict[str, Any] | None:
    """The object in a value that orjson refuses, None if it is none to anybody. Goes through orjson once more, which
    keeps its limits on numbers and texts."""
    try:
        record = orjson.loads(orjson.dumps(lenient.parsed(value)))
    except (ValueError, TypeError, RecursionError):
        return None
    return record if isinstance(record, dict) else None
