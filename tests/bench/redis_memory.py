"""How much of Redis a slot takes as comparisons go by: the store is driven directly, without Kafka.

All comparisons lie within the same 24 event hours, of 10,000 cards, 2 % of them disagreements, so hours, segments,
cards and samples are at their bounds soon. As on a topic, each card is in one partition. What is measured is whether
anything else grows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.shadow_floor import RELEASE
from bench.workload import CARDS, PARTITIONS, START_MS, VALUES, VIEW
from scorer.pipeline.batch import Scores
from shadow.comparison.absorb import absorb
from shadow.comparison.decisions import Decisions
from shadow.comparison.increment import Increment, add
from shadow.comparison.memory import Memory
from shadow.gate import criteria
from shadow.local import embedded
from shadow.store.connection import connect
from shadow.store.tallies import Applied, Fence, TallyStore

DISAGREEMENT = 0.02
BATCH = 5000
#: Batches of a partition that one script applies, as a busy shadow does.
FLUSH = 10
THRESHOLD = 0.5
DAY_MS = 86_400_000


@dataclass(frozen=True)
class _Given:
    """A candidate whose scores are known."""

    scores: Scores
    digest: str = "c" * 64
    epoch: int = 2
    threshold: float = THRESHOLD

    def score(self, view: str, matrix: npt.NDArray[np.float64]) -> Scores:
        return self.scores


def decisions(start: int, n: int, rng: np.random.Generator, of: range = range(CARDS)) -> tuple[Decisions, Scores]:
    """n decisions of one partition from an offset on, and a candidate's scores that differ with some. of: its cards."""
    offsets = np.arange(start, start + n, dtype=np.int64)
    cards = rng.integers(0, len(of), n) * of.step + of.start
    at = START_MS + rng.integers(0, DAY_MS, n)
    scores = rng.beta(1, 30, n)
    blocks = scores >= THRESHOLD
    differs = rng.random(n) < DISAGREEMENT
    theirs = np.where(differs != blocks, THRESHOLD + 0.4 * rng.random(n), scores * 0.9)
    minor, kinds = rng.integers(100, 20_000, n), rng.integers(0, len(VALUES), n)
    features: list[float] = [0.0] * len(VIEW.names)
    rows = [
        {
            "transaction": {
                "transaction_id": f"t{offset}",
                "card_id": f"card-{card}",
                "occurred_at": "2026-01-01T00:00:00Z",
                "kind_0": VALUES[kind],
            },
            "decision": "allow",
            "score": score,
            "threshold": THRESHOLD,
            "bundle": "b" * 64,
            "epoch": 1,
            "view": VIEW.id,
            "features": features,
            "amount_minor": amount,
            "scored_at": "2026-01-01T00:00:00Z",
            "source": {"partition": 0, "offset": offset},
        }
        for offset, card, kind, score, amount in zip(
            offsets.tolist(), cards.tolist(), kinds.tolist(), scores.tolist(), minor.tolist(), strict=True
        )
    ]
    ones = np.ones(n, dtype=np.int64)
    no = np.zeros(n, dtype=bool)
    return Decisions(rows, offsets, offsets, ones, scores, blocks, no, no, no, minor, at, at), theirs


async def grow(marks: Sequence[int]) -> Mapping[int, int]:
    """Bytes that Redis uses after so many comparisons, over all partitions."""
    segments = criteria.parse(RELEASE).segments
    rng = np.random.default_rng(6)
    found: dict[int, int] = {}
    with embedded.store() as server:
        client = connect(f"redis://{server.address}/0")
        store = TallyStore(client, "candidate", segments.names)
        fences = [await store.open_partition(p, 0) for p in range(PARTITIONS)]
        memories, taus = [Memory() for _ in fences], [await store.taus(p) for p in range(PARTITIONS)]
        pending, done = [Increment() for _ in fences], 0
        while done < max(marks):
            for p, fence in enumerate(fences):
                cards = range(p, CARDS, PARTITIONS)
                for part in range(FLUSH):
                    found_here, theirs = decisions(fence.next + part * BATCH, BATCH, rng, cards)
                    add(pending[p], absorb(found_here, _Given(theirs), memories[p], segments, taus[p], 100.0, 50_000))
                to = fence.next + FLUSH * BATCH
                applied = await store.apply(p, fence, to, pending[p])
                assert isinstance(applied, Applied)
                taus[p].update(applied.taus)
                pending[p], fences[p] = Increment(), Fence(fence.nonce, to, to - 1, False)
                done += FLUSH * BATCH
                if done in marks:
                    found[done] = (await client.info("memory"))["used_memory"]
        await client.aclose()
    return found


def measure(marks: Sequence[int]) -> Mapping[int, int]:
    """`grow`, from outside a loop."""
    return asyncio.run(grow(marks))
