"""Stored comparisons: the transaction, what both models decided, and why they differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import orjson

from scorer.pipeline.instants import instant_ms
from shadow.comparison.outcome import Outcome


@dataclass(frozen=True, slots=True)
class ModelDecision:
    """What one model decided. score, threshold, bundle: None for live under an override."""

    score: float | None
    threshold: float | None
    decision: str
    bundle: str | None
    epoch: int

    def body(self) -> dict[str, Any]:
        """For JSON. `asdict` would copy what cannot change, at ten times the cost."""
        return {
            "score": self.score,
            "threshold": self.threshold,
            "decision": self.decision,
            "bundle": self.bundle,
            "epoch": self.epoch,
        }


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one feature adds to each model's score, in log-odds.

    value: None where it is missing. difference: candidate minus live.
    """

    feature: str
    value: float | None
    live: float
    candidate: float
    difference: float


@dataclass(frozen=True, slots=True)
class Sample:
    """A stored comparison.

    transaction: under our field names. amount_minor: minor units of the reporting currency. hash: of the transaction
    id, in [0, 1). features: the snapshot in the order of `view`. partition, offset: position on `transactions`. why:
    None until explained; empty where it cannot be. inclusion_probability: probability of having been kept.
    released: whether exploration let through at random what live's model blocks.
    """

    transaction: Mapping[str, Any]
    scored_at: str
    outcome: Outcome
    amount_minor: int
    live: ModelDecision
    candidate: ModelDecision
    segments: tuple[str, ...]
    run: str
    hash: float
    features: Sequence[float | None]
    view: str
    partition: int
    offset: int
    why: tuple[Contribution, ...] | None = None
    inclusion_probability: float = 1.0
    released: bool = False

    @property
    def transaction_id(self) -> str:
        return str(self.transaction["transaction_id"])

    @property
    def card_id(self) -> str:
        return str(self.transaction["card_id"])

    @property
    def occurred_at(self) -> str:
        return str(self.transaction["occurred_at"])

    @property
    def occurred_ms(self) -> int:
        """Milliseconds since 1970."""
        return instant_ms(self.occurred_at)

    @property
    def scored_ms(self) -> int:
        """Milliseconds since 1970."""
        return instant_ms(self.scored_at)

    @property
    def gap(self) -> float | None:
        """The candidate's score minus live's; None where either has none."""
        ours, theirs = self.live.score, self.candidate.score
        return None if ours is None or theirs is None else theirs - ours

    @property
    def strata(self) -> list[str]:
        """The strata that may keep it: `<outcome>:<segment>`."""
        return [f"{int(self.outcome)}:{segment}" for segment in self.segments]

    def explained(self, why: Sequence[Contribution]) -> Sample:
        """The same sample, with why the models differ."""
        return replace(self, why=tuple(why))

    def encode(self) -> bytes:
        """The body stored in Redis. The inclusion probability is not in it: the thresholds of the strata give it."""
        return orjson.dumps(self._body())

    @classmethod
    def decode(cls, body: bytes) -> Sample:
        """Read a body that `encode` wrote."""
        row = orjson.loads(body)
        return cls(
            transaction=row["transaction"],
            scored_at=row["scored_at"],
            outcome=Outcome(row["outcome_code"]),
            amount_minor=row["amount_minor"],
            live=ModelDecision(**row["live"]),
            candidate=ModelDecision(**row["candidate"]),
            segments=tuple(row["segments"]),
            run=row["run"],
            hash=row["hash"],
            features=row["features"],
            view=row["view"],
            partition=row["source"]["partition"],
            offset=row["source"]["offset"],
            why=None if row["why"] is None else tuple(Contribution(**part) for part in row["why"]),
            released=row.get("released", False),
        )

    def to_json(self) -> dict[str, Any]:
        """For machines: the stored body with the inclusion probability."""
        return {**self._body(), "inclusion_probability": self.inclusion_probability}

    def _body(self) -> dict[str, Any]:
        return {
            "transaction_id": self.transaction_id,
            "card_id": self.card_id,
            "occurred_at": self.occurred_at,
            "scored_at": self.scored_at,
            "outcome": self.outcome.key,
            "outcome_code": int(self.outcome),
            "amount_minor": self.amount_minor,
            "gap": self.gap,
            "live": self.live.body(),
            "candidate": self.candidate.body(),
            "segments": self.segments,
            "released": self.released,
            "run": self.run,
            "hash": self.hash,
            "transaction": self.transaction,
            "features": self.features,
            "view": self.view,
            "source": {"partition": self.partition, "offset": self.offset},
            "why": None if self.why is None else [asdict(part) for part in self.why],
        }
