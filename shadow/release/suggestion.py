"""Suggestions: when one is due, and writing it or its withdrawal to the ledger."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from scorer.deployments.deploy import now
from scorer.deployments.ledger import StaleChangeError, append
from scorer.deployments.records import LIVE, Answer, Suggestion, Target, Withdrawal
from scorer.deployments.slots import Deployments, LedgerLine
from shadow.gate.criteria import Release
from shadow.gate.findings import Decision
from shadow.release.lapse import Lapse
from shadow.release.look import Look, present_run
from shadow.settings import ShadowSettings

#: Longest wait until a candidate whose verdict comes and goes is suggested once more.
LONGEST_WAIT = timedelta(days=1)


def wait_after(withdrawals: int) -> timedelta:
    """How long a candidate that was withdrawn so often waits for another suggestion.

    Near its limits a verdict may come and go at every look; each time would leave two entries on the ledger for ever.

    >>> [str(wait_after(n)) for n in (0, 1, 2, 3, 9)]
    ['0:00:00', '0:00:00', '0:04:00', '0:16:00', '1 day, 0:00:00']
    """
    if withdrawals < 2:
        return timedelta()
    return min(LONGEST_WAIT, timedelta(minutes=4.0 ** min(withdrawals - 1, 9)))


def proposal(
    deployments: Deployments, seen: Look, release: Release, known: dict[str, Any], at: str
) -> Suggestion | None:
    """The suggestion to write after a look; None if the look does not say promote, the slot has changed since, the
    same suggestion stands or a person rejected it, or the verdict has come and gone too often (`wait_after`).

    known: facts about the bundle, kept with the evidence. at: the present time, RFC 3339.
    """
    if seen.judgement.decision is not Decision.PROMOTE or present_run(deployments, seen.slot) != seen.candidate.run:
        return None
    state = deployments.slot(seen.slot)
    expects = {LIVE: deployments.slot(LIVE).epoch, seen.slot: state.epoch}
    if not may_be_made(deployments, seen.slot, expects, release.digest, datetime.fromisoformat(at)):
        return None
    twin = deployments.twins.get(str(state.digest))
    return Suggestion(
        slot=seen.slot,
        target=Target(digest=state.digest, threshold=state.threshold),
        expects=expects,
        criteria=release.digest,
        evidence={
            "run": str(seen.candidate.run),
            "live": deployments.slot(LIVE).digest,
            "compared": seen.candidate.compared,
            "judgement": seen.judgement.to_json(),
            "bundle": known,
            "twin": None if twin is None else twin.digest,
        },
        made_by=known.get("made_by"),
        at=at,
    )


def may_be_made(deployments: Deployments, slot: str, expects: dict[str, int], criteria: str, at: datetime) -> bool:
    """Whether a suggestion is not there yet: the same one does not stand, no person rejected it under these criteria,
    and its verdict has not come and gone too often (`wait_after`). expects: the epochs that it is about."""
    mine = {
        line.seq: line.entry.criteria
        for line in deployments.ledger
        if isinstance(line.entry, Suggestion) and line.entry.slot == slot and line.entry.expects == expects
    }
    if any(seq not in deployments.settled for seq in mine):
        return False
    back: list[Withdrawal] = []
    for line in deployments.ledger:
        match line.entry:
            case Answer(suggestion=seq) if not line.is_void and mine.get(seq) == criteria:
                return False
            case Withdrawal(suggestion=seq, cause="verdict") if not line.is_void and mine.get(seq) == criteria:
                back.append(line.entry)
    return not (back and _is_waiting(back[-1].at, at, wait_after(len(back))))


def _is_waiting(since: str, present: datetime, wait: timedelta) -> bool:
    """Whether less than `wait` has passed since a time on the ledger; not if it is no time, or is yet to come."""
    try:
        return timedelta() <= present - datetime.fromisoformat(since) < wait
    except (ValueError, TypeError, OverflowError):  # no time, or one without a zone
        return False


async def suggest(settings: ShadowSettings, suggestion: Suggestion) -> LedgerLine:
    """Write a suggestion to the ledger."""
    line, _ = await append(settings, lambda _: suggestion)
    return line


async def withdraw(settings: ShadowSettings, seq: str, why: Lapse, by: str) -> LedgerLine | None:
    """Take a suggestion back on the ledger; None if somebody has settled it meanwhile. by: who noticed."""

    def build(present: Deployments) -> Withdrawal:
        if seq in present.settled:
            raise StaleChangeError("somebody has settled this suggestion first")
        return Withdrawal(suggestion=seq, cause=why.cause, reason=why.reason, by=by, at=now())

    try:
        line, _ = await append(settings, build)
    except StaleChangeError:
        return None
    return line
