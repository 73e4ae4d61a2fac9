"""Ports for servers that start a moment later."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from shadow.local import process


def test_a_free_port_is_none_that_a_connection_may_take_meanwhile() -> None:
    first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    found = {process.free_port() for _ in range(20)}
    assert len(found) > 10, "two that ask at once must not get the same"
    assert not [port for port in found if first <= port <= last]


def test_a_port_that_is_taken_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", process.free_port()))
        server.listen()
        taken: int = server.getsockname()[1]
        monkeypatch.setattr(process, "PORTS", range(taken, taken + 1))
        with pytest.raises(OSError, match=f"no port of {taken} to {taken} is free"):
            process.free_port()
