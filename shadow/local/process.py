"""Ends child processes with their parent, and finds free ports."""

from __future__ import annotations

import ctypes
import random
import signal
import socket
import sys
from contextlib import suppress

_PR_SET_PDEATHSIG = 1


_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
#: Where servers listen. Below the ports that Linux (from 32768) and macOS (from 49152) give to outgoing connections.
PORTS = range(20_000, 32_000)


def die_with_parent() -> None:
    """Have Linux kill this process when the thread that started it ends. Call it in the child before its program."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def free_port() -> int:
    """A loopback port that is free, and that no system gives to a connection before whoever it is for binds it.

    Raises OSError if none is free.
    """
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
    raise OSError(f"no port of {PORTS.start} to {PORTS.stop - 1} is free")
