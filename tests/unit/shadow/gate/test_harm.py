"""Harm by labels: an unbiased sample, bounds that hold at every look, and power."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from harness.cases import a_case
from harness.totals import of_cards
from shadow.comparison.totals import SegmentTotals
from shadow.gate.criteria import Criterion, Release
from shadow.gate.harm import (
    KINDS,
    HarmClaim,
    LabelClaim,
    LabelledPairs,
    chargeback_bounds,
    harm_claims,
    label_claims,
    labelled,
    labels_wanted,
    needs,
)
from shadow.gate.measure import RunProgress, measure
from shadow.gate.sums import Sums
from shadow.labels.label import Known, State

RELEASE = Release.model_validate({"schema": 1})
ALPHA = 1 / 200
BAR = -math.log(ALPHA)


def reviewed(*states: State) -> list[Known]:
    return [Known(State.PENDING, state) for state in states]


def sums_of(both: int, live_only: int, candidate_only: int) -> Sums:
    """One segment, every card once, 100 minor units each under a cap of 1000."""
    counts = np.array([[1e6, both, live_only, candidate_only]])
    cards = {name: np.array([value], dtype=float) for name, value in of_cards(counts[0, 1:], 100).items()}
    return Sums(counts=counts, capped=100 * counts[:, 1:], errors=np.zeros(1), **cards)


def everywhere(sums: Sums) -> Sums:
    """The same in each of RELEASE's segments."""
    n = len(RELEASE.segments.names)
    return Sums(**{name: np.repeat(getattr(sums, name), n, axis=0) for name in Sums.__dataclass_fields__})


def claim(criterion: str, pairs: LabelledPairs, sums: Sums, limit: float = 0.05) -> LabelClaim:
    (found,) = (one for one in label_claims(pairs, sums, RELEASE) if one.criterion == criterion)
    return replace(found, limit=np.array([limit]), tight=np.array([limit]))


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


@pytest.mark.slow
def test_a_model_at_the_limit_or_beyond_hardly_ever_passes_at_any_look() -> None:
    at_margin = 0.45 + 2 * 0.05 / 0.3 / 0.9  # reviewers who are wrong in one of twenty see 0.9 of a difference
    passes, _ = settled(0.45, at_margin, 373, runs=800)
    assert passes <= ALPHA + 3 * math.sqrt(ALPHA / 800)
    passes, fails = settled(0.1, 0.9, 373)
    assert passes == 0
    assert fails >= 0.9, "great harm is proved, too"


def test_bounds_contain_the_truth_at_every_look() -> None:
    kinds = simulate(200, 200, 0.5, 0.4, accuracy=1.0)
    for criterion, truth in (("lost_fraud", (0.4 - 0.5) / 2 * 0.3), ("insults", (0.5 - 0.6) / 2 * 0.3)):
        every_look = counted(kinds)
        tenth = LabelledPairs(*(getattr(every_look, name)[:, ::10] for name in LabelledPairs.__dataclass_fields__))
        found = claim(criterion, tenth, SUMS).interval(0.01)
        wrong = ((found.low > truth) | (found.high < truth)).any(axis=(1, 2))
        assert wrong.mean() <= 2 * 0.01 + 3 * math.sqrt(0.02 / 200)
        assert (found.high - found.low)[:, -1].max() < 0.2


def test_with_equal_amounts_money_and_counts_agree() -> None:
    pairs = counted(simulate(1, 100, 0.6, 0.3))
    count, money = (claim(name, pairs, SUMS).estimate[0, -1, 0] for name in ("lost_fraud", "lost_fraud_amount"))
    assert count == pytest.approx(money)


def test_no_label_is_needed_where_evidence_bounds_the_side_that_could_do_the_harm() -> None:
    """Each side by itself, beyond the control: 1 % more than a twin loses is no harm, 19 % more than it adds may be."""
    candidate, twin = everywhere(sums_of(9700, 200, 2000)), everywhere(sums_of(9800, 100, 100))
    found = {c.criterion: c for c in harm_claims((), candidate, twin, RELEASE)}
    assert (found["lost_fraud"].log_by_side() >= BAR).all()
    assert (found["lost_fraud"].log_within() == found["lost_fraud"].log_by_side()).all()
    assert (found["lost_fraud_amount"].log_by_side() >= BAR).all()
    assert found["insults"].log_within()[0] < 0
    assert found["insults_amount"].log_within()[0] < 0
    assert (found["insults"].log_beyond() == 0.0).all(), "without a label nothing is proved against it"
    assert labels_wanted(list(found.values()), candidate, RELEASE).tolist() == [True, True, False, True], (
        "above the cap"
    )
    assert not labels_wanted(harm_claims((), twin, twin, RELEASE), twin, RELEASE).any()
    nothing = everywhere(sums_of(0, 0, 0))
    assert all((c.log_within() < BAR).all() for c in harm_claims((), nothing, nothing, RELEASE))


def test_the_segment_above_the_cap_is_let_off_only_while_nothing_points_to_harm_there() -> None:
    """As many lost as in a twin, or three times as many; unless the file names it, or the floor is not known."""
    usual, worse, twin = (everywhere(sums_of(180 - n, n, 15)) for n in (15, 45, 15))
    band = RELEASE.segments.names.index(str(RELEASE.implied))
    nothing = RunProgress(*(np.array(n) for n in (336, 0, 0)))

    def excused(candidate: Sums, control: Sums | None, release: Release = RELEASE) -> bool:
        rows = measure(candidate, control, nothing, release).rows
        asked = labels_wanted(harm_claims((), candidate, control, release), candidate, release)
        (found,) = {bool(row.excused[band]) for row in rows if row.criterion is not Criterion.RECENT_SCORES}
        assert found != bool(asked[band]), "reviews are asked for where it has to pass"
        assert not any(row.excused[0] for row in rows)
        return found

    assert excused(usual, twin)
    assert not excused(worse, twin)
    assert excused(worse, None)
    named = RELEASE.model_copy(update={"may_stay_insufficient": (f"*: {RELEASE.implied}",)})
    assert excused(worse, twin, named)


def test_a_side_that_is_small_only_by_chance_is_not_enough() -> None:
    """4 of 100 blocks beyond the twin's are below the limit of 5 %, but so few prove nothing."""
    few, many = (
        (everywhere(sums_of(n * 92, n * 8, n * 4)), everywhere(sums_of(n * 96, n * 4, n * 4))) for n in (1, 400)
    )
    for (candidate, twin), is_enough in ((few, False), (many, True)):
        found = harm_claims((), candidate, twin, RELEASE)[0]
        assert found.side.ratio.estimate[0] <= 0.05
        assert bool(found.log_within()[0] >= BAR) == is_enough


def test_without_a_control_all_that_a_side_blocks_counts() -> None:
    candidate = everywhere(sums_of(9990, 10, 600))
    found = {c.criterion: c for c in harm_claims((), candidate, None, RELEASE)}
    assert (found["lost_fraud"].log_within() >= BAR).all()
    assert (found["lost_fraud_amount"].log_within() >= BAR).all()
    assert found["insults"].side.ratio.estimate[0] == pytest.approx(0.06)
    assert (found["insults"].log_within() >= BAR).all()
    assert found["insults"].side.interval(ALPHA / 2).high[0] > 0.06


def rising(gained: int, insulted: int, spared: int = 0) -> tuple[Sums, LabelledPairs]:
    """2,000 blocks of live, and so many reviewed ones that only the candidate blocks, or only live."""
    kinds = np.array([0, gained, spared, insulted, 0, 0], dtype=float)
    pairs = LabelledPairs(kinds, kinds, kinds / 10, kinds / 100, kinds.sum())
    n = len(RELEASE.segments.names)
    pairs = LabelledPairs(*(np.repeat(getattr(pairs, f)[None], n, axis=0) for f in LabelledPairs.__dataclass_fields__))
    return everywhere(sums_of(2000 - spared, spared, gained + insulted)), pairs


def insults_of(*found: int) -> HarmClaim:
    candidate, pairs = rising(*found)
    return harm_claims(label_claims(pairs, candidate, RELEASE), candidate, None, RELEASE)[2]


def test_a_rise_that_is_mostly_fraud_may_insult_up_to_the_whole_limit() -> None:
    """A rise by 30 %, of which 6 % are insults, beyond half of the limit of 10 %; or by 13 %, of which 6 % are."""
    mostly, hardly = insults_of(480, 120), insults_of(140, 120)
    assert mostly.limit[0] == mostly.own[0] == 0.1
    assert mostly.log_within()[0] >= BAR
    assert hardly.limit[0] == 0.05
    assert hardly.log_within()[0] < 0
    assert insults_of(480, 240).log_within()[0] < 0, "beyond its limit, however much fraud is caught"
    assert insults_of(480, 10).log_within()[0] >= BAR
    within = insults_of(60, 20)
    assert within.limit[0] == 0.1, "no rise beyond the limit on blocks"
    assert not within.spent.any()


def test_fraud_that_is_caught_helps_insults_near_half_of_their_limit() -> None:
    """Two kinds of evidence that share the fortune: neither is enough by itself here."""
    found = insults_of(150, 66)
    assert found.limit[0] == 0.05
    alone = replace(found, other=np.full(4, -np.inf))
    assert found.log_within()[0] > alone.log_within()[0]
    assert found.log_within()[0] <= found._within(found.own)[0] + found.spent[0]


def test_a_rise_with_too_many_insults_hardly_ever_passes_at_any_look() -> None:
    """Insults at half of their limit, and 1.5 frauds for each: 12.5 % more blocks, judged after every tenth review."""
    chance, runs, looks = np.random.default_rng(3), 1000, 40
    daily = [chance.poisson(mean, (runs, looks)).cumsum(axis=1) for mean in (70, 70 * 0.05 * 1.5, 70 * 0.05)]
    blocks, gained, insulted = (np.asarray(part, dtype=float)[..., None] for part in daily)
    n = len(RELEASE.segments.names)
    kinds = np.zeros((runs, looks, n, 6))
    kinds[..., 1], kinds[..., 3] = gained, insulted
    pairs = LabelledPairs(kinds, kinds, kinds / 10, kinds / 100, kinds.sum(axis=-1))
    counts = np.stack([blocks * 0, blocks, blocks * 0, gained + insulted], axis=-1)
    cells = np.zeros((*counts.shape[:-1], 8))
    cells[..., 1], cells[..., 4] = counts[..., 1], counts[..., 3]
    whole = Sums(
        *(
            np.broadcast_to(part, (runs, looks, n, *part.shape[3:]))
            for part in (counts, counts[..., 1:], cells, np.zeros((1, 1, 1, 2, 11)), np.zeros((1, 1, 1, 2, 3)))
        ),
        np.zeros((runs, looks, n)),
    )
    found = harm_claims(label_claims(pairs, whole, RELEASE), whole, None, RELEASE)[2]
    passes = (found.log_within()[..., 0] >= BAR) & (found.spent[..., 0] > 0)
    assert passes.any(axis=1).mean() <= ALPHA + 3 * math.sqrt(ALPHA / runs)


@pytest.mark.slow
def test_the_bound_of_a_harm_is_within_its_limit_where_it_passes() -> None:
    """Labels and the size of the disagreement are one fortune: the bound follows from both, as the verdict does."""
    passes = 0
    for lost in range(0, 60, 3):
        candidate, twin = everywhere(sums_of(970, 30 + lost, 30)), everywhere(sums_of(970, 30, 30))
        kinds = np.zeros((4, 6))
        kinds[:, [0, 1, 2, 3]] = lost / 2, 10, 15, 10
        pairs = LabelledPairs(kinds, kinds, kinds / 10, kinds / 100, kinds.sum(axis=-1))
        for found in harm_claims(label_claims(pairs, candidate, RELEASE), candidate, twin, RELEASE):
            is_within = found._within(found.limit) >= BAR
            high = found.interval(ALPHA).high
            assert (high[is_within] <= found.limit[is_within] + 1e-6).all()
            assert (high[~is_within] > found.limit[~is_within] - 1e-6).all()
            passes += int(is_within.sum())
    assert 0 < passes < 20 * 4 * 4


def test_an_undecided_case_counts_against_a_pass_and_against_a_failure() -> None:
    cases = [a_case(n, live_only=True) for n in range(60)]
    legit = labelled(cases, reviewed(*[State.LEGIT] * 60), ["all"], 1e6)
    unsure = labelled(cases, reviewed(*[State.UNSURE] * 60), ["all"], 1e6)
    fraud = labelled(cases, reviewed(*[State.FRAUD] * 60), ["all"], 1e6)
    logs = {name: claim("lost_fraud", pairs, SUMS) for name, pairs in
            {"legit": legit, "unsure": unsure, "fraud": fraud}.items()}  # fmt: skip
    assert logs["unsure"].log_within() == logs["fraud"].log_within() < 0 < logs["legit"].log_within()
    assert logs["unsure"].log_beyond() == logs["legit"].log_beyond() < 0 < logs["fraud"].log_beyond()


def test_each_segment_counts_its_cases_in_its_own_order() -> None:
    cases = [a_case(0, segments=("all", "c=DE")), a_case(1, segments=("all", "c=FR"))]
    found = labelled(cases, reviewed(State.PENDING, State.FRAUD), ["all", "c=DE", "c=FR"], 1e6)
    assert found.reviewed.tolist() == [0, 0, 1], "marked out of turn for all, in turn for FR"


def test_weights_correct_for_unequal_sampling() -> None:
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


def test_amounts_are_capped() -> None:
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


def test_the_reviews_that_are_still_needed_are_estimated_where_that_is_possible() -> None:
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


def test_needs_are_of_the_segments_in_which_labels_are_asked_for() -> None:
    names = ["c=DE", "c=FR"]
    sums = Sums(**{name: np.repeat(getattr(SUMS, name), 2, axis=0) for name in Sums.__dataclass_fields__})
    cases = [a_case(n, segments=("all", names[n % 2])) for n in range(6)]
    pairs = labelled(cases, reviewed(*[State.FRAUD] * 4, *[State.PENDING] * 2), names, 1e6)
    claims = [
        replace(one, limit=np.full(2, 0.05), tight=np.full(2, 0.05)) for one in label_claims(pairs, sums, RELEASE)
    ]
    assert [(need.segment, need.reviewed) for need in needs(claims, {"c=FR"}, names, BAR)] == [("c=FR", 2)]
    assert needs(claims, set(), names, BAR) == []
