"""`make scale`: the bill for four rates from pieces that this run measures, and where it bends, by experiment.

`--short` measures fewer transactions and fewer sizes; `--publish` writes the tables of docs/scale.md.
"""

from __future__ import annotations

import argparse
import os
import pickle
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import orjson

from bench import cards as idle
from bench import floor, memory, throughput
from bench.load import FILE
from bench.report import BUILD, rounded
from bench.scale import page, partitions, pieces, scorers, slots, store
from bench.scale.bill import Pieces, line
from bench.scale.found import Flushed, Found
from bench.stage import BROKER_CORE, IN_MEMORY, SCORER
from bench.workload import Workload, make
from harness import kafka
from harness.places import ROOT
from scorer.settings import ScorerSettings
from shadow.settings import ShadowSettings
from study.published import publish

#: The session of the experiments' scorers; it is taken off what they took to replace a dead one.
SESSION_SECONDS = 2.0
#: Segments that no release file may declare.
TOO_MANY = 500
Measured = TypeVar("Measured")


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    transactions: int
    backlog: int
    partitions: tuple[int, ...]
    load: float
    seconds: float
    store_seconds: float
    flushes: tuple[int, int]
    segments: tuple[int, ...]
    slots: tuple[int, ...]
    cards: int


WHOLE = Sizes(200_000, 20_000, (4, 32, 128, 512), 2_000.0, 10.0, 8.0, (20, 2_000), (8, 50, 64), (1, 2, 4, 8), 1_000_000)
SHORT = Sizes(40_000, 5_000, (4, 32, 512), 1_000.0, 4.0, 2.0, (20, 500), (8, 50), (1, 3), 100_000)


def told(what: str, measure: Callable[[], Measured]) -> Measured:
    """Measure, and say so, with the time of day."""
    found = measure()
    print(f"{time.strftime('%H:%M:%S')}  {what}: {found}", flush=True)
    return found


def measure(folder: Path, work: Workload, sizes: Sizes) -> Found:
    """Everything."""
    made = floor.decisions(folder, work, throughput.BATCH)
    some = floor.decisions(folder, work.first(sizes.backlog), throughput.BATCH)
    scorer = told("scorer", lambda: throughput.deciding(SCORER, folder, work, made))
    shadow = told("shadow", lambda: throughput.shadowing(folder, work, made))
    weights = told("bytes", lambda: pieces.weights(folder, work))
    archive = told("archive", lambda: pieces.archived(some))
    _, empty = memory.held(folder, work, 0)
    held, _ = told("cards", lambda: memory.held(folder, work, sizes.cards, empty))
    drop_us = told("drop", lambda: idle.drop_us(sizes.cards))
    (folder / FILE).write_bytes(pickle.dumps(work))
    grown = [
        told("partitions", lambda n=n: partitions.apart(folder, n, sizes.load, sizes.seconds))  # type: ignore[misc]
        for n in sizes.partitions
    ]
    backlogs = [told("backlog", lambda n=n: scorers.apart(folder, n)) for n in sizes.partitions]  # type: ignore[misc]
    shared = [told("scorers", lambda n=n: scorers.measure(folder, work, n)) for n in (1, 2)]  # type: ignore[misc]

    def flushed(servers: int, of: int, segments: int, comparisons: int) -> Flushed:
        with tempfile.TemporaryDirectory() as name:
            return store.measure(Path(name), servers, of, segments, comparisons, sizes.store_seconds)

    alone = [told("flush", lambda n=n: flushed(1, 256, 19, n)) for n in sizes.flushes]  # type: ignore[misc]
    masters = [alone[0], told("cluster", lambda: flushed(3, 256, 19, sizes.flushes[0]))]
    divided = [told("segments", lambda n=n: flushed(1, 8, n, 200)) for n in sizes.segments]  # type: ignore[misc]
    slotted = [
        told("slots", lambda n=n, one=one: slots.measure(folder, work, some, n, one))  # type: ignore[misc]
        for n in sizes.slots
        for one in ((False,) if n == 1 else (False, True))
    ]
    assert store.refusal(TOO_MANY) is not None
    flush_ms, comparison_ms = line(*((float(one.comparisons), one.cpu_ms) for one in alone))
    settings, shadows = ScorerSettings.model_fields, ShadowSettings.model_fields
    found = Pieces(
        scorer_ms=scorer.cpu_per_1000,
        shadow_ms=shadow.cpu_per_1000,
        broker_ms=backlogs[0].broker_ms,
        transaction_bytes=weights.transaction,
        decision_bytes=weights.decision,
        state_bytes=weights.state,
        flush_ms=flush_ms,
        comparison_ms=comparison_ms,
        flush_commands=alone[0].commands,
        card_bytes=held.bytes_per_card,
        cards_per_s=held.recovery_cards_per_s,
        drop_us=drop_us,
        takeover_s=max(0.0, grown[0].takeover_s - SESSION_SECONDS),
        session_s=settings["session_seconds"].default,
        flush_s=shadows["flush_seconds"].default,
        flush_records=shadows["flush_records"].default,
        archive_bytes=archive,
    )
    how = "`make scale ARGS=--short`" if sizes is SHORT else "`make scale`"
    beside = (
        f"Measured by {how} on {datetime.now(UTC):%Y-%m-%d}, on {os.cpu_count()} cores of a shared virtual machine: "
        f"{len(work):,} transactions of 500 bytes, {sizes.backlog:,} for slots, a load of {sizes.load:,.0f} a second, "
        f"{sizes.cards:,} cards. Everything beyond is reckoned."
    )
    return Found(found, grown, backlogs, shared, masters, divided, slotted, TOO_MANY, beside)


def main() -> None:
    """Measure, write build/scale.json, print the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="fewer transactions and fewer sizes")
    parser.add_argument("--publish", action="store_true", help="write the tables into docs/scale.md")
    parser.add_argument("--work", type=Path, help="a folder to keep the workload in, and to take it from")
    asked = parser.parse_args()
    if missing := kafka.missing():
        sys.exit(f"error: partitions are measured on Apache Kafka: {missing}")
    if os.cpu_count() == 1:
        sys.exit("error: the broker needs a core of its own; two are needed")
    sizes = SHORT if asked.short else WHOLE
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as name:
        folder = Path(name) if asked.work is None else asked.work
        found = measured(folder, sizes)
    result = {
        "ratios": page.ratios([one.partitions for one in found.partitions], found.backlogs, found.scorers),
        **asdict(found),
    }
    BUILD.mkdir(exist_ok=True)
    (BUILD / "scale.json").write_bytes(orjson.dumps(rounded(result), option=orjson.OPT_INDENT_2) + b"\n")
    text = page.page(found)
    print(text)
    if asked.publish:
        publish(text, ROOT / "docs" / "scale.md", page.WHAT)


def measured(folder: Path, sizes: Sizes) -> Found:
    """`measure`, with a workload that is made unless the folder has it."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "kept.pickle"
    if kept.is_file():
        work: Workload = pickle.loads(kept.read_bytes())
    else:
        work = make(folder, sizes.transactions)
        kept.write_bytes(pickle.dumps(work))
    os.sched_setaffinity(0, {BROKER_CORE})  # after the training, whose threads would wait for each other
    return measure(folder, work.first(sizes.transactions), sizes)


if __name__ == "__main__":
    main()
