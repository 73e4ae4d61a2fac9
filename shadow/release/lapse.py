"""Whether a suggestion still stands, and why not. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, NamedTuple

from scorer.deployments.records import STANDS, Suggestion
from scorer.deployments.slots import Deployments
from shadow.gate.findings import Decision, Judgement


class Lapse(NamedTuple):
    """Why a suggestion no longer stands: a cause for machines, a reason for people."""

    cause: Literal["verdict", "criteria", "expired"]
    reason: str


def lapse(suggestion: Suggestion, judgement: Judgement, criteria: str, at: datetime) -> Lapse | None:
    """Why a suggestion is to be withdrawn; None while it stands.

    judgement: of the same run, just made. criteria: digest of those that it was made under. at: the present time.
    """
    if judgement.decision is not Decision.PROMOTE:
        return Lapse("verdict" if criteria == suggestion.criteria else "criteria", judgement.reason)
    return lapse_by_age(suggestion, criteria, at)


def lapse_by_age(suggestion: Suggestion, criteria: str, at: datetime) -> Lapse | None:
    """Why a suggestion that the evidence bears out is to be withdrawn all the same; None while it stands."""
    if criteria != suggestion.criteria:
        return Lapse(
            "criteria",
            f"it was made under release criteria {suggestion.criteria[:12]}, and those in force are {criteria[:12]}",
        )
    if suggestion.has_expired(at):
        return Lapse("expired", f"nobody approved or rejected it within {STANDS.total_seconds() / 3600:g} hours")
    return None


def unsettled(deployments: Deployments, slot: str) -> tuple[str, Suggestion] | None:
    """The newest suggestion on what a slot holds that nobody has settled, with its ledger key; it may have expired."""
    for line in reversed(deployments.open_suggestions()):
        if isinstance(line.entry, Suggestion) and line.entry.slot == slot:
            return line.seq, line.entry
    return None


def standing(deployments: Deployments, slot: str, at: datetime | None = None) -> tuple[str, Suggestion] | None:
    """The newest suggestion for a slot that can be approved, with its ledger key; None if there is none.

    at: the present time; without it, none has expired.
    """
    found = unsettled(deployments, slot)
    return None if found is None or (at is not None and found[1].has_expired(at)) else found
