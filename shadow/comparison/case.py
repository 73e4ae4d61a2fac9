"""Cases: disagreements that a label may decide, with the few fields that joining and judging need."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import orjson

from scorer.pipeline.instants import DAY_MS
from shadow.comparison.outcome import Outcome


def card_hash(card: str) -> str:
    """A pseudonym of a card, 16 hexadecimal digits, for use where only its identity matters.

    In memory only: who has all tokens has all of these. What is stored is salted (`shadow.store.pseudonyms`).
    """
    return hashlib.blake2b(card.encode(), digest_size=8).hexdigest()


def by_transaction(transaction: str) -> str:
    """The subject of a label that names a transaction id."""
    return f"t:{transaction}"


def by_card(card: str, occurred_ms: int) -> str:
    """The subject of a label that names a card and a second. card: from `card_hash`. occurred_ms: since 1970."""
    return f"c:{card}:{occurred_ms // 1000}"


@dataclass(frozen=True, slots=True)
class Case:
    """A disagreement in the label sample of a run.

    minor: minor units of the reporting currency. occurred_ms: milliseconds since 1970. card: from `card_hash`, salted
    once it was stored. hash: of the transaction id, in [0, 1). day: the event day under which its sample is stored, -1
    if late. partition, offset: position on `transactions`. inclusion: probability of being in the label sample.
    """

    transaction: str
    outcome: Outcome
    minor: int
    occurred_ms: int
    card: str
    segments: tuple[str, ...]
    hash: float
    day: int
    offset: int
    partition: int = 0
    inclusion: float = 1.0

    @property
    def is_live_only(self) -> bool:
        """Whether only live blocks. No chargeback can follow, so only a review can tell whether the block was right."""
        return self.outcome is Outcome.LIVE_ONLY

    @property
    def strata(self) -> list[str]:
        """The strata of the label sample that may keep it: `<outcome>:<segment>`."""
        return [f"{int(self.outcome)}:{segment}" for segment in self.segments]

    @property
    def cluster(self) -> tuple[str, int]:
        """Card and day. Evidence counts one discordant pair of each."""
        return self.card, self.occurred_ms // DAY_MS

    @property
    def subjects(self) -> tuple[str, str]:
        """The subjects under which its labels are stored."""
        return by_transaction(self.transaction), by_card(self.card, self.occurred_ms)

    def encode(self) -> bytes:
        """The body stored in Redis, without partition and inclusion."""
        row = [self.transaction, int(self.outcome), self.minor, self.occurred_ms, self.card, self.segments, self.hash]
        return orjson.dumps([*row, self.day, self.offset])

    @classmethod
    def decode(cls, body: bytes, partition: int, inclusion: float) -> Case:
        """Read a body that `encode` wrote."""
        transaction, outcome, minor, occurred_ms, card, segments, value, day, offset = orjson.loads(body)
        return cls(
            transaction=transaction,
            outcome=Outcome(outcome),
            minor=minor,
            occurred_ms=occurred_ms,
            card=card,
            segments=tuple(segments),
            hash=value,
            day=day,
            offset=offset,
            partition=partition,
            inclusion=inclusion,
        )
