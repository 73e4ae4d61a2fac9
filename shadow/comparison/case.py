"""Cases: disagreements that a label may decide, in the few fields that joining and judging need."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import orjson

from shadow.tally import HOUR_MS, OUTCOMES

DAY_MS = 24 * HOUR_MS
LIVE_ONLY, CANDIDATE_ONLY = OUTCOMES.index("live_only"), OUTCOMES.index("candidate_only")


def card_hash(card: str) -> str:
    """What stands for a card where only its sameness matters: 16 hexadecimal digits."""
    return hashlib.blake2b(card.encode(), digest_size=8).hexdigest()


def by_transaction(transaction: str) -> str:
    """The subject of a label that names a transaction."""
    return f"t:{transaction}"


def by_card(card: str, occurred_ms: int) -> str:
    """The subject of a label that names a card (its hash) and the second of a transaction."""
    return f"c:{card}:{occurred_ms // 1000}"


@dataclass(frozen=True, slots=True)
class Case:
    """A disagreement in the label sample of a run.

    partition, offset: its place on `transactions`. card: from `card_hash`. hash: in [0, 1), of the transaction's id.
    inclusion: chance to be in the label sample. day: event day, -1 for late; under it its sample is kept.
    """

    transaction: str
    outcome: int
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
        """Blocked by live alone: no chargeback can ever tell whether that was right."""
        return self.outcome == LIVE_ONLY

    @property
    def cluster(self) -> tuple[str, int]:
        """Card and day: one discordant pair each is what evidence counts."""
        return self.card, self.occurred_ms // DAY_MS

    @property
    def subjects(self) -> tuple[str, str]:
        """Under which labels may speak of it."""
        return by_transaction(self.transaction), by_card(self.card, self.occurred_ms)

    def encode(self) -> bytes:
        """As Redis keeps it; place and inclusion are kept elsewhere."""
        row = [self.transaction, self.outcome, self.minor, self.occurred_ms, self.card, self.segments, self.hash]
        return orjson.dumps([*row, self.day, self.offset])

    @classmethod
    def decode(cls, body: bytes, partition: int, inclusion: float) -> Case:
        """What `encode` wrote."""
        transaction, outcome, minor, occurred_ms, card, segments, value, day, offset = orjson.loads(body)
        return cls(
            transaction, outcome, minor, occurred_ms, card, tuple(segments), value, day, offset, partition, inclusion
        )
