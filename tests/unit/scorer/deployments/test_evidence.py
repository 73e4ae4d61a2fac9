"""A change says which runs it ends and what they had gathered, and leaves alone what is already as it wants."""

from __future__ import annotations

from copy import deepcopy

from hypothesis import given
from hypothesis import strategies as st

from harness.changes import AT, fold
from scorer.deployments.changes import deployment, emptying, promotion, rollback, switch
from scorer.deployments.evidence import Gathered, ended, lost, necessary, told_lost, unseen
from scorer.deployments.records import Change, Target
from scorer.deployments.slots import Deployments

SIGNED = ("ann", "because", AT)
SLOTS = ("live", "candidate", "challenger", "control", "previous")
Act = tuple[str, str, str, float]
ACTS = st.tuples(
    st.sampled_from(["deploy", "deploy", "deploy", "empty", "approve", "rollback", "block_all", "resume"]),
    st.sampled_from(SLOTS),
    st.sampled_from("ab"),
    st.sampled_from([0.25, 0.5]),
)


def act(state: Deployments, name: str, slot: str, bundle: str, threshold: float) -> Change:
    """What somebody would do. Raises ValueError if it cannot be done."""
    match name:
        case "deploy":
            return deployment(state, slot, bundle * 64, threshold, *SIGNED)
        case "empty" if slot != "live":
            return emptying(state, slot, *SIGNED)
        case "approve" if slot not in ("live", "previous"):
            return promotion(state, slot, *SIGNED, None, None)
        case "rollback":
            return rollback(state, *SIGNED, "candidate")
        case "block_all" | "resume":
            return switch(state, "block_all" if name == "block_all" else None, *SIGNED)
    raise ValueError(name)


def run_of(state: Deployments, slot: str) -> tuple[int, int] | None:
    """The run of a slot: what its shadow stamps on what it counts."""
    return None if state.slot(slot).digest is None else (state.slot("live").epoch, state.slot(slot).epoch)


def held(state: Deployments) -> dict[str, tuple[object, ...]]:
    slots = {name: state.slot(name) for name in SLOTS}
    return {name: (slot.digest, slot.threshold, slot.override) for name, slot in slots.items()}


@given(st.lists(ACTS, max_size=10), ACTS)
def test_every_run_that_a_change_ends_is_named_and_no_other(
    acts: list[tuple[str, str, str, float]], last: object
) -> None:
    state = Deployments()
    for one in acts:
        try:
            fold(act(state, *one), start=state)
        except ValueError:
            continue
    try:
        change = act(state, *last)
    except ValueError:
        return
    before, named = {slot: run_of(state, slot) for slot in SLOTS[1:]}, ended(state, change)
    was_on, moves_live = state.slot("live").override is not None, "live" in change.slots
    fold(change, start=state)
    over = {slot: run for slot, run in before.items() if run is not None and run != run_of(state, slot)}
    if was_on:
        over = {}  # nothing was compared with a model
    if moves_live:
        over.pop("previous", None)  # nobody judges it
    if change.cause == "approve":
        over = {slot: run for slot, run in over.items() if slot not in change.slots}  # it has served its purpose
    assert named == over


@given(st.lists(ACTS, max_size=10), ACTS)
def test_what_is_already_as_wanted_keeps_its_epoch(acts: list[Act], last: Act) -> None:
    state = Deployments()
    for one in [*acts, last]:
        try:
            change = act(state, *one)
        except ValueError:
            continue
        spared = necessary(state, change)
        plainly = fold(change, start=deepcopy(state))
        before = {slot: state.slot(slot) for slot in SLOTS}
        if spared is not None:
            assert set(spared.slots) == set(spared.expects) <= set(change.slots)
            fold(spared, start=state)
        assert held(state) == held(plainly), "the slots hold the same"
        for slot in SLOTS:
            is_same = held(state)[slot] == (before[slot].digest, before[slot].threshold, before[slot].override)
            assert (state.slot(slot) == before[slot]) == is_same, "and no epoch is spent on what stays"


def a_run(slot: str, hours: int = 48, transactions: int = 51_456) -> Gathered:
    return Gathered(slot=slot, live_epoch=1, epoch=1, hours=hours, transactions=transactions)


def test_only_what_has_been_gathered_is_lost_and_it_is_told() -> None:
    runs = {"candidate": (1, 1), "control": (1, 1), "other": (1, 1)}
    gathered = [a_run("candidate"), a_run("control", 0, 0), Gathered(**a_run("other").model_dump() | {"live_epoch": 2})]
    assert lost(runs, gathered) == [a_run("candidate")]
    assert unseen(runs, gathered) == ["other"]
    told = told_lost(runs, gathered)
    assert told == "this ended slot candidate, run L1-C1 (48 event hours, 51,456 transactions)"
    assert told_lost({"control": (1, 1)}, gathered) is None
    assert told_lost({}, [], "away") is None
    assert "cannot be seen (away)" in str(told_lost({"other": (1, 1)}, gathered, "away"))


def test_a_target_without_a_threshold_is_not_one_with() -> None:
    state = fold(Change(slots={"control": Target(digest="a" * 64)}, expects={"control": 0}, by="a", reason="b",
                        cause="deploy", at=AT))  # fmt: skip
    assert necessary(state, deployment(state, "control", "a" * 64, 0.5, *SIGNED)) is not None
