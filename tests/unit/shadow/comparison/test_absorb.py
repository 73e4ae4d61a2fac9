"""The sums of decisions are those of a count by hand, however the stream is cut or repeated."""

from __future__ import annotations

from collections import Counter
from datetime import date
from itertools import pairwise
from typing import Any

import numpy as np
import orjson
from hypothesis import given
from hypothesis import strategies as st

from harness.decisions import SEGMENTS, Doubling, a_decision, parsed
from shadow.comparison.absorb import absorb
from shadow.comparison.bins import ALLOWED, ALLOWED_MONEY, BLOCKED, BLOCKED_MONEY, LIVE, feature_bins, score_bins
from shadow.comparison.case import Case
from shadow.comparison.histograms import SNAPSHOT_EVERY
from shadow.comparison.increment import Increment, add
from shadow.comparison.memory import Memory
from shadow.comparison.outcome import Outcome
from shadow.comparison.sampling import WHOLE_RUN
from shadow.comparison.tally import merge
from shadow.comparison.totals import CAPPED, COUNTS, LATE, MINOR, Run, event_days
from shadow.labels.label import Known, State, known

#: 2026-01-31 in days since 1970.
DAY = (date(2026, 1, 31) - date(1970, 1, 1)).days


def take(rows: list[dict[str, Any]], memory: Memory | None = None, candidate: Doubling | None = None) -> Increment:
    return absorb(parsed(rows), candidate or Doubling(), memory or Memory(), SEGMENTS, {}, 100.0, 5000)


anything = st.fixed_dictionaries(
    {
        "decision": st.sampled_from(["allow", "block"]),
        "features": st.sampled_from([[0.1], [0.5], [0.9], [None]]),
        "country": st.sampled_from(["DE", "FR"]),
        "epoch": st.sampled_from([1, 2]),
        "amount_minor": st.integers(0, 10**12),
        "occurred_at": st.sampled_from(["2026-01-31T12:00:00Z", "2026-01-31T11:59:59Z", "2020-01-01T00:00:00Z"]),
    }
)


def by_hand(rows: list[dict[str, Any]]) -> Counter[tuple[Run, int, str, str]]:
    """Counts and money by run, hour, segment and outcome, one row at a time."""
    found: Counter[tuple[Run, int, str, str]] = Counter()
    for row in rows:
        run = Run(row["epoch"], 1)
        hours = {"2026-01-31T12": DAY * 24 + 12, "2026-01-31T11": DAY * 24 + 11, "2020-01-01T00": LATE}
        hour = hours[row["transaction"]["occurred_at"][:13]]
        score = row["features"][0]
        for segment in ("all", "country=DE" if row["transaction"]["country"] == "DE" else "country=other"):
            if score is None:
                found[run, hour, segment, "error"] += 1
                continue
            pair = (row["decision"] == "block", score >= 0.5)
            names = {(0, 0): "both_allow", (1, 1): "both_block", (1, 0): "live_only", (0, 1): "candidate_only"}
            found[run, hour, segment, names[pair]] += 1
            found[run, hour, segment, f"minor {names[pair]}"] += row["amount_minor"]
    return found


def unpacked(advance: Increment) -> Counter[tuple[Run, int, str, str]]:
    found: Counter[tuple[Run, int, str, str]] = Counter()
    for (run, hour), sums in advance.tallies.items():
        for at, segment in enumerate(SEGMENTS.names):
            for code, outcome in enumerate(o.key for o in Outcome):
                found[run, hour, segment, outcome] += int(sums[at, code])
                found[run, hour, segment, f"minor {outcome}"] += int(sums[at, 4 + code])
            found[run, hour, segment, "error"] += int(sums[at, -1])
    return +found


@given(st.lists(anything, max_size=25))
def test_sums_are_those_of_a_count_by_hand(changes: list[dict[str, Any]]) -> None:
    rows = [a_decision(at, **change) for at, change in enumerate(changes)]
    assert unpacked(take(rows)) == +by_hand(rows)


@given(st.lists(anything, min_size=1, max_size=25))
def test_histograms_and_tallies_agree(changes: list[dict[str, Any]]) -> None:
    rows = [a_decision(at, **change) for at, change in enumerate(changes)]
    found = take(rows)
    by_day: dict[tuple[Run, int], Any] = {}
    for (run, hour), sums in found.tallies.items():
        merge(by_day, {(run, int(event_days(np.array(hour)))): sums})
    assert {key for key, sums in by_day.items() if sums[:, :4].any()} == found.histograms.keys()
    for key, scores in found.histograms.items():
        allow, both, lost, added = np.moveaxis(by_day[key][:, :4], -1, 0)
        assert (scores[:, LIVE].sum(axis=1) == allow + both + lost + added).all()
        assert (scores[:, ALLOWED].sum(axis=1) == allow + added).all()
        assert (scores[:, BLOCKED].sum(axis=1) == both + lost).all()
        minor = by_day[key][:, 4:8]
        assert (scores[:, ALLOWED_MONEY].sum(axis=1) == minor[:, 0] + minor[:, 3]).all()
        assert (scores[:, BLOCKED_MONEY].sum(axis=1) == minor[:, 1] + minor[:, 2]).all()
        at = int(score_bins(np.array([0.5]))[0])  # the threshold is the lower edge of a bin, so bins say who blocks
        assert (scores[:, ALLOWED, at:].sum(axis=1) == added).all()
        assert (scores[:, BLOCKED, :at].sum(axis=1) == lost).all()


@given(st.lists(anything, min_size=1, max_size=25))
def test_every_fourth_snapshot_is_counted_even_if_it_is_not_scored(changes: list[dict[str, Any]]) -> None:
    rows = [a_decision(at, **change) for at, change in enumerate(changes)]
    wanted: Counter[tuple[Run, int, int]] = Counter()
    for row in rows[::SNAPSHOT_EVERY]:
        day = -1 if row["transaction"]["occurred_at"].startswith("2020") else DAY
        value = np.array(row["features"], dtype=float)
        wanted[Run(row["epoch"], 1), day, int(feature_bins(value)[0])] += 1
    found = {
        (run, day, at): int(count)
        for (run, day, view), sums in take(rows).snapshots.items()
        for at, count in enumerate(sums[0])
        if count and view == "v"
    }
    assert found == dict(wanted)


@given(st.lists(anything, max_size=25), st.sets(st.integers(1, 24)))
def test_the_sums_of_a_stream_do_not_depend_on_how_it_is_cut(changes: list[dict[str, Any]], cuts: set[int]) -> None:
    rows = [a_decision(at, **change) for at, change in enumerate(changes)]
    whole = take(rows)
    parts, memory = Increment(), Memory()
    edges = [0, *sorted(cut for cut in cuts if cut < len(rows)), len(rows)]
    for start, end in pairwise(edges):
        decisions = parsed(rows[start:end], start)
        add(parts, absorb(decisions, Doubling(), memory, SEGMENTS, {}, 100.0, 5000))
    assert unpacked(parts) == unpacked(whole)
    for ours, theirs in ((parts.histograms, whole.histograms), (parts.snapshots, whole.snapshots)):
        assert ours.keys() == theirs.keys()
        assert all((ours[key] == theirs[key]).all() for key in theirs)
    assert parts.blocked == whole.blocked
    assert parts.source == whole.source
    assert {run: texts["first_offset"] for run, texts in parts.meta.items()} == {
        run: texts["first_offset"] for run, texts in whole.meta.items()
    }
    assert parts.reach == whole.reach


@given(st.lists(st.integers(0, 5), min_size=1, max_size=20))
def test_a_transaction_that_was_decided_before_counts_as_a_duplicate_only(sources: list[int]) -> None:
    rows = [a_decision(source) for source in sources]
    found = take(rows)
    highest, fresh = -1, 0
    for source in sources:
        fresh += source > highest
        highest = max(highest, source)
    counters = found.counters[Run(1, 1)]
    assert sum(int(sums[0, :4].sum()) for sums in found.tallies.values()) == fresh
    assert counters["duplicates"] == len(sources) - fresh
    assert counters["conflicts"] == 0


def test_another_score_under_the_same_epoch_counts_as_a_conflict() -> None:
    first = a_decision(5)
    same, later = a_decision(5, scored_at="2026-01-31T12:00:09Z"), a_decision(5, score=0.75, epoch=2)
    assert take([first, same, later]).counters[Run(1, 1)]["conflicts"] == 0
    assert take([first, a_decision(5, score=0.75)]).counters[Run(1, 1)]["conflicts"] == 1
    memory = Memory()
    take([first], memory)
    assert take([a_decision(5, score=0.75)], memory).counters[Run(1, 1)]["conflicts"] == 1
    silent = a_decision(6, score=None)
    assert take([silent, silent]).counters[Run(1, 1)]["conflicts"] == 0


def test_a_repeat_is_counted_and_not_compared() -> None:
    found = take([a_decision(1), a_decision(2, repeat=True)])
    assert found.counters[Run(1, 1)]["repeats"] == 1
    assert sum(int(sums[0, :4].sum()) for sums in found.tallies.values()) == 1


def test_a_refund_is_counted_and_not_compared() -> None:
    refund = a_decision(2, score=None, refund=True, amount_minor=-500)
    refund["transaction"]["amount"] = -5.0
    found = take([a_decision(1), refund, refund | {"repeat": True}, a_decision(3)])
    counters = found.counters[Run(1, 1)]
    assert (counters["refunds"], counters["duplicates"], counters["repeats"]) == (1, 1, 0)
    assert sum(int(sums[0, :4].sum()) for sums in found.tallies.values()) == 2
    assert found.unreadable == 0


def test_a_credit_is_compared_and_moves_no_money() -> None:
    credit = a_decision(2, decision="block", features=[0.9], amount_minor=-500)
    credit["transaction"]["amount"] = -5.0
    found = take([credit])
    (sums,) = found.tallies.values()
    assert sums[0, COUNTS][Outcome.BOTH_BLOCK] == sums[0, COUNTS].sum() == 1
    assert sums[0, MINOR].sum() == sums[0, CAPPED].sum() == 0
    assert [one.parts for one in found.blocked] == [0]


def test_decisions_for_an_empty_slot_are_skipped() -> None:
    found = absorb(parsed([a_decision(1), a_decision(2)]), None, Memory(), SEGMENTS, {}, 100.0, 5000)
    assert (found.skipped, found.tallies, found.source) == (2, {}, 2)


def test_what_either_model_blocks_is_named_by_card_and_day_with_its_amount() -> None:
    both = a_decision(4, decision="block", features=[0.9])
    found = take([a_decision(1, features=[0.9]), a_decision(2, decision="block"), a_decision(3), both])
    assert [(one.card_day[1], one.outcome, one.parts, one.segments) for one in found.blocked] == [
        (DAY, outcome, 20, (0, 1)) for outcome in (Outcome.CANDIDATE_ONLY, Outcome.LIVE_ONLY, Outcome.BOTH_BLOCK)
    ]
    assert found.blocked[0].card != found.blocked[1].card
    assert "card" not in found.blocked[0].card, "a card in the clear"


def test_a_sample_holds_what_both_models_decided() -> None:
    sample, _ = take([a_decision(7, features=[0.9])]).samples
    body = orjson.loads(sample.body)
    assert (body["outcome"], body["gap"], body["run"]) == ("candidate_only", 0.65, "L1-C1")
    assert body["live"] == {"score": 0.25, "threshold": 0.5, "decision": "allow", "bundle": "b" * 64, "epoch": 1}
    assert body["candidate"]["decision"] == "block"
    assert body["segments"] == ["all", "country=DE"]
    assert sample.source == 7


def test_a_disagreement_is_also_a_case_and_an_agreement_is_not() -> None:
    sample, case = take([a_decision(7, features=[0.9])]).samples
    assert {stratum[1] for stratum in case.strata} == {WHOLE_RUN}
    assert {(run, code, segment) for run, _, code, segment in case.strata} == {
        (run, code, segment) for run, _, code, segment in sample.strata
    }
    found = Case.decode(case.body, 0, 1.0)
    body = orjson.loads(sample.body)
    assert (found.transaction, found.minor, found.hash) == (body["transaction_id"], body["amount_minor"], body["hash"])
    assert (found.outcome, found.segments, found.offset) == (
        Outcome.CANDIDATE_ONLY,
        ("all", "country=DE"),
        sample.source,
    )
    assert found.day == sample.strata[0][1], "its sample is not found"
    assert body["card_id"] not in case.body.decode(), "a card in the clear"
    (agreement,) = take([a_decision(7, features=[0.1])]).samples
    assert orjson.loads(agreement.body)["outcome"] == "both_allow"


@given(st.lists(anything, min_size=1, max_size=25), st.lists(st.booleans(), min_size=25, max_size=25))
def test_a_released_would_be_block_counts_as_a_block_of_live_everywhere(
    changes: list[dict[str, Any]], drawn: list[bool]
) -> None:
    """Sums, samples and cases are those of the stream in which nothing was released, but for the mark of samples."""
    plain = [a_decision(at, **change) for at, change in enumerate(changes)]
    explored = [
        {**row, "release_probability": 0.2, "decision": "allow"} if row["decision"] == "block" and is_drawn else row
        for row, is_drawn in zip(plain, drawn, strict=False)
    ]
    ours, theirs = take(explored), take(plain)
    assert unpacked(ours) == unpacked(theirs)
    assert ours.blocked == theirs.blocked
    released = {row["transaction"]["transaction_id"] for row in explored if "release_probability" in row}
    kept, expected = ([orjson.loads(one.body) for one in each.samples] for each in (ours, theirs))
    for one in kept:
        if isinstance(one, dict):  # a sample, and not a case
            assert one["released"] == (one["transaction_id"] in released)
            one["released"] = False
    assert kept == expected


def test_no_chargeback_counts_on_a_released_would_be_block() -> None:
    """It is a case of a block of live, and there only reviews decide: most blocks can get no chargeback."""
    _, of_case = take([a_decision(0, release_probability=0.2)]).samples  # the candidate allows it
    case = Case.decode(of_case.body, 0, 1.0)
    told = {"chargeback": {"bank": (1, "fraud")}, "review": {"ann": (2, "legit")}}
    assert known(case, [told]) == Known(State.MISPLACED, State.LEGIT)
