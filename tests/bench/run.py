"""`make bench-quick`: the scorer beside the floor and a hand-written loop, each worker on one core, one topic."""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson
from aiokafka import TopicPartition

from bench import floor
from bench.workload import Workload, make
from harness.places import ROOT
from scorer.cli.deploy import fill
from scorer.replay import send_all
from scorer.settings import ScorerSettings
from scorer.topics import ensure_topics, read_to_end, reader
from shadow import local

BATCH = 2000
PARTITIONS = 4
WORKER_CORE, BROKER_CORE = 0, 1
CHUNK = 10_000


@dataclass(frozen=True)
class Measured:
    """One run of a contender: transactions a second, and CPU seconds for a thousand of them."""

    rate: float
    cpu_per_1000: float


def pinned(core: int, argv: list[str], env: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """A process on one core."""
    with log.open("ab") as out:
        return subprocess.Popen(
            argv,
            env={**os.environ, **env},
            stdout=out,
            stderr=out,
            preexec_fn=lambda: (os.sched_setaffinity(0, {core}), local.die_with_parent())[0],
        )


def cpu_seconds(pid: int) -> float:
    """CPU time of a process and its threads so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def decided(settings: ScorerSettings) -> list[int]:
    """Times of all decisions, milliseconds since 1970, in order."""
    stamps: list[int] = []
    async with reader(settings) as consumer:
        await consumer.topics()
        parts = [TopicPartition("decisions", p) for p in range(PARTITIONS)]
        async for _, records in read_to_end(consumer, dict.fromkeys(parts)):
            stamps += [record.timestamp for record in records]
    return sorted(stamps)


async def ends(settings: ScorerSettings) -> int:
    """A lower bound of how many decisions there are, without reading them."""
    async with reader(settings) as consumer:
        await consumer.topics()
        return sum((await consumer.end_offsets([TopicPartition("decisions", p) for p in range(PARTITIONS)])).values())


async def prepare(settings: ScorerSettings, work: Workload) -> None:
    """Topics, the live slot, and the whole workload on `transactions`."""
    await ensure_topics(settings)
    await fill(settings, "live", work.digest, None, None, "bench", "bench")
    chunks = [(work.keys[at : at + CHUNK], work.values[at : at + CHUNK]) for at in range(0, len(work.keys), CHUNK)]
    await send_all(settings, chunks, None, lambda n: None)


def against_broker(name: str, argv: list[str], folder: Path, work: Workload) -> Measured:
    """One contender on a fresh broker; the rate is that of all decisions after the first batch."""
    with local.broker() as broker:
        assert broker.pid is not None
        for thread in Path(f"/proc/{broker.pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), {BROKER_CORE})
        env = {
            "SCORER_KAFKA": broker.address,
            "SCORER_STORE": str(folder / "bundles"),
            "SCORER_CACHE": str(folder / "cache"),
            "SCORER_VIEW": str(folder / "view.json"),
            "SCORER_REQUIRE_IDEMPOTENCE": "false",
            "SCORER_PARTITIONS": str(PARTITIONS),
            "SCORER_BATCH_RECORDS": str(BATCH),
            "SCORER_SESSION_SECONDS": "2",
            "SCORER_HEARTBEAT_SECONDS": "0.5",
            "SCORER_CLOCK": "event",
            "BENCH_KAFKA": broker.address,
            "BENCH_FOLDER": str(folder),
            "BENCH_DIGEST": work.digest,
            "PYTHONPATH": str(ROOT / "tests"),
        }
        os.environ.update({name: value for name, value in env.items() if name.startswith("SCORER_")})
        settings = ScorerSettings()
        asyncio.run(prepare(settings, work))
        worker = pinned(WORKER_CORE, argv, env, folder / f"{name}.log")
        try:
            n, deadline = len(work.values), time.monotonic() + 300
            before = cpu_seconds(worker.pid)
            stamps: list[int] = []
            while len(stamps) < n:
                if asyncio.run(ends(settings)) >= n - PARTITIONS * BATCH:
                    stamps = asyncio.run(decided(settings))
                if worker.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"{name}: no end; see {folder / f'{name}.log'}")
                time.sleep(0.1)
            cpu = cpu_seconds(worker.pid) - before
        finally:
            worker.kill()
            worker.wait()
    assert len(stamps) == n, f"{name}: {len(stamps)} decisions for {n} transactions"
    rest = [stamp for stamp in stamps if stamp > stamps[0]]
    return Measured(len(rest) / (stamps[-1] - stamps[0]) * 1000, cpu / n * 1000)


def on_the_floor(folder: Path, work: Workload) -> Measured:
    """The floor, in a process like the others: on one core."""
    os.sched_setaffinity(0, {WORKER_CORE})
    try:
        wall, cpu = floor.run(folder, work, BATCH)
    finally:
        os.sched_setaffinity(0, {WORKER_CORE, BROKER_CORE})
    return Measured(len(work.values) / wall, cpu / len(work.values) * 1000)


def main() -> None:
    """Measure, print a table, write build/bench.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--transactions", type=int, default=50_000)
    parser.add_argument("--repetitions", type=int, default=3)
    asked = parser.parse_args()
    python, scorer = sys.executable, str(Path(sys.executable).parent / "scorer")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        work = make(folder, asked.transactions)
        contenders = {
            "floor": lambda: on_the_floor(folder, work),
            "handwritten": lambda: against_broker("handwritten", [python, "-m", "bench.handwritten"], folder, work),
            "scorer": lambda: against_broker("scorer", [scorer, "run", "--http-port", "0"], folder, work),
        }
        found: dict[str, list[Measured]] = {name: [] for name in contenders}
        for repetition in range(asked.repetitions):
            for contender, measure in contenders.items():
                found[contender].append(measure())
                latest = found[contender][-1]
                told = f"{latest.rate:10,.0f}/s {latest.cpu_per_1000:8.4f} CPU s/1,000, start included"
                print(f"{repetition + 1}. {contender:<12} {told}", flush=True)
    rates = {name: statistics.median(m.rate for m in runs) for name, runs in found.items()}
    report = {
        "ratios": {f"scorer/{name}": round(rates["scorer"] / rates[name], 3) for name in ("floor", "handwritten")},
        "rates": {name: round(rate) for name, rate in rates.items()},
        "spread": {name: [round(min(m.rate for m in r)), round(max(m.rate for m in r))] for name, r in found.items()},
        "cpu_s_per_1000": {n: round(statistics.median(m.cpu_per_1000 for m in r), 5) for n, r in found.items()},
        "machine": {"python": platform.python_version(), "cores": os.cpu_count(), "transactions": asked.transactions},
    }
    (ROOT / "build").mkdir(exist_ok=True)
    (ROOT / "build" / "bench.json").write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2) + b"\n")
    for name, ratio in report["ratios"].items():
        print(f"{name:<20} {ratio}")


if __name__ == "__main__":
    main()
