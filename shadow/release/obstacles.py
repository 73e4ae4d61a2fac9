"""What stands against promoting a candidate now. A promotion in spite of any of it is a forced release. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime

from scorer.deployments.records import Judged
from scorer.deployments.slots import Deployments
from shadow.gate.findings import Decision, Judgement, Verdict
from shadow.release.lapse import Lapse, lapse, standing
from shadow.release.wording import why_no_suggestion

#: How to approve under other criteria than a suggestion was made under.
TO_BE_JUDGED = "start `shadow serve` with these criteria: it suggests the candidate again if they promote it"


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether a candidate may be promoted now.

    suggestion: the ledger key of the one that an approval answers; None if none stands. withdrawal: why that one is to
    be withdrawn; None if the verdict bears it out, or is not known. against: what stands against a promotion, one line
    each.
    """

    suggestion: str | None
    withdrawal: Lapse | None
    against: tuple[str, ...]


def weigh(
    deployments: Deployments,
    slot: str,
    judgement: Judgement | str,
    criteria: str,
    threshold: float | None,
    at: datetime,
) -> Standing:
    """What stands against putting the bundle in a slot live.

    judgement: just made, or why there is none. criteria: digest of those in force. threshold: at which to put it live;
    None for the slot's own. at: the present time.
    """
    found, withdrawal = standing(deployments, slot, at), None
    against = []
    if isinstance(judgement, str):
        against.append(f"slot {slot}: cannot be judged now ({judgement})")
    elif found is None:
        against.append(why_no_suggestion(deployments, slot, judgement))
    else:
        why = lapse(found[1], judgement, criteria, at)
        if why is not None:
            against.append(_lapsed(slot, judgement, why))
            withdrawal = None if judgement.decision is Decision.PROMOTE else why
    held = deployments.slot(slot).threshold
    if threshold is not None and threshold != held:
        judged = "the bundle's own threshold" if held is None else f"{held:g}"
        against.append(
            f"--threshold {threshold:g}: was not judged, the candidate was at {judged}; to have it judged: "
            f"`scorer deploy BUNDLE --slot {slot} --threshold {threshold:g} --by … --reason …`"
        )
    return Standing(None if found is None else found[0], withdrawal, tuple(against))


def why_not_as_seen(seen: str, found: Standing) -> str:
    """Why a candidate is not released as somebody has seen it. seen: the suggestion that they saw."""
    if found.suggestion in (None, seen) and found.against:
        return found.against[0]
    return f"suggestion {seen}: is settled; {found.suggestion} waits now: look at it, then decide again"


def _lapsed(slot: str, judgement: Judgement, why: Lapse) -> str:
    if judgement.decision is Decision.PROMOTE:  # these criteria may be nobody else's: `shadow serve` sees to it
        return f"slot {slot}: its suggestion cannot be approved here: {why.reason}; {TO_BE_JUDGED}"
    return f"slot {slot}: the gate no longer promotes this candidate ({why.reason}); see `shadow gate --slot {slot}`"


def verdict_of(judgement: Judgement | str, criteria: str) -> Judged:
    """A verdict for the ledger. judgement: just made, or why there is none."""
    if isinstance(judgement, str):
        return Judged(decision="unknown", reason=judgement, criteria=criteria)
    return Judged(
        decision=judgement.decision.value,
        reason=judgement.reason,
        run=judgement.run,
        criteria=criteria,
        against=tuple(
            {name: value for name, value in asdict(finding).items() if name in _KEPT}
            for finding in judgement.findings
            if finding.verdict is not Verdict.PASS
        ),
    )


#: What is kept of a finding.
_KEPT = ("criterion", "segment", "observed", "bound", "limit", "verdict", "excused", "reason")
