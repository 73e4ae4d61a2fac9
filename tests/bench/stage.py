"""A stage for one contender: a fresh broker with the workload, a worker on one core, and somebody who watches."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import redis
from confluent_kafka import Consumer, Message, TopicPartition

from bench.shadow_floor import RELEASE, views
from bench.workload import PARTITIONS, Workload
from harness.kafka import Kafka, tail
from harness.places import ROOT
from scorer.deployments.deploy import fill
from scorer.deployments.ledger import put
from scorer.deployments.records import encode
from scorer.kafka.producer import BatchProducer
from scorer.kafka.topics import ensure_topics
from scorer.pipeline.batch import Record
from scorer.settings import ScorerSettings
from scorer.sources.replay import send_all
from shadow.local import embedded
from shadow.local.process import die_with_parent
from shadow.store.keys import Keys

WORKER_CORE, BROKER_CORE = 0, 1
CHUNK = 10_000
#: A broker under load: room enough that its collector has little to do.
JAVA = (
    "-Xms1g",
    "-Xmx1g",
    "-Xmn700m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Xshare:auto",
    "-XX:-UsePerfData",
)
#: Kafka's log and the bench's own files lie in memory, where there is such a folder: what is on a disk is written back
#: after 30 s, by kernel threads on whatever core, and a worker that shares its machine waits for them, 50 ms and more.
MEMORY = Path("/dev/shm")
ROOM_BYTES = 4 * 1024**3  # one run writes a quarter of that
IN_MEMORY = MEMORY if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free >= ROOM_BYTES else None
BIN = Path(sys.executable).parent
SCORER = [str(BIN / "scorer"), "run", "--http-port", "0"]
SHADOW = [str(BIN / "shadow"), "run", "--http-port", "0", "--slot"]
#: All hold the candidate.
SLOTS = ("candidate", "challenger", "control")


def cpu_seconds(pid: int) -> float:
    """CPU time of a process and its threads so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass
class Stage:
    """A broker that has the workload, and how to start workers beside it. brokers, stores: process ids."""

    folder: Path
    env: dict[str, str]
    settings: ScorerSettings
    redis: str | None
    brokers: tuple[int, ...] = ()
    stores: tuple[int, ...] = ()

    @contextmanager
    def worker(
        self,
        argv: Sequence[str],
        core: int | None = WORKER_CORE,
        env: Mapping[str, str] | None = None,
        stdout: int | None = None,
    ) -> Iterator[subprocess.Popen[bytes]]:
        """A process on one core, or with core None on any core, only where nobody else wants it (SCHED_IDLE).

        It stays in this session, as the broker does: policies do not count between sessions (`shadow.worker.niceness`).
        """

        def prepare() -> None:
            if core is None:
                os.sched_setaffinity(0, {WORKER_CORE, BROKER_CORE})
                os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
            else:
                os.sched_setaffinity(0, {core})
            die_with_parent()

        with (self.folder / "worker.log").open("ab") as out:
            everything = {**os.environ, **self.env, **(env or {})}
            process = subprocess.Popen(argv, env=everything, stdout=stdout or out, stderr=out, preexec_fn=prepare)
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def fences(self, slot: str) -> list[int | None]:
        """How far a slot's shadow has applied each partition of `decisions`, None before it has opened it."""
        assert self.redis is not None
        with redis.Redis.from_url(self.redis) as client:
            found = [client.hget(Keys("shadow", slot, p).fence, "next") for p in range(PARTITIONS)]
        return [None if offset is None else int(offset) for offset in found]

    def used_bytes(self) -> int:
        """Memory that Valkey uses."""
        assert self.redis is not None
        with redis.Redis.from_url(self.redis) as client:
            return int(client.info("memory")["used_memory"])

    def log(self) -> str:
        """The end of what the workers said."""
        return tail(self.folder / "worker.log")

    async def write(self, topic: str, made: Sequence[Sequence[Record]]) -> None:
        """Append records to each partition of a topic."""
        producer = BatchProducer(self.settings)
        await producer.start(require_idempotence=False)
        try:
            for partition, records in enumerate(made):
                await producer.write(topic, partition, records)
        finally:
            await producer.stop()


@contextmanager
def stage(
    folder: Path, work: Workload, *, is_real: bool = False, with_redis: bool = False, is_filled: bool = True
) -> Iterator[Stage]:
    """A fresh broker on its own core, with topics, live slot, shadow slots and, if is_filled, the transactions.

    is_real: Apache Kafka instead of the embedded broker. It stamps what it appends, and takes small batches fast.
    """
    pids: list[int | None]
    with TemporaryDirectory(dir=IN_MEMORY) as scratch, ExitStack() as stack:  # a broker writes until it has ended
        if is_real:
            stamping = {"log.message.timestamp.type": "LogAppendTime"}
            kafka = stack.enter_context(Kafka(Path(scratch), settings=stamping, java=JAVA, own_session=False))
            address, pids = kafka.address, [node.process.pid for node in kafka.nodes if node.process is not None]
        else:
            broker = stack.enter_context(embedded.broker())
            address, pids = broker.address, [broker.pid]
        store = stack.enter_context(embedded.store()) if with_redis else None
        for pid in [*pids, store.pid] if store is not None else pids:
            for thread in Path(f"/proc/{pid}/task").iterdir():
                os.sched_setaffinity(int(thread.name), {BROKER_CORE})
                if is_real and store is not None and pid == store.pid:  # beside live, Redis stands back as shadows do
                    os.sched_setscheduler(int(thread.name), os.SCHED_IDLE, os.sched_param(0))
                    Path(f"/proc/{pid}/autogroup").write_text("19")
        (folder / "release.yaml").write_text(RELEASE)
        common = {
            "KAFKA": address,
            "STORE": str(folder / "bundles"),
            "CACHE": str(folder / "cache"),
            "CLOCK": "event",
        }
        env = {f"{prefix}_{name}": value for prefix in ("SCORER", "SHADOW") for name, value in common.items()}
        env |= {
            "SCORER_VIEW": str(folder / "view.json"),
            "SCORER_REQUIRE_IDEMPOTENCE": str(is_real).lower(),
            "SCORER_PARTITIONS": str(PARTITIONS),
            "SCORER_SESSION_SECONDS": "2",
            "SCORER_HEARTBEAT_SECONDS": "0.5",
            "SHADOW_RELEASE": str(folder / "release.yaml"),
            "SHADOW_SESSION_SECONDS": "6",
            "SHADOW_HEARTBEAT_SECONDS": "2",
            "BENCH_KAFKA": address,
            "BENCH_FOLDER": str(folder),
            "BENCH_DIGEST": work.digest,
            "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}",
        }
        if store is not None:
            env["SHADOW_REDIS"] = f"redis://{store.address}/0"
        os.environ.update({name: value for name, value in env.items() if name.startswith("SCORER_")})
        settings = ScorerSettings()
        asyncio.run(_prepare(settings, work, is_filled))
        brokers = tuple(pid for pid in pids if pid is not None)
        stores = () if store is None or store.pid is None else (store.pid,)
        yield Stage(folder, env, settings, env.get("SHADOW_REDIS"), brokers, stores)


async def _prepare(settings: ScorerSettings, work: Workload, is_filled: bool) -> None:
    await ensure_topics(settings)
    for name, view in views().items():
        await put(settings, {f"view/{name}": encode(view)})
    await fill(settings, "live", work.digest, None, None, "bench", "bench")
    for slot in SLOTS:
        await fill(settings, slot, work.candidate, None, None, "bench", "bench")
    if is_filled:
        n = len(work)
        chunks = [(work.keys[at : at + CHUNK], work.values[at : at + CHUNK]) for at in range(0, n, CHUNK)]
        await send_all(settings, chunks, None, lambda n: None)


class Watcher:
    """Sees records of a topic as they are appended; costs little, on the broker's core."""

    def __init__(self, broker: str, topic: str = "decisions") -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": broker,
                "group.id": "watcher",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 5,
                "fetch.queue.backoff.ms": 5,
                "log_level": 0,
            }
        )
        self._consumer.assign([TopicPartition(topic, p, 0) for p in range(PARTITIONS)])

    def look(self, seconds: float) -> list[Message]:
        """What came within a time."""
        return [message for message in self._consumer.consume(10_000, timeout=seconds) if message.error() is None]

    def close(self) -> None:
        self._consumer.close()
