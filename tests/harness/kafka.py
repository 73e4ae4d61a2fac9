"""Real Apache Kafka in KRaft mode, one broker or more, on loopback: what a test starts, kills, freezes and restarts."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from harness.patience import PATIENCE_SECONDS
from harness.places import ROOT
from shadow.local.process import die_with_parent, free_port

POM = ROOT / "tests" / "kafka" / "pom.xml"
JARS = ROOT / "build" / "kafka"
#: Any 16 bytes in URL-safe base 64.
CLUSTER = "c2hhZG93LXNjb3Jlci0xMg"
FORMAT = ("kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c")
STOP_SECONDS = 20.0
#: A broker for tests: small, quick to elect and to let groups in, and it makes no topic that nobody created.
SETTINGS = {
    "auto.create.topics.enable": "false",
    "group.min.session.timeout.ms": "1000",
    "group.initial.rebalance.delay.ms": "0",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "log.cleaner.dedupe.buffer.size": "4194304",
    "log.cleaner.backoff.ms": "500",
    "controller.quorum.election.timeout.ms": "500",
    "controller.quorum.fetch.timeout.ms": "1000",
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    "controlled.shutdown.enable": "true",
    "log.retention.check.interval.ms": "1000",
    "log.segment.delete.delay.ms": "1000",
}
#: How a broker's Java is started.
JAVA = ("-Xms96m", "-Xmx320m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-XX:-UsePerfData")


def missing() -> str | None:
    """What has to be installed before a broker can run, None if nothing has."""
    if not shutil.which("java"):
        return "no Java here for Apache Kafka (Debian: default-jre-headless)"
    if not _has_jars() and not shutil.which("mvn"):
        return "no Maven here to fetch Apache Kafka (Debian: maven)"
    return None


def _has_jars() -> bool:
    """Whether the jars of this very pom are here: the copy of the pom is put beside them last."""
    copy = JARS / POM.name
    return copy.is_file() and copy.read_bytes() == POM.read_bytes()


def fetch_jars() -> None:
    """Have Maven copy the jars, unless they are here. Of several test runs at once, the first does it."""
    JARS.parent.mkdir(exist_ok=True)
    with JARS.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _has_jars():
            return
        shutil.rmtree(JARS, ignore_errors=True)
        argv = ["mvn", "-B", "-q", "-f", str(POM), "dependency:copy-dependencies", "-DincludeScope=runtime"]
        subprocess.run([*argv, f"-DoutputDirectory={JARS}"], check=True, timeout=600)
        shutil.copy(POM, JARS / POM.name)


@dataclass
class Node:
    """One broker, which is a controller too."""

    id: int
    port: int
    controller_port: int
    folder: Path
    java: tuple[str, ...] = JAVA
    own_session: bool = True
    process: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def launch(self) -> None:
        """Start without waiting for it."""
        with (self.folder / "log.txt").open("ab") as log:
            self.process = subprocess.Popen(
                _command(self.java, "kafka.Kafka", str(self.folder / "server.properties")),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=self.own_session,
                preexec_fn=die_with_parent,
            )

    def stop(self) -> None:
        """SIGTERM and a controlled shutdown; SIGKILL if that takes too long."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """kill -9."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()


def write_tool(path: Path, tool: str) -> Path:
    """Write a script that runs a command of Apache Kafka, as its distribution has one. tool: the class."""
    fetch_jars()
    path.write_text(f'#!/bin/sh\nexec {shlex.join(_command(JAVA, tool))} "$@"\n')
    path.chmod(0o755)
    return path


def _command(java: Sequence[str], *argv: str) -> list[str]:
    quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
    return ["java", *java, quiet, "-cp", f"{JARS}/*", *argv]


@dataclass
class Kafka:
    """A cluster below a folder. Ports stay the same across restarts."""

    folder: Path
    brokers: int = 1
    settings: dict[str, str] = field(default_factory=dict)
    listeners: dict[str, int] = field(default_factory=dict)  # further ones of a single broker: port by protocol
    users: dict[str, str] = field(default_factory=dict)  # password by name, for SCRAM-SHA-512
    java: tuple[str, ...] = JAVA
    own_session: bool = True  # else it shares the session of who starts it, and a core with it by policy and niceness
    nodes: list[Node] = field(default_factory=list)

    def __enter__(self) -> Kafka:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        for node in self.nodes:
            node.kill()

    @property
    def address(self) -> str:
        """Every broker as host:port, separated by commas."""
        return ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def start(self) -> None:
        """Format the storage at first, start every broker that does not run, and wait until the cluster is whole."""
        if not self.nodes:
            self._format()
        for node in self.nodes:
            if not node.is_running:
                node.launch()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self.is_whole():
            told = "\n".join(tail(node.folder / "log.txt") for node in self.nodes)
            assert all(node.is_running for node in self.nodes), f"kafka ended at its start:\n{told}"
            assert time.monotonic() < deadline, f"kafka is not up after {PATIENCE_SECONDS:g} s:\n{told}"
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop every broker in good order."""
        for node in self.nodes:
            node.stop()

    def kill(self) -> None:
        """kill -9 every broker."""
        for node in self.nodes:
            node.kill()

    def is_whole(self) -> bool:
        """Whether every broker is a member of the cluster and answers."""
        if not all(_listens(node.port) for node in self.nodes):
            return False
        return asyncio.run(_members(self.address)) == len(self.nodes)

    def _format(self) -> None:
        fetch_jars()
        self.folder.mkdir(parents=True, exist_ok=True)
        ports = set[int]()
        while len(ports) < 2 * self.brokers:
            ports.add(free_port())
        for i in range(self.brokers):
            folder = self.folder / f"kafka-{i + 1}"
            folder.mkdir()
            self.nodes.append(Node(i + 1, ports.pop(), ports.pop(), folder, self.java, self.own_session))
        voters = ",".join(f"{node.id}@127.0.0.1:{node.controller_port}" for node in self.nodes)
        for node in self.nodes:
            self._write_settings(node, voters)
        users = [
            part
            for name, password in self.users.items()
            for part in ("--add-scram", f'SCRAM-SHA-512=[name="{name}",password="{password}"]')
        ]
        formatting = [
            subprocess.Popen(
                _command(JAVA, *FORMAT, str(node.folder / "server.properties"), *users),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
            for node in self.nodes
        ]
        for process in formatting:
            _, told = process.communicate(timeout=PATIENCE_SECONDS)
            assert process.returncode == 0, f"kafka's storage was not formatted:\n{told.decode()}"

    def _write_settings(self, node: Node, voters: str) -> None:
        copies = str(min(3, self.brokers))
        least = "2" if self.brokers >= 3 else "1"
        ports = {"PLAINTEXT": node.port, **self.listeners}
        open_to_all = ",".join(f"{protocol}://127.0.0.1:{port}" for protocol, port in ports.items())
        lines = {
            "process.roles": "broker,controller",
            "node.id": str(node.id),
            "controller.quorum.voters": voters,
            "listeners": f"{open_to_all},CONTROLLER://127.0.0.1:{node.controller_port}",
            "advertised.listeners": open_to_all,
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": ",".join(
                ["CONTROLLER:PLAINTEXT", *(f"{protocol}:{protocol}" for protocol in ports)]
            ),
            "log.dirs": str(node.folder / "data"),
            "offsets.topic.replication.factor": copies,
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.min.isr": least,
            "default.replication.factor": copies,
            "min.insync.replicas": least,
            "share.coordinator.state.topic.replication.factor": copies,
            "share.coordinator.state.topic.min.isr": least,
            **SETTINGS,
            **self.settings,
        }
        text = "".join(f"{name}={value}\n" for name, value in lines.items())
        (node.folder / "server.properties").write_text(text)


def _listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return True
    except OSError:
        return False


async def _members(bootstrap: str) -> int:
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=3000)
    try:
        await client.start()
        return len((await client.describe_cluster())["brokers"])
    except (KafkaError, OSError):
        return 0
    finally:
        await client.close()


def tail(path: Path, length: int = 2000) -> str:
    """The end of a log."""
    if not path.is_file():
        return ""
    with path.open("rb") as log:
        log.seek(max(0, path.stat().st_size - length), os.SEEK_SET)
        return log.read().decode(errors="replace")
