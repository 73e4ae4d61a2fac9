"""Transactions of every kind, through decoding, deciding, the wire, reading, comparing and counting."""

from __future__ import annotations

import json
import random
import time
import traceback
from collections.abc import Iterator
from datetime import date
from typing import Any

import numpy as np

from attack.counts import Counts, Hung, within
from attack.forge import MAPPED, PLAIN, Forge, Forged, Source
from attack.judge import RATES
from scorer.pipeline.batch import Incoming, LiveModel, Matrix, Part, Published, Rules, Scores, Settled
from scorer.pipeline.card_states import CardStates
from scorer.pipeline.mapping import FieldNames
from scorer.pipeline.money import Money
from scorer.pipeline.settle import RAISED, settle_all
from scorer.pipeline.transaction import Reading
from scorer.pipeline.view import Attribute, FeatureView
from shadow.comparison.absorb import absorb
from shadow.comparison.decisions import read
from shadow.comparison.increment import Increment, add
from shadow.comparison.memory import Memory
from shadow.comparison.segments import Segments
from shadow.comparison.totals import COUNTS

#: Records of one piece of work, and of one batch at most.
PIECE, BATCH = 20_000, 1500
#: Longest time for one batch on a busy machine.
SECONDS = 60.0
#: Pieces after which card states begin anew, so that an attack does not need the memory of a deployment.
VIEW = FeatureView(
    name="attack",
    attributes=(
        Attribute(name="age", kind="number"),
        Attribute(name="is_new", kind="boolean"),
        Attribute(name="country", kind="category", values=("DE", "FR", "")),
        Attribute(name="channel", kind="category", values=("web", "pos")),
    ),
)
SEGMENTS = Segments.model_validate(
    {"country": {"field": "country", "values": ["DE", "FR"]}, "amount": {"field": "amount", "bands": [10, 100]}}
)


def _reading(source: Source) -> Reading:
    ours = {name: theirs for theirs, name in source.renamed.items()}
    mapping = FieldNames.model_validate(
        {"fields": ours, "defaults": source.defaults, "drop": sorted(source.dropped)} if ours else {}
    )
    rates = {code: {str(first): 0.9} for code, first in RATES.items() if first != date.min}
    return Reading(Money.model_validate({"currency": "EUR", "rates": rates}), mapping, VIEW.attributes)


def _score(matrix: Matrix) -> Scores:
    return np.abs(np.sin(np.nan_to_num(matrix[:, 0], nan=0.5, posinf=1.0, neginf=1.0)))


class Candidate:
    """Scores otherwise than live now and then."""

    digest, epoch, threshold = "c" * 64, 1, 0.5

    def score(self, view: str, matrix: Matrix) -> Scores:
        return np.abs(np.cos(np.nan_to_num(matrix[:, 0], nan=0.5, posinf=1.0, neginf=1.0)))


def piece(source_name: str, seed: int, n: int) -> Counts:
    """Attack with n records by a seed."""
    source = {PLAIN.name: PLAIN, MAPPED.name: MAPPED}[source_name]
    counts, forge, chance = Counts(source.name), Forge(source, seed), random.Random(seed)
    override = chance.choice((None, None, None, "block_all"))
    model = LiveModel("d" * 64, 3, 0.5, override, _score)
    rules = Rules(VIEW, _reading(source), chance.choice((None, 300_000)))
    partitions = [_Partition(at) for at in range(chance.randint(1, 3))]
    done = 0
    while done < n:
        batches = []
        for _ in partitions:
            size = min(n - done, chance.choice((0, 1, 2, 17, 300, BATCH)))
            batches.append([forge.one() for _ in range(size)])
            done += size
        now_ms = None if chance.random() < 0.05 else 1_767_225_600_000  # a tally for each hour takes its time
        try:
            with within(SECONDS):
                _try(partitions, batches, model, rules, now_ms, counts)
        except Hung:
            counts.hang(f"seed {seed}: a batch took more than {SECONDS:g} s")
            return counts
        except Exception as error:
            told = "".join(traceback.format_exception(error)[-3:])
            counts.crash(f"seed {seed}: {type(error).__name__}: {error}; {told}")
            return counts
    for partition in partitions:
        partition.check(counts)
    return counts


class _Partition:
    """What a partition holds, and what came of it."""

    def __init__(self, at: int) -> None:
        self.at, self.next, self.decided = at, 0, 0
        self.states, self.memory, self.sums = CardStates(2), Memory(), Increment()
        self.unreadable = 0

    def incoming(self, batch: list[Forged]) -> Incoming:
        offsets = np.arange(self.next, self.next + len(batch), dtype=np.int64)
        self.next += len(batch)
        appended = np.full(len(batch), 1_767_225_600_000, dtype=np.int64)
        return Incoming(self.at, [one.key for one in batch], [one.value for one in batch], offsets, appended)

    def check(self, counts: Counts) -> None:
        """Whether the sums hold each decision once."""
        compared = sum(int(sums[0, COUNTS].sum()) for sums in self.sums.tallies.values())
        counters = list(self.sums.counters.values())
        repeats = sum(run["repeats"] for run in counters)
        duplicates = sum(run["duplicates"] for run in counters)
        if (compared + repeats, duplicates, self.sums.unreadable + self.unreadable) != (self.decided, 0, 0):
            counts.mistake(
                f"partition {self.at}: {compared} compared and {repeats} repeats of {self.decided} decisions; "
                f"{duplicates} duplicates, {self.sums.unreadable + self.unreadable} unreadable"
            )


def _try(
    partitions: list[_Partition],
    batches: list[list[Forged]],
    model: LiveModel,
    rules: Rules,
    now_ms: int | None,
    counts: Counts,
) -> None:
    """Settle batches, compare what comes of them, and hold each record against what it was made for."""
    counts.tried += sum(map(len, batches))
    incoming = [partition.incoming(batch) for partition, batch in zip(partitions, batches, strict=True)]
    parts = [Part(one, p.states, Published()) for one, p in zip(incoming, partitions, strict=True)]
    settled = settle_all(parts, model, rules, now_ms)
    for partition, batch, one, made in zip(partitions, batches, incoming, settled, strict=True):
        _judge(batch, one, made, counts)
        values = [value for _, value in made.decisions]
        decisions, bad = read(values, list(range(partition.decided, partition.decided + len(values))), partition.at)
        partition.unreadable += len(bad)
        partition.decided += len(values)
        candidate: Any = Candidate()
        add(partition.sums, absorb(decisions, candidate, partition.memory, SEGMENTS, {}, 100.0, 5000))
        partition.sums.samples.clear()
        partition.sums.blocked.clear()
        partition.sums.scores.clear()


def _judge(batch: list[Forged], incoming: Incoming, made: Settled, counts: Counts) -> None:
    first = int(incoming.offsets[0]) if len(batch) else 0
    decided: dict[int, Any] = {}
    for _, value in made.decisions:
        decision = json.loads(value or b"")
        at = decision["source"]["offset"] - first
        if at in decided:
            counts.mistake(f"decided twice: {batch[at]}")
        decided[at] = decision
    refused: dict[int, tuple[str, bytes | None]] = {}
    for (_, value), headers in zip(made.rejected, made.headers, strict=True):
        told = dict(headers)
        at = int(told["offset"]) - first
        refused[at] = told["reason"].decode(), value
        is_whole = value == batch[at].value or b"masked" in told["reason"]
        is_cut = b"only the beginnings are here" in told["reason"] and (batch[at].value or b"").startswith(value or b"")
        if not told["reason"] or not (is_whole or is_cut):
            counts.mistake(f"a dead letter without reason or with another value: {batch[at]}")
    for field in made.fields:
        if field == RAISED:
            counts.crash("a record made the scorer raise")
    for at, forged in enumerate(batch):
        counts.saw(forged.kind if forged.expected is not None else f"{forged.kind}, left open")
        if (at in decided) == (at in refused):
            counts.mistake(f"neither or both of decision and dead letter: {forged}")
        elif at in refused and refused[at][0].startswith("raised"):
            counts.crash(f"{refused[at][0]}: {forged}")
        elif forged.expected is True and at not in decided:
            counts.mistake(f"innocent, but refused ({refused[at][0]}): {forged}")
        elif forged.expected is False and at not in refused:
            counts.mistake(f"bad, but decided: {forged}")
        elif forged.id is not None and at in decided and decided[at]["transaction"].get("transaction_id") != forged.id:
            counts.mistake(f"decided as another transaction: {forged}")
    if [*decided] != sorted(decided) or [*refused] != sorted(refused):
        counts.mistake("not in the order of offsets")


def pieces(share: float, total: int, seed: int) -> Iterator[tuple[str, int, int]]:
    """The pieces of work for a share of a total: source, seed, records."""
    for source in (PLAIN, MAPPED):
        left, at = max(1000, int(total * share / 2)), 0
        while left > 0:
            yield source.name, seed * 1_000_003 + at, min(PIECE, left)
            left, at = left - PIECE, at + 1


if __name__ == "__main__":  # pragma: no cover - to look at a seed
    import sys

    began = time.monotonic()
    found = piece(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    print(found.row(), found.seen, *found.told, sep="\n")
    print(f"{found.tried / (time.monotonic() - began):,.0f} records a second")
