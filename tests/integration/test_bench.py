"""The bench says what it measured: every contender decides the same, and the tables are those of the run."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import orjson
import pytest

from bench import explorer, redis_memory, report, steadiness, workload
from harness.places import ROOT
from shadow.web.view import View


@pytest.mark.needs("bench")
def test_the_quick_bench_measures_every_contender() -> None:
    result = ROOT / "build" / "bench.json"
    result.unlink(missing_ok=True)
    argv = ["make", "bench-quick", "ARGS=--transactions 30000 --repetitions 1"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, timeout=1500, check=False)
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()[-3000:]
    found = orjson.loads(result.read_bytes())
    assert set(found["ratios"]) == {key for part, key in report.TARGETS if part == "ratios" and key in QUICK}
    assert found["ratios"]["scorer/faust"] > 2, "far from its target: the batch path is broken"
    assert all(rate > 0 for rate in found["rates"].values())


QUICK = ("scorer/floor", "scorer/handwritten", "scorer/faust", "scorer/quix", "scorer/bytewax", "shadow/floor")


@pytest.mark.needs("bench")
def test_memory_is_measured_of_a_worker_that_took_over_cards(tmp_path: Path) -> None:
    from bench import memory  # an optional part is not there when tests are collected

    work = workload.make(tmp_path, 2_000)
    _, empty = memory.held(tmp_path, work, 0)
    held, _ = memory.held(tmp_path, work, 20_000, empty)
    assert 200 < held.bytes_per_card < 20_000
    assert held.recovery_cards_per_s > 1_000
    assert held.changelog_cards_per_s > 1_000


@pytest.mark.needs("bench")
@pytest.mark.variant
def test_every_shape_of_a_record_is_decided_as_the_plain_one(tmp_path: Path) -> None:
    from bench import shapes

    runs = shapes.measured(tmp_path, workload.make(tmp_path, 20_000), 1)  # compares their decisions
    assert [f"scorer, {name}" for name in runs][1:] == [name for name in report.NAMES if name in SHAPES]
    assert {f"{name}/JSON" for name in runs} - {"JSON/JSON"} == set(shapes.ratios(runs))


SHAPES = ("scorer, nested JSON", "scorer, Avro", "scorer, Avro, all nullable", "scorer, Protobuf")


@pytest.mark.parametrize("kind", ["filtered page", "facets, another filter"])
def test_what_the_explorer_promises_is_measured_with_another_filter_each_time(kind: str) -> None:
    rng = np.random.default_rng(4)
    names = ("all", "country=DE", "country=FR", "amount=<500", "channel=pos")
    asked = [explorer.filled(explorer.KINDS[kind], names, rng) for _ in range(200)]
    assert len(set(asked)) > 170
    for path in asked:
        given = dict(parse_qsl(urlsplit(path).query))
        assert View.model_validate({name: [one] if name in ("where", "segment") else one for name, one in given.items()
                                    if name != "limit"}).conditions  # fmt: skip


def test_redis_memory_is_measured_as_comparisons_go_by() -> None:
    used = redis_memory.measure((200_000, 400_000))
    assert [*used] == [200_000, 400_000]
    assert all(1_000_000 < size < 50_000_000 for size in used.values())


@pytest.mark.needs("bench")
def test_latency_is_the_median_of_its_runs_figure_by_figure() -> None:
    from bench.latency import Latency, median

    runs = [Latency(10, 1, 9, 9, 0), Latency(11, 2, 7, 20, 1), Latency(12, 3, 8, 10, 0)]
    assert median(runs) == Latency(11, 2, 8, 10, 0)


def test_how_steady_the_machine_was_is_told_by_its_own_arithmetic() -> None:
    assert len(steadiness.speeds(0.55)) == 5
    assert min(steadiness.speeds(0.25)) > 1000
    found = steadiness.summary([50.0, *[100.0] * 19])
    assert found["slowest"] == 0.5
    assert found["slowest"] < found["p5"] < found["median"] == 1.0


def a_result() -> dict[str, Any]:
    names = [*report.NAMES]
    latencies = {f"{w}_{p}_{n}": 5.0 for w in ("scorer", "handwritten") for p in LATENCIES for n in (10, 50, 80)}
    return {
        "ratios": {key: 1.0 for part, key in report.TARGETS if part == "ratios"},
        "intervals": {key: [0.91, 1.12] for key in report.GROWN},
        "rates": dict.fromkeys(names, 1234.0)
        | {"start_s": 2.5, "predict_speedup": 3.0, "recovery_cards_per_s": 99_999.0},
        "spread": {name: [1000.0, 2000.0] for name in names},
        "cpu_s_per_1000": dict.fromkeys(names, 0.03),
        "latency_ms": latencies | {"scorer_p99_50": 26.0, "cores_may_sleep_p50": 20.0, "cores_may_sleep_p99": 30.0},
        "memory": {"velocity_bytes_per_card": 615.0},
    }


LATENCIES = ("p50", "p99", "p999")


def test_what_misses_its_target_is_said() -> None:
    lines = list(report.compared(a_result()))
    missed = {line.split()[1] for line in lines if line.startswith("MISSED")}
    assert len(lines) == len(report.TARGETS)
    assert missed == {
        "latency_ms.scorer_p50_10",
        "latency_ms.scorer_p99_50",
        "rates.recovery_cards_per_s",
        "ratios.scorer/handwritten",
        "ratios.scorer/faust",
        "ratios.scorer/quix",
        "ratios.scorer/bytewax",
    }


def test_a_ratio_that_was_measured_in_turns_is_told_with_their_interval() -> None:
    result = a_result() | {"intervals": {"scorer/quix": [2.5, 3.5]}}
    assert any("scorer/quix" in line and line.endswith("turns 2.5 to 3.5") for line in report.compared(result))
    assert any(
        line.startswith("| Quix Streams |") and line.endswith("1.00 (2.50 to 3.50) |") for line in report.table(result)
    )


def test_the_bench_publishes_between_its_marks(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text(f"before\n{report.MARK.format('begin')}\nold\n{report.MARK.format('end')}\nafter\n")
    text = "\n".join([*report.table(a_result()), *report.whole(a_result())])
    report.publish(text, page)
    assert "| **this scorer** | 1,234 | 0.0300 | 1,000 to 2,000 |  |" in page.read_text()
    assert page.read_text().count("| 1.00 (0.91 to 1.12) |") == len(report.GROWN)
    assert page.read_text().startswith("before\n")
    assert page.read_text().endswith("after\n")
    assert "old" not in page.read_text()


def test_the_page_on_performance_can_be_published_anew(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_bytes((ROOT / "docs" / "performance.md").read_bytes())
    report.publish("| anew |", page)
    assert f"{report.MARK.format('begin')}\n| anew |\n{report.MARK.format('end')}" in page.read_text()


@pytest.mark.needs("bench")
def test_the_plot_is_drawn_by_the_bench(tmp_path: Path) -> None:
    report.draw(a_result(), tmp_path / "bench.svg")
    assert (tmp_path / "bench.svg").read_text().count("<path") > 20
