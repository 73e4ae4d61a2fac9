"""Keeps cores from deep sleep while latency is measured, as cyclictest does: a virtual core that sleeps takes long to
wake, and by how much is its host's affair."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: Linux's request for a longest wake-up latency, int32 microseconds; it holds while the file is open.
REQUEST = Path("/dev/cpu_dma_latency")


@contextmanager
def awake() -> Iterator[bool]:
    """Within it no core of this machine sleeps deeply; yields whether Linux grants that (root only)."""
    try:
        request = REQUEST.open("wb", buffering=0)
    except OSError:
        yield False
        return
    with request:
        request.write(struct.pack("i", 0))
        yield True
