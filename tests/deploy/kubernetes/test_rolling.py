"""A rolling restart of three scorers under load, as the Deployment does it: nothing is lost, and the stall is short."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from faults.arena import Arena, Member
from faults.checker import stalls
from faults.run import BROKER
from faults.workload import prepared
from harness.kafka import Kafka
from harness.manifests import built, container_of, find
from harness.places import ROOT
from harness.stores import RedisServer, debian_redis
from scorer.settings import ScorerSettings

RATE = 400
REPORT = ROOT / "build" / "rolling.json"


def rolled_out(arena: Arena, pods: list[Member], start: Callable[[str], Member]) -> None:
    """One pod after the other: it is told to go, another with another name comes, and is waited for."""
    for i, pod in enumerate(pods):
        assert pod.stop() == 0
        start(f"scorer-new-{i}")
        arena.ready()
        arena.until("caught up", lambda: arena.behind_live() < RATE)


def crashed(arena: Arena, pods: list[Member], start: Callable[[str], Member]) -> None:
    """A container dies and is started again in the same pod, so under the same name."""
    pods[0].kill()
    pods[0].start()
    arena.ready()
    arena.until("caught up", lambda: arena.behind_live() < RATE)


@pytest.mark.deploy
@pytest.mark.needs("kafka", "kustomize", "redis")
@pytest.mark.parametrize("harm", [rolled_out, crashed])
def test_restarts_lose_nothing_and_are_over_before_a_session_is(
    harm: Callable[[Arena, list[Member], Callable[[str], Member]], None], tmp_path: Path
) -> None:
    deployment = find(built("production"), "Deployment", "scorer")["spec"]
    assert deployment["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
    variables = {v["name"]: v.get("valueFrom") for v in container_of(deployment["template"], "scorer")["env"]}
    own = [name.removeprefix("SCORER_") for name, source in variables.items() if source is not None]
    assert set(own) == {"WORKER_ID", "INSTANCE_ID"}, "both are the pod's name"

    kafka, redis = (
        Kafka(tmp_path / "kafka", settings=dict(BROKER)),
        RedisServer(tmp_path / "redis", str(debian_redis())),
    )
    session = ScorerSettings().session_seconds
    timing = {
        "SCORER_SESSION_SECONDS": str(session),
        "SCORER_HEARTBEAT_SECONDS": str(ScorerSettings().heartbeat_seconds),
    }
    with Arena(tmp_path, prepared(), kafka, redis, seed=1, env=timing) as arena:

        def start(pod: str) -> Member:
            return arena.scorer(**dict.fromkeys(own, pod))

        pods = [start(f"scorer-{i}") for i in range(deployment["replicas"])]
        arena.ready()
        with arena.pouring(RATE):
            arena.until("a stream", lambda: arena.sent > 4 * RATE)
            harm(arena, pods, start)
        arena.until("decided", lambda: arena.behind_live() <= 0)
        settled = arena.stack.settled()
        stall = max(stalls(arena))
        assert len(settled) == len(set(settled)) == arena.sent, "each transaction once, none lost"
    told = orjson.loads(REPORT.read_bytes()) if REPORT.is_file() else {}
    REPORT.write_bytes(orjson.dumps({**told, harm.__name__: stall}, option=orjson.OPT_INDENT_2))
    assert stall < session, f"{stall:.1f} s: a partition waited for a session of {session:g} s to be over"
