"""Merchant risk: the stream's snapshots are the history's, and nothing of the future is in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from scorer.bundles.manifest import ViewRecord
from scorer.pipeline import merchant_risk
from scorer.pipeline.merchant_risk import Past, Snapshot, as_of
from scorer.pipeline.risk_lookup import Snapshots
from scorer.pipeline.risk_records import Assembly, records
from scorer.pipeline.risk_view import EFFECTIVE_AFTER_MS, Risk, of_definitions
from scorer.pipeline.velocity import id_hashes
from scorer.pipeline.view import Attribute, FeatureView
from scorer.training.making import view_of

HOUR, DAY = 3_600_000, 86_400_000
START = 20_000 * DAY
RISK = Risk(windows=("6h", "1d"), delay_days=1, period="2h", prior=2, most_move=0.25)


@dataclass(frozen=True)
class Paid:
    """A transaction and its label. known_ms: None if it has no label."""

    name: str
    merchant: str
    at_ms: int
    minor: int
    known_ms: int | None


def told(rows: Sequence[Paid], risk: Risk = RISK) -> Any:
    """Features by the function that training calls. rows: in order of time."""
    past = Past(risk)
    codes = past.codes([row.merchant for row in rows])
    return merchant_risk.history(
        past,
        codes,
        np.array([row.at_ms for row in rows], dtype=np.int64),
        np.array([row.minor for row in rows], dtype=np.int64),
        np.array([row.known_ms is not None for row in rows], dtype=np.int8),
        np.array([row.known_ms or 0 for row in rows], dtype=np.int64),
        np.zeros(len(rows), dtype=bool),
        100,
    )


def by_hand(rows: Sequence[Paid], row: Paid) -> list[float]:
    """Features of a transaction by the words of the documentation, one merchant and one window at a time."""
    wanted = int(as_of(RISK, np.array([row.at_ms]))[0])
    first = min(one.at_ms for one in rows) // DAY * DAY
    rates: dict[tuple[str, int], float] = {}
    overall: float | None = None
    out: list[float] = []
    for moment in range(first, wanted + 1, 2 * HOUR):
        end = moment - DAY

        def there(one: Paid, length: int, end: int = end) -> bool:
            return end - length * HOUR <= one.at_ms < end

        def is_fraud(one: Paid, moment: int = moment) -> bool:
            return one.known_ms is not None and one.known_ms < moment

        everybody = [one for one in rows if there(one, 24)]
        if not everybody:
            rates, overall, out = {}, None, [np.nan] * 6
            continue
        now = sum(map(is_fraud, everybody)) / len(everybody)
        was = overall
        overall = now if was is None else min(max(now, was - 0.25), was + 0.25)
        out = []
        for merchant in {one.merchant for one in rows}:
            for length in (6, 24):
                mine = [one for one in rows if one.merchant == merchant and there(one, length)]
                raw = (sum(map(is_fraud, mine)) + 2 * overall) / (len(mine) + 2) if mine else overall
                before = rates.get((merchant, length), overall if was is None else was)
                rate = rates[merchant, length] = min(max(raw, before - 0.25), before + 0.25)
                if merchant == row.merchant:
                    mean = sum(one.minor for one in mine) / 100 / len(mine) if mine else np.nan
                    out += [len(mine), mean, rate]
    return out


def paid(draw: Any, at: int) -> Paid:
    at_ms = START + draw(st.integers(0, 4 * DAY))
    known = draw(st.none() | st.integers(0, 3 * DAY).map(lambda later: at_ms + later))
    return Paid(f"t{at}", draw(st.sampled_from("abc")), at_ms, draw(st.integers(0, 10_000)), known)


@st.composite
def histories(draw: Any) -> list[Paid]:
    rows = [paid(draw, at) for at in range(draw(st.integers(1, 25)))]
    return sorted(rows, key=lambda row: (row.at_ms, row.name))


@given(histories())
def test_a_history_has_the_features_that_the_documentation_says(rows: list[Paid]) -> None:
    found = told(rows)
    for row, features in zip(rows, found, strict=True):
        if as_of(RISK, np.array([row.at_ms]))[0] >= min(one.at_ms for one in rows) // DAY * DAY:
            assert features.tolist() == pytest.approx(by_hand(rows, row), rel=1e-12, nan_ok=True)


def served_by(snapshot: Snapshot, merchant: str | None, at_ms: int | None = None, risk: Risk = RISK) -> Any:
    """What a scorer finds in a snapshot that it has read from the topic."""
    (whole,) = filter(None, map(Assembly(risk).fold, *zip(*records(snapshot, risk, 3), strict=True)))
    held = Snapshots(6, 100, 3).with_one(whole)
    return held.find([merchant], np.array([snapshot.effective_ms if at_ms is None else at_ms])).features[0]


def streamed(rows: Sequence[Paid], draw: Any, risk: Risk = RISK) -> list[Snapshot]:
    """Snapshots as `scorer risk` makes them from topics that it reads in pieces of any size, each piece in any order,
    some of it twice; with a kill and a new beginning between."""
    past = Past(risk)
    news = [(row.at_ms, "paid", row) for row in rows]
    news += [(row.known_ms, "label", row) for row in rows if row.known_ms is not None]
    snapshots: list[Snapshot] = []
    moment = (min(row.at_ms for row in rows) // DAY) * DAY
    end = max(row.at_ms for row in rows)
    begun = moment
    while moment <= end:
        since, moment = moment, moment + 2 * HOUR
        fresh = [one for one in news if since <= one[0] < moment]
        if draw(st.booleans()) and snapshots:  # killed: everything is read again, from the beginning
            past, fresh = Past(risk), [one for one in news if begun <= one[0] < moment]
            past.resume(snapshots[-1])
        fresh = draw(st.permutations(fresh)) + (fresh[:1] if draw(st.booleans()) else [])
        for _, what, row in fresh:
            hashes = id_hashes([row.name])
            if what == "paid":
                past.add(hashes, [row.merchant], np.array([row.at_ms]), np.array([row.minor]))
            else:
                past.label(hashes, [True], [row.known_ms or 0])
        past.step(moment)
        if not past.is_empty:
            snapshots.append(past.snapshot(moment))
    return snapshots


#: A prior of which a rate times it, divided by it, is another rate in one case of eight, by rounding.
BY_TEN = RISK.model_copy(update={"prior": 10.0})


@given(histories(), st.sampled_from([RISK, BY_TEN]), st.data())
def test_the_stream_and_the_history_have_the_same_features_bit_for_bit(rows: list[Paid], risk: Risk, data: Any) -> None:
    snapshots = streamed(rows, data.draw, risk)
    found = told(rows, risk)
    for row, features in zip(rows, found, strict=True):
        mine = [one for one in snapshots if one.effective_ms <= row.at_ms]
        wanted = as_of(RISK, np.array([row.at_ms]))[0]
        served = np.full(6, np.nan)
        if mine and mine[-1].as_of_ms == wanted:
            served = served_by(mine[-1], row.merchant, row.at_ms, risk)
        assert served.tobytes() == features.tobytes() or (np.isnan(served).all() and np.isnan(features).all())


def of_one(known_ms: int) -> Any:
    """Features of a later transaction at the merchant of a fraud that became known then."""
    rows = [Paid("t0", "a", START, 1000, known_ms), Paid("t1", "b", START, 1000, None)]
    return told([*rows, Paid("t2", "a", START + DAY + 6 * HOUR + EFFECTIVE_AFTER_MS, 1000, None)])[2]


def test_a_label_counts_from_when_it_is_known_and_not_a_second_earlier() -> None:
    snapshot = START + DAY + 6 * HOUR
    never = of_one(snapshot + 90 * DAY)
    assert of_one(snapshot + 1000).tobytes() == never.tobytes()
    assert of_one(snapshot).tobytes() == never.tobytes()
    assert of_one(snapshot - 1000)[5] > never[5]


def test_a_transaction_counts_only_after_the_label_delay() -> None:
    late = START + 2 * HOUR  # the hour that ends where the windows of the snapshot end, and the one after it
    for at, wanted in ((late - 1, 1.0), (late, np.nan)):
        rows = [Paid("t0", "a", at, 500, None), Paid("t1", "a", late + DAY + EFFECTIVE_AFTER_MS, 1, None)]
        assert told(rows)[1, 0] == pytest.approx(wanted, nan_ok=True)


def test_a_snapshot_counts_only_for_transactions_after_it_was_published() -> None:
    moments = START + DAY + np.array([EFFECTIVE_AFTER_MS - 1, EFFECTIVE_AFTER_MS, 2 * HOUR])
    assert as_of(RISK, moments).tolist() == [START + DAY - 2 * HOUR, START + DAY, START + DAY]


def test_the_newest_label_of_a_transaction_counts_whatever_comes_first() -> None:
    hashes, said = id_hashes(["t0"]), [(True, 5), (False, 10), (True, 15)]
    for turns in ((0, 1, 2), (2, 1, 0), (1, 2, 0), (1, 0, 2)):
        past = Past(RISK)
        past.label(hashes, [said[turns[0]][0]], [said[turns[0]][1]])  # before its transaction
        past.add(hashes, ["a"], np.array([0]), np.array([100]))
        for turn in turns[1:]:
            past.label(hashes, [said[turn][0]], [said[turn][1]])
        rates = []
        for known in (4, 6, 11, 16):
            past._labels_to(known)
            rates.append(sum(int(changes.sum()) for _, changes in past._frauds.get(0, [])))
        assert rates == [0, 1, 0, 1]


def a_past(frauds: int) -> Past:
    """Twenty payments at a merchant, some of which a flood of labels calls fraud at once."""
    past = Past(RISK)
    names = [f"t{at}" for at in range(20)]
    past.add(id_hashes(names), ["a"] * 20, np.full(20, START), np.full(20, 100))
    past.add(id_hashes([f"u{at}" for at in range(200)]), ["b"] * 200, np.full(200, START), np.full(200, 100))
    past.step(START + DAY + 2 * HOUR)
    past.label(id_hashes(names[:frauds]), [True] * frauds, [START + DAY + 2 * HOUR] * frauds)
    return past


def test_a_flood_of_labels_moves_a_rate_by_no_more_than_it_may() -> None:
    past = a_past(20)
    rates = []
    for turn in (4, 6, 8, 10):
        moved = past.step(START + DAY + turn * HOUR)
        rates.append(float(served_by(past.snapshot(0), "a")[5]))
        assert moved.merchants == 2
        assert moved.capped == (turn < 10)
    assert rates[:3] == [0.25, 0.5, 0.75]
    assert rates[3] > 0.9


def test_a_snapshot_that_is_held_back_leaves_the_rates_where_they_were() -> None:
    past = a_past(20)
    before = past.snapshot(0)
    past.step(START + DAY + 4 * HOUR)
    past.undo()
    assert past.snapshot(0).rate.tobytes() == before.rate.tobytes()
    past.step(START + DAY + 6 * HOUR)
    assert served_by(past.snapshot(0), "a")[5] == 0.25


def test_nobody_has_the_overall_rate_and_no_key_has_nothing() -> None:
    past = a_past(0)
    past.label(id_hashes([f"u{at}" for at in range(22)]), [True] * 22, [START] * 22)
    past.step(START + DAY + 4 * HOUR)
    snapshot = past.snapshot(0)
    found = [served_by(snapshot, key) for key in ("nobody", None)]
    assert found[0].tolist() == pytest.approx([0, np.nan, 0.1] * 2, nan_ok=True)
    assert np.isnan(found[1]).all()


def test_who_has_no_payment_has_the_overall_rate_to_the_last_bit() -> None:
    """1 of 18, times 10, divided by 10, is not 1 of 18: a merchant that nobody knows yet would be served another rate
    than it is trained on, and a snapshot would name all that have no payment."""
    assert 10 * (1 / 18) / 10 != 1 / 18
    rows = [Paid(f"t{at}", "a", START, 100, START if at == 0 else None) for at in range(18)]
    new = Paid("new", "n", START + DAY + 4 * HOUR + EFFECTIVE_AFTER_MS, 100, None)
    assert told([*rows, new], BY_TEN)[-1, [2, 5]].tolist() == [1 / 18] * 2
    past = Past(BY_TEN)
    past.add(id_hashes(["t", "u"]), ["a", "z"], np.array([START, START + 30 * DAY]), np.array([100, 100]))
    past.add(id_hashes([row.name for row in rows[1:]]), ["a"] * 17, np.full(17, START), np.full(17, 100))
    past.label(id_hashes(["t"]), [True], [START])
    past.step(START + DAY + 4 * HOUR)
    assert past.snapshot(0).keys == ("a",)


def test_the_version_of_a_snapshot_says_all_of_its_content() -> None:
    one = a_past(0).snapshot(START)
    again = a_past(0).snapshot(START)
    assert one.version == again.version
    changed = [
        Snapshot(one.as_of_ms + 1, one.keys, one.count, one.minor, one.rate, one.overall),
        Snapshot(one.as_of_ms, ("a", "c"), one.count, one.minor, one.rate, one.overall),
        Snapshot(one.as_of_ms, one.keys, one.count + 1, one.minor, one.rate, one.overall),
        Snapshot(one.as_of_ms, one.keys, one.count, one.minor + 1, one.rate, one.overall),
        Snapshot(one.as_of_ms, one.keys, one.count, one.minor, one.rate + 1e-9, one.overall),
        Snapshot(one.as_of_ms, one.keys, one.count, one.minor, one.rate, 0.5),
    ]
    assert len({one.version, *(other.version for other in changed)}) == 7


# --- the view ---


def test_a_view_without_merchant_risk_is_what_it_was() -> None:
    view = FeatureView(name="v", attributes=(Attribute(name="n", kind="number"),))
    assert view.id == "v-44262d85"
    assert view.names[-1] == "n"


def test_merchant_risk_is_last_in_a_view_and_says_how_it_is_made() -> None:
    view = FeatureView(name="v", attributes=(Attribute(name="n", kind="number"),), risk=RISK)
    assert view.names[-7:] == (
        *("n", "risk_count_6h", "risk_mean_6h", "risk_rate_6h"),
        *("risk_count_1d", "risk_mean_1d", "risk_rate_1d"),
    )
    assert of_definitions(view.definitions(view.names)) == RISK
    changes: list[dict[str, Any]] = [{"delay_days": 2}, {"prior": 3}, {"most_move": 0.5}, {"period": "1h"}]
    ids = {view.id}
    for change in changes:
        risk = Risk.model_validate({**RISK.model_dump(), **change})
        ids.add(FeatureView(name="v", attributes=view.attributes, risk=risk).id)
    assert len(ids) == 1 + len(changes)


@pytest.mark.parametrize(
    ("risk", "said"),
    [
        ({"key": "shop"}, "risk.key is shop"),
        ({"key": "n"}, "risk.key is n"),
        ({"windows": ["1d", "24h"]}, "each longer"),
        ({"windows": ["0d"]}, "0d: expected"),
        ({"windows": ["100d"]}, "100d: expected"),
        ({"windows": []}, "at least 1"),
        ({"period": "90m"}, "period"),
        ({"most_move": 0}, "greater than 0"),
        ({"prior": float("nan")}, "risk.prior"),
    ],
)
def test_a_view_that_cannot_be_is_refused_by_the_name_of_its_field(risk: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        FeatureView.model_validate({"name": "v", "attributes": [{"name": "n", "kind": "number"}], "risk": risk})
    assert said in str(caught.value)


def test_an_attribute_that_has_the_name_of_a_risk_is_refused() -> None:
    with pytest.raises(ValidationError, match="risk_rate_1d"):
        FeatureView(name="v", attributes=(Attribute(name="risk_rate_1d", kind="number"),), risk=RISK)


def test_a_model_that_has_only_the_risk_of_an_attribute_says_which_view_it_needs() -> None:
    risk = Risk(key="c", windows=("1d",))
    view = FeatureView(name="v", attributes=(Attribute(name="c", kind="category", values=("x", "y")),), risk=risk)
    names = ("amount", "risk_rate_1d")
    record = ViewRecord(id=view.id, name="v", features=view.definitions(names))
    again = view_of(record)
    assert again.definitions(names) == view.definitions(names)
    assert view.sources(names) == {"c"}


def test_no_function_is_given_what_merchants_did() -> None:
    """Training fills it in after all other features."""
    told = {"name": "f", "version": "1", "uses": ["risk_rate_1d"]}
    with pytest.raises(ValidationError, match="uses risk_rate_1d, which is no feature before functions"):
        FeatureView.model_validate({"name": "v", "functions": [told], "risk": {"windows": ["1d"]}})
