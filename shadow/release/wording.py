"""What people are told who find nothing to approve: who was first, who said no, what became of the suggestion. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

from scorer.deployments.records import LIVE, PREVIOUS, STANDS, Answer, Change, Suggestion, Withdrawal
from scorer.deployments.slots import Deployments
from shadow.gate.findings import Decision, Judgement


def to_be_filled(slot: str) -> str:
    """What to tell people of an empty slot."""
    return f"slot {slot}: is empty; fill it with `scorer deploy BUNDLE --slot {slot} --by … --reason …`"


def why_empty(deployments: Deployments, slot: str) -> str:
    """Why a slot holds no candidate: somebody has promoted it, or nobody has filled it."""
    return _promoted(deployments, slot) or to_be_filled(slot)


def why_no_suggestion(deployments: Deployments, slot: str, judgement: Judgement | None = None) -> str:
    """Why a slot that is filled has no suggestion that can be approved.

    judgement: the present one, if it is known.
    """
    epochs = {name: deployments.slot(name).epoch for name in (LIVE, slot)}
    of_candidate = {
        line.seq: line.entry
        for line in deployments.ledger
        if isinstance(line.entry, Suggestion) and line.entry.slot == slot and line.entry.expects == epochs
    }
    is_promote = judgement is not None and judgement.decision is Decision.PROMOTE
    for line in reversed(deployments.ledger):
        match line.entry:
            case Answer(suggestion=seq) if seq in of_candidate and not line.is_void:
                return (
                    f"slot {slot}: {line.entry.by} rejected this candidate at {minute(line.entry.at)} "
                    f"({line.entry.reason}); to have it judged again, deploy it again with `scorer deploy`"
                )
            case Withdrawal(suggestion=seq) if seq in of_candidate and not line.is_void:
                return (
                    f"slot {slot}: the suggestion was withdrawn at {minute(line.entry.at)} ({line.entry.reason}); "
                    + (_to_wait(slot) if is_promote else f"see `shadow gate --slot {slot}`")
                )
            case Suggestion() if line.seq in of_candidate and line.seq not in deployments.settled:
                return (
                    f"slot {slot}: the suggestion of {minute(line.entry.at)} expired: nobody approved or rejected it "
                    f"within {STANDS.total_seconds() / 3600:g} hours; "
                    + (_to_wait(slot) if is_promote else f"see `shadow gate --slot {slot}`")
                )
    if is_promote:
        return f"slot {slot}: the gate promotes this candidate, and has not suggested it yet; {_to_wait(slot)}"
    why = "" if judgement is None else f" ({judgement.reason})"
    return f"slot {slot}: the gate does not promote this candidate; see `shadow gate --slot {slot}`{why}"


def _to_wait(slot: str) -> str:
    return f"`shadow serve` suggests it while the verdict is promote: see `shadow gate --slot {slot}`, then repeat this"


def why_changed(deployments: Deployments, slot: str, changed: str) -> str:
    """Who changed a slot while the candidate in `slot` was being approved."""
    told = _promoted(deployments, slot)
    if told is not None:
        return told
    for line in reversed(deployments.ledger):
        change = line.entry
        if isinstance(change, Change) and not line.is_void and changed in change.slots:
            return (
                f"slot {changed}: {change.by} changed it at {minute(change.at)} ({change.cause}: {change.reason}); "
                f"see `shadow gate --slot {slot}`, then decide again"
            )
    return f"slot {changed}: somebody changed it meanwhile; see `shadow gate --slot {slot}`, then decide again"


def why_no_way_back(deployments: Deployments) -> str:
    """Why the model in slot `previous` cannot be put back: somebody was first, or there is none."""
    is_empty = deployments.slot(PREVIOUS).digest is None
    about = PREVIOUS if is_empty else LIVE
    for line in reversed(deployments.ledger):
        change = line.entry
        if not isinstance(change, Change) or line.is_void or about not in change.slots:
            continue
        if change.cause == "rollback":
            return (
                f"slot {LIVE}: {change.by} put the model before it back at {minute(change.at)} ({change.reason}); "
                "nothing left to go back to"
            )
        if not is_empty:
            return (
                f"slot {LIVE}: {change.by} changed it at {minute(change.at)} ({change.cause}: {change.reason}); see "
                "`shadow history`, then decide again"
            )
        break
    return f"slot {PREVIOUS} is empty: there is nothing to go back to"


def _promoted(deployments: Deployments, slot: str) -> str | None:
    """Who approved the candidate that was last in a slot; None if the slot's last change was no promotion of it."""
    for line in reversed(deployments.ledger):
        change = line.entry
        if isinstance(change, Change) and not line.is_void and slot in change.slots:
            if change.cause != "approve" or change.slots[slot] is not None:
                return None
            return f"slot {slot}: {change.by} approved this candidate at {minute(change.at)}; nothing left to approve"
    return None


def minute(at: str) -> str:
    """A time on the ledger for people, in UTC; as it is there if it is not RFC 3339.

    >>> minute("2026-01-02T15:03:04.500+01:00")
    '2026-01-02 14:03 UTC'
    """
    try:
        return datetime.fromisoformat(at).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, OverflowError):
        return at


#: What the verdict of a backtest is worth, said wherever there is one.
BACKTEST = "A backtest on archived decisions can reject and inform; it never promotes"


def backtested(judgement: Judgement) -> str:
    """The verdict of a backtest and its reason: nothing is promoted.

    It is the gate's, but for its first word where every criterion passes.
    """
    if judgement.decision is not Decision.PROMOTE:
        return judgement.reason
    return judgement.reason.replace("promote: ", "nothing stands against it so far: ", 1)
