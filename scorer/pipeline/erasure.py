"""Requests to erase a card's state, and their answers: the records of the topic `erasures`.

A request goes to every partition, as a card may have state in any of them: whoever sends transactions chooses their
partitions. The scorer that owns a partition carries it out there and answers under the same key, so that compaction
removes the request, which holds the card, and keeps the answer, which does not.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, Literal, Self

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from scorer.pipeline import card_number
from scorer.pipeline.transaction import LOOKS_LIKE_A_CARD_NUMBER, Id, Instant, Name

SCHEMA = 1
#: Id of a request: the key of its records.
KEY = re.compile(rb"[0-9a-f]{16}")
#: How the key of the same request to the archive begins, which is on the first partition alone.
TO_ARCHIVE = b"archive/"
ARCHIVE_KEY = re.compile(TO_ARCHIVE + KEY.pattern)


class _Said(BaseModel):
    """at: when it was said."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, hide_input_in_errors=True)

    at: Instant

    def encode(self) -> bytes:
        """The value of its record."""
        return orjson.dumps({"schema": SCHEMA, **self.model_dump()})


class ErasureRequest(_Said):
    """Asks to forget what a card did."""

    card_id: Id

    @field_validator("card_id")
    @classmethod
    def _is_no_card_number(cls, text: str, info: ValidationInfo) -> str:
        if "card_id" not in (info.context or {}).get("card_number_fields", ()) and card_number.find(text):
            raise ValueError(LOOKS_LIKE_A_CARD_NUMBER)
        return text

    @classmethod
    def of(cls, card: str, at: str, card_number_fields: Collection[str] = ()) -> Self:
        """A request about a card. Raises ValueError that names the fault. card_number_fields: as in the settings."""
        try:
            return cls.model_validate({"card_id": card, "at": at}, context={"card_number_fields": card_number_fields})
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            raise ValueError(first["msg"].removeprefix("Value error, ")) from None


class ErasureAnswer(_Said):
    """Says that a request was carried out in a partition. done: whether there was a state. worker: who did it."""

    done: Literal["erased", "nothing"]
    worker: Name = Field()


def read(
    key: bytes | None, value: bytes | None, card_number_fields: Collection[str] = ()
) -> tuple[str, ErasureRequest | ErasureAnswer]:
    """Id of a request, and the request or its answer. Raises ValueError for a record that is neither."""
    if key is None or not KEY.fullmatch(key):
        raise ValueError("its key is no id of a request")
    said: Any = orjson.loads(value or b"")
    if not isinstance(said, dict):
        raise ValueError("its value is no object")
    kind = ErasureAnswer if "done" in said else ErasureRequest
    return key.decode(), kind.model_validate(said, context={"card_number_fields": card_number_fields})


def archive_key(name: str) -> bytes:
    """The key of a request to the archive, and of its answer. name: id of the request."""
    return TO_ARCHIVE + name.encode()


def read_for_archive(
    key: bytes | None, value: bytes | None, card_number_fields: Collection[str] = ()
) -> tuple[str, ErasureRequest | ErasureAnswer]:
    """`read`, of what is for the archive."""
    return read((key or b"").removeprefix(TO_ARCHIVE) if is_for_archive(key) else None, value, card_number_fields)


def is_for_archive(key: bytes | None) -> bool:
    """Whether a record of `erasures` is for the archive, and none of the scorers'."""
    return key is not None and key.startswith(TO_ARCHIVE)
