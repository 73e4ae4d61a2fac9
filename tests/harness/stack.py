"""Real processes on a broker and a store: what an integration test streams through, kills and counts."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from harness.kafka import Kafka
from harness.stores import RedisServer
from scorer.settings import ScorerSettings
from scorer.topics import partitions_of, read_to_end, reader
from shadow import local
from shadow.cli.up import EMBEDDED

BIN = Path(sys.executable).parent
FAST = {"SESSION_SECONDS": EMBEDDED["SESSION_SECONDS"], "HEARTBEAT_SECONDS": EMBEDDED["HEARTBEAT_SECONDS"]}
PARTITIONS = 4


def wait_for(what: str, is_there: Callable[[], Any], seconds: float = 40.0) -> Any:
    """Until a call gives something true; returns that."""
    deadline = time.monotonic() + seconds
    while not (found := is_there()):
        assert time.monotonic() < deadline, f"{what}: not there after {seconds:g} s"
        time.sleep(0.05)
    return found


def get(url: str) -> bytes | None:
    """A page, None if it is not there or not well."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bytes(answer.read())
    except OSError:
        return None


def _outer() -> dict[str, str]:
    """This process's environment without settings of ours."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("SCORER_", "SHADOW_"))}


@dataclass
class Worker:
    """A process of ours and the port of its pages."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def is_ready(self) -> bool:
        assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.log.read_text()[-2000:]}"
        return get(f"http://127.0.0.1:{self.port}/readyz") is not None

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()

    def pause(self) -> None:
        """SIGSTOP: it lives, and does nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self.process.send_signal(signal.SIGCONT)

    def is_stopped(self) -> bool:
        """Whether it stands still: by `pause`, or by itself."""
        return Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    def stop(self) -> int:
        """SIGTERM; the exit code. Fails if that takes longer than a clean stop may."""
        self.process.terminate()
        return self.process.wait(20)

    def metric(self, name: str) -> float:
        """Sum of a metric over its label values, 0 where it is missing."""
        page = (get(f"http://127.0.0.1:{self.port}/metrics") or b"").decode()
        return sum(
            float(line.rpartition(" ")[2]) for line in page.splitlines() if line.split("{")[0].split(" ")[0] == name
        )


@dataclass
class Stack:
    """A broker, a store and the settings that point at them; `start` adds processes. Embedded ones by default."""

    folder: Path
    env: dict[str, str]  # settings beside those that point at the servers
    workers: list[Worker] = field(default_factory=list)
    broker: local.Server | Kafka = field(default_factory=local.broker)
    store: local.Server | RedisServer = field(default_factory=local.store)

    def __enter__(self) -> Stack:
        self.broker.start()
        self.store.start()
        both = {**FAST, "KAFKA": self.broker.address, "CACHE": str(self.folder / "cache"), "CLOCK": "event"}
        self.env = {
            **{f"{program}_{name}": value for program in ("SCORER", "SHADOW") for name, value in both.items()},
            "SCORER_REQUIRE_IDEMPOTENCE": str(isinstance(self.broker, Kafka)).lower(),
            "SCORER_PARTITIONS": str(PARTITIONS),
            "SHADOW_REDIS": f"redis://{self.store.address}/0",
            "SHADOW_GATE_SECONDS": "0.5",
            "SHADOW_FLUSH_SECONDS": "0.2",
            **self.env,
        }
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.process.send_signal(signal.SIGCONT)
                worker.kill()
        self.store.__exit__()
        self.broker.__exit__()

    def begin(self, *argv: str) -> subprocess.Popen[bytes]:
        """Start a command whose end somebody else waits for; what it says is on its standard output."""
        return subprocess.Popen(
            [str(BIN / argv[0]), *argv[1:]],
            env={**_outer(), **self.env},
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def try_run(self, *argv: str, seconds: float, env: Mapping[str, str] | None = None) -> str | None:
        """What a command says when it refuses; None if it still runs after some seconds, and is killed."""
        command = [str(BIN / argv[0]), *argv[1:]]
        try:
            done = subprocess.run(
                command,
                env={**_outer(), **self.env, **(env or {})},
                cwd=self.folder,
                capture_output=True,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return None
        assert done.returncode, f"{' '.join(argv)}: ended with 0"
        return done.stderr.decode()

    def run(self, *argv: str, expect: int = 0, env: Mapping[str, str] | None = None) -> str:
        """Run a command to its end; what it printed. Fails if it ends with another code."""
        done = subprocess.run(
            [str(BIN / argv[0]), *argv[1:]],
            env={**_outer(), **self.env, **(env or {})},
            cwd=self.folder,
            capture_output=True,
            timeout=120,
            check=False,
        )
        told = done.stdout.decode() + done.stderr.decode()
        assert done.returncode == expect, f"{' '.join(argv)}: {done.returncode}, not {expect}\n{told}"
        return done.stdout.decode().strip()

    def start(self, *argv: str, env: Mapping[str, str] | None = None, ready: bool = True) -> Worker:
        """Start a worker, and wait until it is ready."""
        port = local.free_port()
        log = self.folder / f"{len(self.workers)}-{argv[0]}.log"
        name = f"{argv[0]}-{len(self.workers)}"
        own = {f"{argv[0].upper()}_WORKER_ID": name, f"{argv[0].upper()}_LOG_FORMAT": "text"}
        with log.open("wb") as out:
            process = subprocess.Popen(
                [str(BIN / argv[0]), *argv[1:], "--http-port", str(port)],
                env={**_outer(), **self.env, **own, **(env or {})},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=local.die_with_parent,  # a test run that is killed leaves nothing behind
            )
        worker = Worker(process, port, log)
        self.workers.append(worker)
        if ready:
            wait_for(f"{name} ready", worker.is_ready)
        return worker

    def until_ready(self) -> None:
        """Wait for every worker that runs."""
        for worker in self.workers:
            if worker.process.poll() is None:
                wait_for(f"{worker.log.name} ready", worker.is_ready)

    def deploy(self, bundle: str, slot: str, *more: str, env: Mapping[str, str] | None = None) -> None:
        """Fill a slot."""
        self.run("scorer", "deploy", bundle, "--slot", slot, "--by", "test", "--reason", "test", *more, env=env)

    def settings(self) -> ScorerSettings:
        """The scorer's settings here, for reading topics."""
        return ScorerSettings(kafka=self.broker.address)  # type: ignore[arg-type]

    def read(self, *topics: str) -> list[Any]:
        """Every record of topics, partition by partition in log order."""

        async def go() -> list[Any]:
            found = []
            parts = await partitions_of(self.settings(), *topics)
            async with reader(self.settings()) as consumer:
                async for _, records in read_to_end(consumer, dict.fromkeys(parts)):
                    found += records
            return sorted(found, key=lambda record: (record.topic, record.partition, record.offset))

        return asyncio.run(go())

    def decisions(self) -> list[dict[str, Any]]:
        """Every decision on the wire, in log order of each partition."""
        return [orjson.loads(record.value) for record in self.read("decisions")]

    def settled(self) -> list[tuple[int, int]]:
        """Source partition and offset of every decision and dead letter."""
        found = []
        for record in self.read("decisions", "transactions.rejected"):
            if record.topic == "decisions":
                source = orjson.loads(record.value)["source"]
                found.append((source["partition"], source["offset"]))
            elif record.value is not None:  # else a mark that one was sent again
                found.append((record.partition, int(dict(record.headers)["offset"])))
        return found

    def until_settled(self, n: int, seconds: float = 60.0) -> list[tuple[int, int]]:
        """Wait until so many transactions are decided or refused; all there is then."""
        found: list[tuple[int, int]] = []

        def enough() -> bool:
            found[:] = self.settled()
            return len(found) >= n

        wait_for(f"{n} settled", enough, seconds)
        return found


def by_source(decisions: Iterable[dict[str, Any]]) -> dict[tuple[int, int], dict[str, Any]]:
    """Decisions by source partition and offset; fails on a second one for the same."""
    found: dict[tuple[int, int], dict[str, Any]] = {}
    for decision in decisions:
        at = decision["source"]["partition"], decision["source"]["offset"]
        assert at not in found, f"decided twice: {at}"
        found[at] = decision
    return found


def write_lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """A JSON Lines file."""
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return path
