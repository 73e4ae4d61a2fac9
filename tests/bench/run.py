"""`make bench` and `make bench-quick`: the scorer and its shadow beside their floors and their peers, in one run.

Contenders take turns on fresh brokers, each worker pinned to one core and the broker to the other; what is told is the
median of the repetitions, and of each ratio its interval over the turns. The quick run has the ratios only.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from bench import floor, memory, predictors, redis_memory, report, shapes, sockets, steadiness
from bench.awake import awake
from bench.latency import Latency, median, under_load
from bench.reckoning import Ratio, ratio
from bench.scale import growth
from bench.stage import BROKER_CORE, IN_MEMORY, SCORER, SLOTS
from bench.throughput import BATCH, Measured, contenders, deciding
from bench.workload import BYTES, CARDS, LEAVES, PARTITIONS, TREES, VIEW, Workload, make
from harness import kafka

HALF = 50
#: Runs of which a latency that has a target is the median: one alone is off by up to a factor of two, or three.
ROUNDS = 5
#: Percent of the scorer's measured saturation, and how often each is run.
LOADS = {10: 3, HALF: ROUNDS, 80: 3}
LOAD_SECONDS, BESIDE_SECONDS = 20.0, 30.0
CODECS = ("lz4", "zstd")
COMPARISONS = (1_000_000, 5_000_000, 10_000_000)
HANDWRITTEN = [sys.executable, "-m", "bench.handwritten"]


def told(text: str) -> None:
    """One line of progress, with the time of day."""
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


def throughput(folder: Path, work: Workload, repetitions: int, is_quick: bool) -> dict[str, list[Measured]]:
    """Every contender in turn, so many times."""
    every = contenders(folder, work, is_quick)
    found: dict[str, list[Measured]] = {name: [] for name in every}
    for repetition in range(repetitions):
        for name, measure in every.items():
            run = measure()
            found[name].append(run)
            told(f"{repetition + 1}. {name:<13}{run.rate:9,.0f}/s {run.cpu_per_1000:8.4f} CPU s/1,000")
    return found


def compressed(folder: Path, work: Workload, repetitions: int) -> dict[str, list[Measured]]:
    """The scorer with its decisions compressed on the wire."""
    made = floor.decisions(folder, work, BATCH)
    found: dict[str, list[Measured]] = {f"scorer, {codec}": [] for codec in CODECS}
    for _ in range(repetitions):
        for codec in CODECS:
            run = deciding(SCORER, folder, work, made, env={"SCORER_COMPRESSION": codec})
            found[f"scorer, {codec}"].append(run)
            told(f"scorer, {codec}: {run.rate:,.0f}/s")
    return found


def shaped(folder: Path, work: Workload, repetitions: int) -> tuple[dict[str, list[Measured]], dict[str, Ratio]]:
    """The scorer on other shapes of a record; and their throughput over that of plain JSON in the same turns."""
    runs = shapes.measured(folder, work, repetitions, told)
    return {f"scorer, {name}": several for name, several in runs.items() if name != shapes.PLAIN}, shapes.ratios(runs)


def in_turn(rounds: int, runs: Mapping[str, Callable[[], Latency]]) -> dict[str, list[Latency]]:
    """Every run so many times, in turn."""
    found: dict[str, list[Latency]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            found[name].append(run())
            told(f"{name}: {found[name][-1]}")
    return found


def latencies(folder: Path, work: Workload, saturation: float) -> dict[str, list[Latency]]:
    """The scorer and the hand-written loop at each load, as scorer_10."""
    found: dict[str, list[Latency]] = {}
    for percent, rounds in LOADS.items():
        load = folder, work, saturation * percent / 100, LOAD_SECONDS
        workers = (("scorer", SCORER), ("handwritten", HANDWRITTEN))
        found |= in_turn(rounds, {f"{name}_{percent}": partial(under_load, argv, *load) for name, argv in workers})
    return found


def beside(folder: Path, work: Workload, saturation: float) -> dict[str, list[Latency]]:
    """Live at half of saturation with 0, 1 and 3 shadows beside it, as 3_shadows."""
    run = partial(under_load, SCORER, folder, work, saturation * HALF / 100, BESIDE_SECONDS)
    found = in_turn(ROUNDS, {"0_shadows": run, "3_shadows": partial(run, len(SLOTS))})
    return found | in_turn(1, {"1_shadows": partial(run, 1)})


def velocity(folder: Path, work: Workload) -> dict[str, Any]:
    """A worker with no cards, and with more and more."""
    _, empty = memory.held(folder, work, 0)
    found = {}
    for n in (10_000, 100_000, 1_000_000):
        one, _ = memory.held(folder, work, n, empty)
        found[str(n)] = asdict(one)
        told(f"{one}")
    return found


def medians(runs: Mapping[str, list[Measured]], of: Callable[[Measured], float]) -> dict[str, float]:
    """The median run of each contender."""
    return {name: statistics.median(map(of, several)) for name, several in runs.items()}


def ratios(runs: Mapping[str, list[Measured]]) -> dict[str, Ratio]:
    """The scorer's and the shadow's rates over those of their peers, in the same turns."""
    rates = {name: [run.rate for run in several] for name, several in runs.items()}
    peers = [name for name in rates if name not in ("scorer", "shadow", "shadow_floor")]
    found = {f"scorer/{name}": ratio(rates["scorer"], rates[name]) for name in peers}
    return found | {"shadow/floor": ratio(rates["shadow"], rates["shadow_floor"])}


def p99s(runs: Mapping[str, list[Latency]], above: str, below: str) -> Ratio:
    """The 99th percentiles of one over those of another, in the same turns."""
    return ratio([one.p99 for one in runs[above]], [one.p99 for one in runs[below]])


def machine(n: int, repetitions: int) -> dict[str, Any]:
    """What it was measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "python": platform.python_version(),
        "transactions": n,
        "repetitions": repetitions,
        "workload": f"{TREES} trees of {LEAVES} leaves, {len(VIEW.names)} features, {BYTES}-byte JSON, "
        f"{CARDS:,} cards, {PARTITIONS} partitions",
    }


def main() -> None:
    """Measure, print a table, write build/bench.json and, of a whole run, build/bench.svg."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the ratios only")
    parser.add_argument("--transactions", type=int)
    parser.add_argument("--repetitions", type=int)
    parser.add_argument("--publish", action="store_true", help="write tables and plot into docs/")
    asked = parser.parse_args()
    if not asked.quick and (missing := kafka.missing()):
        sys.exit(f"error: latency is measured on Apache Kafka: {missing}; or run `make bench-quick`")
    if os.cpu_count() == 1:
        sys.exit("error: the broker needs a core of its own; two are needed")
    n = asked.transactions or (100_000 if asked.quick else 200_000)
    repetitions = asked.repetitions or (3 if asked.quick else 5)
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as name:
        folder = Path(name)
        work = make(folder, n)
        os.sched_setaffinity(0, {BROKER_CORE})  # after the training, whose threads would wait for each other
        predict_speedup = predictors.speedup(folder, work)
        told(f"LightGBM's predict takes {predict_speedup:.2f} times as long as the bundle's own")
        runs = throughput(folder, work, repetitions, asked.quick)
        compared = ratios(runs)
        result: dict[str, Any] = {"ratios": {}}
        more: dict[str, list[Measured]] = {}
        if not asked.quick:
            more = compressed(folder, work, min(3, repetitions))
            others, ratios_of_shapes = shaped(folder, work.first(min(n, 100_000)), repetitions)
            more |= others
            saturation = statistics.median(run.rate for run in runs["scorer"])
            speeds = steadiness.speeds()
            with awake() as is_awake:
                at_loads = latencies(folder, work, saturation)
                speeds += steadiness.speeds()
            lives = beside(folder, work, saturation)  # shadows run where nobody else wants to: `awake` does, too
            speeds += steadiness.speeds()
            told(f"this core's own speed, of a fast tenth of a second: {steadiness.summary(speeds)}")
            asleep = under_load(SCORER, folder, work, saturation * HALF / 100, LOAD_SECONDS)
            told(f"scorer at {HALF} % on cores that may sleep: {asleep}")
            took = {name: median(several) for name, several in at_loads.items()}
            live = {name: median(several) for name, several in lives.items()}
            cards = velocity(folder, work)
            redis = redis_memory.measure(COMPARISONS)
            most = cards["1000000"]
            compared |= ratios_of_shapes
            compared |= {
                "p99/handwritten": p99s(at_loads, "scorer_50", "handwritten_50"),
                "p99_80/handwritten": p99s(at_loads, "scorer_80", "handwritten_80"),
                "live_with_3_shadows/none": ratio(*([one.rate for one in lives[f"{n}_shadows"]] for n in (3, 0))),
                "live_with_3_shadows/none_p99": p99s(lives, "3_shadows", "0_shadows"),
            }
            compared |= growth.measured(folder, work, min(growth.TURNS, repetitions), told)
            result["ratios"] |= {"redis_10m/5m": redis[COMPARISONS[2]] / redis[COMPARISONS[1]]}
            result["latency_ms"] = {
                f"{who}_{what}_{load}": getattr(one, what)
                for key, one in took.items()
                for who, load in [key.rsplit("_", 1)]
                for what in ("p50", "p99", "p999")
            } | {f"live_p99_{shadows}": one.p99 for shadows, one in live.items()}
            result["latency_ms"] |= {"cores_may_sleep_p50": asleep.p50, "cores_may_sleep_p99": asleep.p99}
            result["memory"] = {
                "velocity_bytes_per_card": most["bytes_per_card"],
                "velocity": cards,
                "redis_bytes": {str(comparisons): used for comparisons, used in redis.items()},
            }
        result["ratios"] |= {name: one.median for name, one in compared.items()}
        result["intervals"] = {name: [one.low, one.high] for name, one in compared.items()}
        every = {**runs, **more}
        result["rates"] = medians(every, lambda run: run.rate) | {
            "start_s": statistics.median(run.start_s for run in runs["scorer"]),
            "predict_speedup": predict_speedup,
        }
        if not asked.quick:
            result["rates"] |= {
                "recovery_cards_per_s": most["recovery_cards_per_s"],
                "changelog_cards_per_s": most["changelog_cards_per_s"],
            } | {f"live_{shadows}": one.rate for shadows, one in live.items()}
        result["spread"] = {name: [min(r.rate for r in rs), max(r.rate for r in rs)] for name, rs in every.items()}
        result["cpu_s_per_1000"] = medians(every, lambda run: run.cpu_per_1000)
        result["machine"] = machine(n, repetitions) | {"received_is_told": sockets.are_told()}
        if not asked.quick:
            result["machine"] |= {
                "cores_kept_awake": is_awake,
                "kafka_log_in_memory": IN_MEMORY is not None,
                "own_speed": steadiness.summary(speeds),
            }
    report.write(report.rounded(result), is_published=asked.publish)


if __name__ == "__main__":
    main()
