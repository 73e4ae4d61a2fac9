"""Cards on two partitions, and keys that are not cards: counted, and said once."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorer import metrics
from scorer.pipeline.card_states import MOST_NEWCOMERS, CardStates
from scorer.worker import placement
from scorer.worker.placement import Placement


def counted() -> float:
    return next(iter(metrics.SPLIT.collect())).samples[0].value


def arrive(states: CardStates, cards: Sequence[str]) -> None:
    states.find(cards)


@given(st.lists(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 20)), max_size=30), max_size=5))
def test_each_newcomer_that_another_partition_has_counts_once(looks: list[list[tuple[int, int]]]) -> None:
    """Whatever comes between two looks: a card counts where it came last, or on both if it came to both at once."""
    states = {partition: CardStates() for partition in range(3)}
    seen: dict[int, set[str]] = {partition: set() for partition in states}
    watch, before, expected = Placement(), counted(), 0
    for arrivals in looks:
        new: dict[int, set[str]] = {partition: set() for partition in states}
        for partition, number in arrivals:
            card = f"c-{number}"
            arrive(states[partition], [card])
            if card not in seen[partition]:
                new[partition].add(card)
                seen[partition].add(card)
        expected += sum(
            any(card in seen[other] for other in seen if other != partition)
            for partition, cards in new.items()
            for card in cards
        )
        watch.look(states)
        assert counted() - before == expected


def test_it_is_said_once_and_names_no_card(caplog: pytest.LogCaptureFixture) -> None:
    states = {0: CardStates(), 1: CardStates()}
    arrive(states[0], ["secret-a", "secret-b"])
    arrive(states[1], ["secret-a"])
    watch = Placement()
    with caplog.at_level(logging.WARNING):
        watch.look(states)
        arrive(states[1], ["secret-b"])
        watch.look(states)
        for _ in range(2):
            watch.note_miskeyed(3, 0)
            watch.note_miskeyed(3, 5)
    split, miskeyed = [record.getMessage() for record in caplog.records]
    assert "SCORER_PARTITIONER" in split
    assert "partition 3 has transactions whose record key is not their card" in miskeyed
    assert "secret" not in split + miskeyed


def test_a_flood_of_new_cards_costs_a_bounded_look(monkeypatch: pytest.MonkeyPatch) -> None:
    states = {partition: CardStates() for partition in range(4)}
    for partition, mine in states.items():
        for start in range(0, 10_000, 1000):
            arrive(mine, [f"{partition}-{start + i}" for i in range(1000)])
        assert len(mine.newcomers()) <= 2 * MOST_NEWCOMERS
        arrive(mine, [f"again-{i}" for i in range(200)])
    monkeypatch.setattr(placement, "MOST_LOOKUPS", 30)
    before = counted()
    Placement().look(states)
    assert counted() - before == 10  # each newcomer has three other partitions to be looked for in


def test_cards_that_are_loaded_from_the_changelog_can_be_passed_over() -> None:
    states = CardStates()
    arrive(states, ["a", "b"])
    keys, rows = zip(*states.packed(["a", "b"]), strict=True)
    again = CardStates()
    rows = tuple(_absorbed(row) for row in rows)
    assert again.load(keys, rows) == 0
    assert again.newcomers() == {"a", "b"}
    assert again.newcomers() == set()


def _absorbed(row: bytes) -> bytes:
    from scorer.pipeline.card_row import LAYOUT, ROW

    cells = np.frombuffer(row, dtype=ROW).copy()
    cells["offset"], cells["layout"] = 7, LAYOUT
    return cells.tobytes()
