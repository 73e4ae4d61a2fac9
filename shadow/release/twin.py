"""The A/A control after a promotion: the candidate's own twin, if somebody has said which bundle that is."""

from __future__ import annotations

from scorer.deployments.records import Twin
from scorer.deployments.slots import Deployments
from shadow.release.floor import why_no_floor
from shadow.settings import ShadowSettings


def missing_twin(deployments: Deployments, slot: str, control: str) -> str | None:
    """What is missing for an A/A floor after a promotion, and how to supply it; None if nothing is.

    control: the slot of the A/A control.
    """
    state = deployments.slot(slot)
    if state.digest is None or slot == control or state.digest in deployments.twins:
        return None
    short, at = state.digest[:12], "" if state.threshold is None else f" --threshold {state.threshold!r}"
    return (
        f"slot {slot}: no twin of this candidate is known, so after a promotion there is no A/A floor; make one with "
        f"`scorer train FILE --twin {short}`, and name it: `scorer deploy {short} --slot {slot}{at} --twin TWIN --by … "
        "--reason …`; the run goes on"
    )


async def twin_of_live(settings: ShadowSettings, deployments: Deployments) -> Twin | None:
    """What the control slot holds, if it is shown to be a twin of the live model; else None."""
    control = deployments.slot(settings.control)
    if control.digest is None or control.threshold is None or await why_no_floor(settings, deployments) is not None:
        return None
    return Twin(digest=control.digest, threshold=control.threshold)
