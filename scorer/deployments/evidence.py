"""Works out which runs a change of slots ends, and what they had gathered. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from pydantic import BaseModel, ConfigDict

from scorer.deployments.records import LIVE, PREVIOUS, Change
from scorer.deployments.slots import Deployments


class Gathered(BaseModel):
    """What a run of a slot has gathered: an epoch of the slot against an epoch of live.

    hours: event hours with a comparison. transactions: compared ones.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    slot: str
    live_epoch: int
    epoch: int
    hours: int
    transactions: int

    @property
    def told(self) -> str:
        """For people.

        >>> Gathered(slot="candidate", live_epoch=1, epoch=2, hours=48, transactions=51456).told
        'slot candidate, run L1-C2 (48 event hours, 51,456 transactions)'
        """
        return (
            f"slot {self.slot}, run L{self.live_epoch}-C{self.epoch} "
            f"({self.hours:,} event hours, {self.transactions:,} transactions)"
        )


def necessary(deployments: Deployments, change: Change) -> Change | None:
    """A change without the slots that are already as it would make them; None if nothing else is left of it."""
    slots = {}
    for name, target in change.slots.items():
        now = deployments.slot(name)
        holds = None if now.is_empty else (now.digest, now.threshold, now.override)
        wanted = None if target is None else (target.digest, target.threshold, target.override)
        if holds != wanted:
            slots[name] = target
    twins = {digest: twin for digest, twin in change.twins.items() if deployments.twins.get(digest) != twin}
    if not slots and not twins:
        return None
    expects = {name: epoch for name, epoch in change.expects.items() if name in slots}
    return change.model_copy(update={"slots": slots, "expects": expects, "twins": twins})


def ended(deployments: Deployments, change: Change) -> dict[str, tuple[int, int]]:
    """The runs that a change ends without having made use of them: epochs of live and of the slot, by slot.

    A change of live ends the run of every slot. What a promotion is about (the slots that it changes) has served its
    purpose, and the model in slot `previous` is not judged. While the kill switch is on, no run compares two models.
    """
    if deployments.slot(LIVE).override is not None:
        return {}
    if LIVE not in change.slots:
        touched: Collection[str] = change.slots
    else:
        spent = {LIVE, PREVIOUS, *(change.slots if change.cause == "approve" else ())}
        touched = deployments.slots.keys() - spent
    live = deployments.slot(LIVE).epoch
    return {
        name: (live, deployments.slot(name).epoch)
        for name in sorted(touched)
        if deployments.slot(name).digest is not None
    }


def lost(runs: dict[str, tuple[int, int]], gathered: Iterable[Gathered]) -> list[Gathered]:
    """What is lost with runs that end; those that have gathered nothing are left out."""
    return [
        one for one in gathered if runs.get(one.slot) == (one.live_epoch, one.epoch) and one.hours + one.transactions
    ]


def unseen(runs: dict[str, tuple[int, int]], gathered: Iterable[Gathered]) -> list[str]:
    """The slots of which nobody has said what their run has gathered."""
    said = {(one.slot, (one.live_epoch, one.epoch)) for one in gathered}
    return [slot for slot, run in runs.items() if (slot, run) not in said]


def told(parts: Sequence[Gathered]) -> str:
    """What is lost, for people."""
    return "; ".join(one.told for one in parts)


def told_lost(
    runs: dict[str, tuple[int, int]], gathered: Sequence[Gathered], why_unseen: str | None = None
) -> str | None:
    """What a change has ended, for people; None if nothing is lost. why_unseen: why not all of it can be seen."""
    gone = lost(runs, gathered)
    if gone:
        return f"this ended {told(gone)}"
    if why_unseen is not None and unseen(runs, gathered):
        return f"this ended the run of slot {', '.join(runs)}; what it had gathered cannot be seen ({why_unseen})"
    return None
