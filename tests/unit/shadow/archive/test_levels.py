"""Levels are what a plain recount of the rows says, between the ends that unknown blocks leave open."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadow.archive.drawn import wilson
from shadow.archive.level_curve import cheapest, curve
from shadow.archive.level_figures import Figure
from shadow.archive.level_sums import FRAUD, GRID, HONEST, UNKNOWN, Judged, LevelSums
from shadow.archive.levels import Costs, levels

NAMES = ("all", "country=DE", "country=other")
COSTS = Costs(honest_block=250.0, recovered=0.25)
THRESHOLDS = (0.5, 0.43)
row = st.tuples(
    st.sampled_from([0.0, 0.2, 0.42, 0.43, 0.5, 0.51, 0.9, 1.0]),
    st.sampled_from([0.0, 0.29, 0.43, 0.5, 0.57, 0.58, 1.0]),
    st.sampled_from([FRAUD, HONEST, UNKNOWN]),
    st.integers(0, 10**7),
    st.integers(1, 2),
    st.integers(0, 5),
)
rows = st.lists(row, max_size=60)


def frame_of(drawn: list[tuple[float, float, int, int, int, int]]) -> pd.DataFrame:
    frame = pd.DataFrame(drawn, columns=["live", "candidate", "state", "minor", "segment", "card"])
    frame = frame.astype({"live": float, "candidate": float, "state": int, "minor": int, "segment": int, "card": int})
    allowed_by_live = frame["live"] < THRESHOLDS[0]
    frame.loc[allowed_by_live & (frame["state"] == UNKNOWN), "state"] = HONEST  # of what live allows all is known
    return frame


def judged(frame: pd.DataFrame) -> Judged:
    scores = frame[["live", "candidate"]].to_numpy(dtype=float).T
    return Judged(
        blocks=np.stack([scores[at] >= THRESHOLDS[at] for at in range(2)]),
        scores=scores,
        states=frame["state"].to_numpy(dtype=np.int64),
        minor=frame["minor"].to_numpy(dtype=np.int64),
        segments=np.stack([np.zeros(len(frame), dtype=np.int64), frame["segment"].to_numpy(dtype=np.int64)], axis=1),
        card_days=frame["card"].to_numpy(dtype=np.uint64),
    )


def summed(frame: pd.DataFrame, pieces: int = 1) -> LevelSums:
    sums = LevelSums(len(NAMES))
    for part in np.array_split(np.arange(len(frame)), pieces):
        sums.add(judged(frame.iloc[part]))
    return sums


def ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


@given(rows, st.integers(1, 4))
def test_figures_are_those_of_a_recount_at_either_end_of_what_is_unknown(drawn: list, pieces: int) -> None:
    frame = frame_of(drawn)
    found = {one.segment: one for one in levels(summed(frame, pieces), NAMES, COSTS)}
    for at, name in enumerate(NAMES):
        mine = frame if at == 0 else frame[frame["segment"] == at]
        assert (name in found) == (len(mine) > 0)
        if not len(mine):
            continue
        notable = mine[
            (mine["live"] >= THRESHOLDS[0]) | (mine["candidate"] >= THRESHOLDS[1]) | (mine["state"] == FRAUD)
        ]
        crowding = max(1.0, len(notable) / max(1, notable["card"].nunique()))
        assert (found[name].judged, found[name].fraud) == (len(mine), (mine["state"] == FRAUD).sum())
        for model, threshold in zip(("live", "candidate"), THRESHOLDS, strict=True):
            level = getattr(found[name], model)
            blocked = mine[model] >= threshold
            assert level.blocks == blocked.sum()
            assert level.unknown == (blocked & (mine["state"] == UNKNOWN)).sum()
            is_unknown = mine["state"] == UNKNOWN
            # at either end each unknown is what makes the figure smallest, or largest
            for figure, worst_blocked, worst_missed, part_state, whole in (
                (level.precision, HONEST, HONEST, FRAUD, "blocked"),
                (level.recall, HONEST, FRAUD, FRAUD, "state"),
                (level.insult_rate, FRAUD, HONEST, HONEST, "state"),
            ):
                ends = []
                for is_worst in (True, False):
                    state = mine["state"].copy()
                    flip = {FRAUD: HONEST, HONEST: FRAUD}
                    of_blocked = worst_blocked if is_worst else flip[worst_blocked]
                    of_missed = worst_missed if is_worst else flip[worst_missed]
                    state[is_unknown & blocked] = of_blocked
                    state[is_unknown & ~blocked] = of_missed
                    base = blocked if whole == "blocked" else state == part_state
                    ends.append((int((base & blocked & (state == part_state)).sum()), int(base.sum())))
                if figure is None:
                    assert all(not n for _, n in ends)
                    continue
                assert figure.low == pytest.approx(wilson(*ends[0], crowding)[0])
                assert figure.high == pytest.approx(wilson(*ends[1], crowding)[1])
                assert figure.value == (pytest.approx(ratio(*ends[0])) if ends[0] == ends[1] else None)
            kept = 1 - COSTS.recovered
            fraud = mine.loc[blocked & (mine["state"] == FRAUD), "minor"]
            honest = (blocked & (mine["state"] == HONEST)).sum()
            sure = kept * fraud.sum() - COSTS.honest_block * honest
            unknown = mine.loc[blocked & is_unknown, "minor"]
            assert level.saved.value == (None if len(unknown) else pytest.approx(sure))
            assert level.saved.low <= sure - COSTS.honest_block * len(unknown) + 1e-6
            assert level.saved.high >= sure + kept * unknown.sum() - 1e-6


@given(rows)
def test_the_curve_is_a_recount_at_each_threshold(drawn: list) -> None:
    frame = frame_of(drawn)
    sums = summed(frame, 2)
    for model, name in enumerate(("live", "candidate")):
        points = curve(sums, model, 0, COSTS)
        assert [point.threshold for point in points] == GRID.tolist()
        for point in points[::7]:
            mine = frame[frame[name] >= point.threshold]
            told = [int((mine["state"] == state).sum()) for state in (FRAUD, HONEST, UNKNOWN)]
            assert [point.fraud, point.honest, point.unknown] == told
            assert point.blocks == len(mine)
            money = mine.groupby("state")["minor"].sum()
            sure = 0.75 * money.get(FRAUD, 0) - 250 * told[1]
            assert point.saved_low == pytest.approx(sure - 250 * told[2])
            assert point.saved_high == pytest.approx(sure + 0.75 * money.get(UNKNOWN, 0))
        low, high = cheapest(points)
        assert low.saved_low == max(point.saved_low for point in points)
        assert high.saved_high == max(point.saved_high for point in points)


def test_at_its_own_threshold_the_curve_says_what_the_model_blocks() -> None:
    frame = frame_of([(0.5, 0.43, FRAUD, 100, 1, 1), (0.49, 0.42, HONEST, 100, 1, 2), (0.9, 0.9, UNKNOWN, 7, 2, 3)])
    sums = summed(frame)
    (whole, *_) = levels(sums, NAMES, COSTS)
    for model, name in enumerate(("live", "candidate")):
        at = GRID.tolist().index(THRESHOLDS[model])
        assert curve(sums, model, 0, COSTS)[at].blocks == getattr(whole, name).blocks == 2


def test_pending_transactions_are_in_no_figure() -> None:
    sums = summed(frame_of([(0.9, 0.9, FRAUD, 100, 1, 1)]))
    sums.leave_out(np.array([[0, 1], [0, 1], [0, 2]]), is_pending=True)
    sums.leave_out(np.array([[0, 2]]), is_pending=False)
    found = {one.segment: one for one in levels(sums, NAMES, COSTS)}
    assert [found[name].judged for name in NAMES] == [1, 1, 0]
    assert [found[name].pending for name in NAMES] == [3, 2, 1]
    assert [found[name].unscored for name in NAMES] == [1, 0, 1]
    assert found["country=other"].live.precision is None


def test_one_card_that_repeats_itself_all_day_is_hardly_more_than_one_case() -> None:
    one_card = [(0.9, 0.9, FRAUD, 100, 1, 7)] * 200 + [(0.9, 0.9, HONEST, 100, 1, 8)] * 200
    many = [(0.9, 0.9, FRAUD if at % 2 else HONEST, 100, 1, at) for at in range(400)]

    def width(drawn: list) -> float:
        figure: Figure | None = next(iter(levels(summed(frame_of(drawn)), NAMES, COSTS))).live.precision
        assert figure is not None
        return figure.high - figure.low

    assert width(many) < 0.1
    assert width(one_card) > 0.6


@pytest.mark.slow
def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(5)
    held = 0
    for _ in range(400):
        frame = frame_of(
            [
                (0.9, 0.9, FRAUD if is_fraud else HONEST, 100, 1, card)
                for card, is_fraud in enumerate(rng.random(150) < 0.3)
                for _ in range(rng.integers(1, 4))
            ]
        )
        figure = next(iter(levels(summed(frame), NAMES, COSTS))).live.precision
        assert figure is not None
        held += figure.low <= 0.3 <= figure.high
    assert held / 400 >= 0.92


def test_wilson_limits_are_the_published_ones() -> None:
    assert wilson(0, 10)[0] == 0.0
    assert wilson(0, 10)[1] == pytest.approx(0.2775, abs=1e-4)
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=2e-4)  # Newcombe (1998), method 3
    assert wilson(0, 0) == (0.0, 1.0)
    assert math.isclose(wilson(5, 10)[0] + wilson(5, 10)[1], 1.0)
