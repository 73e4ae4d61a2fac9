"""Whether all transactions of a card reach one partition, which velocity depends on: counted, and said once."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from scorer import metrics
from scorer.pipeline.card_states import CardStates

log = logging.getLogger(__name__)

#: Most look-ups of one `look`, which takes two milliseconds then.
MOST_LOOKUPS = 4_000


class Placement:
    """Looks for cards on several partitions of this worker, and for record keys that are not cards.

    Other workers' partitions are not seen. That is enough to notice a sender with another partitioner, or another key:
    it splits most cards.
    """

    def __init__(self) -> None:
        self._is_split_said = self._is_miskeyed_said = False

    def look(self, states: Mapping[int, CardStates]) -> None:
        """Count those new cards that another partition has, too. states: by partition."""
        left = MOST_LOOKUPS
        for partition, mine in states.items():
            others = [(other, theirs) for other, theirs in states.items() if other != partition]
            new = mine.newcomers()
            for card in new:
                left -= len(others)
                if left < 0:
                    return
                found = next((other for other, theirs in others if card in theirs), None)
                if found is not None:
                    metrics.SPLIT.inc()
                    self._say_split(partition, found)

    def _say_split(self, partition: int, other: int) -> None:
        if not self._is_split_said:
            self._is_split_said = True
            log.warning(
                "a card that partition %d has came on partition %d: the velocity of such cards is split. Have all "
                "senders use the card as key and one partitioner, `scorer replay` included (SCORER_PARTITIONER); after "
                "partitions were added it ends by itself. scorer_split_cards_total counts these cards",
                other,
                partition,
            )

    def note_miskeyed(self, partition: int, n: int) -> None:
        """n: transactions of a batch whose record key is not their card."""
        if n and not self._is_miskeyed_said:
            self._is_miskeyed_said = True
            log.warning(
                "partition %d has transactions whose record key is not their card: they are decided, but a card's "
                "velocity counts each partition apart. Key the records by card; docs/records.md has a step that does. "
                "scorer_miskeyed_total counts them",
                partition,
            )
