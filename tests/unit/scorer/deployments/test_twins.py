"""A model that becomes live brings its own twin into the slot of the A/A control, in the same change."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harness.changes import AT, a_change, fold
from scorer.deployments.changes import deployment, promotion, rollback
from scorer.deployments.evidence import necessary
from scorer.deployments.records import Twin
from scorer.deployments.slots import Deployments

SIGNED = ("ann", "because", AT)


def of(digest: str) -> Twin:
    """The twin of a bundle in these tests."""
    return Twin(digest=digest.upper().translate(str.maketrans("ABCDE", "12345")), threshold=0.25)


def begun() -> Deployments:
    return fold(
        a_change({"live": "a"}, {"live": 0}),
        a_change({"control": "e"}, {"control": 0}),
        a_change({"candidate": "b"}, {"candidate": 0}),
    )


def test_to_name_a_twin_costs_the_run_nothing() -> None:
    state = begun()
    before = state.slot("candidate")
    change = necessary(state, deployment(state, "candidate", "b" * 64, 0.5, *SIGNED, of("b" * 64)))
    assert change is not None
    assert (change.slots, change.expects) == ({}, {})
    fold(change, start=state)
    assert state.slot("candidate") == before
    assert state.twins == {"b" * 64: of("b" * 64)}
    again = deployment(state, "candidate", "b" * 64, 0.5, *SIGNED, of("b" * 64))
    assert necessary(state, again) is None, "named twice is named once"


def test_promotion_and_rollback_bring_the_twin_of_what_becomes_live() -> None:
    state = begun()
    fold(deployment(state, "candidate", "b" * 64, 0.5, *SIGNED, of("b" * 64)), start=state)
    old = Twin(digest="e" * 64, threshold=0.5)
    fold(promotion(state, "candidate", *SIGNED, None, None, twin_of_live=old), start=state)
    assert (state.slot("live").digest, state.slot("control").digest) == ("b" * 64, of("b" * 64).digest)
    assert state.slot("control").threshold == 0.25
    assert not state.ledger[-1].is_void
    assert set(state.ledger[-1].entry.slots) == {"live", "previous", "candidate", "control"}  # type: ignore[union-attr]
    fold(rollback(state, *SIGNED, "candidate"), start=state)
    assert (state.slot("live").digest, state.slot("control").digest) == ("a" * 64, "e" * 64)
    assert state.slot("candidate").digest == "b" * 64


def test_without_a_twin_the_control_stays_as_it_is() -> None:
    state = begun()
    before = state.slot("control")
    fold(promotion(state, "candidate", *SIGNED, None, None), start=state)
    assert state.slot("control") == before


def test_the_control_itself_can_be_promoted() -> None:
    state = begun()
    fold(deployment(state, "control", "e" * 64, 0.5, *SIGNED, of("e" * 64)), start=state)
    fold(promotion(state, "control", *SIGNED, None, None), start=state)
    assert state.slot("live").digest == "e" * 64
    assert state.slot("control").is_empty


@given(st.lists(st.tuples(st.sampled_from(["deploy", "plain", "approve", "rollback"]), st.sampled_from("abcd"))))
def test_after_every_promotion_and_rollback_the_control_is_the_twin_if_one_is_known(
    acts: list[tuple[str, str]],
) -> None:
    state = begun()
    for name, bundle in acts:
        digest = bundle * 64
        try:
            if name in ("deploy", "plain"):
                twin = of(digest) if name == "deploy" else None
                change = deployment(state, "candidate", digest, 0.5, *SIGNED, twin)
            elif name == "approve":
                change = promotion(state, "candidate", *SIGNED, None, None)
            else:
                change = rollback(state, *SIGNED, "candidate")
        except ValueError:
            continue
        before = state.slot("control")
        fold(change, start=state)
        assert not state.ledger[-1].is_void
        live, control = state.slot("live").digest, state.slot("control")
        if name in ("approve", "rollback") and live in state.twins:
            assert (control.digest, control.threshold) == (state.twins[live].digest, 0.25)
        else:
            assert control == before
