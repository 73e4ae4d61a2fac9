"""What the keys of a topic tell of its senders: whether a key is the card, and how it finds its partition."""

from __future__ import annotations

from collections.abc import Sequence

from scorer.kafka.partitioner import fitting
from scorer.settings import Partitioner

#: How likely keys that lie anywhere may look as if a partitioner had placed them all.
CHANCE = 0.001


def checks(
    keys: Sequence[tuple[bytes | None, int]], cards: Sequence[str], partitions: int, setting: Partitioner
) -> list[str]:
    """What a person should look at, one sentence each.

    keys: of each transaction's record its key and partition. cards: their cards. partitions: of the topic. setting:
    the partitioner that `scorer replay` has.
    """
    found = []
    others = sum(key != card.encode() for (key, _), card in zip(keys, cards, strict=True))
    if others:
        found.append(
            f"key: {others} of {len(cards)} records have another key than their card: a card's velocity is counted "
            "on each partition apart; key the records by card (docs/records.md has a step that does)"
        )
    placed = {(key, partition) for key, partition in keys if key is not None}
    if not placed or partitions < 2:
        return found
    counts = fitting(placed, partitions)
    if counts[setting] == len(placed):
        return found  # perhaps by chance, but nothing speaks against it
    by = [name for name, n in counts.items() if n == len(placed)]
    if not by:
        split = len(placed) - len({key for key, _ in placed})
        found.append(
            f"partitioner: {len(placed) - max(counts.values())} of {len(placed)} keys lie where neither "
            f"{' nor '.join(counts)} puts them{f', and {split} on several partitions' if split else ''}: "
            "`scorer replay FILE` cannot bring their history there. Have all senders use one partitioner; records "
            "from before partitions were added lie elsewhere, too"
        )
    elif partitions ** -len(placed) <= CHANCE:
        found.append(
            f"partitioner: the keys lie where {by[0]} puts them, and `scorer replay` is set to {setting}: set "
            f"`partitioner: {by[0]}` (SCORER_PARTITIONER={by[0]}), or their history comes to other partitions"
        )
    else:
        found.append(
            f"partitioner: {len(placed)} different keys are too few to tell how they find their partition: "
            "read more (--records)"
        )
    return found
