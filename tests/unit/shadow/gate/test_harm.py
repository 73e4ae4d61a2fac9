"""Who is right where the models differ: an unbiased sample, bounds that hold at every look, and power."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shadow.cases import CANDIDATE_ONLY, LIVE_ONLY, Case
from shadow.claims import Sums
from shadow.criteria import Release
from shadow.labelled import KINDS, LabelClaim, LabelledPairs, chargeback_bounds, in_turn, label_claims, labelled
from shadow.labels import ANSWERED, Known, State
from shadow.review import needs, turns
from shadow.tally import SegmentTotals

RELEASE = Release.model_validate({"schema": 1})
ALPHA = 1 / 200
BAR = -math.log(ALPHA)


def a_case(n: int, live_only: bool = True, segments: tuple[str, ...] = ("all",), **more: float) -> Case:
    """The n-th case by hash, of its own card."""
    outcome = LIVE_ONLY if live_only else CANDIDATE_ONLY
    case = Case(f"t-{n}", outcome, 5_000, 86_400_000 * n, f"card-{n}", segments, (n + 1) / 1000, n, n)
    return replace(case, **more)  # type: ignore[arg-type]


def reviewed(*states: State) -> list[Known]:
    return [Known(State.PENDING, state) for state in states]


def sums_of(both: int, live_only: int, candidate_only: int) -> Sums:
    """One segment, every card once, 100 minor units each under a cap of 1000."""
    counts = np.array([[1e6, both, live_only, candidate_only]])
    pairs = counts[:, 2:]
    return Sums(counts, 100 * counts[:, 1:], 100.0**2 * pairs, pairs, np.zeros(1))


def claim(criterion: str, pairs: LabelledPairs, sums: Sums, limit: float = 0.05) -> LabelClaim:
    (found,) = (one for one in label_claims(pairs, sums, RELEASE) if one.criterion == criterion)
    return replace(found, limit=np.array([limit]))


def counted(kinds: np.ndarray) -> LabelledPairs:
    """Looks after each of n labels, of kinds (runs, n): sums (runs, n, 1, 6)."""
    once = (kinds[..., None] == np.arange(len(KINDS))).cumsum(axis=1)[:, :, None, :].astype(float)
    n = np.broadcast_to(np.arange(1, kinds.shape[1] + 1)[None, :, None], once.shape[:3])
    return LabelledPairs(once, once, once / 10, once / 100, n)


def simulate(runs: int, n: int, candidate_fraud: float, live_fraud: float, accuracy: float = 0.95) -> np.ndarray:
    """Kinds of n reviewed disagreements, half of them of each side, of reviewers who are right so often."""
    chance = np.random.default_rng(7)
    live_only = chance.random((runs, n)) < 0.5
    is_fraud = chance.random((runs, n)) < np.where(live_only, live_fraud, candidate_fraud)
    said = is_fraud ^ (chance.random((runs, n)) > accuracy)
    return np.where(said, np.where(live_only, 0, 1), np.where(live_only, 2, 3))


#: Disagreements are 30 % of live's blocks.
SUMS = sums_of(8500, 1500, 1500)


def settled(candidate_fraud: float, live_fraud: float, n: int, runs: int = 300) -> tuple[float, float]:
    """Shares of simulated runs that ever pass, and ever fail, at any of n looks."""
    found = claim("lost_fraud", counted(simulate(runs, n, candidate_fraud, live_fraud)), SUMS)
    passes, fails = ((log >= BAR)[..., 0].any(axis=1) for log in (found.log_within(), found.log_beyond()))
    return float(passes.mean()), float(fails.mean())


@pytest.mark.parametrize(
    ("candidate_fraud", "live_fraud", "n", "passes_at_least"),
    [(0.6, 0.3, 112, 0.8), (0.6, 0.3, 373, 0.99), (0.45, 0.45, 373, 0.85)],
)
def test_a_model_that_is_no_worse_passes(
    candidate_fraud: float, live_fraud: float, n: int, passes_at_least: float
) -> None:
    passes, fails = settled(candidate_fraud, live_fraud, n)
    assert passes >= passes_at_least
    assert fails <= 2 * ALPHA


def test_a_model_at_the_margin_or_beyond_hardly_ever_passes_however_often_somebody_looks() -> None:
    at_margin = 0.45 + 2 * 0.05 / 0.3 / 0.9  # reviewers who are wrong in one of twenty see 0.9 of a difference
    passes, _ = settled(0.45, at_margin, 373, runs=800)
    assert passes <= ALPHA + 3 * math.sqrt(ALPHA / 800)
    passes, fails = settled(0.1, 0.9, 373)
    assert passes == 0
    assert fails >= 0.9, "great harm is proved, too"


def test_bounds_hold_the_truth_at_all_looks() -> None:
    kinds = simulate(200, 200, 0.5, 0.4, accuracy=1.0)
    for criterion, truth in (("lost_fraud", (0.4 - 0.5) / 2 * 0.3), ("insults", (0.5 - 0.6) / 2 * 0.3)):
        every_look = counted(kinds)
        tenth = LabelledPairs(*(getattr(every_look, name)[:, ::10] for name in LabelledPairs.__dataclass_fields__))
        found = claim(criterion, tenth, SUMS).interval(0.01)
        wrong = ((found.low > truth) | (found.high < truth)).any(axis=(1, 2))
        assert wrong.mean() <= 2 * 0.01 + 3 * math.sqrt(0.02 / 200)
        assert (found.high - found.low)[:, -1].max() < 0.2


def test_money_and_counts_of_equal_amounts_say_the_same() -> None:
    pairs = counted(simulate(1, 100, 0.6, 0.3))
    count, money = (claim(name, pairs, SUMS).estimate[0, -1, 0] for name in ("lost_fraud", "lost_fraud_amount"))
    assert count == pytest.approx(money)


def test_no_label_is_needed_where_no_disagreement_could_do_such_harm() -> None:
    none = labelled([], [], ["all"], 1000)
    small = sums_of(9900, 100, 2000)
    assert claim("lost_fraud", none, small).log_within() == math.inf, "live alone blocks 1 %"
    assert claim("insults", none, small).log_within() < BAR
    bounds = claim("insults", none, small).interval(ALPHA)
    assert (bounds.low[0], bounds.high[0]) == pytest.approx((-0.01, 0.2)), "best and worst case"
    empty = claim("lost_fraud", none, sums_of(0, 0, 0))
    assert not empty.log_within() >= BAR
    assert not empty.log_beyond() >= BAR


def test_what_nobody_can_tell_counts_against_a_pass_and_against_a_failure() -> None:
    cases = [a_case(n, live_only=True) for n in range(60)]
    legit = labelled(cases, reviewed(*[State.LEGIT] * 60), ["all"], 1e6)
    unsure = labelled(cases, reviewed(*[State.UNSURE] * 60), ["all"], 1e6)
    fraud = labelled(cases, reviewed(*[State.FRAUD] * 60), ["all"], 1e6)
    logs = {name: claim("lost_fraud", pairs, SUMS) for name, pairs in
            {"legit": legit, "unsure": unsure, "fraud": fraud}.items()}  # fmt: skip
    assert logs["unsure"].log_within() == logs["fraud"].log_within() < 0 < logs["legit"].log_within()
    assert logs["unsure"].log_beyond() == logs["legit"].log_beyond() < 0 < logs["fraud"].log_beyond()


STATES = st.sampled_from([State.FRAUD, State.LEGIT, State.UNSURE, State.PENDING, State.CONTRADICTORY])


@given(st.lists(STATES, max_size=12))
def test_only_what_is_answered_in_turn_counts(states: list[State]) -> None:
    cases = [a_case(n) for n in range(len(states))]
    done, waiting, threshold = in_turn(cases, states, "all")
    assert done == list(range(len(done)))
    assert all(states[at] in ANSWERED for at in done)
    assert waiting == [at for at, state in enumerate(states) if state not in ANSWERED]
    assert threshold == (cases[waiting[0]].hash if waiting else 1.0)
    assert labelled(cases, reviewed(*states), ["all"], 1e6).reviewed.tolist() == [len(done)]


def test_of_a_card_and_day_one_case_counts() -> None:
    same = [a_case(0), a_case(1, card="card-0", occurred_ms=1), a_case(2, card="card-0")]  # type: ignore[arg-type]
    done, _, _ = in_turn(same, [State.FRAUD] * 3, "all")
    assert done == [0, 2]


def test_segments_wait_each_for_their_own_turn() -> None:
    cases = [a_case(0, segments=("all", "c=DE")), a_case(1, segments=("all", "c=FR"))]
    found = labelled(cases, reviewed(State.PENDING, State.FRAUD), ["all", "c=DE", "c=FR"], 1e6)
    assert found.reviewed.tolist() == [0, 0, 1], "marked out of turn for all, in turn for FR"


def test_weights_undo_what_sampling_did() -> None:
    """Live-only cases are kept one in ten, others all: the weighted share of fraud is that of all disagreements."""
    chance = np.random.default_rng(3)
    estimates = []
    for _ in range(100):
        hashes = np.sort(chance.random(600))
        live_only = chance.random(600) < 0.7
        inclusion = np.where(live_only, 0.1, 1.0)
        cases = [
            a_case(n, bool(live_only[n]), hash=float(hashes[n]), inclusion=float(inclusion[n]))
            for n in range(600)
            if hashes[n] < inclusion[n]
        ]
        states = [State.FRAUD if case.is_live_only else State.LEGIT for case in cases]
        pairs = labelled(cases, reviewed(*states), ["all"], 1e6)
        estimates.append(pairs.counts[0, 0] / pairs.counts[0].sum())
        assert pairs.counts[0].max() <= len(cases)
    assert np.mean(estimates) == pytest.approx(0.7, abs=0.02)


def test_amounts_are_cut_at_the_cap() -> None:
    cases = [a_case(0, minor=250), a_case(1, minor=4_000)]
    pairs = labelled(cases, reviewed(State.FRAUD, State.FRAUD), ["all"], 1000)
    assert pairs.money[0].tolist() == [1.25, 0, 0, 0, 0, 0]
    assert pairs.money_squares[0].tolist() == [1.0625, 0, 0, 0, 0, 0]


def test_chargebacks_bound_the_harm_from_one_side() -> None:
    part = SegmentTotals(counts=np.array([0, 80, 20, 10]))
    cases = [a_case(n, live_only=n % 2 == 0) for n in range(8)]
    known = [Known(State.FRAUD if n in (1, 3) else State.PENDING, State.PENDING) for n in range(8)]
    known[1] = Known(State.FRAUD, State.LEGIT)
    bounds = chargeback_bounds(cases, known, "all", part)
    assert bounds is not None
    assert (bounds.best, bounds.confirmed, bounds.differ) == (-0.1, 0.5, 1)
    assert bounds.worst == pytest.approx(0.2 - 0.5 * 0.1)
    assert chargeback_bounds(cases, known, "all", SegmentTotals()) is None


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.sampled_from(["c=DE", "c=FR", "c=GB"]), STATES), max_size=20), st.data())
def test_the_queue_gives_each_waiting_case_once_the_most_open_segment_first(
    rows: list[tuple[str, State]], data: st.DataObject
) -> None:
    cases = [a_case(n, segments=("all", segment)) for n, (segment, _) in enumerate(rows)]
    states = [state for _, state in rows]
    sums = Sums(
        np.tile(SUMS.counts, (3, 1)), np.tile(SUMS.capped, (3, 1)), np.tile(SUMS.squares, (3, 1)),
        np.tile(SUMS.pairs, (3, 1)), np.zeros(3),
    )  # fmt: skip
    names = ["c=DE", "c=FR", "c=GB"]
    asked = data.draw(st.sets(st.sampled_from(names)))
    claims = [
        replace(one, limit=np.full(3, 0.05))
        for one in label_claims(labelled(cases, reviewed(*states), names, 1e6), sums, RELEASE)
    ]
    wanted = needs(claims, asked, names, BAR)
    assert {need.segment for need in wanted} == asked
    given_out = turns(cases, states, wanted)
    handed = [case.transaction for case, _ in given_out]
    assert len(handed) == len(set(handed))
    waiting = {
        c.transaction for c, s in zip(cases, states, strict=True) if s not in ANSWERED and c.segments[1] in asked
    }
    assert set(handed) == waiting
    for segment in asked:
        mine = [case.hash for case, of in given_out if of == segment]
        assert mine == sorted(mine), "out of its order"
    if given_out:
        least = min(need.settled for need in wanted if need.segment in {of for _, of in given_out})
        (first,) = [need for need in wanted if need.segment == given_out[0][1]]
        assert first.settled == least


def test_how_many_more_is_told_where_it_is_in_sight() -> None:
    cases = [a_case(n, live_only=n % 2 == 0) for n in range(60)]
    states = [State.FRAUD if n % 2 else State.LEGIT for n in range(60)]
    pairs = labelled(cases, reviewed(*states), ["all"], 1e6)
    lost = [claim("lost_fraud", pairs, SUMS, limit=0.001)]
    (need,) = needs(lost, ["all"], ["all"], 12 * BAR)
    assert need.reviewed == 60
    assert need.more is not None
    assert 0 < need.more < 600
    (hopeless,) = needs([claim("lost_fraud", labelled([], [], ["all"], 1), SUMS)], ["all"], ["all"], BAR)
    assert (hopeless.more, hopeless.settled) == (None, 0.0)
    (done,) = needs([claim("lost_fraud", pairs, SUMS, limit=0.5)], ["all"], ["all"], BAR)
    assert (done.settled, done.more) == (1.0, 0)
