"""What a run says of the new live model is what a run with the sides exchanged would have counted."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from harness.totals import RELEASE, a_run, part
from shadow.comparison.case import Case
from shadow.comparison.outcome import Outcome
from shadow.comparison.totals import CAP_PARTS, RunTotals, SegmentTotals
from shadow.gate.criteria import Criterion, Release, parse
from shadow.gate.evidence import Evidence, judged
from shadow.gate.findings import Decision, Judgement, Verdict
from shadow.gate.mirror import mirrored, mirrored_segment, mirrored_totals, watch_criteria
from shadow.labels.label import Known, State
from study.card_days import card_days

BLOCKED = st.lists(
    st.tuples(
        st.integers(0, 6),  # card-day
        st.integers(0, 2),  # both, live alone, the candidate alone
        st.integers(1, 4 * CAP_PARTS),
    ),
    max_size=30,
)


def counted(blocked: list[tuple[int, int, int]]) -> SegmentTotals:
    """As the study counts it, by code of its own."""
    card_day, side, parts = np.array(blocked, dtype=np.int64).reshape(-1, 3).T
    zeros = np.zeros(len(card_day), dtype=np.int64)
    found = card_days(card_day, zeros, zeros[:, None], side, parts.astype(float), 1, 1)
    counts = np.bincount(side, minlength=3)
    capped = np.bincount(side, np.minimum(parts, CAP_PARTS), minlength=3).astype(np.int64)
    return SegmentTotals(
        counts=np.array([100, *counts]),
        capped=capped,
        **{name: value[-1, 0].astype(np.int64) for name, value in found.items()},
    )


def exchanged(blocked: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    return [(card_day, (0, 2, 1)[side], parts) for card_day, side, parts in blocked]


@given(BLOCKED)
def test_sums_are_those_of_the_sides_exchanged(blocked: list[tuple[int, int, int]]) -> None:
    found, expected = mirrored_segment(counted(blocked)), counted(exchanged(blocked))
    for name in ("counts", "capped", "cells"):
        assert getattr(found, name).tolist() == getattr(expected, name).tolist(), name
    assert found.money[0].tolist() == expected.money[0].tolist()
    assert found.tops[0, :2].tolist() == expected.tops[0, :2].tolist()
    assert expected.tops[0, 2] <= found.tops[0, 2] <= CAP_PARTS, "a bound on the heaviest, as tight as is known"


@given(BLOCKED)
def test_twice_exchanged_is_what_it_was(blocked: list[tuple[int, int, int]]) -> None:
    before = counted(blocked)
    after = mirrored_segment(mirrored_segment(before))
    for name in ("counts", "minor", "capped", "cells"):
        assert getattr(after, name).tolist() == getattr(before, name).tolist(), name
    assert after.money[0].tolist() == before.money[0].tolist()


def after_release(
    totals: RunTotals, cases: tuple[Case, ...] = (), known: tuple[Known, ...] = (), release: Release = RELEASE
) -> Judgement:
    return judged(mirrored(Evidence(totals, None, "", 100.0, cases, known, None)), watch_criteria(release))


def failed(judgement: Judgement) -> set[tuple[str, str]]:
    return {(f.criterion, f.segment) for f in judgement.findings if f.verdict is Verdict.FAIL}


def test_a_live_model_that_lets_through_what_the_former_one_blocked_is_worse() -> None:
    """The shadow of the former model alone blocks a third of what it blocks, in one country."""
    judgement = after_release(a_run(FR=part(30_000, 1000, 20, 520)))
    assert judgement.decision is Decision.REJECT
    assert (Criterion.FEWER_BLOCKS, "country=FR") in failed(judgement)
    assert all("FR" in segment or segment in ("all", "amount=<500") for _, segment in failed(judgement))


def test_a_live_model_that_blocks_much_more_than_the_former_one_is_worse() -> None:
    judgement = after_release(a_run(DE=part(60_000, 1900, 5000, 50)))
    assert (Criterion.MORE_BLOCKS, "country=DE") in failed(judgement)


def test_nothing_is_found_where_the_models_are_twins() -> None:
    judgement = after_release(a_run())
    assert judgement.decision is Decision.HOLD
    assert not failed(judgement)


def test_what_the_former_model_could_not_score_or_read_says_nothing_of_live() -> None:
    totals = a_run(DE=part(60_000, 1900, 100, 100, errors=20_000), gap=50_000, conflicts=3)
    assert not failed(after_release(totals))


def test_reviews_count_against_the_model_that_is_live_now() -> None:
    """Live blocks 700 alone, all of honest customers; what is live now is the candidate of before."""
    totals = a_run(DE=part(60_000, 1900, 700, 700))
    cases = tuple(
        Case(str(n), Outcome.LIVE_ONLY, 5000, 0, f"card{n}", ("all", "country=DE"), n / 1500, 0, n) for n in range(600)
    )
    honest = tuple(Known(State.PENDING, State.LEGIT) for _ in cases)
    found = failed(after_release(totals, cases, honest))
    assert (Criterion.INSULTS, "country=DE") in found
    fraud = tuple(Known(State.PENDING, State.FRAUD) for _ in cases)
    assert not failed(after_release(totals, cases, fraud)), "it catches what the former model would not"


def test_the_limits_are_those_of_the_release_and_the_rest_gives_way() -> None:
    release = parse(
        "schema: 1\nsegments:\n  country: {field: country, values: [DE, FR]}\nminimum_covered_hours: 500\n"
        "overall: {maximum_fewer_blocks: 0.07, minimum_transactions: 90000}\n"
        "exceptions: {country=FR: {maximum_insults: 0.5, minimum_coverage: 1.0}}\n"
    )
    found = watch_criteria(release)
    assert found.overall.maximum_fewer_blocks == 0.07
    assert found.exceptions["country=FR"].maximum_insults == 0.5
    assert found.segments.names == release.segments.names
    assert found.implied == release.implied
    assert found.overall.minimum_transactions == found.exceptions["country=FR"].minimum_transactions == 1
    assert (found.minimum_covered_hours, found.promote_error) == (1, release.promote_error)


def test_the_models_of_a_run_change_places() -> None:
    before = RunTotals(a_run().run, {}, 3, errors=2, live_digest="a" * 64, candidate_digest="b" * 64, gap=1)
    after = mirrored_totals(before)
    assert (after.live_digest, after.candidate_digest) == ("b" * 64, "a" * 64)
    assert (after.errors, after.gap, after.run) == (0, 0, before.run)
