"""A backtest rests on the runs that say something, refuses what does not fit, and takes labels as they were known."""

from __future__ import annotations

from datetime import date
from types import SimpleNamespace
from typing import Any

import numpy as np
import orjson
import pyarrow.dataset as ds
import pytest

from harness.bundles import BUNDLE, FEATURES, VIEW
from scorer.deployments.records import PublishedView
from scorer.errors import UserError
from scorer.pipeline.money import Currency
from shadow.archive import rows
from shadow.archive.backtest import (
    EPOCH,
    Contender,
    archived_deployments,
    lost_within,
    require_fit,
    verdict,
)
from shadow.archive.stretch import Days
from shadow.archive.votes import votes_of
from shadow.gate.findings import Decision
from shadow.labels.label import parse, vote
from shadow.release.wording import backtested
from unit.shadow.archive.test_rows import a_record

EURO = Currency(code="EUR", digits=2)
FITTING = PublishedView(names=VIEW.names, definitions=VIEW.definitions(VIEW.names), currency=EURO)
LACKING = PublishedView(names=("amount",), definitions=VIEW.definitions(("amount",)), currency=EURO)
JANUARY = Days(date(2026, 1, 1), date(2026, 1, 31), 1_000)


def a_run(decision: Decision, compared: int, why_apart: str | None = None) -> Any:
    return SimpleNamespace(decision=decision, compared=compared, why_apart=why_apart)


def test_the_largest_run_decides_unless_one_rejects() -> None:
    small, large = a_run(Decision.PROMOTE, 10), a_run(Decision.HOLD, 1_000)
    assert verdict([small, large]) == (Decision.HOLD, large)
    rejecting = [a_run(Decision.REJECT, 5), a_run(Decision.REJECT, 50)]
    assert verdict([small, *rejecting, large]) == (Decision.REJECT, rejecting[1])


def test_a_run_that_says_nothing_of_the_candidate_decides_nothing() -> None:
    apart = a_run(Decision.REJECT, 10**6, "live decided by an override, not by a model")
    mine = a_run(Decision.PROMOTE, 10)
    assert verdict([apart, mine]) == (Decision.PROMOTE, mine)
    assert verdict([apart]) is None
    assert verdict([a_run(Decision.PROMOTE, 0)]) is None


def test_nothing_is_called_promoted() -> None:
    for decision in Decision:
        judgement: Any = SimpleNamespace(decision=decision, reason=f"{decision}: so and so")
        told = backtested(judgement)
        assert ("promote" in told) is False
        assert told.endswith("so and so")


def test_a_bundle_that_does_not_fit_a_view_of_the_decisions_is_refused_with_their_days() -> None:
    require_fit(BUNDLE, {"v": FITTING}, {"v": JANUARY, None: JANUARY})
    with pytest.raises(
        UserError, match=r"age is not in the feature view.* 1,000 decisions of 2026-01-01 to 2026-01-31"
    ):
        require_fit(BUNDLE, {"v": FITTING, "w": LACKING}, {"v": JANUARY, "w": JANUARY})
    with pytest.raises(UserError, match="has no feature view w, under which 1,000 decisions"):
        require_fit(BUNDLE, {"v": FITTING}, {"v": JANUARY, "w": JANUARY})


def test_a_few_decisions_that_somebody_else_wrote_keep_nobody_from_a_backtest() -> None:
    require_fit(BUNDLE, {"v": FITTING}, {"v": JANUARY, "made up": Days(JANUARY.first, JANUARY.last, 9)})


def test_views_and_currency_come_from_the_archive_and_a_later_record_wins() -> None:
    records = [
        a_record(0, orjson.dumps({"kind": "change"}), key=b"ledger/00000001-a"),
        a_record(1, LACKING.model_dump_json().encode(), key=b"view/v"),
        a_record(2, b"{", key=b"view/w"),
        a_record(3, FITTING.model_dump_json().encode(), key=b"view/v"),
    ]
    found = archived_deployments(ds.dataset(rows.deployments(0, records)))
    assert found.views == {"v": FITTING}
    assert found.currency == EURO
    assert not found.ledger


def test_what_retention_took_is_told_only_within_the_stretch() -> None:
    stretch: Any = SimpleNamespace(partitions={0: (100, 200), 1: (0, 50)})
    gaps = [
        {"topic": topic, "partition": partition, "first": first, "after": after}
        for topic, partition, first, after in (
            ("decisions", 0, 50, 100), ("decisions", 0, 150, 160), ("decisions", 0, 201, 300), ("labels", 0, 150, 160),
            ("decisions", 1, 40, 60), ("decisions", 7, 150, 160),
        )
    ]  # fmt: skip
    told = lost_within(gaps, "decisions", stretch)
    assert ["150-160" in told[0], "40-60" in told[1], len(told)] == [True, True, 2]


def test_a_contender_scores_as_a_candidate_and_counts_its_time() -> None:
    contender = Contender(BUNDLE.digest, EPOCH, 0.5, BUNDLE, {"v": FITTING})
    matrix = np.random.default_rng(1).normal(size=(50, len(VIEW.names)))
    columns = [VIEW.names.index(name) for name in FEATURES]
    assert np.array_equal(contender.score("v", matrix), BUNDLE.score(np.ascontiguousarray(matrix[:, columns])))
    assert contender.spent[0] > 0
    assert np.isnan(contender.score("unknown", matrix)).all()


def test_labels_count_by_when_they_became_known() -> None:
    body = {"source": "chargeback", "verdict": "fraud", "by": "acquirer"}
    told = [
        {**body, "transaction_id": "t1", "at": "2026-02-01T00:00:00.250Z"},
        {**body, "card_id": "c", "occurred_at": "2026-01-31T12:00:00+02:00", "at": "2026-01-02T00:00:00Z"},
        {**body, "transaction_id": "t3", "at": "2026-01-01T00:00:00Z"},
    ]
    stamps = [1_000_000, 1_770_000_000_000, -1]
    records = [a_record(at, orjson.dumps(one), timestamp=stamps[at]) for at, one in enumerate(told)]
    archived = rows.labels(0, records).to_pylist()
    wanted = [vote(parse(one), stamp) for one, stamp in zip(told, stamps, strict=True)]
    new_year, later = 1_767_225_600_000, 1_768_000_000_000  # the second is given in between, and known after both
    for as_of, which in ((999_999, []), (1_000_000, [0]), (new_year, [0, 2]), (later, [0, 2]), (stamps[1], [0, 1, 2])):
        assert votes_of(archived, as_of) == [wanted[at] for at in which]
