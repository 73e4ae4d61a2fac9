"""Keys tell whether they are cards, and which partitioner placed them; never that of chance."""

from __future__ import annotations

import random
import zlib

from hypothesis import given
from hypothesis import strategies as st

from scorer.kafka.partitioner import partition_of
from scorer.settings import Partitioner
from scorer.sources.keys import checks

CARDS = [f"card-{n}" for n in range(12)]


def placed(cards: list[str], partitions: int, by: Partitioner) -> list[tuple[bytes | None, int]]:
    return [(card.encode(), partition_of(card.encode(), partitions, by)) for card in cards]


@given(st.lists(st.text(min_size=1), min_size=1), st.integers(1, 50), st.sampled_from(["murmur2", "crc32"]))
def test_keys_that_lie_where_the_setting_puts_them_need_no_check(
    cards: list[str], partitions: int, by: Partitioner
) -> None:
    assert not checks(placed(cards, partitions, by), cards, partitions, by)


def test_another_partitioner_is_named_and_too_few_keys_are_not_guessed_from() -> None:
    keys = [(card.encode(), zlib.crc32(card.encode()) % 8) for card in CARDS]
    (line,) = checks(keys, CARDS, 8, "murmur2")
    assert line.startswith("partitioner: the keys lie where crc32 puts them")
    assert "SCORER_PARTITIONER=crc32" in line
    (line,) = checks(keys[:2], CARDS[:2], 8, "murmur2")
    assert line.startswith("partitioner: 2 different keys are too few")


def test_keys_that_nobody_placed_are_counted_with_those_on_several_partitions() -> None:
    rng = random.Random(3)
    cards = [card for card in CARDS for _ in range(4)]
    keys: list[tuple[bytes | None, int]] = [(card.encode(), rng.randrange(8)) for card in cards]
    (line,) = checks(keys, cards, 8, "murmur2")
    assert "lie where neither murmur2 nor crc32 puts them, and" in line
    assert "on several partitions: `scorer replay FILE`" in line


def test_records_without_a_key_or_with_another_one_are_told() -> None:
    (line,) = checks([(None, 0), (b"m1", partition_of(b"m1", 4)), (b"c", partition_of(b"c", 4))], ["a", "b", "c"], 4,
                     "murmur2")  # fmt: skip
    assert line.startswith("key: 2 of 3 records have another key than their card")


def test_one_partition_tells_nothing() -> None:
    assert not checks([(card.encode(), 0) for card in CARDS], CARDS, 1, "murmur2")
