"""What is worth telling: entries of the ledger, verdicts that changed, reviews that are asked for. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from scorer.deployments.records import Answer, Approval, Change, Withdrawal
from scorer.pipeline.card_number import masked
from shadow.release.history import Row, instant
from shadow.release.look import Look
from shadow.release.telling import DEEPER, lines
from shadow.settings import Event

#: A verdict near its limits comes and goes: another one of the same slot is told of after this time at the earliest.
PAUSE = timedelta(hours=1)
#: Characters of a message. Some chats take no more than 2,000.
LONGEST = 1800
_OF_ROWS: Mapping[str, Event] = {
    "suggestion": "suggestion",
    "rollback_suggestion": "rollback",
    "withdrawal": "withdrawal",
    "rejection": "rejection",
    "automation": "automation",
    "approval": "approval",
}


@dataclass(frozen=True, slots=True)
class Message:
    """mark: where what has been told is noted, and what is noted there once this is told. facts: for the template."""

    event: Event
    mark: tuple[str, str]
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Told:
    """What somebody has been told, as it is noted; everything is new to whoever has no mark of the ledger."""

    marks: Mapping[str, str]

    def at(self, name: str) -> str | None:
        """What is noted under a name."""
        return self.marks.get(name)


#: The mark of the ledger: the key of the last entry that was told of, or that was there before anybody was told.
LEDGER = "ledger"


#: Facts as each template gets them.
EXAMPLES: Mapping[Event, Mapping[str, Any]] = {
    **{
        event: {"slot": "candidate", "lines": ["2026-11-03 10:00  suggested: slot candidate", "    verdict: promote"]}
        for event in ("suggestion", "withdrawal", "rejection", "live", "rollback", "automation", "approval")
    },
    "verdict": {"slot": "candidate", "run": "L1-C1", "reason": "promote: all criteria pass", "is_first": False},
    "review": {"slot": "candidate", "run": "L1-C1", "segments": ["all", "country=FR"]},
}


def place(rows: Sequence[Row], told: Told) -> int | None:
    """The position of the first entry that is new; None if nothing was told yet, or it is on the ledger no more."""
    last = told.at(LEDGER)
    if last == "":
        return 0
    return next((n + 1 for n, row in enumerate(rows) if row.seq == last), None)


def of_ledger(
    rows: Sequence[Row], told: Told, intention: Callable[[str], str | None] = lambda seq: None
) -> list[Message]:
    """A message for each entry after the last one told of that changes live, or is about a suggestion.

    rows: in log order. Nobody is told of what was there before they were told anything. intention: what automation is
    about to do with the suggestion of a ledger key. Nobody is told that an approval waits for a second person after
    that one has come.
    """
    begin = place(rows, told)
    if begin is None:
        return []
    found, over = [], _settled(rows)
    for row in rows[begin:]:
        event = _OF_ROWS.get(row.kind) or ("live" if "live" in row.slots and row.fillings else None)
        if row.seq in over:
            continue
        if event is not None and not row.is_void and (row.slots or event == "automation"):
            soon = intention(row.seq) if event in ("suggestion", "rollback") else None
            told_of = [*lines([row]), *([] if soon is None else [f"{DEEPER}{soon}"])]
            found.append(Message(event, (LEDGER, row.seq), {"lines": told_of, "slot": (*row.slots, "")[0]}))
    return found


def _settled(rows: Sequence[Row]) -> set[str]:
    """The ledger keys of first approvals that were completed, or taken back."""
    firsts = {row.seq for row in rows if isinstance(row.entry, Approval)}
    completed = {row.entry.first.approval for row in rows if isinstance(row.entry, Change) and row.entry.first}
    back = {row.entry.suggestion for row in rows if isinstance(row.entry, Answer | Withdrawal)}
    about = {row.seq for row in rows if isinstance(row.entry, Approval) and row.entry.suggestion in back}
    return completed | (firsts & back) | about


def of_look(seen: Look, told: Told, now: datetime) -> list[Message]:
    """A message if the verdict on a slot is another one than was told, and one a day while reviews are asked for."""
    found = []
    judgement, slot = seen.judgement, seen.slot
    name = f"verdict/{slot}"
    before, _, since = (told.at(name) or "").partition(" ")
    stands = f"{judgement.run}:{judgement.decision.value}"
    last = instant(since)
    if before != stands and (last is None or now - last >= PAUSE):
        facts = {"slot": slot, "run": judgement.run, "reason": judgement.reason, "is_first": not before}
        found.append(Message("verdict", (name, f"{stands} {now.isoformat(timespec='seconds')}"), facts))
    if seen.labels.wanted:
        day = now.astimezone(UTC).date().isoformat()
        if told.at(f"review/{slot}") != f"{judgement.run} {day}":
            facts = {"slot": slot, "run": judgement.run, "segments": sorted(seen.labels.wanted)}
            found.append(Message("review", (f"review/{slot}", f"{judgement.run} {day}"), facts))
    return found


def shortened(text: str) -> str:
    """A text for people anywhere: card numbers that somebody has typed are masked, and it is cut to `LONGEST`."""
    plain = masked(text.strip())
    return plain if len(plain) <= LONGEST else f"{plain[: LONGEST - 1]}…"
