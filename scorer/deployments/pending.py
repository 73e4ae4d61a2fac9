"""First approvals: what to write when one person makes a change that needs two. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

from scorer.deployments import four_eyes
from scorer.deployments.records import LIVE, STANDS, Approval, Change, First, Forced
from scorer.deployments.slots import Deployments, LedgerLine
from scorer.errors import UserError
from scorer.people import Who


def stamped(change: Change, who: Who) -> Change:
    """A change with how the name of whoever makes it was verified."""
    return change.model_copy(update={"verified": who.verified})


def two_or_one(deployments: Deployments, change: Change, who: Who, four_eyes_on: bool, at: str) -> Change | Approval:
    """What to write for a change: itself; as the second approval, with the first; or a first approval.

    four_eyes_on: the setting. at: the present time, RFC 3339. Raises UserError if somebody has to say who they are, or
    has approved it already.
    """
    trusted = deployments.trusted
    is_on = four_eyes_on or (trusted is not None and trusted.four_eyes)
    change = stamped(change, who)
    if not is_on or not four_eyes.is_release(change, deployments.slot(LIVE), deployments.was_live):
        return change
    if who.verified is None:
        raise UserError(
            "four_eyes: a release needs to know who you are; set people and your token, or trusted_keys and your "
            "signing_key"
        )
    why = deployments.why_two(change, who.person)
    if not why:
        return change
    first = first_of(deployments, change, at)
    if first is None:
        return Approval(
            slots=change.slots,
            expects=change.expects,
            twins=change.twins,
            cause=change.cause,
            suggestion=change.suggestion,
            verdict=change.verdict if isinstance(change, Forced) else None,
            why=why,
            by=change.by,
            reason=change.reason,
            verified=who.verified,
            at=at,
        )
    approval = first.entry
    assert isinstance(approval, Approval)  # noqa: S101
    if deployments.person(approval, first.signed_by) == who.person:
        raise UserError(
            f"{approval.by} has approved this already, as {first.seq}; it needs somebody else, too, as {why[0]}: "
            f"another releaser repeats the command before {expiry(approval.at)}"
        )
    return change.model_copy(update={"first": First(approval=first.seq, by=approval.by)})


def first_of(deployments: Deployments, change: Change, at: str) -> LedgerLine | None:
    """The first approval of a change that waits for a second."""
    for line in deployments.open_approvals(datetime.fromisoformat(at)):
        if isinstance(line.entry, Approval) and four_eyes.is_of(line.entry, change):
            return line
    return None


def outdated(deployments: Deployments, slot: str, decision: str, criteria: str, now: datetime) -> list[LedgerLine]:
    """First approvals of a forced release from a slot that were given on another verdict, and so end."""
    return [
        line
        for line in deployments.open_approvals(now)
        if isinstance(line.entry, Approval)
        and slot in line.entry.slots
        and line.entry.verdict is not None
        and (line.entry.verdict.decision, line.entry.verdict.criteria) != (decision, criteria)
    ]


def told(line: LedgerLine) -> str:
    """What to tell whoever has given a first approval."""
    approval = line.entry
    assert isinstance(approval, Approval)  # noqa: S101
    return (
        f"approved by {approval.by} as the first of two (ledger entry {line.seq}), as {'; '.join(approval.why)}; "
        f"nothing is changed yet: another releaser repeats the command before {expiry(approval.at)}"
    )


def expiry(at: str) -> str:
    """When what was written then expires, for people."""
    try:
        return (datetime.fromisoformat(at) + STANDS).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, OverflowError):
        return f"{STANDS / timedelta(hours=1):g} hours from then"
