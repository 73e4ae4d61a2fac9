"""What a process has received from a port, beside what was really sent to it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from bench import sockets
from harness.patience import PATIENCE_SECONDS

pytestmark = pytest.mark.skipif(not sockets.are_told(), reason="Linux tells nobody here what connections received")


def test_bytes_from_a_port_are_counted_and_no_others() -> None:
    here = ("127.0.0.1", 0)
    with socket.create_server(here) as server, socket.create_server(here) as other:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as one, socket.create_connection(other.getsockname()) as two:
            there, elsewhere = server.accept()[0], other.accept()[0]
            with there, elsewhere:
                assert sockets.received(os.getpid(), port) == 0
                there.sendall(b"x" * 12_345)
                elsewhere.sendall(b"y" * 999)
                for link, n in ((one, 12_345), (two, 999)):
                    link.settimeout(PATIENCE_SECONDS)
                    while n:
                        n -= len(link.recv(n))
                assert sockets.received(os.getpid(), port) == 12_345


def test_what_another_process_received_is_not_ours() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        link = f"socket.create_connection(('127.0.0.1', {port}))"
        code = f"import socket; s = {link}; s.recv(4); print(flush=True); s.recv(1)"
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
            there = server.accept()[0]
            with there:
                there.sendall(b"four")
                assert process.stdout is not None
                process.stdout.readline()
                assert sockets.received(process.pid, port) == 4
                assert sockets.received(os.getpid(), port) == 0
