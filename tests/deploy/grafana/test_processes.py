"""What real processes export: as declared, without fault to promtool, and bounded."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from deploy.grafana.test_names import EXPORTED
from harness.models import BAD, REPEATED, STREAM, Models
from harness.places import ROOT
from harness.stack import PARTITIONS, Stack, get, wait_for


def pages(stack: Stack) -> dict[str, str]:
    return {
        worker.log.name: (get(f"http://127.0.0.1:{worker.port}/metrics") or b"").decode() for worker in stack.workers
    }


def series(page: str) -> list[str]:
    return [line.rpartition(" ")[0] for line in page.splitlines() if line and not line.startswith("#")]


@pytest.mark.needs("prometheus")
def test_what_processes_export_is_declared_and_without_fault_and_bounded(stack: Stack, models: Models) -> None:
    stack.deploy(models.candidate, "candidate")
    stack.deploy(models.control, "control")
    stack.start("scorer", "run", ready=False)
    for slot in ("candidate", "control"):
        stack.start("shadow", "run", "--slot", slot, ready=False)
    serve = stack.start("shadow", "serve", ready=False)
    stack.until_ready()
    stack.run("scorer", "replay", str(models.stream))
    whole = STREAM + REPEATED - BAD
    wait_for(
        "all is read",
        lambda: (
            serve.metric("shadow_run_coverage_ratio") == 1
            and stack.workers[1].metric("shadow_decisions_read_total") >= whole
        ),
    )
    wait_for(
        "nothing is unread",
        lambda: 0 == serve.metric("shadow_unread_records") == serve.metric("shadow_retention_used_ratio"),
    )
    assert serve.metric("shadow_redis_used_bytes") > 100_000
    assert serve.metric("shadow_slot_epoch") == 3
    for name, page in pages(stack).items():
        done = subprocess.run(["promtool", "check", "metrics"], input=page.encode(), capture_output=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b""), f"{name}: {done.stderr.decode()}"
        for one in series(page):
            metric, _, labels = one.partition("{")
            if metric.endswith("_created"):
                continue
            assert set(re.findall(r"(\w+)=\"", labels)) == EXPORTED[metric], one
    # a scorer: histograms, one series a partition, and what depends on bundles and fields at fault
    scorer, candidate = list(pages(stack).values())[:2]
    assert len(series(scorer)) < 250 + 2 * PARTITIONS
    assert len(series(candidate)) < 200 + 2 * PARTITIONS


def test_what_serve_exports_for_many_segments_is_as_bounded_as_stated() -> None:
    """In a process of its own: a registry keeps what other tests have shown."""
    command = [sys.executable, "-m", "deploy.grafana.many_segments"]
    done = subprocess.run(command, cwd=ROOT / "tests", capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    stated = re.search(r"with 50 segments and 3 slots at most ([\d,]+)", (ROOT / "docs" / "metrics.md").read_text())
    assert stated is not None
    assert int(done.stdout) <= int(stated[1].replace(",", ""))
    print(int(done.stdout))
