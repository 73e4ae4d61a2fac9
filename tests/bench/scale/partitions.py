"""What more partitions cost one scorer, on one Apache Kafka and at the same load.

`python -m bench.scale.partitions FOLDER RATE SECONDS`, with BENCH_PARTITIONS in the environment, prints a JSON object.
"""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path

from bench.latency import WARM_SECONDS, appended, reckoned
from bench.load import FILE
from bench.scale.found import Grown
from bench.stage import BROKER_CORE, SCORER, Stage, cpu_seconds, stage
from bench.workload import PARTITIONS, Workload
from scorer.pipeline.batch import Record
from shadow.local.process import free_port

PATIENCE_SECONDS = 180.0
OWNS = re.compile(r"owns (\d+) partitions \((\d+) kept\), ready in ([0-9.]+) s")


def measure(folder: Path, work: Workload, rate: float, seconds: float) -> Grown:
    """One scorer alone under load, then a second one beside it, then the second one alone."""
    began = time.perf_counter()
    (folder / "worker.log").unlink(missing_ok=True)
    with stage(folder, work, is_real=True, is_filled=False) as on, ExitStack() as stack:
        topics_s = time.perf_counter() - began
        few = [list(zip(*(column[:1] for column in work.of(p)), strict=True)) for p in range(PARTITIONS)]
        asyncio.run(on.write("transactions", few))
        port, began = free_port(), time.perf_counter()
        first = stack.enter_context(on.worker([*SCORER[:-1], str(port)]))
        appended(on, "decisions", PARTITIONS)
        start_s = time.perf_counter() - began
        ready_s = float(_owns(on)[-1][2])
        load = [sys.executable, "-m", "bench.load", str(rate), str(WARM_SECONDS + seconds)]
        process = stack.enter_context(on.worker(load, core=BROKER_CORE, stdout=subprocess.PIPE))
        time.sleep(WARM_SECONDS / 2)
        before = _counted(on, first, port)
        time.sleep(WARM_SECONDS / 2 + 0.8 * seconds)
        after = _counted(on, first, port)
        assert process.stdout is not None
        sent, late = process.stdout.readline().split()
        n = PARTITIONS + int(sent)
        decided, came = appended(on, "decisions", n), appended(on, "transactions", n)
        found = reckoned(came, decided, seconds, float(late))
        join_s, takeover_s = _second(on, first, few, n, stack)
    batches, records, compute, worker, broker = (b - a for a, b in zip(before, after, strict=True))
    return Grown(
        partitions=PARTITIONS,
        topics_s=topics_s,
        start_s=start_s,
        ready_s=ready_s,
        join_s=join_s,
        takeover_s=takeover_s,
        p50=found.p50,
        p99=found.p99,
        records=records / batches,
        compute_ms=1000 * compute / batches,
        batch_ms=1000 * worker / batches,
        worker_ms=1000 * worker / records,
        broker_ms=1000 * broker / records,
    )


def _second(
    on: Stage, first: subprocess.Popen[bytes], few: list[list[Record]], n: int, stack: ExitStack
) -> tuple[float, float]:
    """Seconds until a second scorer shares the partitions, and until it has all once the first is dead."""
    began, before = time.perf_counter(), len(_owns(on))
    stack.enter_context(on.worker(SCORER, core=BROKER_CORE))
    _until(on, "two scorers", lambda: sum(int(owns[0]) for owns in _owns(on)[before:][-2:]) == PARTITIONS)
    join_s = time.perf_counter() - began
    first.kill()
    began = time.perf_counter()
    asyncio.run(on.write("transactions", few))
    appended(on, "decisions", n + PARTITIONS)
    return join_s, time.perf_counter() - began


def _owns(on: Stage) -> list[tuple[str, str, str]]:
    """What each scorer said that it owns, partitions, kept ones and seconds, in order."""
    return OWNS.findall((on.folder / "worker.log").read_text(errors="replace"))


def _until(on: Stage, what: str, is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, f"not within {PATIENCE_SECONDS:g} s: {what}\n{on.log()}"
        time.sleep(0.02)


def _counted(on: Stage, worker: subprocess.Popen[bytes], port: int) -> tuple[float, float, float, float, float]:
    """Batches and records so far, seconds of `compute`, CPU seconds of worker and broker."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()

    def metric(name: str) -> float:
        found = re.search(rf"^{re.escape(name)} ([0-9.e+]+)$", text, re.MULTILINE)
        assert found is not None, f"no metric {name}"
        return float(found[1])

    return (
        metric("scorer_batch_records_count"),
        metric("scorer_batch_records_sum"),
        metric('scorer_stage_seconds_sum{stage="compute"}'),
        cpu_seconds(worker.pid),
        sum(map(cpu_seconds, on.brokers)),
    )


def apart(folder: Path, partitions: int, rate: float, seconds: float) -> Grown:
    """`measure` in a process of its own, with so many partitions."""
    argv = [sys.executable, "-m", "bench.scale.partitions", str(folder), str(rate), str(seconds)]
    env = {**os.environ, "BENCH_PARTITIONS": str(partitions)}
    done = subprocess.run(argv, env=env, stdout=subprocess.PIPE, check=True)
    return Grown(**json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Measure, print."""
    folder, rate, seconds = Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
    os.sched_setaffinity(0, {BROKER_CORE})
    work: Workload = replace(pickle.loads((folder / FILE).read_bytes()))  # its partitions anew
    (folder / FILE).write_bytes(pickle.dumps(work))
    print(json.dumps(asdict(measure(folder, work, rate, seconds))))


if __name__ == "__main__":
    main()
