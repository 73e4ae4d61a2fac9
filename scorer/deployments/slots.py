"""Folds the records of the `deployments` topic into slots: which bundle is in each, and how it got there."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any

import orjson

from scorer.deployments import four_eyes
from scorer.deployments.four_eyes import Decided
from scorer.deployments.records import (
    KINDS,
    LIVE,
    SCHEMA,
    Answer,
    Approval,
    Change,
    Comment,
    Entry,
    Erasure,
    Forced,
    Override,
    PublishedView,
    Rotation,
    Suggestion,
    Twin,
    Withdrawal,
    WorkerReport,
    is_over,
)
from scorer.deployments.signatures import TrustedKeys, signer_name
from scorer.errors import CurrencyError
from scorer.people import is_person, same
from scorer.pipeline.money import Currency

#: Refused records whose keys and reasons are kept: who may write to the topic may write any number.
KEPT_REFUSALS = 100
#: Used until a scorer has published its feature view: there are no amounts before. XXX is ISO 4217's "no currency".
NOTHING_DECIDED = Currency(code="XXX", digits=2)


@dataclass(frozen=True, slots=True)
class Slot:
    """State of a slot.

    epoch: how often it was changed, 0 if never. digest, threshold: of its bundle, None if it has none. since: when it
    was last changed, RFC 3339.
    """

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
    """An entry of the ledger. seq: its key.

    is_void: another one came first: a change of the same slots, whatever settled the same suggestion, the same first
    approval, or the end of the same rotation. signed_by: the name of the key that signed it, where signatures are asked
    for.
    """

    seq: str
    entry: Entry
    is_void: bool = False
    signed_by: str | None = None


@dataclass
class Deployments:
    """State of the topic after the records folded in so far.

    trusted: whose entries of the ledger count; None if everybody's do. ledger: in log order. workers: last report by
    worker. views: by id. was_live: every state of the live slot, oldest first. twins: by the digest of their originals.
    refused: ledger key, and why a record there does not count, the last ones of `refusals`; only with `trusted`.
    """

    trusted: TrustedKeys | None = None
    slots: dict[str, Slot] = field(default_factory=dict)
    ledger: list[LedgerLine] = field(default_factory=list)
    workers: dict[str, WorkerReport] = field(default_factory=dict)
    views: dict[str, PublishedView] = field(default_factory=dict)
    foreign: int = 0  # records that are not understood
    twins: dict[str, Twin] = field(default_factory=dict)
    settled: set[str] = field(default_factory=set)  # suggestions and first approvals that were used, or taken back
    decided: Decided = field(default_factory=Decided)
    was_live: list[Slot] = field(default_factory=list)
    refusals: int = 0
    refused: deque[tuple[str, str]] = field(default_factory=lambda: deque(maxlen=KEPT_REFUSALS))
    _values: dict[str, bytes] = field(default_factory=dict)  # digests of the ledger's records, by key

    def slot(self, name: str) -> Slot:
        """State of a slot. One that was never filled is empty, with epoch 0."""
        return self.slots.get(name, Slot())

    @property
    def currency(self) -> Currency | None:
        """The reporting currency of all decisions; None while no feature view names one.

        Raises CurrencyError if views name different ones, because sums would mix them.
        """
        stated = {name: view.currency for name, view in self.views.items() if view.currency is not None}
        found: dict[Currency, str] = {}
        for name, currency in stated.items():
            found.setdefault(currency, name)
        if len(found) > 1:
            told = ", ".join(f"{name} in {_money(currency)}" for currency, name in found.items())
            raise CurrencyError(
                f"feature views on topic deployments: {told}; expected one reporting currency; give the other one "
                "topics and a prefix (SHADOW_PREFIX) of its own"
            )
        return next(iter(found), None)

    @property
    def minor_per_unit(self) -> float:
        """Minor units in one unit of the reporting currency, 100 while `currency` is None. Raises CurrencyError."""
        currency = self.currency
        return NOTHING_DECIDED.minor_per_unit if currency is None else currency.minor_per_unit

    def fold(self, key: bytes | None, value: bytes | None) -> LedgerLine | None:
        """Fold in the next record, in log order; returns its line if it is a ledger entry.

        Never raises: a record that this version does not understand, or that somebody else wrote, only counts as
        foreign.
        """
        kind, _, name = (key or b"").decode(errors="replace").partition("/")
        try:
            body = None if value is None else orjson.loads(value)
            if kind == "ledger":
                return self._ledger(name, body, sha256(value or b"").digest())
            if kind == "worker":
                if body is None:
                    self.workers.pop(name, None)
                else:
                    self.workers[name] = WorkerReport.model_validate(body)
                return None
            if kind == "view" and body is not None:
                self.views[name] = PublishedView.model_validate(body)
                return None
        except ValueError:  # no JSON, or not of this shape
            if kind == "ledger" and self.trusted is not None:
                self._refuse(name, "it is none")
                return None
            kind = ""
        if kind != "slot" and value is not None:  # slots are written for other readers
            self.foreign += 1
        return None

    def _ledger(self, seq: str, body: Any, digest: bytes) -> LedgerLine | None:
        """Raises ValueError for a body that is no entry of this version."""
        if seq in self._values:
            if self.trusted is not None and self._values[seq] != digest:  # compaction would keep the second one
                self._refuse(seq, "somebody writes over an entry, or deletes it")
            return None  # a retried write
        if self.trusted is not None:
            why = "somebody deletes an entry" if body is None else self.trusted.refusal(seq, body, self._values)
            if why is not None:
                self._refuse(seq, why)
                return None
        if body is None:
            return None
        if not isinstance(body, dict) or body.get("schema") != SCHEMA or str(body.get("kind")) not in KINDS:
            raise ValueError("no entry of this version")
        entry = KINDS[str(body["kind"])].model_validate(body)
        signed_by = None if self.trusted is None else signer_name(body)
        lacking = self.lacks_second(seq, entry, signed_by)
        if lacking is not None:
            self._refuse(seq, lacking)
            return None
        self._note_missing(seq)
        line = LedgerLine(seq, entry, is_void=not self._apply(seq, entry, signed_by), signed_by=signed_by)
        self.ledger.append(line)
        self._values[seq] = digest
        return line

    def _refuse(self, seq: str, why: str) -> None:
        self.refusals += 1
        self.refused.append((seq[:80], why))

    def _note_missing(self, seq: str) -> None:
        """Whoever wrote an entry numbered it by those that there were: fewer are there if some were removed since."""
        number = seq.partition("-")[0]
        if self.trusted is not None and number.isdecimal() and int(number) > len(self.ledger) + 1:
            self._refuse(seq, f"it was entry {int(number)}, and only {len(self.ledger)} are before it")

    def lacks_second(self, seq: str, entry: Entry, signed_by: str | None) -> str | None:
        """Why an entry does not count, as it needs a second person; None if it does. Only signatures can show that."""
        if not isinstance(entry, Change) or self.trusted is None or not self.trusted.asks_two(seq, self._values):
            return None
        if self._is_late(entry):
            return None  # it is void in any case
        person = self.person(entry, signed_by) or ""
        return four_eyes.refusal(self.decided, entry, person, self.settled) if self.why_two(entry, person) else None

    def why_two(self, change: Change, person: str) -> tuple[str, ...]:
        """Why a person alone must not make a change; nothing if they may."""
        return four_eyes.why_two(self.decided, change, self.slot(LIVE), self.was_live, person)

    def person(self, entry: Entry, signed_by: str | None) -> str | None:
        """Whose an entry is, as `same` has their name: that of the key that has signed it, or else of whoever it names;
        None for what the gate has signed, and for suggestions that nobody has."""
        if self.trusted is not None and signed_by is not None:
            return self.trusted.person(signed_by) if is_person(self.trusted.keys[signed_by].role) else None
        return None if isinstance(entry, Suggestion) else same(entry.by)

    def _is_late(self, change: Change) -> bool:
        return (change.suggestion is not None and change.suggestion in self.settled) or not self._is_at(
            change.expects, change.slots
        )

    def _is_at(self, expects: Mapping[str, int], slots: Iterable[str]) -> bool:
        """Whether slots have the epochs that are expected of them."""
        return all(self.slot(name).epoch == expects.get(name) for name in slots)

    def _apply(self, seq: str, entry: Entry, signed_by: str | None) -> bool:
        """Take an entry up; whether it came in time. Of all that settles a suggestion, the first in log order does."""
        match entry:
            case Suggestion():
                self.decided.suggestions[seq] = entry, self.person(entry, signed_by)
            case Approval():
                if (
                    entry.suggestion in self.settled
                    or not self._is_at(entry.expects, entry.slots)
                    or self.decided.is_pending(entry, self.settled)
                ):
                    return False
                self.decided.firsts[seq] = entry, self.person(entry, signed_by) or ""
            case Comment():
                return entry.suggestion in self.decided.suggestions and entry.suggestion not in self.settled
            case Rotation():
                return not any(
                    isinstance(line.entry, Rotation) and line.entry.rotation == entry.rotation for line in self.ledger
                )
            case Change():
                before = list(self.was_live)
                if self._is_late(entry) or not self._change(entry):
                    return False
                self.decided.note(entry, self.person(entry, signed_by) or "", before)
                self.settled |= {one for one in (entry.suggestion, entry.first and entry.first.approval) if one}
            case Answer() | Withdrawal():
                if entry.suggestion in self.settled:
                    return False
                self.settled.add(entry.suggestion)
        return True

    def _change(self, change: Change) -> bool:
        if not self._is_at(change.expects, change.slots):
            return False
        for name, target in change.slots.items():
            epoch = self.slot(name).epoch + 1
            if target is None:
                self.slots[name] = Slot(epoch=epoch, since=change.at)
            else:
                self.slots[name] = Slot(epoch, target.digest, target.threshold, target.override, change.at)
        self.twins |= change.twins
        if LIVE in change.slots:
            self.was_live.append(self.slot(LIVE))
        return True

    @property
    def forced(self) -> list[tuple[str, Forced]]:
        """Every forced release that there ever was, with its ledger key, oldest first."""
        return [(line.seq, line.entry) for line in self.ledger if isinstance(line.entry, Forced) and not line.is_void]

    @property
    def erasures(self) -> list[tuple[str, Erasure]]:
        """Every erasure of a card that was asked for, with its ledger key, oldest first."""
        return [(line.seq, line.entry) for line in self.ledger if isinstance(line.entry, Erasure)]

    @property
    def rotations(self) -> list[tuple[str, Rotation]]:
        """Every rotation that has ended, with its ledger key, oldest first."""
        return [(line.seq, line.entry) for line in self.ledger if isinstance(line.entry, Rotation) and not line.is_void]

    def next_seq(self, tag: str) -> str:
        """Key for the next ledger entry; keys sort by age. tag: random text, so that two writers never use one key."""
        return f"{len(self.ledger) + 1:08d}-{tag}"

    def open_suggestions(self, now: datetime | None = None) -> list[LedgerLine]:
        """Suggestions that still stand, oldest first. now: leaves out those that have expired by then."""
        return [
            line
            for line in self.ledger
            if isinstance(line.entry, Suggestion)
            and line.seq not in self.settled
            and all(self.slot(name).epoch == epoch for name, epoch in line.entry.expects.items())
            and (now is None or not line.entry.has_expired(now))
        ]

    def open_approvals(self, now: datetime) -> list[LedgerLine]:
        """First approvals that wait for a second, oldest first. now: those that have expired by then are left out."""
        return [
            line
            for line in self.ledger
            if isinstance(line.entry, Approval)
            and not line.is_void
            and line.seq not in self.settled
            and line.entry.suggestion not in self.settled
            and self._is_at(line.entry.expects, line.entry.expects)
            and not is_over(line.entry.at, now)
        ]

    def comments(self, suggestion: str) -> list[Comment]:
        """What people have said of a suggestion, oldest first."""
        return [
            line.entry
            for line in self.ledger
            if isinstance(line.entry, Comment) and not line.is_void and line.entry.suggestion == suggestion
        ]


def _money(currency: Currency) -> str:
    return f"{currency.code} with {currency.digits} decimal digits"
