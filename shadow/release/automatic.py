"""Switches the automation of a kind of change, if it is earned."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from scorer.deployments.deploy import now
from scorer.deployments.ledger import append
from scorer.deployments.records import Automation, ChangeKind
from scorer.deployments.slots import Deployments, LedgerLine
from scorer.errors import UserError
from scorer.people import Who
from shadow.release.streak import Pace, Rules, due, streaks
from shadow.release.wording import minute
from shadow.settings import ShadowSettings


def rules_of(settings: ShadowSettings) -> Rules:
    """What automation takes to be earned, by the settings."""
    return Rules(settings.automation_accepted, settings.automation_days)


def pace_of(settings: ShadowSettings) -> Pace:
    """When automation may act, by the settings."""
    return Pace(timedelta(hours=settings.automation_grace_hours), timedelta(days=settings.automation_every_days))


def intention(deployments: Deployments, seq: str, settings: ShadowSettings) -> str | None:
    """What automation is about to do with a suggestion, for people; None if nothing."""
    found = due(deployments, seq, rules_of(settings), pace_of(settings))
    if found.at is None:
        return None
    hours = f", within {settings.automation_hours}" if settings.automation_hours else ""
    return f"{found.why}: it is carried out from {minute(found.at.isoformat())} on{hours}, unless somebody rejects it"


async def switch(
    settings: ShadowSettings, kind: ChangeKind, state: Literal["on", "off"], who: Who, reason: str
) -> LedgerLine:
    """Switch the automation of a kind of change on or off. Raises UserError if it is so already, or is not earned."""
    rules = rules_of(settings)

    def build(present: Deployments) -> Automation:
        found = streaks(present, rules)[kind]
        if found.is_on == (state == "on"):
            raise UserError(f"automation of {kind}: is {state} already")
        missing = found.missing(rules)
        if state == "on" and missing is not None:
            raise UserError(f"automation of {kind}: is not earned: {missing}; see `shadow automate`")
        return Automation(change=kind, state=state, by=who.name, reason=reason, verified=who.verified, at=now())

    line, _ = await append(settings, build)
    return line
