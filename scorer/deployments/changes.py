"""Works out which slots a deployment, the kill switch, a promotion or a rollback changes, and how.

The kill switch is a state of its own: whatever else is put into slot live, it stays as it is until somebody turns it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from scorer.deployments.records import (
    CANDIDATE,
    CONTROL,
    LIVE,
    PREVIOUS,
    Change,
    Forced,
    Judged,
    Override,
    Target,
    Twin,
)
from scorer.deployments.slots import Deployments

#: What can be done to a slot without a bundle. `empty` is for other slots than live, the rest for live alone.
Action = Literal["empty", "allow_all", "block_all", "resume"]


def deployment(
    deployments: Deployments,
    slot: str,
    digest: str,
    threshold: float,
    by: str,
    reason: str,
    at: str,
    twin: Twin | None = None,
) -> Change:
    """The change that puts a bundle into a slot. Another bundle that was live goes to slot `previous`.

    twin: of the bundle; from now on it takes slot control when the bundle becomes live.
    """
    before = deployments.slot(slot)
    slots: dict[str, Target | None] = {slot: Target(digest=digest, threshold=threshold, override=before.override)}
    if slot == LIVE and before.digest not in (None, digest):
        slots[PREVIOUS] = Target(digest=before.digest, threshold=before.threshold)
    twins = {} if twin is None else {digest: twin}
    return _change(deployments, slots, by, reason, "deploy", at, twins=twins)


def rotating(
    deployments: Deployments,
    candidate: Target,
    twin: Twin,
    control: Target | None,
    by: str,
    reason: str,
    at: str,
) -> Change:
    """The change that puts what a rotation has made into slot candidate, and names its twin.

    control: a twin of the live bundle, for slot control; None to leave that slot as it is.
    """
    slots: dict[str, Target | None] = {CANDIDATE: candidate}
    if control is not None:
        slots[CONTROL] = control
    return _change(deployments, slots, by, reason, "deploy", at, twins={str(candidate.digest): twin})


def emptying(deployments: Deployments, slot: str, by: str, reason: str, at: str) -> Change:
    """The change that takes the bundle out of a slot other than live."""
    return _change(deployments, {slot: None}, by, reason, "deploy", at)


def switch(deployments: Deployments, override: Override | None, by: str, reason: str, at: str) -> Change:
    """The change that turns the kill switch; None: off. Raises ValueError if it is to be turned off and is not on."""
    live = deployments.slot(LIVE)
    if override is None and live.override is None:
        raise ValueError("the kill switch is not on; there is nothing to resume")
    target = Target(digest=live.digest, threshold=live.threshold, override=override)
    return _change(deployments, {LIVE: target}, by, reason, "override", at)


def _change(
    deployments: Deployments,
    slots: dict[str, Target | None],
    by: str,
    reason: str,
    cause: Literal["deploy", "override", "approve", "rollback"],
    at: str,
    suggestion: str | None = None,
    twins: dict[str, Twin] | None = None,
) -> Change:
    return Change(
        slots=slots,
        expects={name: deployments.slot(name).epoch for name in slots},
        by=by,
        reason=reason,
        cause=cause,
        suggestion=suggestion,
        twins=twins or {},
        at=at,
    )


def _with_twin(
    deployments: Deployments, slots: dict[str, Target | None], control: str, to_be_live: str
) -> dict[str, Target | None]:
    """Slots that a change of live fills, with the twin of the new live model in slot `control`, if it is known, is not
    there already, and the change has no other use for that slot."""
    twin, held = deployments.twins.get(to_be_live), deployments.slot(control)
    if twin is None or control in slots or (held.digest, held.threshold) == (twin.digest, twin.threshold):
        return slots
    return slots | {control: Target(digest=twin.digest, threshold=twin.threshold)}


def promotion(
    deployments: Deployments,
    slot: str,
    by: str,
    reason: str,
    at: str,
    threshold: float | None,
    suggestion: str | None,
    control: str = CONTROL,
    twin_of_live: Twin | None = None,
) -> Change:
    """The change that puts a slot's bundle live, moves the old live bundle to slot `previous`, and empties the slot.

    The twin of the bundle takes slot `control`. A kill switch that is on stays on. by, reason: for the record. at: time
    of the change, RFC 3339. threshold: None for the slot's own. suggestion: its ledger entry, if the promotion answers
    one. twin_of_live: that of the model that is replaced, for the day when it comes back. Raises ValueError if the slot
    is empty.
    """
    live, candidate = deployments.slot(LIVE), deployments.slot(slot)
    if candidate.digest is None:
        raise ValueError(f"slot {slot} is empty")
    chosen = candidate.threshold if threshold is None else threshold
    slots: dict[str, Target | None] = {
        LIVE: Target(digest=candidate.digest, threshold=chosen, override=live.override),
        slot: None,
    }
    if live.digest is not None:
        slots[PREVIOUS] = Target(digest=live.digest, threshold=live.threshold)
    slots = _with_twin(deployments, slots, control, candidate.digest)
    twins = {} if live.digest is None or twin_of_live is None else {live.digest: twin_of_live}
    return _change(deployments, slots, by, reason, "approve", at, suggestion, twins)


def forced(change: Change, verdict: Judged, overrode: Sequence[str]) -> Forced:
    """A promotion as a forced release. verdict: at this moment. overrode: what stood against it, one line each."""
    return Forced(**change.model_dump(exclude={"kind"}), verdict=verdict, overrode=tuple(overrode))


def rollback(
    deployments: Deployments,
    by: str,
    reason: str,
    at: str,
    slot: str,
    control: str = CONTROL,
    suggestion: str | None = None,
) -> Change:
    """The change that puts the bundle of slot `previous` live again, and the replaced one into `slot` if that is empty.

    The twin of the bundle takes slot `control`, if it is known. A kill switch that is on stays on. by, reason: for the
    record. at: time of the change, RFC 3339. suggestion: its ledger entry, if the rollback answers one. Raises
    ValueError if `previous` is empty.
    """
    live, previous = deployments.slot(LIVE), deployments.slot(PREVIOUS)
    if previous.digest is None:
        raise ValueError(f"slot {PREVIOUS} is empty: there is nothing to go back to")
    slots: dict[str, Target | None] = {
        LIVE: Target(digest=previous.digest, threshold=previous.threshold, override=live.override),
        PREVIOUS: None,
    }
    if live.digest is not None and deployments.slot(slot).is_empty:
        slots[slot] = Target(digest=live.digest, threshold=live.threshold)
    slots = _with_twin(deployments, slots, control, previous.digest)
    return _change(deployments, slots, by, reason, "rollback", at, suggestion)
