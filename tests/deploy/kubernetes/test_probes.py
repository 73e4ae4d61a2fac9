"""What the probes of the manifests are told, while a worker starts, waits and rebalances."""

from __future__ import annotations

import os
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import models as shared
from harness.manifests import built, container_of, find
from harness.models import Models
from harness.stack import Stack, Worker, wait_for
from scorer.process.health import STUCK_SECONDS

PARTITIONS = 2


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return shared.make(tmp_path_factory.mktemp("models"))


@pytest.fixture
def stack(models: Models, tmp_path: Path) -> Iterator[Stack]:
    with Stack(tmp_path, {**models.env, "SCORER_PARTITIONS": str(PARTITIONS)}) as made:
        made.deploy(models.live, "live")
        made.deploy(models.candidate, "candidate")
        yield made


def probe(worker: Worker, page: str) -> tuple[int, str]:
    """Status and text, 0 while nothing listens."""
    assert worker.process.poll() is None, worker.log.read_text()[-2000:]
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{worker.port}/{page}", timeout=5) as answer:
            return answer.status, answer.read().decode().strip()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode().strip()
    except OSError:
        return 0, ""


@pytest.mark.parametrize(
    "argv", [("scorer", "run"), ("shadow", "run", "--slot", "candidate")], ids=["scorer", "shadow"]
)
def test_a_worker_without_a_partition_is_ready(stack: Stack, argv: tuple[str, ...]) -> None:
    workers = [stack.start(*argv) for _ in range(PARTITIONS + 1)]

    def idle() -> bool:
        return any(
            worker.log.read_text().rstrip().splitlines()[-1].find("owns 0 partitions") >= 0 for worker in workers
        )

    wait_for("one is left without", idle)
    for worker in workers:
        assert probe(worker, "readyz") == probe(worker, "livez") == (200, "ok")


def test_a_scorer_is_not_ready_before_it_has_a_model_and_its_group(stack: Stack) -> None:
    worker = stack.start("scorer", "run", ready=False)
    seen = []
    while not seen or seen[-1][0] != 200:
        seen.append(probe(worker, "readyz"))
        time.sleep(0.01)
    assert (503, "starting") in seen, "its pages are there before it is ready"
    assert worker.metric("scorer_live_epoch") == 1
    assert "owns 2 partitions" in worker.log.read_text()
    assert probe(worker, "livez") == (200, "ok")


@pytest.mark.deploy
@pytest.mark.parametrize(
    "argv", [("scorer", "run"), ("shadow", "run", "--slot", "candidate")], ids=["scorer", "shadow"]
)
def test_a_worker_that_waits_for_kafka_is_alive(stack: Stack, argv: tuple[str, ...]) -> None:
    """Kafka says nothing for longer than a stuck event loop may: to one that joins, and to one that rebalances."""
    old = stack.start(*argv)
    new = stack.start(*argv, ready=False)
    wait_for("pages", lambda: probe(new, "livez")[0] == 200)
    assert probe(new, "readyz")[0] == 503
    pid = getattr(stack.broker, "pid", None)
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        until = time.monotonic() + STUCK_SECONDS + 3
        while time.monotonic() < until:
            assert probe(old, "livez") == probe(new, "livez") == (200, "ok")
            assert probe(new, "readyz")[0] == 503
            time.sleep(1)
    finally:
        os.kill(pid, signal.SIGCONT)
    for worker in (old, new):
        wait_for("ready", lambda worker=worker: probe(worker, "readyz")[0] == 200)


def test_a_worker_whose_loop_is_stuck_is_not_alive(stack: Stack) -> None:
    """Its thread of pages goes on; the liveness probe would have it started anew after three refusals."""
    liveness = container_of(find(built("production"), "Deployment", "scorer")["spec"]["template"], "scorer")[
        "livenessProbe"
    ]
    assert liveness["httpGet"]["path"] == "/livez"
    assert liveness.get("failureThreshold", 3) * liveness["periodSeconds"] <= STUCK_SECONDS
    from scorer.metrics import REGISTRY
    from scorer.process.health import Health, HealthServer

    health = Health()
    server = HealthServer("127.0.0.1", 0, REGISTRY, health)
    try:
        health._beaten -= STUCK_SECONDS + 1
        with pytest.raises(urllib.error.HTTPError) as told:
            urllib.request.urlopen(f"http://127.0.0.1:{server.port}/livez", timeout=5)
        assert told.value.code == 503
        told.value.close()
    finally:
        server.stop()
