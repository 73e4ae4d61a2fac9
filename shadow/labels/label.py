"""Labels: who says that a transaction was fraud, and what stands when several say something. Pure.

A label is a verdict of one person (or feed) of one source. The rules, which make the order of arrival irrelevant:

* Sources are kept apart. A chargeback speaks only of what live allowed; on a transaction that live blocked it is
  misplaced and counts for nothing. A review may speak of either.
* Of one person the newest verdict counts, by its own time `at`: repeated labels change nothing, nor does a late one
  that is older than what stands; a newer one corrects. At equal times fraud wins over legit, and legit over unsure.
* Of several persons the majority counts. A tie is contradictory: it stays open until somebody else decides.
* A label dated after its arrival counts as of its arrival, so a wrong clock cannot have the last word for ever.
* A label that names card and second says nothing if several cases of a run fit.
* No label is no verdict. Pending is never legit.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from scorer.events import Name, instant_ms
from shadow.cases import Case, by_card, by_transaction, card_hash

CHARGEBACK, REVIEW = "chargeback", "review"
#: Parts of Redis that labels are spread over.
BUCKETS = 16
MONTH_MS = 30 * 86_400_000

Source = Literal["chargeback", "review"]
Verdict = Literal["fraud", "legit", "unsure"]
#: At equal times the greater wins.
RANK: Mapping[str, int] = {"unsure": 0, "legit": 1, "fraud": 2}


def _instant(text: str) -> str:
    instant_ms(text)
    return text


class Label(BaseModel):
    """A label as it travels. It names a transaction by its id, or by its card and the second it occurred in."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    transaction_id: Name | None = None
    card_id: Name | None = None
    occurred_at: Annotated[str, AfterValidator(_instant)] | None = None
    source: Source
    verdict: Verdict
    at: Annotated[str, AfterValidator(_instant)]
    by: Name
    reason: Annotated[str, Field(max_length=500)] | None = None

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if self.transaction_id is None and (self.card_id is None or self.occurred_at is None):
            raise ValueError("transaction_id is missing, and so are card_id and occurred_at; name the transaction")
        if self.source == CHARGEBACK and self.verdict == "unsure":
            raise ValueError("verdict is unsure, expected fraud or legit of a chargeback")
        return self

    @property
    def subject(self) -> str:
        """What it speaks of: a transaction's id where it names one."""
        if self.transaction_id is not None:
            return by_transaction(self.transaction_id)
        return by_card(card_hash(self.card_id or ""), instant_ms(self.occurred_at or ""))

    @property
    def key(self) -> bytes:
        """Of its record on the topic."""
        return (self.transaction_id or self.card_id or "").encode()

    def encode(self) -> bytes:
        """Its record's value."""
        return orjson.dumps({"schema": 1, **self.model_dump(exclude_none=True)})


def parse(row: Any) -> Label:
    """A label from decoded JSON or a file's row. Raises ValueError naming the field and what is wrong with it."""
    try:
        return Label.model_validate(row)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "label"
        raise ValueError(f"{where}: {first['msg'].removeprefix('Value error, ')}") from None


@dataclass(frozen=True, slots=True)
class Vote:
    """A label on its way into the store. at_ms: milliseconds since 1970, not after its arrival."""

    subject: str
    source: str
    by: str
    at_ms: int
    verdict: str

    @property
    def bucket(self) -> int:
        return bucket_of(self.subject)

    @property
    def month(self) -> int:
        return self.at_ms // MONTH_MS


def bucket_of(subject: str) -> int:
    """In which part of the store a subject is."""
    return zlib.crc32(subject.encode()) % BUCKETS


def vote(label: Label, arrived_ms: int) -> Vote:
    """What a label says, dated at the latest to its arrival; arrived_ms <= 0 is unknown."""
    at = instant_ms(label.at)
    return Vote(label.subject, label.source, label.by, min(at, arrived_ms) if arrived_ms > 0 else at, label.verdict)


#: What stands on a subject: by source, by person, (at_ms, verdict).
Votes = Mapping[str, Mapping[str, tuple[int, str]]]


def merge(*several: Votes) -> Votes:
    """What stands after all of them; their order and repetitions do not matter."""
    out: dict[str, dict[str, tuple[int, str]]] = {}
    for votes in several:
        for source, people in votes.items():
            ours = out.setdefault(source, {})
            for by, (at, verdict) in people.items():
                if by not in ours or (at, RANK[verdict]) > (ours[by][0], RANK[ours[by][1]]):
                    ours[by] = (at, verdict)
    return out


class State(StrEnum):
    """What is known of a case from one source."""

    PENDING = "pending"
    FRAUD = "fraud"
    LEGIT = "legit"
    UNSURE = "unsure"
    CONTRADICTORY = "contradictory"
    MISPLACED = "misplaced"


#: States in which nobody has to look at a case again.
ANSWERED = frozenset({State.FRAUD, State.LEGIT, State.UNSURE})


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a case, source by source."""

    chargeback: State
    review: State

    @property
    def sources_differ(self) -> bool:
        """A review says the opposite of a chargeback: somebody was wrong."""
        return {self.chargeback, self.review} == {State.FRAUD, State.LEGIT}


def state(people: Mapping[str, tuple[int, str]]) -> State:
    """What the verdicts of one source come to."""
    if not people:
        return State.PENDING
    said = [verdict for _, verdict in people.values()]
    lead = said.count("fraud") - said.count("legit")
    if lead:
        return State.FRAUD if lead > 0 else State.LEGIT
    return State.CONTRADICTORY if "fraud" in said else State.UNSURE


def known(case: Case, found: Iterable[Votes]) -> Known:
    """What the labels on any of a case's subjects come to."""
    votes = merge(*found)
    chargeback = state(votes.get(CHARGEBACK, {}))
    if case.is_live_only and chargeback is not State.PENDING:
        chargeback = State.MISPLACED
    return Known(chargeback, state(votes.get(REVIEW, {})))
