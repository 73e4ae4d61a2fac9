"""Queries, explanations and suggestions: what is shown is what was asked for, and nothing is suggested twice."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from scorer.bundle import Bundle, create
from scorer.deployments import Answer, Change, Deployments, Suggestion, Target, encode
from scorer.store import BundleStore
from scorer.view import Attribute, FeatureView
from shadow.criteria import parse
from shadow.explain import Explainer, differences
from shadow.findings import Decision, Judgement
from shadow.labellook import Labels
from shadow.look import Look, judged_slots, present_run, proposal
from shadow.query import Query, select
from shadow.settings import ShadowSettings
from shadow.tally import Run, RunTotals


def a_sample(i: int, **changes: Any) -> dict[str, Any]:
    return {
        "transaction_id": f"t{i}",
        "card_id": f"c{i % 3}",
        "occurred_at": f"2026-01-{1 + i % 28:02}T12:00:00Z",
        "scored_at": f"2026-01-{1 + i % 28:02}T12:00:{i % 60:02}.500Z",
        "outcome": "live_only",
        "amount_minor": 100 * i,
        "gap": -0.5,
        "segments": ["all", "country=DE"],
    } | changes


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


samples = st.lists(
    st.builds(
        a_sample,
        st.integers(0, 500),
        outcome=st.sampled_from(["live_only", "candidate_only", "both_allow", "both_block"]),
        gap=st.one_of(st.none(), st.floats(-1, 1)),
        segments=st.sampled_from([["all", "country=DE"], ["all", "country=FR"]]),
    ),
    max_size=30,
    unique_by=lambda sample: sample["transaction_id"],
)


@given(
    samples,
    st.fixed_dictionaries(
        {},
        optional={
            "direction": st.sampled_from(["live_only", "candidate_only"]),
            "agreements": st.booleans(),
            "segment": st.just("country=FR"),
            "min_amount": st.integers(0, 500).map(float),
            "max_amount": st.integers(0, 500).map(float),
            "min_gap": st.floats(-1, 1),
            "max_gap": st.floats(-1, 1),
            "since": st.just("2026-01-10T00:00:00Z"),
            "until": st.just("2026-01-20T00:00:00Z"),
            "scored_since": st.sampled_from(["2026-01-10T12:00:30Z", "1768046430000"]),
            "scored_until": st.sampled_from(["2026-01-20T12:00:30Z", "1768910430000"]),
            "at": st.sampled_from(["2026-01-15T12:00:00Z", "1768478400000"]),
            "within_seconds": st.sampled_from([10.0, 100_000.0]),
            "card": st.just("c1"),
            "transaction": st.just("t7"),
        },
    ),
)
def test_filters_keep_what_they_say(rows: list[dict[str, Any]], asked: dict[str, Any]) -> None:
    def wanted(row: dict[str, Any]) -> bool:
        tests = {
            "segment": lambda v: v in row["segments"],
            "min_amount": lambda v: row["amount_minor"] / 100 >= v,
            "max_amount": lambda v: row["amount_minor"] / 100 <= v,
            "min_gap": lambda v: row["gap"] is not None and row["gap"] >= v,
            "max_gap": lambda v: row["gap"] is not None and row["gap"] <= v,
            "since": lambda v: row["occurred_at"] >= v,
            "until": lambda v: row["occurred_at"] < v,
            "scored_since": lambda v: row["scored_at"] >= "2026-01-10T12:00:30.000Z",
            "scored_until": lambda v: row["scored_at"] < "2026-01-20T12:00:30.000Z",
            "at": lambda v: abs(seconds(row["scored_at"]) - 1768478400) <= asked.get("within_seconds", 300),
            "within_seconds": lambda v: True,
            "card": lambda v: row["card_id"] == v,
            "transaction": lambda v: row["transaction_id"] == v,
        }
        differs = row["outcome"] in ("live_only", "candidate_only")
        if "direction" in asked:
            good = row["outcome"] == asked["direction"]
        else:
            good = differs or asked.get("agreements", False)
        return good and all(test(asked[name]) for name, test in tests.items() if name in asked)

    page, total = select(rows, Query(**asked, limit=100), 100.0)
    assert {row["transaction_id"] for row in page} == {row["transaction_id"] for row in rows if wanted(row)}
    assert total == len(page)


@given(samples, st.sampled_from(["time", "amount", "gap"]), st.booleans(), st.integers(1, 7))
def test_pages_follow_each_other_in_order(rows: list[dict[str, Any]], sort: Any, ascending: bool, limit: int) -> None:
    query = Query(agreements=True, sort=sort, ascending=ascending, limit=limit)
    pages: list[dict[str, Any]] = []
    while True:
        page, total = select(rows, query.model_copy(update={"after": len(pages)}), 100.0)
        if not page:
            break
        pages += page
    assert total == len(rows) == len(pages)
    keys = {
        "time": lambda r: r["occurred_at"],
        "amount": lambda r: r["amount_minor"],
        "gap": lambda r: abs(r["gap"] or 0),
    }
    found = [keys[sort](row) for row in pages]
    assert found == sorted(found, reverse=not ascending)
    assert len({row["transaction_id"] for row in pages}) == len(rows)


@pytest.mark.parametrize(
    "bad",
    [{"since": "yesterday"}, {"at": "-5"}, {"scored_since": "1.5"}, {"limit": 0}, {"sort": "name"}, {"colour": "red"}],
)
def test_a_query_that_makes_no_sense_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Query(**bad)


VIEW = FeatureView(name="v", attributes=(Attribute(name="age", kind="number"),))


def a_bundle(features: tuple[str, ...], seed: int) -> Bundle:
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(500, len(features)))
    labels = (matrix[:, 0] + 0.3 * rng.normal(size=500) > 0).astype(int)
    fit = {"objective": "binary", "verbosity": -1, "num_leaves": 7}
    booster = lightgbm.train(fit, lightgbm.Dataset(matrix, labels), 10)
    return create(booster.model_to_string().encode(), features, VIEW, 0.5)


def a_view() -> dict[str, Any]:
    return {"names": list(VIEW.names), "definitions": VIEW.definitions(VIEW.names)}


def test_contributions_explain_the_whole_difference() -> None:
    live, candidate = a_bundle(("amount", "age"), 1), a_bundle(("age", "card_count_1h", "amount"), 2)
    row = np.random.default_rng(3).normal(size=len(VIEW.names))
    row[VIEW.names.index("card_count_1h")] = np.nan
    found = differences(live, candidate, a_view(), row)
    sizes = [abs(part["difference"]) for part in found]
    assert sizes == sorted(sizes, reverse=True)
    assert {part["feature"] for part in found} == {"amount", "age", "card_count_1h"}
    only = next(part for part in found if part["feature"] == "card_count_1h")
    assert (only["live"], only["value"]) == (0.0, None)

    def log_odds(bundle: Bundle) -> float:
        score = float(bundle.score(row[[VIEW.names.index(name) for name in bundle.features]][None, :])[0])
        return float(np.log(score / (1 - score)))

    def base(bundle: Bundle) -> float:
        return float(bundle.contributions(np.zeros((1, len(bundle.features))))[0, -1])

    total = sum(part["difference"] for part in found) + base(candidate) - base(live)
    assert total == pytest.approx(log_odds(candidate) - log_odds(live))


def test_an_explanation_without_its_bundle_is_empty(tmp_path: Path) -> None:
    store = BundleStore(str(tmp_path / "store"), tmp_path / "cache")
    live = a_bundle(("amount",), 1)
    store.put(live)
    explainer = Explainer(store)
    sample = {
        "view": "v",
        "features": [0.0] * len(VIEW.names),
        "live": {"bundle": live.digest},
        "candidate": {"bundle": "0" * 64},
    }
    assert explainer.why(sample) == []
    explainer.views = {"v": a_view()}
    assert explainer.why(sample) == []
    sample["candidate"] = {"bundle": live.digest}
    assert [part["difference"] for part in explainer.why(sample)] == [0.0]


# --- suggestions ---

RELEASE = parse("schema: 1")
AT = "2026-01-01T00:00:00+00:00"


def a_ledger(*entries: Any) -> Deployments:
    deployments = Deployments()
    for slot in ("live", "candidate", "control", "previous"):
        fill(deployments, slot, 0)
    for entry in entries:
        deployments.absorb(f"ledger/{deployments.next_seq()}".encode(), encode(entry))
    return deployments


def fill(deployments: Deployments, slot: str, expects: int) -> None:
    target = Target(digest=f"{slot}-{expects}", threshold=0.5)
    change = Change(slots={slot: target}, expects={slot: expects}, by="a", reason="b", cause="deploy", at=AT)
    deployments.absorb(f"ledger/{deployments.next_seq()}".encode(), encode(change))


def seen(decision: Decision = Decision.PROMOTE) -> Look:
    judgement = Judgement(decision, (), 400, 336, "L1-C1")
    return Look("candidate", RunTotals(Run(1, 1), {}, 400), None, judgement, Labels((), (), ()))


def suggest(deployments: Deployments) -> Suggestion | None:
    found = proposal(deployments, seen(), RELEASE, {"digest": "x"})
    if found is not None:
        deployments.absorb(f"ledger/{deployments.next_seq()}".encode(), encode(found))
    return found


def test_only_a_verdict_to_promote_makes_a_suggestion() -> None:
    for decision in (Decision.HOLD, Decision.REJECT):
        assert proposal(a_ledger(), seen(decision), RELEASE, {}) is None
    found = suggest(a_ledger())
    assert found is not None
    assert found.target == Target(digest="candidate-0", threshold=0.5)
    assert found.expects == {"live": 1, "candidate": 1}
    assert found.criteria == RELEASE.digest


def test_a_suggestion_that_stands_or_was_refused_is_not_made_again() -> None:
    deployments = a_ledger()
    assert suggest(deployments) is not None
    assert suggest(deployments) is None
    (line,) = deployments.open_suggestions()
    answer = Answer(suggestion=line.seq, answer="rejected", by="ann", reason="no", at=AT)
    deployments.absorb(f"ledger/{deployments.next_seq()}".encode(), encode(answer))
    assert deployments.open_suggestions() == []
    assert suggest(deployments) is None, "a person said no"
    other = parse("schema: 1\nminimum_covered_hours: 100")
    assert proposal(deployments, seen(), other, {}) is not None, "under other criteria it may ask again"


@pytest.mark.parametrize("slot", ["live", "candidate"])
def test_a_change_of_either_slot_overtakes_a_suggestion(slot: str) -> None:
    deployments = a_ledger()
    suggest(deployments)
    fill(deployments, slot, 1)
    assert deployments.open_suggestions() == []
    assert suggest(deployments) is None, "what was seen is not what is there now"
    run = Run(2, 1) if slot == "live" else Run(1, 2)
    assert proposal(deployments, replace(seen(), candidate=RunTotals(run, {}, 400)), RELEASE, {}) is not None


def test_slots_that_hold_no_candidate_are_not_judged() -> None:
    assert judged_slots(a_ledger(), ShadowSettings()) == ["candidate"]
    assert present_run(a_ledger(), "candidate") == Run(1, 1)
    assert present_run(a_ledger(), "other") is None
