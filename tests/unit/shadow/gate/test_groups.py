"""The largest undeclared group is named where a candidate is dead or swapped in it, none where it differs evenly."""

from __future__ import annotations

import numpy as np
import pytest

from harness.releases import Cards, Chance, World, never, release
from shadow.comparison.outcome import Outcome
from shadow.gate.groups import HOURS, WEEK, Group, Row, largest_group

#: An attribute of 12 values. The last has 8 % of the blocks.
WORLD = World(days=14, groups=(*[0.92 / 11] * 11, 0.08))
#: One in so many of what both block is sampled.
THINNED = 4


def rows(number: int, lost: Chance, added: Chance) -> list[Row]:
    """The sample of a drawn release."""
    rng = np.random.default_rng([number, 23])
    drawn = release(WORLD, rng, lost, added)
    out = []
    for at in range(len(drawn.live)):
        if not (drawn.live[at] or drawn.candidate[at]):
            continue
        outcome = (
            Outcome.CANDIDATE_ONLY
            if not drawn.live[at]
            else Outcome.BOTH_BLOCK
            if drawn.candidate[at]
            else Outcome.LIVE_ONLY
        )
        inclusion = 1 / THINNED if outcome is Outcome.BOTH_BLOCK else 1.0
        if rng.random() < inclusion:
            day = int(drawn.cards.day[at])
            values = {"merchant": f"m{drawn.cards.group[at]}", HOURS: str(rng.integers(4)), WEEK: str(day % 7 >= 5)}
            out.append(Row(outcome, inclusion, (str(at), day), values))
    return out


def named(lost: Chance, added: Chance, runs: int) -> list[Group | None]:
    return [largest_group(rows(number, lost, added), WORLD.days) for number in range(runs)]


def there(cards: Cards) -> np.ndarray:
    return np.where(cards.group == 11, 1.0, 0.0)


@pytest.mark.parametrize("added", [never, there], ids=["dead", "swapped"])
def test_a_group_with_a_twelfth_of_the_blocks_that_is_lost_is_named(added: Chance) -> None:
    found = named(there, added, 100)
    right = [group for group in found if group is not None and (group.attribute, group.value) == ("merchant", "m11")]
    assert len(right) >= 90
    assert np.mean([group.rate for group in right]) > 0.9
    assert np.mean([group.blocks for group in right]) == pytest.approx(0.08, abs=0.02)
    assert np.mean([group.elsewhere for group in right]) == pytest.approx(0.08, abs=0.02)
    assert "merchant=m11" in right[0].told


@pytest.mark.slow
def test_hardly_any_group_is_named_where_the_candidate_differs_evenly() -> None:
    """Even where it differs a lot."""

    def everywhere(cards: Cards) -> np.ndarray:
        return np.full(len(cards.day), 0.3)

    assert sum(group is not None for group in named(everywhere, everywhere, 60)) <= 2
    assert sum(group is not None for group in named(never, never, 60)) <= 2


def test_nothing_is_named_without_samples_or_blocks_of_live() -> None:
    assert largest_group([], 14) is None
    only = [Row(Outcome.CANDIDATE_ONLY, 1.0, (str(at), 1), {"a": "b"}) for at in range(50)]
    assert largest_group(only, 14) is None
