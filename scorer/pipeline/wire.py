"""Values that are not bare JSON: what is before them, which schema they have, and what they are as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from scorer.pipeline.avro import DamagedError, Read
from scorer.pipeline.encoding import MAGIC, Encoding
from scorer.pipeline.events import Refusal
from scorer.pipeline.json_text import json_text
from scorer.pipeline.parse import parse
from scorer.pipeline.size import may_one_be_too_large, too_large

#: Field of a dead letter whose schema is not known.
SCHEMA = "schema"
#: The schema of all records where no header says one.
ONLY = -1
_OPENING = b"{["


@dataclass
class Wire:
    """How values are read, and with which schemas.

    reads: by id, of the schemas that are known; ONLY where there is just one. reasons: of ids that are asked for in
    vain, why. Both are filled from outside.
    """

    encoding: Encoding
    reads: dict[int, Read] = field(default_factory=dict)
    reasons: dict[int, str] = field(default_factory=dict)

    def ids(self, values: Iterable[bytes | None]) -> Counter[int]:
        """How many of the values have each schema."""
        n = self.encoding.header_bytes
        if self.encoding.registry is None:
            return Counter()
        heads = Counter([value[:n] for value in values if value])
        return Counter({int.from_bytes(h[1:], "big"): k for h, k in heads.items() if len(h) == n and h[0] == MAGIC})

    def parse(
        self, values: Sequence[bytes | None]
    ) -> tuple[list[bytes | None], dict[int, dict[str, Any]], list[Refusal], set[int]]:
        """As JSON: texts, and what `scorer.pipeline.parse.parse` returns of them. Never raises for bad input."""
        if self.encoding.kind == "json":
            texts = [self._bare(value) for value in values]
            return (texts, *parse(texts))
        texts, records, refusals = [], {}, []
        for at, value in enumerate(values):
            if value is None:
                refusals.append(Refusal(at, "value", "value: expected a record, found nothing"))
                texts.append(value)
                continue
            try:
                record, text = self._one(value)
            except _RefusedError as refused:
                refusals.append(Refusal(at, refused.field, f"{refused.field}: {refused}"))
                texts.append(value)
            else:
                records[at] = record
                texts.append(text)
        shown = [texts[at] or b"" for at in records]
        if may_one_be_too_large(shown):
            for (at, record), text in zip(list(records.items()), shown, strict=True):
                why = too_large(record, text)
                if why is not None:
                    del records[at]
                    refusals.append(Refusal(at, "value", f"value: {why}"))
        return texts, records, refusals, set()

    def text(self, value: bytes) -> bytes | None:
        """A value as JSON; None if it cannot be read."""
        if self.encoding.kind == "json":
            return self._bare(value)
        try:
            return self._one(value)[1]
        except _RefusedError:
            return None

    def _bare(self, value: bytes | None) -> bytes | None:
        """JSON without its header. Without one it is taken, too: nothing else begins with a zero byte."""
        n = self.encoding.header_bytes
        return value[n:] if n and value and value[0] == MAGIC else value

    def _one(self, value: bytes) -> tuple[dict[str, Any], bytes]:
        n = self.encoding.header_bytes
        schema = ONLY
        if n:
            if len(value) < n or value[0] != MAGIC:
                found = "JSON" if value[:1] and value[:1] in _OPENING else f"{len(value)} bytes without one"
                raise _RefusedError("value", f"expected a zero byte and the id of a schema, found {found}")
            if self.encoding.file is None:
                schema = int.from_bytes(value[1:n], "big")
        read = self.reads.get(schema)
        if read is None:
            raise _RefusedError(SCHEMA, self.reasons.get(schema, f"{schema} was not asked for; send the record again"))
        try:
            record = read(value, n)
            text = json_text(record)
            if b"null" in text:  # a number that is none is one
                record = orjson.loads(text)
        except DamagedError as error:
            raise _RefusedError("value", str(error)) from None
        except (TypeError, ValueError):  # a text that is no Unicode, or a number beyond 64 bits
            raise _RefusedError("value", "damaged: a cell that JSON cannot hold") from None
        return record, text


class _RefusedError(ValueError):
    """A value is refused. field: the one at fault."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(why)
        self.field = field
