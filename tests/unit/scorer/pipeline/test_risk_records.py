"""Snapshots on their topic: whole ones only, whatever else is there, and the one that a transaction's time asks for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorer.pipeline import risk_records
from scorer.pipeline.merchant_risk import Past, Snapshot
from scorer.pipeline.risk_lookup import Snapshots
from scorer.pipeline.risk_records import Assembly, definition, records
from scorer.pipeline.risk_view import EFFECTIVE_AFTER_MS, Risk
from scorer.risk.reading import Reading

HOUR = 3_600_000
RISK = Risk(windows=("1d",), delay_days=0)


def a_snapshot(hour: int, merchants: int = 3, rate: float = 0.25) -> Snapshot:
    count = np.arange(merchants, dtype=np.int64)[:, None] + hour
    keys = tuple(sorted(f"m{at}" for at in range(merchants)))
    return Snapshot(hour * HOUR, keys, count, 100 * count, np.full((merchants, 1), rate), 0.125)


def folded(written: Any, assembly: Assembly | None = None) -> list[Snapshot]:
    assembly = assembly or Assembly(RISK)
    found = []
    for key, value in written:
        try:
            found.append(assembly.fold(key, value))
        except ValueError:
            found.append(None)
    return [one for one in found if one is not None]


def test_a_large_snapshot_is_in_parts_that_a_broker_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(risk_records, "CHUNK_BYTES", 5000)
    snapshot = a_snapshot(9, 500)
    written = list(records(snapshot, RISK, 24))
    assert len(written) > 5
    assert max(len(value) for _, value in written) <= 5000
    (whole,) = folded(written)
    assert whole.version == snapshot.version


@given(st.data())
def test_what_is_not_written_whole_is_not_used(data: Any) -> None:
    earlier, later = (list(records(a_snapshot(hour, 40), RISK, 2)) for hour in (2, 4))  # of one place
    cut = data.draw(st.integers(0, len(later) - 1))
    found = folded([*earlier, *later[:cut]])
    assert [one.as_of_ms for one in found] == [2 * HOUR]
    kept: dict[bytes, bytes] = {}  # as compaction leaves it
    for key, value in [*earlier, *later[:cut]]:
        kept.pop(key, None)
        kept[key] = value
    assert [one.as_of_ms for one in folded(kept.items())] == ([2 * HOUR] if cut == 0 else [])


def test_compaction_keeps_so_many_snapshots_as_are_asked_for() -> None:
    kept: dict[bytes, bytes] = {}
    for hour in range(50):
        for key, value in records(a_snapshot(hour), RISK, 5):
            kept.pop(key, None)
            kept[key] = value
    assert [one.as_of_ms // HOUR for one in folded(kept.items())] == [45, 46, 47, 48, 49]


@given(st.binary(max_size=40), st.none() | st.binary(max_size=200))
def test_junk_on_the_topic_leaves_everything_as_it_is(key: bytes, value: bytes | None) -> None:
    place = f"{definition(RISK)}/3".encode()
    written = list(records(a_snapshot(3), RISK, 24))
    for junk in (key, place + key, place + b"/" + key, place + b"/99"):
        assert len(folded([(junk, value), *written])) == 1


def broken(**changes: Any) -> list[tuple[bytes, bytes]]:
    """A snapshot with a digest that fits, and numbers that cannot be."""
    (part_key, part), (head_key, head) = records(a_snapshot(3), RISK, 24)
    said = orjson.loads(part) | {name: cell for name, cell in changes.items() if name in orjson.loads(part)}
    told = orjson.loads(head) | {name: cell for name, cell in changes.items() if name in orjson.loads(head)}
    return [(part_key, orjson.dumps(said)), (head_key, orjson.dumps(told))]


@pytest.mark.parametrize(
    "changes",
    [
        {"rate": [[2.0]] * 3},
        {"rate": [[0.1]] * 2},
        {"rate": [[0.1, 0.1]] * 3},
        {"count": [[2**80]] * 3},
        {"count": [[-1]] * 3},
        {"minor": [[2**63]] * 3},
        {"merchants": ["a", "b"]},
        {"overall": None},
        {"parts": 10**15},
        {"as_of": "2026-99-99T00:00:00.000Z"},
        {"version": "0" * 16},
        {"windows": ["1d", "7d"]},
    ],
    ids=str,
)
def test_a_snapshot_that_cannot_be_is_refused(changes: dict[str, Any]) -> None:
    if any(isinstance(cell, list) and cell[0] == [2**80] for cell in changes.values()):
        written = [(key, value.replace(b"[3]", b"[%d]" % 2**80)) for key, value in broken()]
    else:
        written = broken(**changes)
    assembly = Assembly(RISK)
    assembly.fold(*written[0])
    with pytest.raises(ValueError, match=r"."):
        assembly.fold(*written[1])
    assert len(folded(records(a_snapshot(3), RISK, 24), assembly)) == 1


def test_snapshots_of_another_definition_are_not_used() -> None:
    other = Risk(windows=("1d",), delay_days=0, prior=11)
    assert folded(records(a_snapshot(3), other, 24)) == []


def test_a_transaction_finds_the_newest_snapshot_that_counts_at_its_own_time() -> None:
    held = Snapshots(3, 100, 3)
    for hour in (7, 5, 6, 4):  # in any order; only the last three stay
        held = held.with_one(a_snapshot(hour))
    at = np.array([4, 5, 6, 7, 9]) * HOUR + EFFECTIVE_AFTER_MS
    at = np.concatenate([at, at - 1])
    found = held.find(["m1"] * 10, at)
    seen = [None, 5, 6, 7, 7, None, None, 5, 6, 7]
    versions = {hour: a_snapshot(hour).version for hour in (5, 6, 7)}
    assert found.versions == [None if hour is None else versions[hour] for hour in seen]
    assert found.staleness_s.tolist() == [0, 0, 0, 0, 7200, 0, 0, 3599, 3599, 7199]
    assert np.isnan(found.features[[0, 5, 6]]).all()
    assert found.features[1].tolist() == [6, 1, 0.25]


def test_who_looks_up_is_not_disturbed_by_a_newer_snapshot() -> None:
    held = Snapshots(3, 100, 3).with_one(a_snapshot(1))
    before = held.find(["m0"], np.array([9 * HOUR]))
    held.with_one(a_snapshot(2))
    assert held.find(["m0"], np.array([9 * HOUR])).versions == before.versions


# --- decisions and labels off their topics ---


def a_record(value: Any, timestamp: int = 5) -> Any:
    raw = value if value is None or isinstance(value, bytes) else orjson.dumps(value)
    return SimpleNamespace(value=raw, timestamp=timestamp, offset=1, partition=0)


def a_decision(**changes: Any) -> dict[str, Any]:
    transaction = {"transaction_id": "t0", "merchant_id": "a", "occurred_at": "1970-01-02T00:30:00Z"}
    top = {name: changes.pop(name) for name in ("amount_minor", "refund") if name in changes}
    return {"transaction": transaction | changes, "amount_minor": 100, **top}


def counted(decisions: list[Any], labels: list[Any], is_wall: bool = False) -> tuple[int, int]:
    past = Past(RISK)
    reading = Reading(past, is_wall)
    reading.labels([a_record(label) for label in labels])
    reading.decisions([a_record(decision) for decision in decisions])
    past.step(48 * HOUR)
    return int(past._count.sum()), int(past._fraud.sum())


HOSTILE = [None, b"{", b"[]", b'"x"', b"\xff\xfe", b"\x00\x00\x00\x00\x01", {}, {"transaction": 1}, {"transaction": {}}]


def test_what_is_no_decision_or_label_is_passed_over() -> None:
    odd = [
        a_decision(amount_minor=10**18), a_decision(amount_minor=1.5), a_decision(amount_minor=True),
        a_decision(occurred_at=7), a_decision(occurred_at="soon"), a_decision(transaction_id=None),
        a_decision(merchant_id=5), a_decision(refund=True),
    ]  # fmt: skip
    labels = [{"transaction_id": "t0", "verdict": "fraud", "at": "1970-01-02T01:00:00Z"}]
    others = [{**labels[0], "verdict": "maybe"}, {**labels[0], "at": 3}, {**labels[0], "transaction_id": 3}]
    assert counted([*HOSTILE, *odd, a_decision()], [*HOSTILE, *others, *labels]) == (1, 1)


@pytest.mark.parametrize("verdict", ["legit", "unsure", "open"])
def test_a_later_label_takes_a_fraud_back(verdict: str) -> None:
    said = {"transaction_id": "t0", "verdict": "fraud", "at": "1970-01-02T01:00:00Z"}
    assert counted([a_decision()], [{**said, "verdict": verdict, "at": "1970-01-02T02:00:00Z"}, said]) == (1, 0)


def test_on_the_wall_clock_a_label_is_known_when_it_came() -> None:
    said = {"transaction_id": "t0", "verdict": "fraud", "at": "2199-01-02T01:00:00Z"}
    assert counted([a_decision()], [said], is_wall=True) == (1, 1)
    assert counted([a_decision()], [said]) == (1, 0)
