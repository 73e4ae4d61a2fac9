"""One fault for each alert: struck up to the `yield`, mended after it."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import redis
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from deploy.alerts.stage import REDIS_BYTES, Stage
from harness.stack import wait_for
from scorer.bundle import Bundle, create
from scorer.deployments import LIVE, Suggestion, Target
from scorer.ledger import read
from scorer.view import FeatureView
from shadow.promotion import now, suggest
from shadow.settings import ShadowSettings

Fault = Callable[[Stage], Iterator[None]]
#: By alert: those of the live path, of the evidence on a candidate, and of its shadow. The order counts: what leaves
#: traces comes last.
LIVE_FAULTS: dict[str, Fault] = {}
EVIDENCE_FAULTS: dict[str, Fault] = {}
SHADOW_FAULTS: dict[str, Fault] = {}
BALLAST = 50_000_000  # bytes


def _of(faults: dict[str, Fault], alert: str) -> Callable[[Fault], Fault]:
    def keep(fault: Fault) -> Fault:
        faults[alert] = fault
        return fault

    return keep


def _store(stage: Stage) -> Path:
    return Path(stage.models.env["SCORER_STORE"])


@_of(LIVE_FAULTS, "LiveStoppedDeciding")
def nothing_comes(stage: Stage) -> Iterator[None]:
    stage.is_sending = False
    yield
    stage.is_sending = True


@_of(LIVE_FAULTS, "NotSeenByPrometheus")
def serve_is_gone(stage: Stage) -> Iterator[None]:
    stage.end("serve")
    yield
    stage.serve()


@_of(LIVE_FAULTS, "LiveRejectsAboveNormal")
def a_third_is_no_transaction(stage: Stage) -> Iterator[None]:
    stage.bad_share = 0.3
    yield
    stage.bad_share = 0.0


@_of(LIVE_FAULTS, "KillSwitchOn")
def somebody_blocks_everything(stage: Stage) -> Iterator[None]:
    stage.stack.run("scorer", "deploy", "--block-all", "--by", "test", "--reason", "test")
    yield
    stage.stack.run("scorer", "deploy", "--resume", "--by", "test", "--reason", "test")


@_of(LIVE_FAULTS, "LiveModelOld")
def an_old_bundle_is_deployed(stage: Stage) -> Iterator[None]:
    bundle = Bundle.load(_store(stage) / stage.models.live)
    made = datetime.now(UTC) - timedelta(days=2)
    view = FeatureView.load(stage.models.env["SCORER_VIEW"])
    old = create(bundle.model, bundle.features, view, bundle.threshold, created_at=made)
    old.write(_store(stage))
    stage.stack.deploy(old.digest, "live")
    yield
    stage.stack.deploy(stage.models.live, "live")


@_of(LIVE_FAULTS, "LiveWorkersDisagree")
def one_scorer_cannot_load_the_new_bundle(stage: Stage) -> Iterator[None]:
    own = stage.folder / "own-bundles"
    shutil.copytree(_store(stage), own)
    shutil.rmtree(own / stage.models.candidate)
    stage.scorer("other scorer", SCORER_STORE=str(own), SCORER_CACHE=str(stage.folder / "own-cache"))
    stage.stack.deploy(stage.models.candidate, "live")
    yield
    shutil.copytree(_store(stage) / stage.models.candidate, own / stage.models.candidate)
    behind = stage.workers["other scorer"]
    wait_for("the bundle is taken up", lambda: behind.metric("scorer_model_behind") == 0)
    stage.stack.deploy(stage.models.live, "live")
    stage.end("other scorer")


@_of(LIVE_FAULTS, "LiveLatencyBudgetBurn")
def the_scorer_stands_still_for_seconds(stage: Stage) -> Iterator[None]:
    """Not killed: what a new process did before its first scrape is not seen to rise."""
    stage.workers["scorer"].pause()
    time.sleep(8)
    stage.workers["scorer"].resume()
    yield


def _appended(stage: Stage) -> int:
    """Offsets that `transactions` ever had."""
    return sum(stage.wire.ends_by_partition("transactions").values())


@_of(LIVE_FAULTS, "TransactionsMissed")
def transactions_expire_undecided(stage: Stage) -> Iterator[None]:
    stage.end("scorer", kill=True)
    sent = _appended(stage)
    wait_for("more is sent", lambda: _appended(stage) > sent + stage.rate)
    with stage.silence():
        stage.wire.delete_before("transactions", stage.wire.ends_by_partition("transactions"))
    stage.scorer()
    yield


@_of(EVIDENCE_FAULTS, "SuggestionWaiting")
def a_suggestion_is_written(stage: Stage) -> Iterator[None]:
    settings = ShadowSettings(kafka=(stage.kafka.address,))

    async def write() -> None:
        deployments = await read(settings)
        state = deployments.slot("candidate")
        suggestion = Suggestion(
            slot="candidate",
            target=Target(digest=state.digest, threshold=state.threshold),
            expects={LIVE: deployments.slot(LIVE).epoch, "candidate": state.epoch},
            criteria="of a test",
            evidence={},
            at=now(),
        )
        await suggest(settings, suggestion)

    asyncio.run(write())
    yield
    stage.stack.run("shadow", "reject", "--slot", "candidate", "--by", "test", "--reason", "test")


@_of(EVIDENCE_FAULTS, "ShadowRedisMemory")
def redis_is_nearly_full(stage: Stage) -> Iterator[None]:
    with redis.Redis(port=stage.stack.store.port) as client:
        client.setrange("ballast", BALLAST, b"x")  # beside it, what a stream adds is little
        client.config_set("maxmemory", int(client.info("memory")["used_memory"] / 0.85))
        yield
        client.config_set("maxmemory", REDIS_BYTES)
        client.delete("ballast")


@_of(EVIDENCE_FAULTS, "ShadowStoreTrouble")
def redis_refuses_to_write(stage: Stage) -> Iterator[None]:
    """As after the loss of a replica that it must have."""
    with redis.Redis(port=stage.stack.store.port) as client:
        client.config_set("min-replicas-to-write", 1)
        yield
        client.config_set("min-replicas-to-write", 0)


@_of(EVIDENCE_FAULTS, "GateVerdictChanged")
def a_candidate_that_blocks_everything_is_tried(stage: Stage) -> Iterator[None]:
    """In a slot of its own. Its shadow passes over what was before; then it is away until the first look, which knows
    nothing, was scraped."""
    passing = stage.shadow("challenger")
    wait_for("what was before is passed over", lambda: passing.metric("shadow_skipped_total") > 0)
    stage.end("challenger")
    stage.stack.deploy(stage.models.candidate, "challenger", "--threshold", "0")
    stage.until('namespace_slot:shadow_gate_decision:max{slot="challenger"} == 0')
    stage.shadow("challenger")
    yield
    stage.stack.run("scorer", "deploy", "--empty", "--slot", "challenger", "--by", "test", "--reason", "test")
    stage.end("challenger")


@_of(EVIDENCE_FAULTS, "CleanPeriodReset")
def the_candidate_is_deployed_anew(stage: Stage) -> Iterator[None]:
    """While the stream is of this hour only, so that a new run covers fewer hours than the last one did."""
    stage.until('namespace_slot:shadow_clean_period:max{slot="candidate"} > 0.2')
    hours, stage.hours = stage.hours, 1
    stage.stack.deploy(stage.models.candidate, "candidate")
    yield
    stage.hours = hours


@_of(SHADOW_FAULTS, "CandidateErrors")
def the_bundle_is_gone_when_the_shadow_starts(stage: Stage) -> Iterator[None]:
    empty = stage.folder / "no-bundles"
    empty.mkdir()
    stage.end("candidate")
    stage.shadow("candidate", SHADOW_STORE=str(empty), SHADOW_CACHE=str(stage.folder / "no-cache"))
    yield
    stage.quiet(but="CandidateErrors")  # the clean period begins anew, of course, which is news for a while
    stage.end("candidate")
    stage.shadow("candidate")


@_of(SHADOW_FAULTS, "CandidateGetsNothing")
def the_shadow_is_gone(stage: Stage) -> Iterator[None]:
    stage.end("candidate")
    yield
    stage.shadow("candidate")


@_of(SHADOW_FAULTS, "ShadowFallsBehind")
def the_candidate_is_slow(stage: Stage) -> Iterator[None]:
    stage.end("candidate")
    stage.shadow("candidate", PYTHONPATH=str(Path(__file__).parent / "slow"), SHADOW_BATCH_RECORDS="10")
    yield
    stage.end("candidate", kill=True)
    stage.shadow("candidate")


@_of(SHADOW_FAULTS, "ShadowNearRetention")
def retention_comes_up_to_the_fence(stage: Stage) -> Iterator[None]:
    stage.end("candidate")
    fences = {part["partition"]: part["next"] for part in stage.api("/api/progress?slot=candidate")}
    stage.wire.delete_before("decisions", fences)
    yield
    stage.shadow("candidate")


@_of(SHADOW_FAULTS, "DecisionConflict")
def somebody_else_decides_too(stage: Stage) -> Iterator[None]:
    """A second decision for a transaction, of the same epoch, with another score."""

    async def append() -> None:
        part = TopicPartition("decisions", 0)
        consumer = AIOKafkaConsumer(bootstrap_servers=stage.kafka.address)
        producer = AIOKafkaProducer(bootstrap_servers=stage.kafka.address)
        await consumer.start()
        await producer.start()
        try:
            consumer.assign([part])
            consumer.seek(part, (await consumer.end_offsets([part]))[part] - 1)
            record = await consumer.getone()
            row = orjson.loads(record.value)
            second = {**row, "score": (row["score"] + 0.5) % 1}
            await producer.send_and_wait("decisions", orjson.dumps(second), key=record.key, partition=0)
        finally:
            await consumer.stop()
            await producer.stop()

    asyncio.run(append())
    yield
