"""A stream that somebody states row by row: the shadow's own sums and scripts put it into a real store.

So whoever states it knows every answer without asking the product. Slots hold small bundles that score nothing: the
scores of both models are stated, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from harness.bundles import FEATURES, TEXT, VIEW
from harness.decisions import Doubling, a_decision, parsed
from harness.stack import Stack
from scorer.bundles.bundle import create
from scorer.bundles.manifest import Training
from scorer.bundles.store import BundleStore
from scorer.deployments.ledger import put
from scorer.deployments.records import PublishedView, encode
from scorer.pipeline.money import Currency
from shadow.comparison.absorb import absorb
from shadow.comparison.memory import Memory
from shadow.comparison.sample import Contribution
from shadow.comparison.segments import Segments
from shadow.gate.criteria import parse
from shadow.store.connection import connect
from shadow.store.tallies import Applied, TallyStore

#: Of every model. A transaction of so many minor units and more counts as that much where amounts are capped.
THRESHOLD, CAP = 0.5, 50_000
#: What was live before, how often live was filled, and who fills the slots, with which reason.
FORMER, EPOCH = "former", 2
WHO = (("ann", "the first model"), ("ben", "it knows the newest year"), ("cleo", "to be compared"))
#: When bundles were made, and on what.
MADE = datetime(2026, 1, 4, tzinfo=UTC)
TRAINING = Training(
    fingerprint="e" * 64, rows=400_000, frauds=4_000, first="2025-06-01T00:00:00Z", last="2025-12-31T00:00:00Z"
)


#: A feature, its value, and what it adds to live's score and to that of a slot's model, in log-odds.
Push = tuple[str, float | None, float, float]


@dataclass(frozen=True)
class Told:
    """One transaction as it is stated.

    at: when it occurred and was scored. amount: units of the currency. fields: others of the transaction. scores: of
    the model in each slot. why: what each feature adds to the scores of live and a slot's model, by slot.
    """

    id: str
    card: str
    at: str
    amount: float
    fields: Mapping[str, Any]
    scores: Mapping[str, float]
    why: Mapping[str, Sequence[Push]] = field(default_factory=dict)

    def blocks(self, slot: str) -> bool:
        return self.scores[slot] >= THRESHOLD

    def differs(self, slot: str = "candidate") -> bool:
        return self.blocks("live") != self.blocks(slot)

    def gap(self, slot: str = "candidate") -> float:
        return self.scores[slot] - self.scores["live"]

    @property
    def minor(self) -> int:
        return round(100 * self.amount)


@dataclass(frozen=True)
class Scene:
    """Slots on real servers, and what went into them. digests: of their bundles by slot, and of the live one before."""

    stack: Stack
    rows: Sequence[Told]
    digests: Mapping[str, str]


def staged(
    stack: Stack, rows: Sequence[Told], release: str, slots: Sequence[str], currency: str | None = "EUR"
) -> Scene:
    """Fill live and these slots, and the store with what each was compared on. release: text of release.yaml."""
    criteria = stack.folder / "release.yaml"
    criteria.write_text(release, encoding="utf-8")
    view = stack.folder / "features.yaml"
    view.write_text("name: v\nattributes:\n  - {name: age, kind: number}\n", encoding="utf-8")
    stack.env |= {"SHADOW_RELEASE": str(criteria), "SCORER_VIEW": str(view)}
    for program in ("SCORER", "SHADOW"):
        stack.env[f"{program}_STORE"] = str(stack.folder / "bundles")
    store = BundleStore(str(stack.folder / "bundles"), stack.folder / "own")
    digests = {}
    for seed, slot in enumerate((FORMER, "live", *slots)):
        # the control is a seed twin of live; the others were trained otherwise
        parameters = {"seed": seed, "num_leaves": 7 if slot in ("live", "control") else 7 + seed}
        digests[slot] = store.put(
            create(TEXT, FEATURES, VIEW, THRESHOLD, created_at=MADE, training=TRAINING, parameters=parameters)
        )
        by, reason = WHO[min(seed, len(WHO) - 1)]
        stack.deploy(digests[slot], "live" if slot == FORMER else slot, THRESHOLD, by=by, reason=reason)
    if currency is not None:
        named = PublishedView(names=(), definitions={}, currency=Currency(code=currency, digits=2))
        asyncio.run(put(stack.settings(), {"view/stated": encode(named)}))
    for slot in slots:
        asyncio.run(_compared(stack.store.address, slot, rows, parse(release).segments, digests))
    return Scene(stack, rows, digests)


async def _compared(
    address: str, slot: str, rows: Sequence[Told], segments: Segments, digests: Mapping[str, str]
) -> None:
    """All that a shadow of a slot writes of the rows: sums, samples, cases, and then the explanations."""
    redis = connect(f"redis://{address}/0")
    store = TallyStore(redis, slot, segments.names)
    by_id = {row.id: row for row in rows}
    model = Doubling(digest=digests[slot], threshold=THRESHOLD)
    for start in range(0, len(rows), 5_000):
        fence = await store.open_partition(0, 0)
        some = parsed(
            [_decision(at, rows[at], slot, digests) for at in range(start, min(start + 5_000, len(rows)))], start
        )
        memory = Memory()
        what = absorb(some, model, memory, segments, await store.taus(0), 100.0, CAP)
        assert not what.unreadable
        done = await store.apply(0, fence, start + len(some), what)
        assert isinstance(done, Applied), done
    while found := await store.unexplained(0, 1_000):
        for name, sample in dict(found).items():
            told = by_id[sample.transaction_id].why.get(slot, ())
            why = [Contribution(f, value, live, theirs, theirs - live) for f, value, live, theirs in told]
            await store.explain(0, name, sample.explained(sorted(why, key=lambda one: -abs(one.difference))))
    await redis.aclose()


def _decision(at: int, row: Told, slot: str, digests: Mapping[str, str]) -> dict[str, Any]:
    """The record of the topic of decisions. Its one feature is what the slot's model says."""
    found = a_decision(
        at,
        decision="block" if row.blocks("live") else "allow",
        score=row.scores["live"],
        threshold=THRESHOLD,
        bundle=digests["live"],
        epoch=EPOCH,
        features=[row.scores[slot]],
        amount_minor=row.minor,
        scored_at=row.at,
    )
    named = {"transaction_id": row.id, "card_id": row.card, "occurred_at": row.at, "amount": row.amount}
    return {**found, "transaction": {**named, **row.fields}}
