"""Who is live and why: the records of the `deployments` topic and their fold into slots. No input or output."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

#: Number of the shape of these records; others are passed over.
SCHEMA = 1
LIVE = "live"
CANDIDATE = "candidate"
CONTROL = "control"
PREVIOUS = "previous"
Override = Literal["allow_all", "block_all"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Target(BaseModel):
    """What a slot is to hold. A bundle may be deployed at a threshold other than its own."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    digest: str | None = None
    threshold: float | None = Field(None, ge=0, le=1)
    override: Override | None = None


class Change(_Record):
    """Fills or empties slots. Applies only if each slot it names still has the epoch that it expects."""

    kind: Literal["change"] = "change"
    slots: dict[str, Target | None]
    expects: dict[str, int]
    by: str = Field(min_length=1)
    reason: str = Field(min_length=1)
    cause: Literal["deploy", "override", "approve", "rollback"]
    suggestion: str | None = None
    at: str


class Prepare(_Record):
    """Asks every scorer to load a bundle ahead of a change of live."""

    kind: Literal["prepare"] = "prepare"
    digest: str
    by: str
    at: str


class Suggestion(_Record):
    """The system's proposal: put the bundle of `slot` live. Stands while both slots keep these epochs."""

    kind: Literal["suggestion"] = "suggestion"
    slot: str
    target: Target
    expects: dict[str, int]
    criteria: str
    evidence: dict[str, Any]
    at: str


class Answer(_Record):
    """What a person said to a suggestion. An acceptance is a `Change` that names it; this is for the others."""

    kind: Literal["answer"] = "answer"
    suggestion: str
    answer: Literal["rejected"]
    by: str = Field(min_length=1)
    reason: str = Field(min_length=1)
    at: str


class WorkerReport(_Record):
    """What one scorer has loaded: as live (with its epoch), or for a `Prepare` (with its ledger key as `request`)."""

    digest: str
    status: Literal["loaded", "failed"]
    epoch: int | None = None
    request: str | None = None
    reason: str | None = None
    at: str


Entry = Change | Prepare | Suggestion | Answer
_KINDS: dict[str, type[Entry]] = {
    "change": Change,
    "prepare": Prepare,
    "suggestion": Suggestion,
    "answer": Answer,
}


@dataclass(frozen=True, slots=True)
class Slot:
    """State of a slot. epoch counts its changes; 0 was never filled. digest is None while it is empty."""

    epoch: int = 0
    digest: str | None = None
    threshold: float | None = None
    override: Override | None = None
    since: str | None = None

    @property
    def is_empty(self) -> bool:
        return self.digest is None and self.override is None


@dataclass(frozen=True, slots=True)
class LedgerLine:
    """A ledger record in log order; a change that came too late is void."""

    seq: str
    entry: Entry
    is_void: bool = False


@dataclass
class Deployments:
    """The fold of the topic, in log order. Records that it does not know are passed over."""

    slots: dict[str, Slot] = field(default_factory=dict)
    ledger: list[LedgerLine] = field(default_factory=list)
    workers: dict[str, WorkerReport] = field(default_factory=dict)
    views: dict[str, dict[str, Any]] = field(default_factory=dict)
    was_live: list[Slot] = field(default_factory=list)  # every state of the live slot, oldest first

    def slot(self, name: str) -> Slot:
        """A slot; one never filled is empty at epoch 0."""
        return self.slots.get(name, Slot())

    def absorb(self, key: bytes | None, value: bytes | None) -> LedgerLine | None:
        """Fold in one record; returns its line if it is one of the ledger."""
        kind, _, name = (key or b"").decode(errors="replace").partition("/")
        try:
            body = orjson.loads(value) if value is not None else None
        except orjson.JSONDecodeError:
            return None
        if kind == "ledger" and isinstance(body, dict):
            return self._ledger(name, body)
        if kind == "worker":
            if body is None:
                self.workers.pop(name, None)
            else:
                try:
                    self.workers[name] = WorkerReport.model_validate(body)
                except ValidationError:
                    return None
        elif kind == "view" and isinstance(body, dict):
            self.views[name] = body
        return None

    def _ledger(self, seq: str, body: dict[str, Any]) -> LedgerLine | None:
        if any(line.seq == seq for line in self.ledger):
            return None  # a retried write
        shape = _KINDS.get(str(body.get("kind")))
        try:
            entry = shape.model_validate(body) if shape and body.get("schema") == SCHEMA else None
        except ValidationError:
            return None
        if entry is None:
            return None
        line = LedgerLine(seq, entry, isinstance(entry, Change) and not self._apply(entry))
        self.ledger.append(line)
        return line

    def _apply(self, change: Change) -> bool:
        if any(self.slot(name).epoch != change.expects.get(name) for name in change.slots):
            return False
        for name, target in change.slots.items():
            epoch = self.slot(name).epoch + 1
            if target is None:
                self.slots[name] = Slot(epoch=epoch, since=change.at)
            else:
                self.slots[name] = Slot(epoch, target.digest, target.threshold, target.override, change.at)
        if LIVE in change.slots:
            self.was_live.append(self.slot(LIVE))
        return True

    def next_seq(self) -> str:
        """A key for the next ledger record: sorts by age, and never the same for two writers."""
        return f"{len(self.ledger) + 1:08d}-{secrets.token_hex(4)}"

    def open_suggestions(self) -> list[LedgerLine]:
        """Suggestions that nobody has answered and that no change has overtaken, oldest first."""
        settled = set()
        for line in self.ledger:
            if isinstance(line.entry, Answer) or (isinstance(line.entry, Change) and not line.is_void):
                settled.add(line.entry.suggestion)
        return [
            line
            for line in self.ledger
            if isinstance(line.entry, Suggestion)
            and line.seq not in settled
            and all(self.slot(name).epoch == epoch for name, epoch in line.entry.expects.items())
        ]


def promotion(
    deployments: Deployments, slot: str, by: str, reason: str, at: str, threshold: float | None, suggestion: str | None
) -> Change:
    """The change that puts a slot's bundle live, lets the old model go on as `previous`, and empties the slot.

    Raises ValueError if the slot is empty.
    """
    live, candidate = deployments.slot(LIVE), deployments.slot(slot)
    if candidate.digest is None:
        raise ValueError(f"slot {slot} is empty")
    chosen = candidate.threshold if threshold is None else threshold
    slots: dict[str, Target | None] = {LIVE: Target(digest=candidate.digest, threshold=chosen), slot: None}
    if live.digest is not None:
        slots[PREVIOUS] = Target(digest=live.digest, threshold=live.threshold)
    return Change(
        slots=slots,
        expects={name: deployments.slot(name).epoch for name in slots},
        by=by,
        reason=reason,
        cause="approve",
        suggestion=suggestion,
        at=at,
    )


def rollback(deployments: Deployments, by: str, reason: str, at: str, slot: str) -> Change:
    """The change that puts `previous` live again and lets the model it replaces go on in `slot`.

    Raises ValueError if `previous` is empty.
    """
    live, previous = deployments.slot(LIVE), deployments.slot(PREVIOUS)
    if previous.digest is None:
        raise ValueError(f"slot {PREVIOUS} is empty: there is nothing to go back to")
    slots: dict[str, Target | None] = {
        LIVE: Target(digest=previous.digest, threshold=previous.threshold),
        PREVIOUS: None,
    }
    if live.digest is not None and deployments.slot(slot).is_empty:
        slots[slot] = Target(digest=live.digest, threshold=live.threshold)
    return Change(
        slots=slots,
        expects={name: deployments.slot(name).epoch for name in slots},
        by=by,
        reason=reason,
        cause="rollback",
        suggestion=None,
        at=at,
    )


def encode(record: BaseModel) -> bytes:
    """A record as it goes onto the topic."""
    return orjson.dumps({"schema": SCHEMA, **record.model_dump(mode="json")})
