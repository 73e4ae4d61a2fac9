"""Real processes on a broker and a store: what an integration test streams through, kills and counts."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import orjson

from harness.commands import command
from harness.kafka import Kafka
from harness.patience import PATIENCE_SECONDS
from harness.stores import RedisServer
from scorer.deployments.arrival import arrived
from scorer.deployments.deploy import fill
from scorer.deployments.records import LIVE
from scorer.kafka.reading import read_to_end, reader
from scorer.kafka.topics import partitions_of
from scorer.settings import ScorerSettings, load
from scorer.sources.decisions import as_json
from shadow.local import embedded
from shadow.local.environment import EMBEDDED
from shadow.local.process import die_with_parent, free_port

BIN = Path(sys.executable).parent
FAST = {"SESSION_SECONDS": EMBEDDED["SESSION_SECONDS"], "HEARTBEAT_SECONDS": EMBEDDED["HEARTBEAT_SECONDS"]}
PARTITIONS = 4


def wait_for(what: str, is_there: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> Any:
    """Until a call gives something true; returns that."""
    deadline = time.monotonic() + seconds
    while not (found := is_there()):
        assert time.monotonic() < deadline, f"{what}: not there after {seconds:g} s"
        time.sleep(0.05)
    return found


def get(url: str, token: str | None = None) -> bytes | None:
    """A page, None if it is not there or not well."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return bytes(answer.read())
    except OSError:
        return None


def status_of(url: str) -> int:
    """The status that a page answers with to somebody without a token."""
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE_SECONDS) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def _outer() -> dict[str, str]:
    """This process's environment without settings of ours."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("SCORER_", "SHADOW_"))}


@dataclass
class Worker:
    """A process of ours and the port of its pages. token: for reading them, if they ask for one."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path
    token: str | None = None

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
        return self.process.wait(PATIENCE_SECONDS)

    def metric(self, name: str) -> float:
        """Sum of a metric over its label values, 0 where it is missing."""
        page = (get(f"http://127.0.0.1:{self.port}/metrics", self.token) or b"").decode()
        return sum(
            float(line.rpartition(" ")[2]) for line in page.splitlines() if line.split("{")[0].split(" ")[0] == name
        )


@dataclass
class Stack:
    """A broker, a store and the settings that point at them; `start` adds processes. Embedded ones by default."""

    folder: Path
    env: dict[str, str]  # settings beside those that point at the servers
    workers: list[Worker] = field(default_factory=list)
    broker: embedded.Server | Kafka = field(default_factory=embedded.broker)
    store: embedded.Server | RedisServer = field(default_factory=embedded.store)

    def __enter__(self) -> Stack:
        self.broker.start()
        self.store.start()
        both = {**FAST, "KAFKA": self.broker.address, "CACHE": str(self.folder / "cache"), "CLOCK": "event"}
        both["PREDICTOR"] = "lightgbm"  # a comparison takes a second of each cache; the fault scenarios make it
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
        try:
            done = self._command(argv, env, seconds)
        except subprocess.TimeoutExpired:
            return None
        assert done.returncode, f"{' '.join(argv)}: ended with 0"
        return done.stderr.decode()

    def run(self, *argv: str, expect: int = 0, env: Mapping[str, str] | None = None) -> str:
        """Run a command to its end; what it printed, and its errors if it was to fail. Fails if it ends with another
        code."""
        done = self._command(argv, env)
        told = done.stdout.decode() + done.stderr.decode()
        assert done.returncode == expect, f"{' '.join(argv)}: {done.returncode}, not {expect}\n{told}"
        return (told if expect else done.stdout.decode()).strip()

    def fails(self, *argv: str, **env: str) -> str:
        """Run a command that must end with exit 2 and one line; that line."""
        done = self._command(argv, env)
        lines = done.stderr.decode().splitlines()
        assert done.returncode == 2, lines
        assert len(lines) == 1, lines
        assert lines[0].startswith("error: ")
        return lines[0]

    def _command(
        self, argv: Sequence[str], env: Mapping[str, str] | None, seconds: float = PATIENCE_SECONDS
    ) -> subprocess.CompletedProcess[bytes]:
        return command(*argv, env={**_outer(), **self.env, **(env or {})}, folder=self.folder, seconds=seconds)

    def start(self, *argv: str, env: Mapping[str, str] | None = None, ready: bool = True) -> Worker:
        """Start a worker, and wait until it is ready."""
        port = free_port()
        log = self.folder / f"{len(self.workers)}-{argv[0]}.log"
        name = f"{argv[0]}-{len(self.workers)}"
        own = {f"{argv[0].upper()}_WORKER_ID": name, f"{argv[0].upper()}_LOG_FORMAT": "text"}
        settings = {**self.env, **own, **(env or {})}
        with log.open("wb") as out:
            process = subprocess.Popen(
                [str(BIN / argv[0]), *argv[1:], "--http-port", str(port)],
                env={**_outer(), **settings},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent,  # a test run that is killed leaves nothing behind
            )
        worker = Worker(process, port, log, settings.get("SHADOW_READ_TOKEN"))
        self.workers.append(worker)
        if ready:
            wait_for(f"{name} ready", worker.is_ready)
        return worker

    def until_ready(self) -> None:
        """Wait for every worker that runs."""
        for worker in self.workers:
            if worker.process.poll() is None:
                wait_for(f"{worker.log.name} ready", worker.is_ready)

    def deploy(
        self,
        bundle: str,
        slot: str,
        threshold: float | None = None,
        discard: bool = False,
        env: Mapping[str, str] | None = None,
        by: str = "test",
        reason: str = "test",
    ) -> None:
        """Fill a slot as `scorer deploy` does, without a process for it."""

        async def go(settings: ScorerSettings) -> None:
            filled = await fill(settings, slot, bundle, threshold, None, by, reason, discard=discard, anew=discard)
            if slot == LIVE:
                assert not (await arrived(settings, settings.group, filled.state.epoch, 30.0)).late

        with patch.dict(os.environ, {**_outer(), **self.env, **(env or {})}, clear=True):
            asyncio.run(go(load(ScorerSettings)))

    def settings(self) -> ScorerSettings:
        """The scorer's settings here, for reading topics."""
        return ScorerSettings(kafka=self.broker.address)

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
        """Every decision on the wire, whatever its format, in log order of each partition."""
        return [orjson.loads(as_json(record.value)) for record in self.read("decisions")]

    def settled(self) -> list[tuple[int, int]]:
        """Source partition and offset of every decision and dead letter."""
        found = []
        for record in self.read("decisions", "transactions.rejected"):
            if record.topic == "decisions":
                source = orjson.loads(as_json(record.value))["source"]
                found.append((source["partition"], source["offset"]))
            elif "offset" in (told := dict(record.headers)):  # else a mark that one was sent again
                found.append((record.partition, int(told["offset"])))
        return found

    def until_settled(self, n: int, seconds: float = PATIENCE_SECONDS) -> list[tuple[int, int]]:
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
