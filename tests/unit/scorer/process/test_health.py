"""The pages of a worker: who hangs up leaves nothing in its log, what breaks does."""

from __future__ import annotations

import socket
import struct
import threading
import time
from urllib.request import urlopen

import pytest
from prometheus_client import CollectorRegistry, Gauge

from harness.patience import PATIENCE_SECONDS
from scorer.process.health import Health, HealthServer

#: Far more than a socket takes at once.
MANY = 60_000


@pytest.mark.slow
def test_a_client_that_hangs_up_is_no_error(capfd: pytest.CaptureFixture[str]) -> None:
    registry = CollectorRegistry()
    gauge = Gauge("many", "Many.", ["n"], registry=registry)
    for n in range(MANY):
        gauge.labels(str(n))
    server = HealthServer("127.0.0.1", 0, registry, Health())
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", server.port))
        client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        client.recv(10)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # hangs up at once
    deadline = time.monotonic() + PATIENCE_SECONDS
    while any("process_request" in thread.name for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    server.stop()
    assert capfd.readouterr().err == ""


def test_metrics_are_brought_up_to_date_before_they_are_told() -> None:
    registry = CollectorRegistry()
    gauge = Gauge("looks", "Looks.", registry=registry)
    server = HealthServer("127.0.0.1", 0, registry, Health(), gauge.inc)
    for looks in (1, 2):
        with urlopen(f"http://127.0.0.1:{server.port}/metrics") as page:
            assert f"looks {looks}.0" in page.read().decode()
    server.stop()


def test_a_page_that_breaks_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    class Broken(CollectorRegistry):
        def collect(self) -> None:  # type: ignore[override]
            raise ValueError("a collector broke")

    server = HealthServer("127.0.0.1", 0, Broken(), Health())
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert client.recv(10) == b""
    server.stop()
    assert "a collector broke" in capfd.readouterr().err
