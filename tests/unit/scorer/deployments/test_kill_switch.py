"""Only who turns the kill switch changes it: whatever else happens to the slots, it stays as it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.changes import AT, a_change, fold
from scorer.deployments.changes import deployment, emptying, promotion, rollback, switch
from scorer.deployments.deploy import kept_on
from scorer.deployments.records import Change, Override
from scorer.deployments.slots import Deployments, Slot

SIGNED = ("ann", "because", AT)
ACTS = ["live", "candidate", "empty", "approve", "edit", "rollback", "allow_all", "block_all", "resume"]


def act(state: Deployments, name: str, n: int) -> Change:
    """What somebody does now. Raises ValueError if it cannot be done."""
    digest = f"{n:064x}"
    match name:
        case "live" | "candidate":
            return deployment(state, name, digest, 0.5, *SIGNED)
        case "empty":
            return emptying(state, "candidate", *SIGNED)
        case "approve" | "edit":
            return promotion(state, "candidate", *SIGNED, 0.25 if name == "edit" else None, None)
        case "rollback":
            return rollback(state, *SIGNED, "candidate")
        case "allow_all":
            return switch(state, "allow_all", *SIGNED)
        case "block_all":
            return switch(state, "block_all", *SIGNED)
    return switch(state, None, *SIGNED)


@given(st.lists(st.sampled_from(ACTS), max_size=14))
def test_the_switch_is_where_it_was_last_turned_to(acts: list[str]) -> None:
    state, turned = fold(a_change({"live": "a"}, {"live": 0})), None
    for n, name in enumerate(acts):
        try:
            change = act(state, name, n)
        except ValueError:
            continue
        fold(change, start=state)
        if name in ("allow_all", "block_all", "resume"):
            turned = None if name == "resume" else name
        assert state.slot("live").override == turned, name
        assert all(slot.override is None for at, slot in state.slots.items() if at != "live"), "it is live's alone"
        assert state.slot("live").digest is not None, "and the model beneath it is kept"


def test_off_cannot_be_turned_off() -> None:
    with pytest.raises(ValueError, match="the kill switch is not on"):
        switch(fold(a_change({"live": "a"}, {"live": 0})), None, *SIGNED)


@pytest.mark.parametrize("override", ["allow_all", "block_all"])
def test_it_can_be_turned_before_anything_is_live(override: Override) -> None:
    state = fold(switch(Deployments(), override, *SIGNED))
    assert state.slot("live").override == override
    fold(deployment(state, "live", "a" * 64, 0.5, *SIGNED), start=state)
    assert state.slot("live") == Slot(2, "a" * 64, 0.5, override, AT)
    assert f"stays on ({override})" in str(kept_on(state.slot("live")))
    fold(switch(state, None, *SIGNED), start=state)
    assert kept_on(state.slot("live")) is None
