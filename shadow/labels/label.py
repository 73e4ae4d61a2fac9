"""Labels: verdicts on whether a transaction was fraud, and what holds when there are several. Pure.

A label is the verdict of one person or feed, of one source. These rules make the order of arrival irrelevant:

* Sources are kept apart. A chargeback is about what live allowed; on a transaction that live blocked it is misplaced
  and ignored. A review may be about either.
* The newest verdict of each person counts, by its time `at`. A repeated or an older label changes nothing, a newer one
  corrects. At equal times fraud outranks legit, and legit outranks unsure.
* `open` is no verdict: it takes back what the person said before, note and all, and holds a note of its own.
* The majority of persons counts. A tie is contradictory: it stays open until somebody else decides.
* A label dated after its arrival is dated to its arrival, so that a wrong clock does not have the last word for ever.
* A label that names a card and a second is ignored if it fits several cases of a run.
* Without a label there is no verdict. Pending never means legit.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

import orjson
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from scorer.pipeline import card_number
from scorer.pipeline.instants import instant_ms
from scorer.pipeline.transaction import LOOKS_LIKE_A_CARD_NUMBER, Id, Instant, Name
from shadow.comparison.case import Case, by_card, by_transaction, card_hash

CHARGEBACK, REVIEW = "chargeback", "review"
#: Labels are spread over this many hashes of Redis for each month.
BUCKETS = 16
MONTH_MS = 30 * 86_400_000

Source = Literal["chargeback", "review"]
LabelVerdict = Literal["fraud", "legit", "unsure", "open"]
#: What takes an earlier verdict back, or comes with a note alone.
OPEN: Literal["open"] = "open"
#: At equal times the higher rank wins.
RANK: Mapping[str, int] = {"open": 0, "unsure": 1, "legit": 2, "fraud": 3}
#: What a chargeback says.
_OF_CHARGEBACKS = ("fraud", "legit")


#: `Label._names_one`, in JSON Schema.
_NAMES_ONE: dict[str, Any] = {
    "anyOf": [
        {"required": names, "properties": {name: {"type": "string"} for name in names}}
        for names in (["transaction_id"], ["card_id", "occurred_at"])
    ],
    "not": {"properties": {"source": {"const": CHARGEBACK}, "verdict": {"enum": ["unsure", "open"]}}},
}


class Label(BaseModel):
    """A label as it travels. It names a transaction by its id, or by its card and the second in which it occurred."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", strict=True, hide_input_in_errors=True, json_schema_extra=_NAMES_ONE
    )

    transaction_id: Id | None = None
    card_id: Id | None = None
    occurred_at: Instant | None = None
    source: Source
    verdict: LabelVerdict
    at: Instant
    by: Name
    reason: Annotated[str, Field(max_length=500)] | None = None

    @field_validator("transaction_id", "card_id", "by", "reason")
    @classmethod
    def _holds_no_card_number(cls, text: str | None, info: ValidationInfo) -> str | None:
        allowed = (info.context or {}).get("card_number_fields", ())
        if text is not None and info.field_name not in allowed and card_number.find(text):
            raise ValueError(LOOKS_LIKE_A_CARD_NUMBER)
        return text

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if self.transaction_id is None and (self.card_id is None or self.occurred_at is None):
            raise ValueError("transaction_id is missing; expected it, or both card_id and occurred_at")
        if self.source == CHARGEBACK and self.verdict not in _OF_CHARGEBACKS:
            raise ValueError(f"verdict is {self.verdict}; expected fraud or legit for a chargeback")
        return self

    @property
    def subject(self) -> str:
        """The transaction that it is about, by its id where it names one."""
        if self.transaction_id is not None:
            return by_transaction(self.transaction_id)
        return by_card(card_hash(self.card_id or ""), instant_ms(self.occurred_at or ""))

    @property
    def key(self) -> bytes:
        """The key of its record on the topic."""
        return (self.transaction_id or self.card_id or "").encode()

    def encode(self) -> bytes:
        """The value of its record on the topic."""
        return orjson.dumps({"schema": 1, **self.model_dump(exclude_none=True)})


def parse(row: Any, card_number_fields: Collection[str] = ()) -> Label:
    """Read a label from decoded JSON or the row of a file. Raises ValueError that names the field and the fault.

    card_number_fields: fields that may look like card numbers.
    """
    try:
        return Label.model_validate(row, context={"card_number_fields": card_number_fields})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "label"
        raise ValueError(f"{where}: {first['msg'].removeprefix('Value error, ')}") from None


@dataclass(frozen=True, slots=True)
class Vote:
    """A label on its way into the store. at_ms: milliseconds since 1970, at the latest its arrival. note: what the
    person wrote with it."""

    subject: str
    source: str
    by: str
    at_ms: int
    verdict: str
    note: str = ""

    @property
    def bucket(self) -> int:
        return bucket_of(self.subject)

    @property
    def month(self) -> int:
        return self.at_ms // MONTH_MS


def bucket_of(subject: str) -> int:
    """The bucket of the store in which a subject is."""
    return zlib.crc32(subject.encode()) % BUCKETS


def vote(label: Label, arrived_ms: int) -> Vote:
    """The vote of a label, dated at the latest to its arrival. arrived_ms: since 1970; 0 or less if unknown."""
    at = instant_ms(label.at)
    dated = min(at, arrived_ms) if arrived_ms > 0 else at
    return Vote(label.subject, label.source, label.by, dated, label.verdict, label.reason or "")


#: The verdicts that hold on a subject: (at_ms, verdict) by source and person.
Votes = Mapping[str, Mapping[str, tuple[int, str]]]


def merge(*several: Votes) -> Votes:
    """The verdicts that hold after all of these; their order and repetitions do not matter."""
    out: dict[str, dict[str, tuple[int, str]]] = {}
    for votes in several:
        for source, people in votes.items():
            ours = out.setdefault(source, {})
            for by, (at, verdict) in people.items():
                if by not in ours or (at, RANK[verdict]) > (ours[by][0], RANK[ours[by][1]]):
                    ours[by] = (at, verdict)
    return out


def answers(votes: Votes) -> Votes:
    """Votes without those that say nothing.

    >>> answers({"review": {"ann": (1, "open"), "ben": (2, "fraud")}, "chargeback": {}})
    {'review': {'ben': (2, 'fraud')}}
    """
    said = {source: {by: vote for by, vote in people.items() if vote[1] != OPEN} for source, people in votes.items()}
    return {source: people for source, people in said.items() if people}


@dataclass(frozen=True, slots=True)
class Note:
    """What a person wrote of a transaction. at_ms: milliseconds since 1970."""

    source: str
    by: str
    at_ms: int
    text: str


class State(StrEnum):
    """What one source says of a case."""

    PENDING = "pending"
    FRAUD = "fraud"
    LEGIT = "legit"
    UNSURE = "unsure"
    CONTRADICTORY = "contradictory"
    MISPLACED = "misplaced"


#: States that need no further review.
ANSWERED = frozenset({State.FRAUD, State.LEGIT, State.UNSURE})


@dataclass(frozen=True, slots=True)
class Known:
    """What each source says of a case."""

    chargeback: State
    review: State

    @property
    def sources_differ(self) -> bool:
        """Whether review and chargeback contradict each other."""
        return {self.chargeback, self.review} == {State.FRAUD, State.LEGIT}


def state(people: Mapping[str, tuple[int, str]]) -> State:
    """The state that the verdicts of one source lead to. people: (at_ms, verdict) by person."""
    said = [verdict for _, verdict in people.values() if verdict != OPEN]
    if not said:
        return State.PENDING
    lead = said.count("fraud") - said.count("legit")
    if lead:
        return State.FRAUD if lead > 0 else State.LEGIT
    return State.CONTRADICTORY if "fraud" in said else State.UNSURE


def known(case: Case, found: Iterable[Votes]) -> Known:
    """What each source says of a case. found: the votes on any of its subjects."""
    votes = merge(*found)
    chargeback = state(votes.get(CHARGEBACK, {}))
    if case.is_live_only and chargeback is not State.PENDING:
        chargeback = State.MISPLACED
    return Known(chargeback, state(votes.get(REVIEW, {})))
