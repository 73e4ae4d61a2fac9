"""The bill for a rate: every part follows from what one transaction, one flush and one card cost."""

from __future__ import annotations

import doctest
import math
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.scale import bill as module
from bench.scale.bill import CARDS, PLANNED, RATES, Pieces, bill, cards, line

PIECES = Pieces(
    scorer_ms=0.03,
    shadow_ms=0.05,
    broker_ms=0.01,
    transaction_bytes=500,
    decision_bytes=1_500,
    state_bytes=400,
    flush_ms=1.0,
    comparison_ms=0.002,
    flush_commands=20,
    card_bytes=600,
    cards_per_s=200_000,
    drop_us=1.5,
    takeover_s=1.0,
    session_s=10.0,
    flush_s=0.5,
    flush_records=50_000,
    archive_bytes=300,
)


def test_the_examples_are_true() -> None:
    assert doctest.testmod(module).failed == 0


def test_a_bill_by_hand() -> None:
    found = bill(PIECES, 100_000)
    assert found.scorer_cores == pytest.approx(3.0)
    assert found.scorers == 6, "each planned to be half full"
    assert found.partitions == 32, "at least four each, a power of two"
    assert found.shadow_cores == pytest.approx(15.0)
    assert found.shadows == 30, "ten for each of three slots"
    assert found.kafka_in == pytest.approx(240e6)
    assert found.kafka_out == pytest.approx(100_000 * (500 + 4 * 1_500)), "three shadows and the archive read decisions"
    assert found.flushes == pytest.approx(3 * 32 / 0.5)
    assert found.commands == pytest.approx(found.flushes * 20)
    assert found.redis_cores == pytest.approx(192 * 0.001 + 300_000 * 0.000_002)
    assert found.shards == 2
    assert found.archive_bytes == pytest.approx(86_400 * 100_000 * 300)


def test_a_bill_of_cards_by_hand() -> None:
    found = cards(PIECES, 100_000_000)
    assert found.bytes == pytest.approx(60e9)
    assert found.scorers == math.ceil(60e9 / (4 * 2**30))
    assert found.takeover_s == pytest.approx(10 + 1 + 100e6 / found.scorers / 200_000)
    assert cards(PIECES, 10).scorers == 2, "somebody must be there to take over"


@given(st.integers(1, 10_000_000), st.integers(1, 8))
def test_more_transactions_and_more_slots_never_cost_less(rate: int, slots: int) -> None:
    small, large, more = bill(PIECES, rate, slots), bill(PIECES, rate * 2, slots), bill(PIECES, rate, slots + 1)
    for field in fields(small):
        assert getattr(large, field.name) >= getattr(small, field.name), field.name
        assert getattr(more, field.name) >= getattr(small, field.name), field.name


@given(st.integers(1, 10_000_000))
def test_no_process_is_fuller_than_planned(rate: int) -> None:
    found = bill(PIECES, rate)
    assert found.scorer_cores / found.scorers <= PLANNED + 1e-9
    assert found.shadow_cores / found.shadows <= PLANNED + 1e-9
    assert found.redis_cores / found.shards <= PLANNED + 1e-9
    assert found.partitions >= 4 * found.scorers


@given(st.sampled_from([field.name for field in fields(Pieces)]), st.sampled_from(RATES))
def test_every_piece_is_on_the_bill(name: str, rate: int) -> None:
    dearer = replace(PIECES, **{name: getattr(PIECES, name) * 1_000})
    rates = bill(PIECES, rate) != bill(dearer, rate)
    if name == "flush_records":  # matters only where a partition has so many within `flush_s`
        dearer = replace(PIECES, flush_records=10.0)
        rates = bill(PIECES, rate) != bill(dearer, rate)
    assert rates or any(cards(PIECES, n) != cards(dearer, n) for n in CARDS)


@given(st.floats(0, 100), st.floats(0, 1), st.floats(1, 100), st.floats(101, 1000))
def test_a_line_finds_what_made_it(fixed: float, each: float, small: float, large: float) -> None:
    found = line((small, fixed + each * small), (large, fixed + each * large))
    assert found[0] == pytest.approx(fixed, abs=1e-6)
    assert found[1] == pytest.approx(each, abs=1e-6)


def test_noise_makes_nothing_cheaper_than_free() -> None:
    assert line((10.0, 5.0), (20.0, 4.0)) == (5.0, 0.0)
    assert line((10.0, 1.0), (20.0, 4.0))[0] == 0.0
